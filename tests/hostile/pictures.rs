//! Hostile pictures beside good ones, through extraction and through the training loader.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyjepa::config::Preset;
use anyjepa::data::{Dataset, Picture, Skip, TrainLoader, TrainPlan, TrainTransform};
use anyjepa::extract::FeatureSet;
use serde_json::Value;

use super::child::{anyjepa, watch};
use super::gallery::{Expected, Hostile, hostile, root};

/// What hostile files may add to the memory of an extraction of the good files alone.
const GROWTH: u64 = 256 << 20;
/// The promise is of so many files at least.
const FILES: usize = 60;

/// A folder of the four photographs, under names that stand before, between and behind those of `files`.
fn folder(path: &Path, files: &[Hostile]) {
    fs::create_dir_all(path).unwrap();
    for (i, photo) in ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"].iter().enumerate() {
        let name = ["00_good.png", "exif_5_good.png", "m_good.png", "zz_good.jpg"][i];
        fs::copy(root("examples/data/photos").join(photo), path.join(name)).unwrap();
    }
    for file in files {
        fs::write(path.join(&file.name), &file.content).unwrap();
    }
}

/// What is no file of bytes at all, and the reason for which it is skipped; nothing where it is no entry of its own.
#[cfg(unix)]
fn put_specials(path: &Path) -> Vec<(&'static str, Option<&'static str>)> {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    let fifo =
        |name: &str| assert!(std::process::Command::new("mkfifo").arg(path.join(name)).status().unwrap().success());
    fifo("pipe.jpg");
    // By their names these would be stores of their own.
    ["pipe.tar", "train-images-idx3-ubyte", "data_batch_1.bin"].into_iter().for_each(fifo);
    symlink("loop_b.png", path.join("loop_a.png")).unwrap();
    symlink("loop_a.png", path.join("loop_b.png")).unwrap();
    symlink("nowhere", path.join("dangling.png")).unwrap();
    symlink("/dev/zero", path.join("device.png")).unwrap();
    symlink(".", path.join("again")).unwrap();
    fs::create_dir(path.join("folder.png")).unwrap();
    fs::write(path.join(std::ffi::OsStr::from_bytes(b"not_\xff_text.png")), b"no").unwrap();
    vec![
        ("pipe.jpg", Some("not_a_file")),
        ("loop_a.png", Some("unreadable")),
        ("loop_b.png", Some("unreadable")),
        ("dangling.png", Some("unreadable")),
        ("device.png", Some("not_a_file")),
        ("folder.png", None),
        ("not_\\xff_text.png", Some("not_an_image")),
    ]
}

#[cfg(not(unix))]
fn put_specials(_: &Path) -> Vec<(&'static str, Option<&'static str>)> {
    Vec::new()
}

/// The reasons in a `skipped.jsonl`, by name.
pub fn skipped(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let word = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    lines.map(|line| (word(&line, "name"), word(&line, "reason"))).collect()
}

/// The content and time of change of every regular file.
fn state(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let plain = entries.filter(|entry| entry.file_type().unwrap().is_file()).map(|entry| entry.path());
    plain
        .map(|path| (path.clone(), (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap())))
        .collect()
}

fn protect(folder: &Path, read_only: bool) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = if read_only { 0o555 } else { 0o755 };
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// Checks that `skips` holds what cannot be read for the reason expected, and nothing else.
fn check_skips(skips: &BTreeMap<String, String>, files: &[Hostile], specials: &[(&str, Option<&str>)]) {
    for Hostile { name, expected, .. } in files {
        match (expected, skips.get(name)) {
            (Expected::Skipped(reason), found) => assert_eq!(found.map(String::as_str), Some(*reason), "{name}"),
            (Expected::Pixels(..) | Expected::Spoilt(..), found) => assert_eq!(found, None, "{name}"),
            (Expected::SpoiltOr(_), _) => {}
        }
    }
    for (name, reason) in specials {
        assert_eq!(skips.get(*name).map(String::as_str), *reason, "{name}");
    }
    assert!(skips.keys().all(|name| !name.contains("good")), "{skips:?}");
}

