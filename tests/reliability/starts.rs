//! Many starts of one run: one owns the folder.

use std::process::Stdio;

use super::runs::{Runs, wait_until};

/// Starts at the same time.
const STARTS: usize = 50;

#[test]
fn of_fifty_starts_one_wins_and_a_killed_owner_blocks_nobody() {
    let runs = Runs::new();
    let long = ["optim.epochs=100000", "train.checkpoint_every=100000"];
    let start = || runs.command("run", "", &long).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut running: Vec<_> = (0..STARTS).map(|_| start()).collect();
    let mut ended = Vec::new();
    wait_until("the end of all but one", || {
        let (over, left) = running.drain(..).partition(|_| false);
        let _: Vec<std::process::Child> = over;
        for mut child in left {
            match child.try_wait().unwrap() {
                Some(_) => ended.push(runs.ended(child.wait_with_output().unwrap())),
                None => running.push(child),
            }
        }
        ended.len() >= STARTS - 1
    });
    let [mut owner] = <[_; 1]>::try_from(running).expect("one owner");
    let host = gethostname::gethostname().into_string().unwrap();
    let named = format!("is in use by process {} on {host}", owner.id());
    for loser in &ended {
        assert_eq!(loser.code, Some(7), "{}", loser.said);
        assert!(loser.said.contains(&named) && loser.said.contains("help: "), "{} {named}", loser.said);
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    let next = runs.run("run", "", &[&long[..], &["--stop-after 1s"]].concat());
    assert_eq!(next.code, Some(75), "{}", next.said);
}
