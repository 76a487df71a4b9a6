//! Films of every container and shape, made by FFmpeg here.

mod damaged;
mod decoders;
mod shards;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use super::films::{Films, Footage};
use super::tools::Tools;
use crate::data::dataset::Wanted;
use crate::data::skip::SkipReason;
use crate::data::{Clip, Dataset, Fault, Picture, Split, Timeline};

/// Each frame has one level of light, which tells its number.
const NUMBERED: &str = "geq=lum='16+2*N':cb=128:cr=128";
static NEVER: AtomicBool = AtomicBool::new(false);

/// Runs ffmpeg; a film of `frames` numbered frames, 25 a second, as `arguments` say.
fn film(folder: &Path, name: &str, source: &str, frames: usize, arguments: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-f", "lavfi", "-i", source, "-frames:v", &frames.to_string()]);
    let output = command.args(arguments).arg(&path).output().expect("FFmpeg is installed; scripts/test does it");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    path
}

fn numbered(size: &str) -> String {
    format!("nullsrc=s={size}:r=25,{NUMBERED}")
}

/// The number that a frame's level tells.
fn number(clip: &Clip, t: usize) -> usize {
    let frame = clip.picture(t);
    let mean = frame.pixels.iter().map(|level| f64::from(*level)).sum::<f64>() / frame.pixels.len() as f64;
    (mean * 219.0 / 255.0 / 2.0).round() as usize
}

fn numbers(clip: &Clip) -> Vec<usize> {
    (0..clip.frames).map(|t| number(clip, t)).collect()
}

fn clip(path: &Path, frames: &[usize]) -> Clip {
    Dataset::open(path).unwrap().clip(0, frames).unwrap()
}

fn fault(path: &Path) -> Fault {
    faulty(&Films::default(), path)
}

fn faulty(films: &Films, path: &Path) -> Fault {
    let read = films.timeline(0, Footage::at(path), &NEVER);
    let middle = |timeline: Timeline| {
        let wanted = Wanted { frames: &[timeline.len() / 2], stop: &NEVER, each: &mut |_, _| {} };
        films.frames(0, Footage::at(path), wanted)
    };
    read.and_then(middle).unwrap_err()
}

/// A film of VP8 some of whose packets are frames that are never shown. The frames move, which such a frame needs.
fn hidden_frames(folder: &Path) -> PathBuf {
    let source = "nullsrc=s=64x48:r=25,geq=lum='16.9+2*N+min(2*N,14)*sin(PI*(X+2*N)/16)':cb=128:cr=128";
    let log = folder.join("hidden.log").display().to_string();
    let quality = ["-c:v", "libvpx", "-b:v", "1M", "-quality", "good", "-passlogfile", &log];
    let hide = ["-auto-alt-ref", "1", "-lag-in-frames", "25", "-arnr-maxframes", "7", "-arnr-strength", "5"];
    let [_, path] = ["1", "2"]
        .map(|pass| film(folder, "hidden.webm", source, 100, &[&quality[..], &hide, &["-pass", pass]].concat()));
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-of", "csv=p=0", "-show_entries", "packet=pts_time"]).arg(&path);
    let packets = String::from_utf8(command.output().unwrap().stdout).unwrap().lines().count();
    assert!(packets > 100, "{packets} packets: none is hidden");
    path
}

