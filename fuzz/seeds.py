"""Makes the seeds of the corpora that have a word for a name; the others were found by the fuzzer.

Run with pillow installed, in this folder: python seeds.py
"""

import io
import json
import math
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


def files_of(name, files):
    """A case: files in a row, each a byte for its name, three for its length, and its content."""
    out = b""
    for file, content in files.items():
        content = json.dumps(content, separators=(",", ":")).encode() if isinstance(content, dict) else content
        out += bytes([CASE_FILES.index(file)]) + struct.pack("<I", len(content))[:3] + content
    put("case", name, out)


def numbers(tensors):
    """A safetensors file of small numbers: shapes by name, or a list of integers with its shape."""
    header, data = {}, b""
    for name, shape in tensors.items():
        shape, values = shape if isinstance(shape, tuple) else (shape, None)
        count = math.prod(shape)
        content = struct.pack(f"<{count}f", *(i % 5 / 8 - 0.2 for i in range(count))) if values is None else bytes(values)
        header[name] = tensor("F32" if values is None else "U8", shape, len(data), len(data) + len(content))
        data += content
    return safetensors(header, data)


def blocks(prefix, dim):
    """The only block of a network of `dim` channels, as many within the block as without."""
    parts = {"norm1": [dim], "attn.qkv": [3 * dim, dim], "attn.proj": [dim, dim], "norm2": [dim]}
    parts |= {"mlp.fc1": [dim, dim], "mlp.fc2": [dim, dim]}
    return {f"{prefix}.0.{part}.{key}": shape if key == "weight" else shape[:1]
            for part, shape in parts.items() for key in ("weight", "bias")}


def training_case(kind):
    """The smallest training step: a picture, or a clip, of 16 tokens a frame."""
    dim, frames = (8, 2) if kind == "vjepa" else (4, 1)
    time = [1] if frames > 1 else []
    tokens = 16 * frames
    weights = {}
    for network in ("encoder", "target_encoder"):
        weights |= {f"{network}.patch_embed.proj.weight": [dim, 3, *time, 1, 1], f"{network}.pos_embed": [1, tokens, dim]}
        weights |= {f"{network}.patch_embed.proj.bias": [dim], f"{network}.norm.weight": [dim], f"{network}.norm.bias": [dim]}
        weights |= blocks(f"{network}.blocks", dim)
    weights |= {"predictor.predictor_pos_embed": [1, tokens, dim]} | blocks("predictor.predictor_blocks", dim)
    masks = ["mask_tokens.0", "mask_tokens.1"] if frames > 1 else ["mask_token"]
    weights |= {f"predictor.{name}": [1, 1, dim] for name in masks}
    for layer, shape in {"predictor_embed": [dim, dim], "predictor_norm": [dim], "predictor_proj": [dim, dim]}.items():
        weights |= {f"predictor.{layer}.weight": shape, f"predictor.{layer}.bias": [dim]}
    network = {"embed_dim": dim, "depth": 1, "num_heads": 1, "mlp_ratio": 1}
    model = {"img_size": 4, "patch_size": 1, "in_chans": 3, "layer_norm_eps": 1e-6, **network}
    model["predictor"] = {**network, "num_mask_tokens": len(masks)}
    schedule = {"ipe": 2, "epochs": 2, "ipe_scale": 1, "warmup": 1, "start_lr": 1e-4, "lr": 1e-3, "final_lr": 1e-6}
    schedule |= {"wd": 0.04, "final_wd": 0.4, "ema": [0.99, 1]}
    config = {"kind": kind, "model": model, "schedule": schedule, "batch": 1, "train_losses": [0.1], "train_lr": [1e-4]}
    inputs = {"images": [1, 3, 4, 4]}
    if frames > 1:
        model |= {"num_frames": frames, "tubelet_size": 1}
        config["mask_groups"] = [{"K_enc": 2, "K_pred": 2}]
        inputs = {"clips": [1, 3, frames, 4, 4]}
    for prefix in ("masks_enc", "masks_pred"):
        inputs[f"{prefix}.0"] = ([1, 2], [0, 1] if prefix == "masks_enc" else [2, 3])
    expected = {"patch_embed": [1, tokens, dim], "loss_mse": [], "step1.encoder.norm.bias": [dim]}
    files_of(kind, {"config.json": config, "inputs.safetensors": numbers(inputs),
                    "expected.safetensors": numbers(expected), "weights.safetensors": numbers(weights)})


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

training_case("ijepa")
training_case("vjepa")
row = {"params": {"repo": "ijepa", "ipe": 2, "epochs": 2, "ipe_scale": 1, "warmup": 1, "start_lr": 1e-4, "lr": 1e-3,
                  "final_lr": 1e-6, "wd": 0.04, "final_wd": 0.4, "ema": [0.99, 1]},
       "warmup_steps": 2, "T_max_total": 4, "lr": [1e-4], "wd": [0.04], "momentum": [0.99]}
utils = {"x": [1, 2, 1], "mask.0": ([1, 1], [1]), "apply_masks": [1, 1, 1], "repeat_interleave_batch_B1_r2": [2, 1, 1]}
tables = {"ijepa_2d.dim4.grid2": [4, 4], "rows_0_last.vjepa_3d.dim6.grid1.depth2.uniform": [2, 6],
          "bicubic_size.dim4.grid2.to3x1": [1, 3, 4]}
files_of("misc", {"schedulers.json": {"a": row}, "utils.safetensors": numbers(utils), "pos_embed.safetensors":
                  numbers(tables), "mask_stats.json": {"ijepa": {}}})
image = {"file": "exact.png", "resized_wh": [3, 2], "crop_left_top": [0, 0], "u8_sum": 9}
files_of("preprocess", {"config.json": {"kind": "preprocess", "transform": "CenterCrop(2)", "mean": [0.5] * 3,
                                        "std": [0.5] * 3, "images": {"a": image}},
                        "expected.safetensors": numbers({"a.u8_bicubic_hwc": [2, 2, 3]}), "exact.png": png})
one_value = pickle.dumps({"epoch": 3}, 2)
files_of("pth_formats", {"config.json": {"kind": "pth_formats", "non_tensors": {"epoch": 3}},
                         "expected.safetensors": numbers({}), "zip.pth.tar": one_value})
hf = {"embeddings.patch_embeddings.projection.weight": [4, 3, 1, 1], "embeddings.position_embeddings": [1, 4, 4]}
layer = "encoder.layer.0"
for part in ("query", "key", "value"):
    hf[f"{layer}.attention.attention.{part}.weight"] = [4, 4]
for part in ("attention.output.dense", "intermediate.dense", "output.dense"):
    hf[f"{layer}.{part}.weight"] = [4, 4]
for part in (f"{layer}.layernorm_before", f"{layer}.layernorm_after", "layernorm"):
    hf[f"{part}.weight"] = [4]
hf |= {name.replace("weight", "bias"): [4] for name in hf if name.endswith("weight")}
config = {"model_type": "ijepa", "hidden_act": "gelu", "hidden_size": 4, "image_size": 2, "intermediate_size": 4,
          "layer_norm_eps": 1e-6, "num_attention_heads": 1, "num_channels": 3, "num_hidden_layers": 1, "patch_size": 1,
          "qkv_bias": True}
files_of("hf", {"case.json": {"kind": "hf_ijepa"}, "config.json": config, "model.safetensors": numbers(hf),
                "inputs.safetensors": numbers({"pixel_values": [1, 3, 2, 2], "pixel_values_res.0": [1, 3, 1, 2]}),
                "expected.safetensors": numbers({"mean_pooled": [1, 4]})})
