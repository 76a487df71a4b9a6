//! Steps whose loss is not finite: left out, counted, and after three in a row the end, with the batch to look at.

use std::fs;

use anyjepa::checkpoint::check;
use serde_json::Value;

use super::runs::{Runs, STEPS};

#[test]
fn a_step_that_is_not_finite_is_left_out_and_counted_also_over_a_kill() {
    let runs = Runs::new();
    let fault = "train.loss=4*off->1*return(nan)";
    let ended = runs.run("whole", fault, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.said.contains("step 5 is left out, its loss is NaN"), "{}", ended.said);
    let whole = runs.result("whole");
    let counted: Vec<u64> = whole.1.iter().map(|line| line["nonfinite_steps"].as_u64().unwrap()).collect();
    assert_eq!(counted, [0, 0, 0, 0, 1, 1, 1, 1]);
    assert!(whole.1[4]["loss"].is_null() && whole.1[5]["loss"].is_number());
    let state: Value =
        serde_json::from_slice(&fs::read(runs.checkpoint("whole", STEPS).join("state.json")).unwrap()).unwrap();
    assert_eq!((&state["step"], &state["updates"]), (&STEPS.into(), &(STEPS - 1).into()));

    // Killed in the eighth step: the checkpoint of the sixth knows of the fifth.
    let cut = runs.run("cut", &format!("{fault};train.step=7*off->return(kill)"), &[]);
    assert_eq!(cut.code, None, "{}", cut.said);
    runs.finish("cut");
    assert!(runs.result("cut") == whole);
}

#[test]
fn three_steps_in_a_row_that_are_not_finite_end_the_run_with_the_batch_aside() {
    let runs = Runs::new();
    runs.finish("good");
    let ended = runs.run("run", "train.loss=4*off->return(nan)", &[]);
    assert_eq!(ended.code, Some(5), "{}", ended.said);
    assert!(ended.said.contains("for 3 steps in a row, the last one step 7"), "{}", ended.said);
    assert!(!runs.checkpoint("run", STEPS).exists());
    // That of step 6 would have been made of weights whose loss is not a number.
    assert!(!runs.checkpoint("run", 6).exists());
    check(&runs.checkpoint("run", 3)).unwrap();

    let folder = runs.at("run/nonfinite");
    let mut names: Vec<String> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["step-00000005.json", "step-00000006.json", "step-00000007.json", "step-00000007.safetensors"]);
    let record: Value = serde_json::from_slice(&fs::read(folder.join(&names[2])).unwrap()).unwrap();
    assert_eq!((&record["step"], &record["loss"], &record["seed"]), (&7.into(), &"NaN".into(), &0.into()));
    let part = &record["parts"][0];
    assert_eq!((part["samples"].as_array().unwrap().len(), part["names"].as_array().unwrap().len()), (4, 4));
    assert!(part["names"][0].as_str().unwrap().ends_with(".png"));
    // Two target masks of four images each; one context.
    let shape = |masks: &Value| (masks.as_array().unwrap().len(), masks[0].as_array().unwrap().len());
    assert_eq!((shape(&part["context"]), shape(&part["targets"])), ((1, 4), (2, 4)));
    let (pixels, _) = anyjepa::weights::read(&folder.join(&names[3])).unwrap();
    assert_eq!(pixels["part0"].shape, [4, 1, 28, 28]);
    assert!(
        pixels["part0"].is_finite() && pixels["part0"].values.iter().any(|value| *value != pixels["part0"].values[0])
    );

    // What cannot be written aside is said, and changes neither the end nor its code.
    for place in ["create", "write", "sync"] {
        let faults = format!("train.loss=4*off->return(nan);tensors.{place}=4*off->return(full)");
        let full = runs.run(place, &faults, &[]);
        assert_eq!(full.code, Some(5), "{}", full.said);
        assert!(full.said.contains("its pictures: not written aside, "), "{}", full.said);
        assert_eq!(
            fs::read_dir(runs.at(&format!("{place}/nonfinite"))).unwrap().count(),
            3,
            "three records, no pictures"
        );
    }
    fs::create_dir(runs.at("blocked")).unwrap();
    fs::write(runs.at("blocked/.lock"), "").unwrap();
    fs::write(runs.at("blocked/nonfinite"), "a file where the folder would be").unwrap();
    let blocked = runs.run("blocked", "train.loss=4*off->1*return(nan)", &[]);
    assert_eq!(blocked.code, Some(0), "{}", blocked.said);
    assert!(
        blocked.said.contains("step 5 is left out, ") && blocked.said.contains(": not written aside, "),
        "{}",
        blocked.said
    );

    // The cause gone, the run goes on from its last good checkpoint.
    let said = runs.finish("run");
    assert!(said.contains("continuing after step 3 of 8"), "{said}");
}
