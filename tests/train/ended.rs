//! Runs that diverge, are stopped, or find another process in their folder.

use std::process::{Command, Stdio};

use super::runs::{Train, wait_for};

#[test]
fn a_run_that_diverges_keeps_the_checkpoint_before() {
    let train = Train::new();
    let sets = ["optim.lr=1e30", "optim.start_lr=1e30", "train.checkpoint_every=1"];
    let (code, said) = train.run("run", &sets.map(|set| ["--set", set]).concat());
    assert_eq!(code, 5, "{said}");
    assert!(
        said.contains("were not finite for 3 steps in a row, the last one step 4")
            && said.contains("help: lower optim.lr"),
        "{said}"
    );
    // `inspect --verify` reads every value, and refuses those that are not finite.
    let mut inspect = Command::new(env!("CARGO_BIN_EXE_anyjepa"));
    let checked = inspect.arg("inspect").arg(train.at("run")).arg("--verify").output().unwrap();
    // Steps 2 to 4 were left out, so nothing new is saved after step 1.
    assert!(train.checkpoint("run", 1).exists() && !train.checkpoint("run", 2).exists());
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn a_run_that_diverges_later_keeps_its_last_good_checkpoints() {
    let train = Train::new();
    let every = ["--set", "train.checkpoint_every=1", "--set", "optim.epochs=40"];
    // The first update of a learning rate that ruins the weights is made with gradients that are finite still.
    let ruin = ["optim.lr=1e30", "optim.start_lr=1e30"].map(|set| ["--set", set]).concat();
    let mut good = train.command("run", &every).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_for(&train.checkpoint("run", 3));
    good.kill().unwrap();
    good.wait().unwrap();
    let newest = (0..40).rev().find(|step| train.checkpoint("run", *step).exists()).unwrap();
    let (code, said) = train.run("run", &[&every[..], &ruin, &["--allow-config-change"]].concat());
    assert_eq!(code, 5, "{said}");
    let kept: Vec<usize> = (0..=40).filter(|step| train.checkpoint("run", *step).exists()).collect();
    assert!(kept.contains(&newest), "{newest} was good, {kept:?} are left:\n{said}");
    // With the rate mended the run goes on from there.
    let from = train.checkpoint("run", newest);
    let (code, said) = train.run("branch", &[&every[..], &["--resume", from.to_str().unwrap()]].concat());
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_second_process_is_told_who_trains_here() {
    let train = Train::new();
    let long = ["--set", "optim.epochs=100000", "--set", "train.checkpoint_every=100000"];
    let mut first = train.command("run", &long).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_for(&train.at("run").join("metrics.jsonl"));
    let (code, said) = train.run("run", &long);
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(code, 7, "{said}");
    assert!(said.contains(&format!("is in use by process {} on ", first.id())), "{said}");
    // A lock that a killed process left behind blocks nobody.
    assert_eq!(train.run("run", &[]).0, 0);
}

#[cfg(unix)]
#[test]
fn a_signal_saves_and_stops_also_where_nobody_reads_what_is_said() {
    let train = Train::new();
    let long = ["--set", "optim.epochs=100000", "--set", "train.checkpoint_every=100000"];
    for (name, signal, expected) in [("int", "INT", 130), ("term", "TERM", 143)] {
        let mut run = train.command(name, &long).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        drop(run.stderr.take());
        wait_for(&train.at(name).join("metrics.jsonl"));
        Command::new("kill").args([&format!("-{signal}"), &run.id().to_string()]).status().unwrap();
        assert_eq!(run.wait().unwrap().code(), Some(expected));
        assert!(train.at(name).join("latest").exists());
    }
}
