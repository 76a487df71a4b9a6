//! `scripts/gpu-check`, tried on a processor: every step runs, and what it writes can be read.
#![cfg(unix)]

use std::process::Command;

use serde_json::Value;

#[test]
fn the_check_of_a_gpu_runs_on_a_processor() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("gpu-check.json");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/gpu-check");
    let mut command = Command::new("bash");
    command.args([script, env!("CARGO_BIN_EXE_anyjepa")]).arg(&out).env("QUICK", "1").env_remove("ANYJEPA_DEVICE");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let report: Value = serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap();
    assert_eq!(report["passed"], true, "{said}");
    let steps = report["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    let expected =
        ["devices", "verify", "parity-clips", "parity-turned", "extract-compiled", "extract-burn", "train-f32"];
    assert_eq!(names, expected);
    for step in steps {
        assert_eq!(step["exit"], 0, "{step}");
        assert!(step["result"].is_object(), "{step}");
    }
}