#[test]
fn each_is_decoded_rightly_or_skipped_with_its_reason() {
    let data = tempfile::tempdir().unwrap();
    let files = hostile();
    eprintln!("{} hostile pictures", files.len());
    assert!(files.len() >= FILES);
    folder(data.path(), &files);
    let dataset = Dataset::open(data.path()).unwrap();
    let places: BTreeMap<String, usize> = (0..dataset.len()).map(|i| (dataset.name(i), i)).collect();
    let problems: Vec<String> = files
        .into_iter()
        .filter_map(|Hostile { name, expected, .. }| {
            let problem = difference(expected, dataset.picture(places[&name]))?;
            Some(format!("{name}: {problem}"))
        })
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// In what `found` is not what was expected.
fn difference(expected: Expected, found: Result<Picture, Skip>) -> Option<String> {
    let sides = |picture: &Picture| (picture.width, picture.height, picture.channels);
    match (expected, found) {
        (Expected::Pixels(expected, levels), Ok(found)) => {
            if sides(&found) != sides(&expected) {
                return Some(format!("a picture of {:?}, expected {:?}", sides(&found), sides(&expected)));
            }
            let most = found.pixels.iter().zip(&expected.pixels).map(|(a, b)| a.abs_diff(*b)).max();
            (most > Some(levels)).then(|| format!("{most:?} levels off, expected {levels} at most"))
        }
        (Expected::SpoiltOr(expected), Ok(found)) => (found != expected).then(|| "other pixels".to_owned()),
        (Expected::Spoilt(width, height), Ok(found)) => {
            ((found.width, found.height) != (width, height)).then(|| format!("a picture of {:?}", sides(&found)))
        }
        (Expected::Skipped(reason), Err(skip)) => {
            (skip.reason.code() != reason).then(|| format!("{skip}, not {reason}"))
        }
        (Expected::SpoiltOr(_), Err(_)) => None,
        (Expected::Skipped(reason), Ok(found)) => Some(format!("a picture of {:?}, not {reason}", sides(&found))),
        (Expected::Pixels(..) | Expected::Spoilt(..), Err(skip)) => Some(skip.to_string()),
    }
}

#[test]
fn beside_them_good_pictures_give_the_same_features_and_nothing_is_changed_or_grows() {
    let place = tempfile::tempdir().unwrap();
    let (good, both) = (place.path().join("good"), place.path().join("both"));
    let files = hostile();
    folder(&good, &[]);
    folder(&both, &files);
    let specials = put_specials(&both);
    let before = state(&both);
    protect(&both, true);

    let weights = root("tests/fixtures/reference/hf_ijepa");
    let extract = |data: &Path, out: &str| {
        let mut command = anyjepa(&["-q", "extract", "--max-bad", "1", "--workers", "8"]);
        let ended = watch(command.arg(data).arg("--weights").arg(&weights).arg("--out").arg(place.path().join(out)));
        assert_eq!(ended.code, 0, "{}", ended.said);
        (ended.peak, FeatureSet::open(&place.path().join(out)).unwrap())
    };
    let (calm, alone) = extract(&good, "alone");
    let (peak, beside) = extract(&both, "beside");
    if let (Some(calm), Some(peak)) = (calm, peak) {
        eprintln!("peak memory: {} MiB with hostile files, {} MiB without", peak >> 20, calm >> 20);
        assert!(peak < calm + GROWTH, "{peak} bytes, {calm} without hostile files");
    }

    let rows: BTreeMap<&String, usize> = beside.names.iter().zip(0..).collect();
    for (i, name) in alone.names.iter().enumerate() {
        let bits = |row: &[f32]| row.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
        assert_eq!(bits(beside.features.row(rows[name])), bits(alone.features.row(i)), "{name}");
    }
    let skips = skipped(&place.path().join("beside/skipped.jsonl"));
    check_skips(&skips, &files, &specials);
    // Every input is a row or a skip, once.
    let named: BTreeSet<&String> = beside.names.iter().chain(skips.keys()).collect();
    assert_eq!(named.len(), beside.names.len() + skips.len());
    let inputs = files.len() + alone.names.len() + specials.iter().filter(|(_, reason)| reason.is_some()).count();
    assert_eq!(named.len(), inputs);

    protect(&both, false);
    assert!(state(&both) == before, "an input was changed");
}

#[test]
fn training_leaves_them_out_of_its_batches_and_replaces_none() {
    let place = tempfile::tempdir().unwrap();
    let both = place.path().join("both");
    let files = hostile();
    folder(&both, &files);
    let specials = put_specials(&both);

    let config = Preset::find("animals28").unwrap().config();
    let dataset = Arc::new(Dataset::open(&both).unwrap());
    let batch = 7;
    let epoch = |workers: usize| {
        let steps = (dataset.len() / batch) as u64;
        let transform = TrainTransform::of(&config).unwrap();
        let plan = TrainPlan { seed: 3, batch, workers, transform, first_step: 0, end_step: steps };
        TrainLoader::new(Arc::clone(&dataset), plan).unwrap().collect::<Vec<_>>()
    };
    let calm = epoch(0);
    for (one, many) in calm.iter().zip(epoch(8)) {
        assert_eq!((&one.samples, &one.skipped), (&many.samples, &many.skipped));
        assert!(one.pixels == many.pixels);
        assert_eq!(one.samples.len() + one.skipped.len(), batch);
    }
    let seen: Vec<u64> = calm
        .iter()
        .flat_map(|batch| batch.samples.iter().chain(batch.skipped.iter().map(|skip| &skip.sample)))
        .copied()
        .collect();
    assert_eq!(seen.len(), seen.iter().collect::<BTreeSet<_>>().len(), "a sample stands in for another");

    // The whole program: it ends with the exit code of too many bad inputs, its log names them, and it does not grow.
    let run = |data: &Path, out: &str, batch: usize| {
        let mut command =
            anyjepa(&["-q", "train", "animals28", "--set", "optim.epochs=1", "--set", "optim.warmup_epochs=0"]);
        command
            .args(["--set", &format!("train.batch={batch}"), "--data"])
            .arg(data)
            .arg("--out")
            .arg(place.path().join(out));
        watch(&mut command)
    };
    let good = place.path().join("good");
    folder(&good, &[]);
    let calm = run(&good, "calm", 4);
    assert_eq!(calm.code, 0, "{}", calm.said);
    let ended = run(&both, "run", dataset.len());
    assert_eq!(ended.code, 3, "{}", ended.said);
    check_skips(&skipped(&place.path().join("run/skipped.jsonl")), &files, &specials);
    if let (Some(calm), Some(peak)) = (calm.peak, ended.peak) {
        eprintln!("peak memory of training: {} MiB with hostile files, {} MiB without", peak >> 20, calm >> 20);
        // The larger batch is in it as well.
        assert!(peak < calm + GROWTH, "{peak} bytes, {calm} without hostile files");
    }
}
