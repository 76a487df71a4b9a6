//! `scripts/gpu-check`, tried on a processor and on any Vulkan adapter: every step runs, and what it writes can be read.
#![cfg(unix)]

#[path = "support/gpu.rs"]
mod gpu;

use std::process::Command;

use serde_json::Value;

#[test]
fn the_check_of_a_gpu_runs_on_a_processor() {
    let steps = check("cpu", None);
    let expected = "devices verify verify-compiled parity-clips parity-turned extract-compiled extract-burn train-f32";
    assert_eq!(steps.join(" "), expected);
}

/// The steps that a processor does not make, and those of our own kernels. Those of burn's kernels, which
/// `tests/devices.rs` compares, are left out: a software adapter takes minutes.
#[test]
fn the_check_of_a_gpu_runs_on_a_vulkan_adapter() {
    if !gpu::wanted("no Vulkan adapter was checked") {
        return;
    }
    let only = "devices verify-compiled parity-plain extract-compiled extract-f16 extract-f16-plain";
    assert_eq!(check("vulkan", Some(only)).join(" "), only);
}

/// Runs the steps `only`, or all, on `device` with the smallest models, each of which must pass, and gives their names.
fn check(device: &str, only: Option<&str>) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("gpu-check.json");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/gpu-check");
    let mut command = Command::new("bash");
    command.args([script, env!("CARGO_BIN_EXE_anyjepa")]).arg(&out).env("QUICK", "1").env("DEVICES", device);
    command.envs(only.map(|only| ("ONLY", only)));
    command.env_remove("ANYJEPA_DEVICE");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let report: Value = serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap();
    assert_eq!(report["passed"], true, "{said}");
    let steps = report["steps"].as_array().unwrap();
    for step in steps {
        assert_eq!(step["exit"], 0, "{step}");
        assert!(step["result"].is_object(), "{step}");
    }
    steps.iter().map(|step| step["name"].as_str().unwrap().to_owned()).collect()
}
