//! The names of code that a checkpoint may hold, as `torch.load(weights_only=True)` has such a list.
//!
//! Nothing of a pickle is run here. But who sees a file accepted may load it in Python, where each name is code.

/// Modules, and of each the names that make numbers, tensors, options or paths and nothing else.
const ALLOWED: &[(&str, &[&str])] = &[
    ("collections", &["OrderedDict", "Counter", "defaultdict"]),
    ("builtins", BUILTINS),
    // As Python 2 and protocols up to 2 name it.
    ("__builtin__", BUILTINS),
    ("_codecs", &["encode"]),
    (
        "torch._utils",
        &[
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_tensor_v3",
            "_rebuild_parameter",
            "_rebuild_parameter_with_state",
            "_rebuild_qtensor",
            "_rebuild_sparse_tensor",
            "_rebuild_nested_tensor",
            "_rebuild_meta_tensor_no_storage",
        ],
    ),
    ("torch._tensor", &["_rebuild_from_type_v2"]),
    ("torch.nn.parameter", &["Parameter"]),
    ("torch.serialization", &["_get_layout"]),
    ("torch.storage", &["TypedStorage", "UntypedStorage"]),
    ("torch.torch_version", &["TorchVersion"]),
    ("numpy", &["dtype", "ndarray"]),
    ("numpy.core.multiarray", &["scalar", "_reconstruct"]),
    ("numpy._core.multiarray", &["scalar", "_reconstruct"]),
    ("argparse", &["Namespace"]),
    ("pathlib", PATHS),
    ("pathlib._local", PATHS),
];

const BUILTINS: &[&str] =
    &["set", "frozenset", "dict", "list", "tuple", "bytearray", "complex", "int", "float", "bool", "slice", "range"];

const PATHS: &[&str] = &["PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path", "PurePath"];

/// Types of elements as classes of storages and tensors name them.
const ELEMENTS: &[&str] = &[
    "Double",
    "Float",
    "Half",
    "BFloat16",
    "Long",
    "Int",
    "Short",
    "Char",
    "Byte",
    "Bool",
    "ComplexFloat",
    "ComplexDouble",
    "QInt8",
    "QInt32",
    "QUInt8",
    "Untyped",
];

/// What `torch` itself has beside those classes: types of elements, shapes and places.
const TORCH: &[&str] = &[
    "Size",
    "Tensor",
    "device",
    "float16",
    "float32",
    "float64",
    "bfloat16",
    "half",
    "float",
    "double",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "short",
    "int",
    "long",
    "bool",
    "complex32",
    "complex64",
    "complex128",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "qint8",
    "qint32",
    "quint8",
    "per_tensor_affine",
    "per_channel_affine",
    "strided",
    "contiguous_format",
    "channels_last",
    "preserve_format",
];

/// Whether a checkpoint may name `name` of `module`. A dotted name reaches into what it names, and is none of these.
pub(super) fn allowed(module: &[u8], name: &[u8]) -> bool {
    if module == b"torch" {
        let elements = name.strip_suffix(b"Storage").or_else(|| name.strip_suffix(b"Tensor"));
        let of_elements = elements.is_some_and(|elements| ELEMENTS.iter().any(|known| known.as_bytes() == elements));
        return of_elements || TORCH.iter().any(|known| known.as_bytes() == name);
    }
    let names = ALLOWED.iter().find(|(known, _)| known.as_bytes() == module).map_or(&[][..], |(_, names)| names);
    names.iter().any(|known| known.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_checkpoints_name_is_allowed() {
        for (module, name) in [
            ("collections", "OrderedDict"),
            ("torch._utils", "_rebuild_tensor_v2"),
            ("torch._utils", "_rebuild_parameter"),
            ("torch", "BFloat16Storage"),
            ("torch", "FloatTensor"),
            ("torch", "float32"),
            ("numpy.core.multiarray", "scalar"),
            ("argparse", "Namespace"),
        ] {
            assert!(allowed(module.as_bytes(), name.as_bytes()), "{module}.{name}");
        }
    }

    #[test]
    fn what_runs_something_is_not() {
        for (module, name) in [
            ("os", "system"),
            ("builtins", "eval"),
            ("builtins", "getattr"),
            ("torch", "load"),
            ("torch.utils.collect_env", "run"),
            ("numpy.testing._private.utils", "runstring"),
            ("collections", "OrderedDict.__init__"),
            ("torch", "Tensor.__class__"),
            ("torch", "Storage"),
            ("torch._utils", "_rebuild_tensor_v2 "),
            ("", ""),
        ] {
            assert!(!allowed(module.as_bytes(), name.as_bytes()), "{module}.{name}");
        }
    }
}
