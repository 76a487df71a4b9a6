//! `kill -9` at every write and at random moments: the run that is continued equals one that was never killed.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use anyjepa::faults::{ANY, Point};
use anyjepa::random::{Purpose, Stream};

use super::runs::{Runs, STEPS, lines, wait_until};

#[test]
fn a_run_killed_at_any_write_ends_as_one_that_was_never_killed() {
    let runs = Runs::new();
    let traced = runs.command("whole", "", &[]).env("ANYJEPA_LOG", "anyjepa::faults=trace").output().unwrap();
    let said = String::from_utf8(traced.stderr).unwrap();
    let passed: BTreeSet<&str> = said.lines().filter_map(|line| line.trim().strip_prefix("TRACE passing ")).collect();
    let all: BTreeSet<&str> = Point::ALL.iter().map(|point| point.name()).collect();
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

/// How often: ten times, or as `scripts/kill-loop N` says.
fn kills() -> u64 {
    std::env::var("ANYJEPA_TEST_KILLS").map_or(10, |text| text.parse().unwrap())
}

#[test]
fn a_run_killed_at_random_moments_ends_as_one_that_was_never_killed() {
    let runs = Runs::new();
    runs.finish("whole");
    let whole = runs.result("whole");
    let mut by_line = [0; STEPS];
    for kill in 0..kills() {
        let out = format!("killed{kill}");
        let mut stream = Stream::new(kill, 0, 0, Purpose::Labels);
        // Somewhere in the run by its own clock, and a little later by ours; so it moves with the machine's speed.
        let line = stream.below(STEPS);
        let later = Duration::from_millis(stream.below(40) as u64);
        let faults = "train.step=sleep(10)";
        let mut run = runs.command(&out, faults, &[]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        wait_until("a line of metrics", || lines(&runs.at(&out)) >= line || run.try_wait().unwrap().is_some());
        std::thread::sleep(later);
        run.kill().unwrap();
        run.wait().unwrap();
        by_line[lines(&runs.at(&out)).min(STEPS - 1)] += 1;
        runs.finish(&out);
        runs.assert_same(&out, &whole, &format!("killed {later:?} after line {line}"));
        std::fs::remove_dir_all(runs.at(&out)).unwrap();
    }
    eprintln!("{} kills, by lines of metrics that stood then {by_line:?}: all equal the whole run", kills());
}
