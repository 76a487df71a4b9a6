//! Damaged checkpoints are found, whatever the damage, and never passed over in silence; what is not ours stays.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyjepa::checkpoint::{Checkpoints, check};
use anyjepa::random::{Purpose, Stream};

use super::runs::{Runs, STEPS, wait_until};

/// The checkpoint before the last.
const BEFORE: usize = 6;

/// The files of a checkpoint with their lengths.
fn files(checkpoint: &Path) -> Vec<(String, usize)> {
    let mut files: Vec<_> = fs::read_dir(checkpoint)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len() as usize))
        .collect();
    files.sort();
    files
}

#[test]
fn every_damage_is_found_and_the_checkpoint_before_is_taken() {
    let runs = Runs::new();
    runs.finish("run");
    let (last, before) = (runs.checkpoint("run", STEPS), runs.checkpoint("run", BEFORE));
    let files = files(&last);
    assert_eq!(files.len(), 6);
    let total: usize = files.iter().map(|(_, length)| length).sum();
    let place = |mut at: usize| {
        let file = files.iter().find(|(_, length)| {
            let here = at < *length;
            at -= if here { 0 } else { *length };
            here
        });
        (file.unwrap().0.as_str(), at)
    };

    let mut found = 0;
    let mut damage = |name: &str, what: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let path = last.join(name);
        let whole = fs::read(&path).unwrap();
        let mut content = whole.clone();
        change(&mut content);
        assert!(content != whole, "{what} changes nothing");
        fs::write(&path, content).unwrap();
        let (newest, passed) = Checkpoints::new(&runs.at("run"), 0).newest().unwrap();
        assert_eq!(newest.as_ref(), Some(&before), "{what} was not found");
        let [error] = passed.as_slice() else { panic!("{what}: {passed:?}") };
        // Where the manifest itself is another's, any file can be the one that it does not fit.
        assert!(name == "manifest.json" || error.to_string().contains(name), "{what}: {error}");
        assert!(name == "manifest.json" || error.to_string().contains("sum "), "{what}: {error}");
        fs::write(&path, whole).unwrap();
        check(&last).unwrap();
        found += 1;
    };
    for cut in 0..64 {
        let (name, at) = place(total * cut / 64);
        damage(name, &format!("{name} cut at {at}"), &|content| content.truncate(at));
    }
    let mut stream = Stream::new(1, 0, 0, Purpose::Labels);
    for _ in 0..256 {
        let ((name, at), bit) = (place(stream.below(total)), stream.below(8));
        damage(name, &format!("bit {bit} of byte {at} of {name}"), &|content| content[at] ^= 1 << bit);
    }
    for (name, _) in &files {
        damage(name, &format!("{name} emptied"), &|content| content.clear());
        let other = fs::read(before.join(name)).unwrap();
        damage(name, &format!("{name} of the checkpoint before"), &|content| *content = other.clone());
        let (second, _) = files.iter().find(|(other, _)| other != name).unwrap();
        let other = fs::read(last.join(second)).unwrap();
        damage(name, &format!("{second} as {name}"), &|content| *content = other.clone());
    }
    assert_eq!(found, 64 + 256 + 6 * 3);

    for (name, _) in &files {
        let (path, aside) = (last.join(name), runs.at("aside"));
        fs::rename(&path, &aside).unwrap();
        let error = check(&last).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        fs::rename(&aside, &path).unwrap();
    }
    // A whole checkpoint under another's name is no checkpoint either.
    fs::rename(&last, runs.at("aside")).unwrap();
    fs::rename(&before, &last).unwrap();
    insta::assert_snapshot!(check(&last).unwrap_err().to_string().replace(runs.at("").to_str().unwrap(), "T/"), @"T/run/checkpoints/step-00000008: the checkpoint is damaged: state.json is that of step 6");
}

#[test]
fn a_damaged_checkpoint_is_passed_over_with_its_file_and_sum_and_the_run_ends_the_same() {
    let runs = Runs::new();
    runs.finish("run");
    let whole = runs.result("run");
    let path = runs.checkpoint("run", STEPS).join("optimizer.safetensors");
    let mut content = fs::read(&path).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&path, content).unwrap();
    let said = runs.finish("run");
    let sums = said.lines().find(|line| line.contains("passed over a checkpoint")).unwrap();
    assert!(sums.contains("optimizer.safetensors has ") && sums.matches("sum ").count() == 1, "{sums}");
    assert!(said.contains("continuing after step 6 of 8"), "{said}");
    runs.assert_same("run", &whole, "after a fall back");
}

