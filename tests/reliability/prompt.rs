//! How long a signal waits: from when it is sent to the end of the process, with a checkpoint that is whole.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyjepa::checkpoint::check;
use anyjepa::random::{Purpose, Stream};

use super::runs::{Ended, Runs, lines, wait_until};

/// What is promised where a micro-batch and a save take no longer.
const PROMPT: Duration = Duration::from_secs(30);
/// The signals, and the exit codes with which they are answered.
const SIGNALS: [(&str, i32); 3] = [("INT", 130), ("TERM", 143), ("USR1", 75)];

fn start(mut command: Command) -> Child {
    command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

/// Sends `signal`; how the process ended, within the time that is promised.
fn answered(runs: &Runs, child: Child, signal: &str) -> (Ended, Duration) {
    let sent = Instant::now();
    assert!(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success());
    let ended = runs.ended(child.wait_with_output().unwrap());
    let took = sent.elapsed();
    assert!(took < PROMPT, "{signal} was answered after {took:?}: {}", ended.said);
    (ended, took)
}

#[test]
fn a_signal_to_a_run_of_a_preset_is_answered_within_thirty_seconds_with_a_checkpoint() {
    let runs = Runs::new();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/animals28");
    // A look at the features and a save in every step, so that any moment may lie in any of the three.
    let every = ["train.log_every=1", "train.health_every=1", "train.checkpoint_every=1"];
    for (number, (signal, code)) in SIGNALS.into_iter().enumerate() {
        let run = start(runs.command_on(&data, &[], signal, "", &every));
        wait_until("the first step", || lines(&runs.at(signal)) > 0);
        let mut stream = Stream::new(number as u64, 0, 0, Purpose::Labels);
        std::thread::sleep(Duration::from_millis(stream.below(3000) as u64));
        let (ended, took) = answered(&runs, run, signal);
        assert_eq!(ended.code, Some(code), "{}", ended.said);

        let latest = fs::read_to_string(runs.at(signal).join("latest")).unwrap();
        check(&runs.at(signal).join("checkpoints").join(&latest)).unwrap();
        let step: usize = latest.strip_prefix("step-").unwrap().parse().unwrap();
        assert!(step > 0 && ended.said.contains(&format!(" after step {step} of ")), "{latest}: {}", ended.said);
        eprintln!("SIG{signal} was answered after {took:.1?}: {}", ended.said.lines().rev().nth(1).unwrap());
    }
}

#[test]
fn a_signal_before_the_first_step_ends_at_once_and_loses_nothing() {
    let runs = Runs::new();
    runs.finish("whole");
    let whole = runs.result("whole");
    for (signal, code) in SIGNALS {
        // Getting ready takes far longer than is promised.
        let run = start(runs.command(signal, "lock.sign=sleep(100000)", &[]));
        wait_until("the lock", || runs.at(signal).join(".lock").exists());
        let (ended, _) = answered(&runs, run, signal);
        assert_eq!(ended.code, Some(code), "{}", ended.said);
        assert!(ended.said.contains(" after no new step"), "{}", ended.said);
        assert!(ended.said.contains("help: the same command continues the run"), "{}", ended.said);
        runs.finish(signal);
        runs.assert_same(signal, &whole, signal);
    }
}

#[test]
fn a_signal_while_the_data_is_waited_for_is_answered() {
    /// They say that they are there, and no more.
    const HANGS: &str = "#!/bin/sh\ncase \"$*\" in *-version*) exit 0 ;; esac\nexec sleep 1000\n";
    let runs = Runs::new();
    let (data, programs) = (runs.at("films"), runs.at("programs"));
    [&data, &programs].into_iter().for_each(|folder| fs::create_dir(folder).unwrap());
    for film in 0..4 {
        fs::write(data.join(format!("{film}.mp4")), "never looked at").unwrap();
    }
    for name in ["ffmpeg", "ffprobe"] {
        fs::write(programs.join(name), HANGS).unwrap();
        fs::set_permissions(programs.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let sets = ["train.batch=4", "train.health_every=0", "train.workers=2", "optim.schedule_scale=1"];
    let mut command = runs.command_on(&data, &[], "run", "", &sets);
    command.env("PATH", path);
    let run = start(command);
    wait_until("metrics that are open", || runs.at("run/metrics.jsonl").exists());
    std::thread::sleep(Duration::from_secs(1));
    let (ended, _) = answered(&runs, run, "INT");
    assert_eq!(ended.code, Some(130), "{}", ended.said);
    assert!(ended.said.contains("stopped by SIGINT after step 0 of "), "{}", ended.said);
    check(&runs.checkpoint("run", 0)).unwrap();
}

#[test]
fn a_run_that_would_answer_late_says_so_once_and_what_to_do() {
    let runs = Runs::new();
    let ended = runs.run("run", "train.loss=2*off->1*sleep(30100)", &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let late: Vec<&str> = ended.said.lines().filter(|line| line.contains("a signal may wait ")).collect();
    let [late] = late.as_slice() else { panic!("{}", ended.said) };
    assert!(late.contains("WARN") && late.contains("train.accumulate") && late.contains("--stop-after"), "{late}");
    assert!(!runs.finish("prompt").contains("a signal may wait"));
}
