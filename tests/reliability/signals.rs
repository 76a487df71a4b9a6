//! Signals and time limits: a checkpoint, the right exit code, and a run that goes on as if nothing had been.

use super::runs::{Runs, anyjepa};

#[test]
fn a_signal_in_a_step_a_save_or_a_look_at_the_features_saves_and_ends() {
    let runs = Runs::new();
    runs.finish("whole");
    let whole = runs.result("whole");
    for (signal, code) in [("int", 130), ("term", 143), ("usr1", 75)] {
        for place in ["train.step=1*off->1", "tensors.sync=1*off->1", "train.health=1", "lock.sign=1"] {
            let out = format!("{signal}-{}", place.split('=').next().unwrap());
            let ended = runs.run(&out, &format!("{place}*return({signal})"), &[]);
            assert_eq!(ended.code, Some(code), "{out}: {}", ended.said);
            assert!(ended.said.contains("help: the same command continues the run"), "{out}: {}", ended.said);
            let said = runs.finish(&out);
            assert!(said.contains("continuing after step") || out.ends_with("lock.sign"), "{out}: {said}");
            runs.assert_same(&out, &whole, &out);
        }
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let runs = Runs::new();
    for (signal, code) in [("int", 130), ("term", 143)] {
        // The first comes in the second step; the second during the save that follows.
        let faults = format!("train.step=1*off->1*return({signal});tensors.sync=1*return({signal})");
        let ended = runs.run(signal, &faults, &[]);
        assert_eq!(ended.code, Some(code), "{}", ended.said);
        assert!(!runs.checkpoint(signal, 1).exists() && !runs.checkpoint(signal, 2).exists(), "{}", ended.said);
    }
    // Queues send theirs more than once; the save is finished.
    let faults = "train.step=1*off->1*return(usr1);tensors.sync=return(usr1)";
    assert_eq!(runs.run("usr1", faults, &[]).code, Some(75));
    assert!(runs.checkpoint("usr1", 1).exists());
}

#[test]
fn the_first_reason_to_stop_says_how_a_run_ends() {
    let runs = Runs::new();
    for (first, then, code) in [("usr1", "term", 75), ("usr1", "int", 75), ("term", "usr1", 143), ("int", "usr1", 130)]
    {
        let faults = format!("train.step=1*off->1*return({first});tensors.sync=1*return({then})");
        let ended = runs.run(format!("{first}-{then}"), &faults, &[]);
        assert_eq!(ended.code, Some(code), "{first}, {then}: {}", ended.said);
        assert!(runs.checkpoint(format!("{first}-{then}"), 1).exists());
    }
}

#[test]
fn a_step_of_many_micro_batches_is_left_for_a_signal_and_made_again() {
    let runs = Runs::new();
    let sets = ["train.batch=2", "train.accumulate=2"];
    assert_eq!(runs.run("whole", "", &sets).code, Some(0));
    assert_eq!(runs.run("cut", "train.step=1*off->1*return(int)", &sets).code, Some(130));
    assert!(runs.checkpoint("cut", 1).exists(), "the second step was left");
    assert_eq!(runs.run("cut", "", &sets).code, Some(0));
    runs.assert_same("cut", &runs.result("whole"), "left and made again");
}

#[test]
fn a_run_stops_when_its_time_is_over() {
    let runs = Runs::new();
    let long = ["optim.epochs=100000", "train.checkpoint_every=100000", "--stop-after 1s"];
    let ended = runs.run("run", "", &long);
    assert_eq!(ended.code, Some(75), "{}", ended.said);
    assert!(ended.said.contains("the time is over after step "), "{}", ended.said);
    let again = runs.run("run", "", &long);
    assert!(again.code == Some(75) && again.said.contains("continuing after step"), "{}", again.said);
    let wrong = runs.run("run", "", &["--stop-after soon"]);
    assert!(wrong.code == Some(2) && wrong.said.contains("write it as 90s, 30m or 2h"), "{}", wrong.said);
}

#[test]
fn an_extraction_ends_with_the_same_codes_and_goes_on() {
    let runs = Runs::new();
    runs.finish("run");
    for (signal, code) in [("int", 130), ("term", 143), ("usr1", 75)] {
        let extract = |faults: &str, more: &[&str]| {
            let mut command = anyjepa(faults);
            command.arg("extract").arg(runs.at("pictures")).arg("--weights").arg(runs.at("run"));
            runs.ended(command.arg("--out").arg(runs.at(signal)).args(more).output().unwrap())
        };
        let ended = extract(&format!("lock.sign=1*return({signal})"), &[]);
        assert_eq!(ended.code, Some(code), "{}", ended.said);
        assert!(ended.said.contains("help: the same command with --resume continues"), "{}", ended.said);
        let again = extract("", &["--resume"]);
        assert_eq!(again.code, Some(0), "{}", again.said);
    }
}