#[test]
#[cfg(unix)]
fn what_the_disk_makes_of_a_checkpoint_is_compared_with_what_was_written() {
    let runs = Runs::new();
    runs.finish("whole");
    // Between the last tensors of the second checkpoint and its manifest: the configuration and the list of unreadable pictures are
    // the first small files, and each checkpoint has three.
    let faults = "file.create=5*off->1*return(stop)";
    let mut run = runs.command("run", faults, &[]).stderr(Stdio::piped()).spawn().unwrap();
    let aside = runs.at("run/checkpoints/step-00000006.partial");
    // The encoder's are written before it.
    wait_until("the last file of tensors", || aside.join("optimizer.safetensors").exists());
    let encoder = aside.join("encoder.safetensors");
    let mut content = fs::read(&encoder).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&encoder, content).unwrap();
    assert!(!aside.join("manifest.json").exists());
    // It may not have stopped yet.
    wait_until("its end", || {
        assert!(Command::new("kill").args(["-CONT", &run.id().to_string()]).status().unwrap().success());
        run.try_wait().unwrap().is_some()
    });

    let ended = runs.ended(run.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(4), "{}", ended.said);
    assert!(ended.said.contains("encoder.safetensors has "), "{}", ended.said);
    check(&runs.checkpoint("run", 3)).unwrap();
    let said = runs.finish("run");
    assert!(said.contains("passed over a checkpoint") && said.contains("continuing after step 3 of 8"), "{said}");
    runs.assert_same("run", &runs.result("whole"), "damaged while it was written");
}

#[test]
fn a_run_without_a_whole_checkpoint_never_begins_again_in_silence() {
    let runs = Runs::new();
    runs.finish("run");
    for step in [STEPS, BEFORE] {
        fs::write(runs.checkpoint("run", step).join("state.json"), "{}").unwrap();
    }
    let damaged = runs.run("run", "", &[]);
    assert_eq!(damaged.code, Some(4), "{}", damaged.said);
    assert!(damaged.said.contains("no checkpoint is whole") && damaged.said.contains("help: "), "{}", damaged.said);
    let lines = runs.metrics("run").len();

    fs::remove_dir_all(runs.at("run/checkpoints")).unwrap();
    let gone = runs.run("run", "", &[]);
    assert_eq!(gone.code, Some(4), "{}", gone.said);
    assert!(gone.said.contains("`latest` names it"), "{}", gone.said);
    assert_eq!(runs.metrics("run").len(), lines, "nothing was changed");

    // Its name for the newest cannot be read: the newest that is there is taken, and that is said.
    runs.finish("unnamed");
    fs::write(runs.at("unnamed/latest"), b"\xff\xfe").unwrap();
    assert!(runs.finish("unnamed").contains("passed over a checkpoint: T/unnamed/latest: "));

    // A run that was killed before its first checkpoint says that it begins again.
    let ended = runs.run("young", "train.step=2*off->return(kill)", &[]);
    assert_eq!(ended.code, None);
    let said = runs.finish("young");
    assert!(said.contains("beginning again at step 0"), "{said}");
}

#[test]
fn the_last_two_and_every_nth_stay_and_so_does_what_is_not_ours() {
    let runs = Runs::new();
    let ours = |run: &str| {
        let list = Checkpoints::new(&runs.at(run), 0).list().unwrap();
        list.into_iter().map(|(step, _)| step).collect::<Vec<_>>()
    };
    let every = &["train.checkpoint_every=1", "train.keep_every=3"];
    assert_eq!(runs.run("run", "", every).code, Some(0));
    assert_eq!(ours("run"), [3, 6, 7, 8]);

    // Two folders that look like checkpoints and are none, a file, and a note inside a checkpoint.
    let parent = runs.at("other/checkpoints");
    let cut = runs.run("other", "train.step=2*off->return(kill)", &["train.checkpoint_every=1"]);
    assert_eq!((cut.code, ours("other")), (None, vec![1, 2]));
    fs::create_dir_all(parent.join("step-00000000")).unwrap();
    fs::write(parent.join("step-00000000/thesis.txt"), "mine").unwrap();
    fs::create_dir_all(parent.join("best")).unwrap();
    fs::write(parent.join("notes.txt"), "mine").unwrap();
    fs::write(parent.join("step-00000001/notes.txt"), "mine").unwrap();
    assert_eq!(runs.run("other", "", &["train.checkpoint_every=1"]).code, Some(0));
    assert_eq!(ours("other"), [0, 1, 7, 8]);
    assert_eq!(fs::read_dir(parent.join("step-00000001")).unwrap().count(), 1, "the note stays, the weights go");
    for name in ["step-00000000/thesis.txt", "step-00000001/notes.txt", "notes.txt", "best"] {
        assert!(parent.join(name).exists(), "{name}");
    }
}

#[test]
fn another_configuration_is_refused_with_its_difference_unless_it_is_allowed() {
    let runs = Runs::new();
    let cut = runs.run("run", "train.step=5*off->return(kill)", &[]);
    assert_eq!(cut.code, None);
    let refused = runs.run("run", "", &["optim.lr=0.002"]);
    assert_eq!(refused.code, Some(4), "{}", refused.said);
    assert!(refused.said.contains("optim.lr: 0.001, now 0.002"), "{}", refused.said);
    assert!(refused.said.contains("--allow-config-change"), "{}", refused.said);
    let allowed = runs.run("run", "", &["optim.lr=0.002", "--allow-config-change"]);
    assert_eq!(allowed.code, Some(0), "{}", allowed.said);
    assert!(allowed.said.contains("another configuration: optim.lr: 0.001, now 0.002"), "{}", allowed.said);
    assert_eq!(runs.metrics("run").len(), STEPS);
}
