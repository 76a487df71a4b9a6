//! Frames a second of the loader of clips, beside ffmpeg's own decoding of the same film.
//!
//! `cargo bench --bench clips [-- --film PATH]`; without a path a film of 640x360 pixels is made. Each round times `ffmpeg
//! -f null` and the loader one after the other; the median of the ratios counts. The loader is timed where it delivers
//! every frame of the film, and where it delivers every fourth, as V-JEPA's recipe has it; frames are those of the film
//! that it has to go through.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyjepa::config::Sampling;
use anyjepa::data::{Dataset, EvalLoader, EvalPlan, EvalTransform, Geometry, InputFormat, Interpolation, Split};
use anyjepa::error::{Error, IoContext, Kind, Result};

/// Frames of a clip.
const FRAMES: usize = 16;
/// Side of the network's input.
const SIDE: usize = 224;
/// Films that are loaded in one round, all the same.
const FILMS: usize = 8;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().collect();
    // Cargo says `--bench` to `cargo bench` alone.
    let rounds = if words.iter().any(|word| word == "--bench") { 7 } else { 1 };
    let folder = std::env::temp_dir().join(format!("anyjepa-clips-{}", std::process::id()));
    std::fs::create_dir_all(&folder).at("create", &folder)?;
    let given = words.iter().position(|word| word == "--film").and_then(|at| words.get(at + 1));
    let film = given.map_or_else(|| make(&folder, if rounds > 1 { 10 } else { 3 }), |path| Ok(PathBuf::from(path)))?;
    let measured = measure(&film, rounds);
    std::fs::remove_dir_all(&folder).at("remove", &folder)?;
    measured
}

fn measure(film: &Path, rounds: usize) -> Result<()> {
    let data = Arc::new(Dataset::open_many(&[film; FILMS], Split::All)?);
    let frames = data.timeline(0).map_err(|skip| Error::new(Kind::Data, skip.to_string()))?.len();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{frames} frames, {FILMS} times, {workers} threads, {rounds} rounds");
    for stride in [1, 4] {
        let clips = (frames / (FRAMES * stride)).max(1);
        let passed = clips * FRAMES * stride;
        let mut rates = Vec::new();
        for _ in 0..rounds {
            let plain = (frames * FILMS) as f64 / decode(film)?;
            let ours = (passed * FILMS) as f64 / load(&data, Sampling { stride, fps: 0.0, clips, views: 1 }, workers)?;
            rates.push([ours / plain, ours, plain]);
        }
        rates.sort_by(|a, b| a[0].total_cmp(&b[0]));
        let [ratio, ours, plain] = rates[rounds / 2];
        let (least, most) = (rates[0][0], rates[rounds - 1][0]);
        println!(
            "every {stride}. frame: {ours:.0} frames/s, ffmpeg -f null {plain:.0}; {ratio:.2} ({least:.2} to {most:.2})"
        );
    }
    Ok(())
}

/// The seconds that the loader takes for all films.
fn load(data: &Arc<Dataset>, sampling: Sampling, workers: usize) -> Result<f64> {
    let input = InputFormat::new(SIDE, &[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225])?.of_clips(FRAMES);
    let geometry = Geometry::CentreCrop { resize: SIDE, interpolation: Interpolation::Linear };
    let transform = EvalTransform::new(input, geometry)?.sampled(sampling);
    let start = Instant::now();
    let plan = EvalPlan { batch: 1, workers, transform, samples: 0..data.len() };
    for batch in EvalLoader::new(Arc::clone(data), plan)? {
        if let Some(skip) = batch.skipped.first() {
            return Err(Error::new(Kind::Data, skip.to_string()));
        }
    }
    Ok(start.elapsed().as_secs_f64())
}

/// The seconds that ffmpeg takes for all films, with as many threads as it likes.
fn decode(film: &Path) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..FILMS {
        run(Command::new("ffmpeg").args(["-nostdin", "-v", "error", "-i"]).arg(film).args(["-f", "null", "-"]))?;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// A film of so many seconds whose every pixel moves.
fn make(folder: &Path, seconds: usize) -> Result<PathBuf> {
    let path = folder.join("film.mp4");
    let source = format!("mandelbrot=s=640x360:r=25:end_scale=0.05,noise=alls=6:allf=t,trim=duration={seconds}");
    let encoder = ["-c:v", "libx264", "-preset", "fast", "-crf", "23", "-pix_fmt", "yuv420p"];
    run(Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", &source])
        .args(encoder)
        .arg(&path))?;
    Ok(path)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().at("run", "ffmpeg")?;
    if status.success() { Ok(()) } else { Err(Error::new(Kind::Other, format!("ffmpeg ended with {status}"))) }
}
