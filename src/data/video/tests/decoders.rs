//! Decoders that hang, crash and flood, and what they cost.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{NEVER, Tools, faulty, film, numbered, script};
use crate::data::dataset::{Named, Source, Wanted};
use crate::data::picture::Decoded;
use crate::data::skip::{Fault, SkipReason};
use crate::data::video::films::{Films, Footage};
use crate::data::{Batch, Dataset, InputFormat, RandomCrop, TrainLoader, TrainPlan, TrainTransform};
use crate::error::Result;

/// Time enough for a look into a small film on a busy machine.
const LIMIT: Duration = Duration::from_secs(5);

#[test]
fn a_decoder_that_hangs_crashes_or_floods_costs_its_film_in_bounded_time() {
    /// Far above the limits below, far below what the programs would take.
    const PROMPT: Duration = Duration::from_secs(120);
    // What ends by itself may take its time on a busy machine.
    let limit = |reason| Duration::from_secs(if reason == SkipReason::TimedOut { 3 } else { 60 });
    let folder = tempfile::tempdir().unwrap();
    let path = film(folder.path(), "a.mp4", &numbered("32x32"), 20, &["-c:v", "libx264"]);
    let header = r"P6\n32 32\n255\n";
    let programs = [
        ("hangs", "exec sleep 600".to_owned(), SkipReason::TimedOut),
        ("hangs_below", "sleep 600".to_owned(), SkipReason::TimedOut),
        ("hangs_in_a_frame", format!("printf '{header}abc'; exec sleep 600"), SkipReason::TimedOut),
        ("ignores_the_end", "trap '' TERM INT PIPE; while :; do sleep 1; done".to_owned(), SkipReason::TimedOut),
        ("crashes", "kill -SEGV $$".to_owned(), SkipReason::DecoderFailed),
        ("crashes_in_a_frame", format!("printf '{header}abc'; kill -ABRT $$"), SkipReason::DecoderFailed),
        ("fails", "echo 'wrong in every way' >&2; exit 1".to_owned(), SkipReason::Corrupt),
        ("says_nothing", "exit 0".to_owned(), SkipReason::Truncated),
        ("floods_messages", "exec yes >&2".to_owned(), SkipReason::TimedOut),
        ("says_too_much", "yes | head -c 2000000 >&2".to_owned(), SkipReason::DecoderFailed),
        (
            "floods_frames",
            format!("while :; do printf '{header}'; head -c 3072 /dev/zero; done"),
            SkipReason::DecoderFailed,
        ),
        ("floods_noise", "exec yes".to_owned(), SkipReason::DecoderFailed),
        ("huge_frame", r"printf 'P6\n16000 16000\n255\n'; exec cat /dev/zero".to_owned(), SkipReason::Unsupported),
    ];
    for (name, body, reason) in programs {
        let ffmpeg = script(folder.path(), name, &body);
        let films = Films::with(Tools { ffmpeg, limit: limit(reason), ..Tools::installed().clone() });
        let start = Instant::now();
        let found = faulty(&films, &path);
        assert_eq!(found.reason, reason, "{name}: {}", found.detail);
        assert!(start.elapsed() < PROMPT, "{name} took {:?}", start.elapsed());
    }
    for (name, body, reason) in [
        ("probe_hangs", "exec sleep 600", SkipReason::TimedOut),
        ("probe_floods", "exec yes 'packet|pts_time=1.0|flags=K_'", SkipReason::TooLarge),
        ("probe_floods_a_line", "exec cat /dev/zero", SkipReason::TimedOut),
        ("probe_says_nonsense", "echo 'stream|width=-1|height=x'; echo 'packet|pts_time=nan'", SkipReason::NoVideo),
        (
            "probe_lies",
            "echo 'stream|width=99999999999|height=99999999999'; echo 'packet|pts_time=0|flags=K'",
            SkipReason::TooLarge,
        ),
    ] {
        let ffprobe = script(folder.path(), name, body);
        let films = Films::with(Tools { ffprobe, limit: limit(reason), ..Tools::installed().clone() });
        let start = Instant::now();
        let found = faulty(&films, &path);
        assert_eq!(found.reason, reason, "{name}: {}", found.detail);
        assert!(start.elapsed() < PROMPT, "{name} took {:?}", start.elapsed());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_process_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = film(folder.path(), "a.mp4", &numbered("32x32"), 20, &["-c:v", "libx264"]);
    let own = folder.path().join("pid");
    let tell = format!("echo $$ $(cut -d' ' -f5 /proc/$$/stat) >{}; exec sleep 600", own.display());
    let ffmpeg = script(folder.path(), "ffmpeg", &tell);
    let limit = Duration::from_secs(5);
    let films = Films::with(Tools { ffmpeg, limit, ..Tools::installed().clone() });
    assert_eq!(faulty(&films, &path).reason, SkipReason::TimedOut);
    let told = std::fs::read_to_string(own).unwrap();
    let (pid, group) = told.trim().split_once(' ').unwrap();
    assert_eq!(pid, group, "a signal to the group of the run, such as Ctrl-C, reaches the decoder");
    // Neither running nor waiting to be reaped.
    assert!(!Path::new("/proc").join(pid).exists());
}

#[test]
fn nobody_waits_for_a_film_that_nobody_wants_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = film(folder.path(), "a.mp4", &numbered("32x32"), 20, &["-c:v", "libx264"]);
    let ffmpeg = script(folder.path(), "ffmpeg", "exec sleep 600");
    let films = Films::with(Tools { ffmpeg, ..Tools::installed().clone() });
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            stop.store(true, Ordering::Relaxed);
        });
        let wanted = Wanted { frames: &[3], stop: &stop, each: &mut |_, _| {} };
        assert!(films.frames(0, Footage::at(&path), wanted).is_err());
    });
    assert!(start.elapsed() < crate::data::FILM_LIMIT / 2);
}

