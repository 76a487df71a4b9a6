"""Makes the seeds of the corpora that have a word for a name; the others were found by the fuzzer.

Run with pillow installed, in this folder: python seeds.py
"""

import io
import json
import pathlib
import pickle
import struct
import tarfile

from PIL import Image

CORPUS = pathlib.Path("corpus")
REFERENCE = pathlib.Path("../tests/fixtures/reference")
# The order of CASE_FILES in src/lib.rs.
CASE_FILES = """config.json case.json inputs.safetensors expected.safetensors weights.safetensors model.safetensors
schedulers.json utils.safetensors pos_embed.safetensors mask_stats.json random_resized_crop_stats.json
rng_goldens.json exact.png zip.pth.tar""".split()


def put(target, name, content):
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    (CORPUS / target / name).write_bytes(content)


def safetensors(header, data, length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def tensor(dtype, shape, start, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def tar(files, form=tarfile.USTAR_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue().rstrip(b"\0") + bytes(1024)


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


def oldest_form():
    """PyTorch's archive before 0.1.10, of one tensor of two numbers."""
    row = lambda *items: b"\x80\x02(" + b"".join(items) + b"t."
    name = lambda module, word: f"c{module}\n{word}\n".encode()
    system = pickle.dumps({"protocol_version": 1000, "little_endian": True}, 2)
    storages = pickle.dumps(1, 2) + row(b"K\x07", text(b"cpu"), name("torch", "FloatStorage"))
    storages += struct.pack("<q2f", 2, 1, 2) + pickle.dumps([], 2)
    tensors = pickle.dumps(1, 2) + row(b"K\x09", b"K\x07", name("torch", "FloatTensor"))
    tensors += struct.pack("<iiqqq", 1, 0, 2, 1, 0)
    root = b"\x80\x02}" + text(b"w") + text(b"9") + b"Qs."
    return tar([("sys_info", system), ("pickle", root), ("tensors", tensors), ("storages", storages)])


def case(name, folder, files):
    out = b""
    for file in files.split():
        content = (REFERENCE / folder / file).read_bytes()
        out += bytes([CASE_FILES.index(file)]) + struct.pack("<I", len(content))[:3] + content
    put("case", name, out)


picture = io.BytesIO()
Image.new("RGB", (3, 2), (200, 30, 90)).save(picture, "PNG")
png = picture.getvalue()
(CORPUS / "a.png").write_bytes(png)

for preset in ("ijepa-vit-b16", "ijepa-vit-tiny16"):
    put("configuration", preset, pathlib.Path(f"../models/{preset}.toml").read_bytes())
put("configuration", "file", b'preset = "ijepa-vit-s16"\n[optim]\nlr = 2e-3\nepochs = 3\nwarmup_epochs = 1\n')
put("configuration", "set", b"optim.lr=1\nmask.context_scale=[0.85, 1.0]\ntrain.seed=7\n")

one = tensor("F32", [2], 0, 8)
put("safetensors", "one", safetensors({"a": one}, bytes(8)))
mixed = {"__metadata__": {"anyjepa": "{}"}, "b": tensor("BF16", [2, 1], 0, 4), "u": tensor("U8", [3], 4, 7)}
put("safetensors", "types", safetensors(mixed, bytes(7)))
put("safetensors", "long_header", safetensors(b"{}", b"", 1 << 63))
put("safetensors", "overlap", safetensors({"a": one, "b": tensor("F32", [2], 4, 12)}, bytes(12)))
twice = json.dumps({"a": tensor("F32", [1], 0, 4)})[1:-1]
put("safetensors", "twice", safetensors(f"{{{twice},{twice}}}".encode(), bytes(4)))
put("safetensors", "misc_utils", (REFERENCE / "misc/utils.safetensors").read_bytes())

for name in ("zip", "legacy"):
    put("pth", name, (REFERENCE / f"pth_formats/{name}.pth.tar").read_bytes())
for name, protocol in (("plain", 2), ("protocol_0", 0)):
    put("pth", name, pickle.dumps({"epoch": 3, "names": ["a", "b"], "lr": 0.1}, protocol))
put("pth", "protocol_5", pickle.dumps({"epoch": 3, "names": ("a", b"b"), "big": 1 << 80}, 5))
put("pth", "call", b"cposix\nsystem\n(Vtrue\ntR.")
put("pth", "tar", oldest_form())

# The first byte says list or tar.
put("pictures", "list", b"\0a.png 3\na.png\tcat\nmissing.jpg\n../a.png\n")
put("pictures", "tar", b"\1" + tar([("x/0.png", png), ("x/0.cls", b"3"), ("x/1.png", png[:40])]))
put("pictures", "long_name", b"\1" + tar([("n" * 120 + ".png", png)], tarfile.GNU_FORMAT))
put("pictures", "pax", b"\1" + tar([("é" * 80 + ".png", png)], tarfile.PAX_FORMAT))

case("pth_formats", "pth_formats", "config.json expected.safetensors zip.pth.tar")
case("ijepa", "ijepa_eps", "config.json inputs.safetensors expected.safetensors weights.safetensors")
case("misc", "misc", "schedulers.json utils.safetensors random_resized_crop_stats.json")
case("preprocess", "preprocess", "config.json exact.png")
case("hf", "hf_export", "case.json config.json model.safetensors")
