//! `kill -9` at every write and at random moments, of runs and of resumes: what is continued equals a run that was never
//! killed.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyjepa::faults::{ANY, Point};
use anyjepa::random::{Purpose, Stream};

use super::runs::{Runs, STEPS, copy, lines, wait_until};

/// The places that a whole run passes, in order.
fn traced(runs: &Runs, out: &str) -> Vec<String> {
    let traced = runs.command(out, "", &[]).env("ANYJEPA_LOG", "anyjepa::faults=trace").output().unwrap();
    let said = String::from_utf8(traced.stderr).unwrap();
    said.lines().filter_map(|line| line.trim().strip_prefix("TRACE passing ")).map(str::to_owned).collect()
}

#[test]
fn a_save_syncs_every_file_before_it_has_its_name_and_is_checked_before_anything_is_removed() {
    let runs = Runs::new();
    let passed = traced(&runs, "run");
    // The last one: the tensors, the state, the manifest, the folder's name, and `latest`.
    let end = passed.iter().rposition(|place| place == "checkpoint.folder").unwrap();
    let start = passed[..end].iter().rposition(|place| !place.starts_with("logs.")).unwrap();
    let places = passed[start + 1..].join(" ");
    let file = "file.create file.write file.sync rename folder.sync";
    let tensors = "tensors.create tensors.write tensors.sync";
    insta::assert_snapshot!(places.replace(file, "FILE").replace(tensors, "TENSORS"), @"logs.sync logs.sync logs.sync checkpoint.folder TENSORS TENSORS TENSORS TENSORS FILE FILE rename folder.sync checkpoint.check FILE checkpoint.prune checkpoint.prune checkpoint.prune checkpoint.prune checkpoint.prune checkpoint.prune");
}

#[test]
fn a_run_killed_at_any_write_ends_as_one_that_was_never_killed() {
    let runs = Runs::new();
    let passed = traced(&runs, "whole");
    let passed: BTreeSet<&str> = passed.iter().map(String::as_str).collect();
    // Training launches no plan.
    let all = Point::ALL.iter().filter(|point| **point != Point::Launch);
    let all: BTreeSet<&str> = all.map(|point| point.name()).collect();
    assert_eq!(passed, all, "a whole run passes every place that is listed");

    let whole = runs.result("whole");
    let mut kills = 0;
    loop {
        let out = format!("killed{kills}");
        let ended = runs.run(&out, &format!("{ANY}={kills}*off->return(kill)"), &[]);
        if ended.code == Some(0) {
            break;
        }
        assert_eq!(ended.code, None, "write {kills}: {}", ended.said);
        runs.finish(&out);
        runs.assert_same(&out, &whole, &format!("killed at write {kills}"));
        kills += 1;
    }
    assert!(kills > 100, "{kills} writes");
    eprintln!("killed at each of {kills} writes");
}

#[test]
fn a_resume_killed_at_any_write_ends_as_one_that_was_never_killed() {
    let runs = Runs::new();
    runs.finish("whole");
    let whole = runs.result("whole");
    // The last checkpoint is damaged: the resume passes it over, goes on from the one before and writes it anew.
    let damaged = runs.checkpoint("whole", STEPS).join("encoder.safetensors");
    let mut content = fs::read(&damaged).unwrap();
    content[100] ^= 1;
    fs::write(&damaged, content).unwrap();
    let mut kills = 0;
    loop {
        let out = format!("killed{kills}");
        copy(&runs.at("whole"), &runs.at(&out));
        let ended = runs.run(&out, &format!("{ANY}={kills}*off->return(kill)"), &[]);
        if ended.code == Some(0) {
            assert!(ended.said.contains("passed over a checkpoint"), "{}", ended.said);
            break;
        }
        assert_eq!(ended.code, None, "write {kills}: {}", ended.said);
        runs.finish(&out);
        runs.assert_same(&out, &whole, &format!("killed at write {kills} of a resume"));
        kills += 1;
    }
    assert!(kills > 40, "{kills} writes");
    eprintln!("killed at each of {kills} writes of a resume");
}

/// How often: ten times, or as `scripts/kill-loop N` says.
fn kills() -> u64 {
    std::env::var("ANYJEPA_TEST_KILLS").map_or(10, |text| text.parse().unwrap())
}

/// The threads of a run: one, or as many as a run takes unasked for computing, and several that load.
#[derive(Debug, Clone, Copy)]
enum Threads {
    One,
    Many,
}

impl Threads {
    fn command(self, runs: &Runs, out: &str, faults: &str) -> Command {
        match self {
            Self::One => runs.command(out, faults, &[]),
            Self::Many => {
                let mut command = runs.command(out, faults, &["train.workers=3"]);
                command.env_remove("RAYON_NUM_THREADS");
                command
            }
        }
    }
}

#[test]
fn a_run_killed_at_random_moments_ends_as_one_that_was_never_killed() {
    let runs = Runs::new();
    let finish = |threads: Threads, out: &str| {
        let ended = runs.ended(threads.command(&runs, out, "").output().unwrap());
        assert_eq!(ended.code, Some(0), "{}", ended.said);
    };
    let whole = [Threads::One, Threads::Many].map(|threads| {
        let out = format!("whole-{threads:?}");
        finish(threads, &out);
        (threads, runs.result(&out))
    });
    let (mut by_line, mut resumes) = ([0; STEPS], 0);
    for kill in 0..kills() {
        let out = format!("killed{kill}");
        let (threads, whole) = &whole[kill as usize % 2];
        let mut stream = Stream::new(kill, 0, 0, Purpose::Labels);
        let start = || {
            let mut command = threads.command(&runs, &out, "train.step=sleep(10)");
            command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
        };
        // Somewhere in the run by its own clock, and a little later by ours; so it moves with the machine's speed.
        let line = stream.below(STEPS);
        let later = Duration::from_millis(stream.below(40) as u64);
        let mut run = start();
        wait_until("a line of metrics", || lines(&runs.at(&out)) >= line || run.try_wait().unwrap().is_some());
        std::thread::sleep(later);
        run.kill().unwrap();
        run.wait().unwrap();
        by_line[lines(&runs.at(&out)).min(STEPS - 1)] += 1;
        // And once more, mostly while it is resumed.
        let again = Duration::from_millis(stream.below(250) as u64);
        let mut resume = start();
        std::thread::sleep(again);
        resumes += u64::from(resume.try_wait().unwrap().is_none());
        resume.kill().unwrap();
        resume.wait().unwrap();
        finish(*threads, &out);
        let what = format!("{threads:?}, killed {later:?} after line {line} and {again:?} after its start");
        runs.assert_same(&out, whole, &what);
        fs::remove_dir_all(runs.at(&out)).unwrap();
    }
    assert!(resumes > 0, "no resume was killed");
    eprintln!(
        "{} kills, by lines of metrics that stood then {by_line:?}, and {resumes} kills of resumes: all equal the whole run",
        kills()
    );
}