/// Programs of which the one called `name` hangs with the films called so, and writes each of its calls into a file.
fn hanging(folder: &Path, name: &str) -> (Tools, PathBuf) {
    let log = folder.join("calls");
    let body =
        format!("echo call >>{}; case \"$*\" in *hangs*) exec sleep 600 ;; esac; exec {name} \"$@\"", log.display());
    let program = script(folder, name, &body);
    let tools = Tools { limit: LIMIT, ..Tools::installed().clone() };
    let tools = match name {
        "ffmpeg" => Tools { ffmpeg: program, ..tools },
        _ => Tools { ffprobe: program, ..tools },
    };
    (tools, log)
}

#[test]
fn a_look_may_take_longer_the_larger_a_film_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = film(folder.path(), "a.mp4", &numbered("32x32"), 20, &["-c:v", "libx264"]);
    let ffprobe = script(folder.path(), "slow", "sleep 3; exec ffprobe \"$@\"");
    let films = Films::with(Tools { ffprobe, limit: Duration::from_secs(1), ..Tools::installed().clone() });
    assert_eq!(films.timeline(0, Footage::at(&path), &NEVER).unwrap_err().reason, SkipReason::TimedOut);
    let large = folder.path().join("large.mp4");
    std::fs::copy(&path, &large).unwrap();
    // A minute more, and nothing on the disk.
    std::fs::OpenOptions::new().write(true).open(&large).unwrap().set_len(600_000_000).unwrap();
    assert_eq!(films.timeline(1, Footage::at(&large), &NEVER).unwrap().len(), 20);
}

#[test]
fn a_film_that_has_run_into_its_limit_is_told_of_again_and_not_waited_for_again() {
    for program in ["ffmpeg", "ffprobe"] {
        let folder = tempfile::tempdir().unwrap();
        let path = film(folder.path(), "hangs.mp4", &numbered("32x32"), 20, &["-c:v", "libx264"]);
        let (tools, log) = hanging(folder.path(), program);
        let films = Films::with(tools);
        let read = |sample: usize, frame: usize, stop: &AtomicBool| {
            let wanted = Wanted { frames: &[frame], stop, each: &mut |_, _| {} };
            films.frames(sample, Footage::at(&path), wanted).unwrap_err()
        };
        // Whoever does not wait for it learns nothing of it.
        read(0, 3, &AtomicBool::new(true));
        let first = read(0, 3, &NEVER);
        assert_eq!(first.reason, SkipReason::TimedOut, "{program}");
        let calls = || std::fs::read_to_string(&log).unwrap();
        let (start, before) = (Instant::now(), calls());
        // Another clip of it, and a second line of a list.
        for (sample, frame) in [(0, 3), (0, 9), (7, 3)] {
            assert_eq!(read(sample, frame, &NEVER), first);
        }
        assert!(start.elapsed() < LIMIT / 2, "{program}: {:?}", start.elapsed());
        assert!(!before.is_empty() && calls() == before, "{program}: {before}{}", calls());
    }
}

/// Films in a folder, which certain programs decode.
#[derive(Debug)]
struct Reels {
    films: Films,
    paths: Vec<PathBuf>,
}

impl Source for Reels {
    fn len(&self) -> usize {
        self.paths.len()
    }

    fn name(&self, i: usize) -> String {
        self.paths[i].file_name().unwrap().to_string_lossy().into_owned()
    }

    fn label(&self, _: usize) -> Option<u32> {
        None
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn picture(&self, i: usize, stop: &AtomicBool) -> Result<Decoded, Fault> {
        self.films.picture(i, Footage::at(&self.paths[i]), stop)
    }

    fn fingerprint(&self, _: &mut blake3::Hasher) {}
}

#[test]
fn a_run_that_goes_on_meets_the_same_films_and_leaves_out_the_same_ones() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["a.mp4", "b.mp4", "hangs.mp4", "z.mp4"];
    let paths = names.map(|name| film(folder.path(), name, &numbered("32x32"), 5, &["-c:v", "libx264"]));
    let (tools, log) = hanging(folder.path(), "ffmpeg");
    let train = |workers: usize, steps: std::ops::Range<u64>| -> Vec<Batch> {
        let films = Films::with(tools.clone());
        let source = Box::new(Reels { films, paths: paths.to_vec() });
        let dataset = Arc::new(Dataset::of(vec![Named { prefix: String::new(), source }]));
        let input = InputFormat::new(16, &[0.5; 3], &[0.25; 3]).unwrap();
        let transform = TrainTransform::new(input, RandomCrop { scale: [0.5, 1.0], aspect: [1.0, 1.0] }, 0.5);
        let plan = TrainPlan { seed: 2, batch: 2, workers, transform, first_step: steps.start, end_step: steps.end };
        TrainLoader::new(dataset, plan).unwrap().collect()
    };
    let seen = |batch: &Batch| (batch.step, batch.samples.clone(), batch.skipped.clone(), batch.pixels.clone());
    let whole: Vec<_> = train(0, 0..6).iter().map(seen).collect();
    let skipped: Vec<_> = whole.iter().flat_map(|(_, _, skipped, _)| skipped).collect();
    // Three epochs, in each of which it is named, at the price of one.
    assert!(skipped.len() == 3 && skipped.iter().all(|skip| skip.name == "hangs.mp4"), "{skipped:?}");
    assert!(skipped.iter().all(|skip| skip.reason == SkipReason::TimedOut), "{skipped:?}");
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 3 * 3 + 1);
    let resumed: Vec<_> = train(1, 3..6).iter().map(seen).collect();
    assert!(resumed == whole[3..], "samples, skips and pixels");
}
