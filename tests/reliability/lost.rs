//! A GPU that is lost in the middle of an extraction, or of training.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::gpu;
use crate::runs::{Runs, anyjepa};

/// Sixteen pictures, four at a time; the device is lost before the third batch.
#[test]
fn a_device_that_is_lost_ends_with_6_and_the_shards_before_it_are_kept() {
    if !gpu::wanted("no Vulkan adapter was lost") {
        return;
    }
    let runs = Runs::new();
    runs.finish("run");
    let extract = |out: &str, faults: &str, more: &[&str]| {
        let mut command = anyjepa(faults);
        command.arg("extract").arg(runs.at("pictures")).arg("--weights").arg(runs.at("run"));
        command.args(["--device", "vulkan", "--batch", "4", "--shard-rows", "4"]);
        runs.ended(command.arg("--out").arg(runs.at(out)).args(more).output().unwrap())
    };
    let whole = extract("whole", "", &[]);
    assert_eq!(whole.code, Some(0), "{}", whole.said);
    let lost = extract("out", "gpu.launch=2*off->return(lost)", &[]);
    assert_eq!(lost.code, Some(6), "{}", lost.said);
    assert!(lost.said.contains("the device was lost") && lost.said.contains("run the command again"), "{}", lost.said);
    let shards = || {
        std::fs::read_dir(runs.at("out")).unwrap().filter(|entry| {
            entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "safetensors")
        })
    };
    assert_eq!(shards().count(), 2);
    let again = extract("out", "", &["--resume"]);
    assert_eq!(again.code, Some(0), "{}", again.said);
    assert_eq!(shards().count(), 4);
    for shard in shards() {
        let name = shard.unwrap().file_name();
        let read = |out: &str| std::fs::read(runs.at(out).join(&name)).unwrap();
        assert!(read("out") == read("whole"), "{name:?} differs");
    }
}

/// burn's thread that waits for the device ends then, and all others would wait for it for ever.
#[test]
fn a_device_that_is_lost_under_training_ends_with_6() {
    if !gpu::wanted("no Vulkan adapter was lost under training") {
        return;
    }
    let runs = Runs::new();
    let (library, list) = (runs.at("driver.so"), runs.at("driver.json"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reliability/driver.c");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let driver = serde_json::json!({
        "file_format_version": "1.0.0",
        "ICD": {"library_path": library, "api_version": "1.1.0"},
    });
    fs::write(&list, driver.to_string()).unwrap();

    for at in ["1", "20"] {
        let mut command = runs.command("run", "", &["--device vulkan"]);
        command.env("DRIVER", lavapipe()).env("LOSE_AT", at);
        command.env("VK_DRIVER_FILES", &list).env("VK_ICD_FILENAMES", &list);
        let ended = runs.ended(command.output().unwrap());
        assert_eq!(ended.code, Some(6), "lost at wait {at}: {}", ended.said);
        assert!(ended.said.contains("lost") && ended.said.contains("run the command again"), "{}", ended.said);
    }
}

/// The library of the software driver, as Vulkan's loader finds it.
fn lavapipe() -> PathBuf {
    let lists = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];
    let files = lists.iter().flat_map(fs::read_dir).flatten().map(|entry| entry.unwrap().path());
    let list = files.into_iter().find(|path| path.to_str().unwrap().contains("lvp_icd")).expect("no lavapipe");
    let list: Value = serde_json::from_slice(&fs::read(list).unwrap()).unwrap();
    list["ICD"]["library_path"].as_str().unwrap().into()
}