#[test]
fn every_container_gives_the_frames_that_are_asked_for_wherever_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let (grey, wanted) = (numbered("64x48"), [0, 3, 40, 41, 42, 97, 98, 99]);
    for path in [
        ("b_frames.mp4", &["-c:v", "libx264", "-g", "12", "-bf", "3", "-pix_fmt", "yuv420p"][..]),
        ("one_key.mp4", &["-c:v", "libx264", "-g", "500", "-bf", "2", "-pix_fmt", "yuv420p"]),
        ("fragmented.mp4", &["-c:v", "libx264", "-g", "12", "-movflags", "frag_keyframe+empty_moov"]),
        ("late.mp4", &["-c:v", "libx264", "-g", "12", "-output_ts_offset", "7.5"]),
        ("vp8.webm", &["-c:v", "libvpx", "-g", "12", "-b:v", "2M"]),
        ("vp9.webm", &["-c:v", "libvpx-vp9", "-g", "12", "-b:v", "2M", "-cpu-used", "8", "-deadline", "realtime"]),
        ("mpeg4.mkv", &["-c:v", "mpeg4", "-g", "12", "-q:v", "2"]),
        ("b_frames.avi", &["-c:v", "mpeg4", "-bf", "2", "-g", "12", "-q:v", "2"]),
        ("mjpeg.avi", &["-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj420p"]),
        ("palette.gif", &["-pix_fmt", "gray"]),
    ]
    .map(|(name, arguments)| film(folder.path(), name, &grey, 100, arguments))
    .into_iter()
    .chain([hidden_frames(folder.path())])
    {
        let name = path.display();
        let clip = clip(&path, &wanted);
        assert_eq!((clip.width, clip.height, clip.channels), (64, 48, 3), "{name}");
        assert_eq!(numbers(&clip), wanted, "{name}");
        for (frame, time) in wanted.iter().zip(&clip.times) {
            assert!((time - *frame as f64 / 25.0).abs() < 2e-3, "{name}: frame {frame} at {time}");
        }
        let picture = Dataset::open(&path).unwrap().picture(0).unwrap();
        assert_eq!((picture.width, picture.height), (64, 48), "{name}");
    }
}

#[test]
fn frames_are_given_in_the_order_and_as_often_as_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = film(folder.path(), "a.mp4", &numbered("32x32"), 30, &["-c:v", "libx264", "-g", "10"]);
    assert_eq!(numbers(&clip(&path, &[20, 3, 3, 29, 500])), [20, 3, 3, 29, 29]);
}

#[test]
fn a_late_clip_of_a_long_film_is_reached_by_seeking() {
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments) in [
        ("long.mp4", &["-c:v", "libx264", "-g", "10"][..]),
        ("long.webm", &["-c:v", "libvpx", "-g", "10", "-b:v", "2M", "-deadline", "realtime"]),
        ("long.mkv", &["-c:v", "mpeg4", "-g", "10", "-q:v", "2"]),
        ("long.avi", &["-c:v", "mpeg4", "-g", "10", "-q:v", "2"]),
    ] {
        let path = film(folder.path(), name, &numbered("32x32"), 110, arguments);
        let log = folder.path().join(format!("{name}.log"));
        let ffmpeg = script(folder.path(), "ffmpeg", &format!("echo \"$@\" >>{}; exec ffmpeg \"$@\"", log.display()));
        let films = Films::with(Tools { ffmpeg, ..Tools::installed().clone() });
        let mut found = Vec::new();
        let mut each = |at: usize, frame: &Picture| {
            found.push((at, (f64::from(frame.pixels[0]) * 219.0 / 255.0 / 2.0).round() as usize));
        };
        let wanted = Wanted { frames: &[1, 3, 100, 104], stop: &NEVER, each: &mut each };
        let times = films.frames(0, Footage::at(&path), wanted);
        for (time, expected) in times.unwrap().iter().zip([0.04, 0.12, 4.0, 4.16]) {
            assert!((time - expected).abs() < 2e-3, "{name}: {time}");
        }
        assert_eq!(found, [(0, 1), (1, 3), (2, 100), (3, 104)], "{name}");
        let calls = std::fs::read_to_string(log).unwrap();
        assert!(calls.lines().count() == 2 && calls.lines().last().unwrap().contains("-ss 3.98"), "{name}: {calls}");
    }
    let offset = ["-c:v", "libx264", "-output_ts_offset", "7.5"];
    let late = film(folder.path(), "late.mp4", &numbered("16x16"), 30, &offset);
    let late = clip(&late, &[0, 25]);
    assert!((late.times[0], (late.times[1] - 1.0).abs() < 1e-3) == (0.0, true), "{:?}", late.times);
}

#[test]
fn uneven_frames_keep_their_own_times() {
    let folder = tempfile::tempdir().unwrap();
    let source = format!("{},setpts='if(lt(N,10),N*0.04,0.4+(N-10)*0.24)/TB'", numbered("32x32"));
    for (name, codec) in [("uneven.mkv", "mpeg4"), ("uneven.mp4", "libx264")] {
        let path = film(folder.path(), name, &source, 20, &["-vsync", "vfr", "-c:v", codec, "-g", "4"]);
        let timeline = Dataset::open(&path).unwrap().timeline(0).unwrap();
        assert_eq!(timeline.len(), 20, "{name}");
        let clip = clip(&path, &[9, 10, 11, 15, 19]);
        assert_eq!(numbers(&clip), [9, 10, 11, 15, 19], "{name}");
        for (time, expected) in clip.times.iter().zip([0.36, 0.4, 0.64, 1.6, 2.56]) {
            assert!((time - expected).abs() < 2e-3, "{name}: {:?}", clip.times);
        }
        assert_eq!([0.0, 0.39, 0.41, 1.0, 99.0].map(|time| timeline.at(time)), [0, 9, 10, 12, 19], "{name}");
    }
}

