//! Files that mean harm: each ends in an error of its own, and nothing of it runs.

use std::fs;
use std::path::Path;

use super::super::*;
use super::fixture;

fn refused(path: &Path) -> String {
    let error = open(path, Some(Which::Target)).unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
    error.to_string().replace(&format!("{}: ", path.display()), "")
}

/// A safetensors file of `header` and `data`, whose length is said to be `length`.
fn safetensors(path: &Path, length: u64, header: &str, data: &[u8]) {
    fs::write(path, [&length.to_le_bytes(), header.as_bytes(), data].concat()).unwrap();
}

#[test]
fn a_pickle_that_calls_the_system_is_refused_and_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evil.pth");
    let mark = folder.path().join("it-ran");
    for (module, function) in [("posix", "system"), ("builtins", "eval"), ("subprocess", "Popen")] {
        let call = format!("c{module}\n{function}\n(Vtouch {}\ntR", mark.display());
        // Alone, in the place of an encoder, in a list, and as a class that is only named.
        for pickle in [
            format!("{call}."),
            format!("(dVencoder\n{call}s."),
            format!("(dVextra\n(l{call}as."),
            format!("(dVextra\nc{module}\n{function}\ns."),
        ] {
            fs::write(&path, &pickle).unwrap();
            let said = refused(&path);
            assert!(said.contains(&format!("{module}.{function}")), "{said}");
            assert!(!mark.exists());
        }
    }
}

#[test]
fn headers_that_lie_are_refused_before_memory_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let tensor =
        |shape: &str, from: u64, to: u64| format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#);
    let mut said = String::new();
    let mut check = |name: &str, length: Option<u64>, header: &str, data: &[u8]| {
        safetensors(&path, length.unwrap_or(header.len() as u64), header, data);
        said += &format!("{name}: {}\n", refused(&path));
    };
    check("length", Some(1 << 63), "{}", &[]);
    check("length beyond the file", Some(1000), "{}", &[]);
    check("no JSON", None, "{]", &[]);
    check("overlap", None, &format!(r#"{{"a":{},"b":{}}}"#, tensor("[2]", 0, 8), tensor("[2]", 4, 12)), &[0; 12]);
    check("beyond the end", None, &format!(r#"{{"a":{}}}"#, tensor("[4]", 0, 16)), &[0; 8]);
    check("overflow", None, &format!(r#"{{"a":{}}}"#, tensor("[4294967296,4294967296,2]", 0, 8)), &[0; 8]);
    check("bytes after the end", None, &format!(r#"{{"a":{}}}"#, tensor("[1]", 0, 4)), &[0; 8]);
    check("backwards", None, &format!(r#"{{"a":{}}}"#, tensor("[1]", 8, 4)), &[0; 8]);
    insta::assert_snapshot!(said, @"
    length: not a valid safetensors file: its header claims 9223372036854775808 bytes, the file has 10
    length beyond the file: not a valid safetensors file: its header claims 1000 bytes, the file has 10
    no JSON: not a valid safetensors file: key must be a string at line 1 column 2
    overlap: not a valid safetensors file: invalid offset for tensor `b`
    beyond the end: not a valid safetensors file: its tensors take 16 bytes, the file holds 8
    overflow: not a valid safetensors file: overflow computing buffer size from shape and/or element type
    bytes after the end: not a valid safetensors file: its tensors take 4 bytes, the file holds 8
    backwards: not a valid safetensors file: invalid offset for tensor `a`
    ");
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["ijepa_p16/checkpoint.pth.tar", "ijepa_p16/weights.safetensors", "pth_formats/legacy.pth.tar"] {
        let whole = fs::read(fixture(name)).unwrap();
        let path = folder.path().join(Path::new(name).file_name().unwrap());
        for share in [0, 1, 7, 50, 90, 99] {
            fs::write(&path, &whole[..whole.len() * share / 100]).unwrap();
            refused(&path);
        }
    }
}

#[test]
fn a_shard_of_another_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixture("hf_ijepa/config.json"), folder.path().join("config.json")).unwrap();
    for elsewhere in ["../model.safetensors", "/etc/passwd", "a/b.safetensors", ".."] {
        let index = serde_json::json!({ "weight_map": { "a": elsewhere } });
        fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        let error = open(folder.path(), Some(Which::Target)).unwrap_err();
        assert!(error.exit_code() == 4 && error.to_string().contains("no file's name"), "{error}");
    }
}

#[test]
fn a_configuration_of_absurd_size_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixture("hf_ijepa/model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    for change in [
        r#""num_hidden_layers": 60000"#,
        r#""hidden_size": 99999999999"#,
        r#""patch_size": 0"#,
        r#""layer_norm_eps": "x""#,
    ] {
        let config = format!(r#"{{"model_type": "ijepa", {change}}}"#);
        fs::write(folder.path().join("config.json"), config).unwrap();
        assert_eq!(open(folder.path(), Some(Which::Context)).unwrap_err().exit_code(), 4, "{change}");
    }
}

#[test]
fn sizes_of_no_model_of_clips_are_refused_though_no_tensor_shows_them() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixture("hf_vjepa2/model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    let whole: serde_json::Value =
        serde_json::from_slice(&fs::read(fixture("hf_vjepa2/config.json")).unwrap()).unwrap();
    let mut said = String::new();
    for change in [
        r#"{"crop_size": 65536}"#,
        r#"{"crop_size": 16384}"#,
        r#"{"crop_size": 8192, "frames_per_clip": 1024}"#,
        r#"{"frames_per_clip": 18446744073709551615}"#,
        r#"{"num_attention_heads": 8}"#,
        r#"{"pred_num_attention_heads": 12}"#,
        r#"{"layer_norm_eps": -1}"#,
        r#"{"layer_norm_eps": 1e308}"#,
    ] {
        let mut config = whole.clone();
        let changes: serde_json::Map<String, serde_json::Value> = serde_json::from_str(change).unwrap();
        config.as_object_mut().unwrap().extend(changes);
        fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let error = open(folder.path(), Some(Which::Context)).unwrap_err();
        assert_eq!(error.exit_code(), 4, "{change}: {error}");
        said += &error
            .to_string()
            .replace(&format!("{}/config.json: no such model can be made: ", folder.path().display()), "");
        said += "\n";
    }
    insta::assert_snapshot!(said, @"
    model.image_size = 65536 must be from 1 to 16384; model.image_size = 65536, model.patch_size = 8 and model.frames = 4 make 134217728 tokens, more than 1048576
    model.image_size = 16384, model.patch_size = 8 and model.frames = 4 make 8388608 tokens, more than 1048576
    model.image_size = 8192, model.patch_size = 8 and model.frames = 1024 make 536870912 tokens, more than 1048576
    model.frames = 18446744073709551615 must be from 1 to 16384; model.frames = 18446744073709551615 is no multiple of model.tubelet = 2
    model's heads of 4 values cannot be rotated: they must be even and at least 6
    model.predictor's heads of 2 values cannot be rotated: they must be even and at least 6
    model.norm_eps = -1.0 must be finite and positive
    model.norm_eps = 1e308 must be finite and positive
    ");
}
