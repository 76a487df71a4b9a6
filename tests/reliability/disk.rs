//! A full disk: the checkpoint before stays whole, nothing half-written is left, and the error says how much is missing.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyjepa::checkpoint::{Checkpoints, check};
use anyjepa::faults::{Kind, Point};

use super::runs::{Runs, STEPS, lines, wait_until};

#[test]
fn a_disk_that_fills_up_at_any_write_costs_no_checkpoint() {
    let runs = Runs::new();
    runs.finish("whole");
    let whole = runs.result("whole");
    for point in Point::ALL.iter().filter(|point| point.kind() == Kind::Write) {
        let mut failures = 0;
        // The first three times that a run comes by, and some time in its second half.
        for skip in [0, 1, 2, 11] {
            let out = format!("{}{skip}", point.name());
            let ended = runs.run(&out, &format!("{}={skip}*off->return(full)", point.name()), &[]);
            if ended.code == Some(0) {
                continue;
            }
            failures += 1;
            let Some(1) = ended.code else { panic!("{out}: {}", ended.said) };
            assert!(ended.said.contains(" needed, ") && ended.said.contains(" free"), "{out}: {}", ended.said);
            assert!(!ended.said.contains(" 0 bytes needed"), "{out}: {}", ended.said);
            assert!(ended.said.contains("help: free some space"), "{out}: {}", ended.said);
            assert_eq!(runs.leftovers(&out), Vec::<String>::new(), "{out}");
            for (_, checkpoint) in Checkpoints::new(&runs.at(&out), 0).list().unwrap() {
                check(&checkpoint).unwrap();
            }
            runs.finish(&out);
            runs.assert_same(&out, &whole, &out);
        }
        assert!(failures > 0, "{} was never full", point.name());
    }
}

/// A small file system in memory, where the process may mount one.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(place: PathBuf, bytes: usize) -> Option<Self> {
        fs::create_dir_all(&place).unwrap();
        let size = format!("size={bytes}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&place).output().unwrap();
        if mount.status.success() {
            return Some(Self(place));
        }
        let said = String::from_utf8_lossy(&mount.stderr).into_owned();
        let skip = std::env::var("ANYJEPA_TEST_TMPFS").is_ok_and(|value| value == "skip");
        assert!(skip, "no tmpfs can be mounted (run as root, or set ANYJEPA_TEST_TMPFS=skip): {said}");
        crate::gpu::say("SKIPPED: ANYJEPA_TEST_TMPFS=skip, so nothing was written to a small disk");
        None
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_too_small_for_two_checkpoints_is_refused_before_the_first_step() {
    let runs = Runs::new();
    let Some(disk) = Tmpfs::mount(runs.at("disk"), 160 << 10) else { return };
    let run = disk.path().join("run");
    let ended = runs.run(&run, "", &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    assert!(ended.said.contains("do not fit on the disk") && ended.said.contains(" bytes needed, "), "{}", ended.said);
    assert!(ended.said.contains("help: free some space") && lines(&run) == 0, "{}", ended.said);
}

#[cfg(unix)]
#[test]
fn the_disk_that_counts_is_the_one_to_which_a_link_leads() {
    use std::os::unix::fs::symlink;

    let runs = Runs::new();
    let Some(disk) = Tmpfs::mount(runs.at("disk"), 160 << 10) else { return };
    // A large disk for the run and a small one for its checkpoints.
    fs::create_dir(runs.at("linked")).unwrap();
    symlink(disk.path(), runs.at("linked/checkpoints")).unwrap();
    let ended = runs.run("linked", "", &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    assert!(ended.said.contains("do not fit on the disk of T/linked/checkpoints"), "{}", ended.said);
    assert_eq!(lines(&runs.at("linked")), 0);

    // The other way about.
    let run = disk.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::create_dir(runs.at("large")).unwrap();
    symlink(runs.at("large"), run.join("checkpoints")).unwrap();
    runs.finish(&run);
    check(&runs.at("large").join(format!("step-{STEPS:08}"))).unwrap();

    // A link that leads nowhere is found before the first step.
    fs::create_dir(runs.at("lost")).unwrap();
    fs::write(runs.at("lost/.lock"), "").unwrap();
    symlink(runs.at("nowhere"), runs.at("lost/checkpoints")).unwrap();
    let ended = runs.run("lost", "", &[]);
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    assert!(ended.said.contains("cannot create T/lost/checkpoints") && lines(&runs.at("lost")) == 0, "{}", ended.said);
}

#[test]
fn a_disk_that_is_really_full_ends_the_run_with_its_checkpoints_whole() {
    /// Room for some lines of metrics, and not for a checkpoint.
    const LEFT: u64 = 24 << 10;
    let runs = Runs::new();
    let Some(disk) = Tmpfs::mount(runs.at("disk"), 2 << 20) else { return };
    let run = disk.path().join("run");
    let long = ["optim.epochs=100000", "train.log_every=50", "train.health_every=0"];
    let first = runs.command(&run, "train.step=sleep(5)", &long).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("a third checkpoint", || runs.checkpoint(&run, 9).exists());
    let mut ballast = fs::File::create(disk.path().join("ballast")).unwrap();
    while let left @ LEFT.. = fs4::available_space(disk.path()).unwrap() {
        ballast.write_all(&vec![0; (left - LEFT + 1) as usize]).unwrap_or_default();
    }
    let ended = runs.ended(first.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    assert!(ended.said.contains("No space left on device"), "{}", ended.said);
    assert!(ended.said.contains("the checkpoint takes ") && ended.said.contains(" free now"), "{}", ended.said);
    assert_eq!(runs.leftovers(&run), Vec::<String>::new());
    let list = Checkpoints::new(&run, 0).list().unwrap();
    assert!(!list.is_empty());
    list.iter().for_each(|(_, checkpoint)| check(checkpoint).unwrap());

    drop(ballast);
    fs::remove_file(disk.path().join("ballast")).unwrap();
    let ended = runs.run(&run, "", &[&long[..], &["--stop-after 1s"]].concat());
    assert_eq!(ended.code, Some(75), "{}", ended.said);
    assert!(Checkpoints::new(&run, 0).list().unwrap().last() > list.last());
}