#[test]
fn frames_that_lie_close_together_are_told_from_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let fast = format!("nullsrc=s=32x32:r=480,{NUMBERED}");
    let pairs = format!("{},setpts='(floor(N/2)*0.08+mod(N,2)*0.001)/TB',settb=1/1000", numbered("32x32"));
    let exact = ["-vsync", "vfr", "-enc_time_base", "1/1000", "-c:v", "mpeg4", "-g", "4", "-q:v", "2"];
    let films: [(_, _, &[&str], fn(usize) -> f64); 3] = [
        ("fast.mp4", &fast, &["-c:v", "libx264", "-g", "12", "-bf", "3"], |i| i as f64 / 480.0),
        ("fast.mkv", &fast, &["-c:v", "mpeg4", "-g", "12", "-q:v", "2"], |i| (i as f64 * 25.0 / 12.0).round() / 1e3),
        ("pairs.mkv", &pairs, &exact, |i| (i / 2) as f64 * 0.08 + (i % 2) as f64 * 1e-3),
    ];
    for (name, source, arguments, times) in films {
        let path = film(folder.path(), name, source, 90, arguments);
        for wanted in [[0, 1, 2, 3], [40, 41, 42, 43], [7, 21, 70, 89]] {
            let clip = clip(&path, &wanted);
            assert_eq!(numbers(&clip), wanted, "{name}");
            for (frame, time) in wanted.iter().zip(&clip.times) {
                assert!((time - times(*frame)).abs() < 2e-6, "{name}: frame {frame} at {time}");
            }
        }
    }
}

#[test]
fn a_turned_film_is_shown_upright() {
    let folder = tempfile::tempdir().unwrap();
    // White above, black below.
    let source = "nullsrc=s=48x32:r=25,geq=lum='if(lt(Y,16),235,16)':cb=128:cr=128";
    let path = film(folder.path(), "turned.mp4", source, 5, &["-c:v", "libx264", "-pix_fmt", "yuv420p"]);
    let mut bytes = std::fs::read(&path).unwrap();
    // The matrix of the track's header, in 16.16 and 2.30: a quarter turn clockwise.
    let matrix = bytes.windows(4).position(|word| word == b"tkhd").unwrap() + 44;
    for (at, value) in [0, 1 << 16, 0, -1 << 16, 0, 0, 32 << 16, 0, 1 << 30].into_iter().enumerate() {
        bytes[matrix + 4 * at..][..4].copy_from_slice(&i32::to_be_bytes(value));
    }
    std::fs::write(&path, bytes).unwrap();
    let frame = clip(&path, &[2]).picture(0);
    assert_eq!((frame.width, frame.height), (32, 48));
    let level = |x: usize, y: usize| frame.pixels[(y * 32 + x) * 3];
    assert!(level(2, 24) < 30 && level(29, 24) > 220, "{} {}", level(2, 24), level(29, 24));
}

#[test]
fn odd_sizes_and_the_shortest_films_are_films() {
    let folder = tempfile::tempdir().unwrap();
    for (name, size, frames, arguments) in [
        ("odd.mkv", "33x17", 7, &["-c:v", "mpeg4", "-q:v", "2"][..]),
        ("odd.webm", "35x21", 7, &["-c:v", "libvpx", "-b:v", "1M"]),
        ("one.mp4", "32x32", 1, &["-c:v", "libx264"]),
        ("two.avi", "32x32", 2, &["-c:v", "mpeg4", "-q:v", "2"]),
        ("one.gif", "32x32", 1, &["-pix_fmt", "gray"]),
    ] {
        let path = film(folder.path(), name, &numbered(size), frames, arguments);
        let clip = clip(&path, &[0, 1, 2, 6]);
        assert_eq!(format!("{}x{}", clip.width, clip.height), size, "{name}");
        assert_eq!(numbers(&clip), [0, 1, 2, 6].map(|frame| frame.min(frames - 1)), "{name}");
    }
}

