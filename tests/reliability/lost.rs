//! A GPU that is lost in the middle of an extraction.

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