#[test]
fn what_is_no_film_is_a_fault_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let whole = std::fs::read(film(folder, "whole.mp4", &numbered("32x32"), 50, &["-c:v", "libx264"])).unwrap();
    let sound = folder.join("sound.mp4");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac"]).arg(&sound);
    assert!(command.status().unwrap().success());
    let put = |name: &str, content: &[u8]| {
        std::fs::write(folder.join(name), content).unwrap();
        folder.join(name)
    };
    let playlist = format!("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{}\n", folder.join("whole.mp4").display());
    std::fs::create_dir(folder.join("folder.mp4")).unwrap();
    for (path, reason) in [
        (sound, SkipReason::NoVideo),
        (put("empty.mp4", b""), SkipReason::Empty),
        (put("text.mp4", b"no film"), SkipReason::Corrupt),
        (put("cut.mp4", &whole[..whole.len() / 2]), SkipReason::Corrupt),
        (put("playlist.mp4", playlist.as_bytes()), SkipReason::Corrupt),
        (
            put("list.mkv", format!("ffconcat version 1.0\nfile '{}/whole.mp4'\n", folder.display()).as_bytes()),
            SkipReason::Corrupt,
        ),
        (folder.join("nowhere.mp4"), SkipReason::Unreadable),
        (folder.join("folder.mp4"), SkipReason::NotAFile),
    ] {
        let found = fault(&path);
        assert_eq!(found.reason, reason, "{}: {}", path.display(), found.detail);
        assert!(!found.detail.contains("0x") && found.detail.len() > 5, "{}", found.detail);
    }
}

#[test]
fn a_file_that_is_called_like_an_option_or_an_address_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = film(folder.path(), "a.mp4", &numbered("32x32"), 5, &["-c:v", "libx264"]);
    for name in ["-i.mp4", "http:x.mp4", "concat:a.mp4|b.mp4", "%03d.mp4", "a b'\"\\.mp4"] {
        std::fs::copy(&path, folder.path().join(name)).unwrap();
        assert_eq!(numbers(&clip(&folder.path().join(name), &[0, 4])), [0, 4], "{name}");
    }
}

/// A program that runs `body` in a shell.
fn script(folder: &Path, name: &str, body: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn without_ffmpeg_a_film_is_an_error_that_says_how_to_get_it() {
    let tools = Tools { ffprobe: "/nowhere/ffprobe".into(), ..Tools::installed().clone() };
    let films = Films::with(tools);
    assert!(films.require([Path::new("a.png"), Path::new("b.gif")]).is_ok());
    assert!(films.require_clips([Path::new("a.png"), Path::new("b.gif")]).is_err());
    let error = films.require([Path::new("a.png"), Path::new("b.MP4")]).unwrap_err();
    insta::assert_snapshot!(format!("{error}\n{}", error.remedy().unwrap()), @r"
    films are read by FFmpeg, and /nowhere/ffprobe cannot be run: No such file or directory (os error 2)
    install FFmpeg, both ffmpeg and ffprobe: `apt install ffmpeg`, `dnf install ffmpeg-free`, `brew install ffmpeg` or `winget install ffmpeg`
    ");
}

#[test]
fn folders_of_frames_are_films_in_the_order_of_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (class, films) in [("up", 2), ("down", 1)] {
        for film in 0..films {
            for frame in 0..12_u8 {
                let name = format!("{class}/{film}/frame{frame}.png");
                crate::data::tests::put(root, &name, crate::data::tests::png(8, 6, frame * 10));
            }
        }
    }
    let marked = PathBuf::from(format!("frames:{}", root.display()));
    let dataset = Dataset::open(&marked).unwrap();
    let names: Vec<String> = (0..3).map(|i| dataset.name(i)).collect();
    assert_eq!((dataset.len(), names), (3, ["down/0", "up/0", "up/1"].map(String::from).into()));
    assert_eq!((dataset.classes(), dataset.label(2)), (&["down", "up"].map(String::from)[..], Some(1)));
    let clip = dataset.clip(1, &[0, 2, 11]).unwrap();
    let levels: Vec<u8> = (0..3).map(|t| clip.picture(t).pixels[0]).collect();
    assert_eq!((levels, clip.times), (vec![0, 20, 110], vec![0.0, 0.08, 0.44]));
    assert_eq!(dataset.timeline(0).unwrap(), Timeline::even(12, super::FOLDER_RATE));
    assert_eq!(dataset.picture(0).unwrap().pixels[0], 60);

    crate::data::tests::put(root, "list.txt", "up/0 7\ndown/0/frame3.png 2\n");
    let listed = Dataset::open(&root.join("list.txt")).unwrap();
    assert_eq!(listed.contents(), "1 picture and 1 film");
    assert_eq!((listed.label(0), listed.label(1)), (Some(7), Some(2)));
    assert_eq!((listed.timeline(0).unwrap().len(), listed.timeline(1).unwrap().len()), (12, 1));
    assert_eq!(listed.clip(1, &[0, 5]).unwrap().picture(1).pixels[0], 30);

    crate::data::tests::put(root, "up/0/frame2.png", crate::data::tests::png(9, 6, 0));
    let skip = dataset.clip(1, &[0, 2]).unwrap_err();
    assert_eq!((skip.reason, skip.name.as_str()), (SkipReason::Unsupported, "up/0"));
    crate::data::tests::put(root, "up/0/frame2.png", "no picture");
    let skip = dataset.clip(1, &[0, 2]).unwrap_err();
    assert_eq!(skip.detail, "frame2.png: the first bytes are of no known picture format");
    let error = Dataset::open(Path::new("frames:/nowhere")).unwrap_err();
    assert_eq!(error.to_string(), "/nowhere does not exist");
}

#[test]
fn folders_of_frames_come_in_parts_as_other_folders_do() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for film in ["train/down/0", "train/up/1", "train/up/2", "val/up/3", "test/down/4"] {
        for frame in 0..3 {
            crate::data::tests::put(root, &format!("{film}/{frame}.png"), crate::data::tests::png(4, 4, frame));
        }
    }
    let marked = PathBuf::from(format!("frames:{}", root.display()));
    let seen = |split| {
        let films = Dataset::open_split(&marked, split).unwrap();
        let class = |i| films.classes()[films.label(i).unwrap() as usize].clone();
        (0..films.len()).map(|i| format!("{}={}", films.name(i), class(i))).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(seen(Split::Train), "train/down/0=down train/up/1=up train/up/2=up");
    assert_eq!(seen(Split::Test), "val/up/3=up");
    assert_eq!(seen(Split::All), "test/down/4=down train/down/0=down train/up/1=up train/up/2=up val/up/3=up");
    std::fs::remove_dir_all(root.join("train")).unwrap();
    // One part is no part of something.
    assert_eq!(seen(Split::Train), "test/down/4=test val/up/3=val");
}

#[test]
fn films_stand_beside_pictures_in_folders_and_lists() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["cats/b.mp4", "dogs/c.webm"] {
        std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        film(root, name, &numbered("16x16"), 3, &[]);
    }
    crate::data::tests::put(root, "cats/a.png", crate::data::tests::png(4, 4, 0));
    let dataset = Dataset::open(root).unwrap();
    let labels: Vec<(String, Option<u32>)> = (0..3).map(|i| (dataset.name(i), dataset.label(i))).collect();
    let expected = [("cats/a.png", 0), ("cats/b.mp4", 0), ("dogs/c.webm", 1)];
    assert_eq!(labels, expected.map(|(name, label)| (name.to_owned(), Some(label))));
    let lengths: Vec<usize> = (0..3).map(|i| dataset.timeline(i).unwrap().len()).collect();
    assert_eq!(lengths, [1, 3, 3]);
    assert_eq!(dataset.contents(), "1 picture and 2 films");
    crate::data::tests::put(root, "list.txt", "dogs/c.webm 4\ncats/gone.mp4 1\n");
    let listed = Dataset::open(&root.join("list.txt")).unwrap();
    assert_eq!(listed.contents(), "2 films");
    assert_eq!((listed.label(0), listed.timeline(0).unwrap().len()), (Some(4), 3));
    assert_eq!(listed.clip(1, &[0]).unwrap_err().reason, SkipReason::Unreadable);
    assert_eq!(dataset.fingerprint(), Dataset::open(root).unwrap().fingerprint());
}
