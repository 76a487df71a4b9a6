//! Times features and training steps on the CPU: one line of JSON for each measurement, in the fields of PyTorch's.
//!
//! `cargo bench --bench cpu -- encode base 8`, `... -- train small 16`, `... -- train animals28 128`; a fourth number
//! sets the repetitions.

use std::time::Instant;

use anyjepa::config::{Precision, Preset, RunConfig};
use anyjepa::device;
use anyjepa::masks::{IndexMask, MaskSampler, Masks};
use anyjepa::model::{Encoder, Init};
use anyjepa::random::{Purpose, Stream};
use anyjepa::train::{AdamW, Networks, Schedule, upload};
use burn::tensor::Device;

/// Repetitions that are not counted.
const WARM_UP: usize = 2;
/// Share of the tokens that the published sampler's context and targets keep on average at batch 16.
const KEPT: [f64; 2] = [0.31, 0.17];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [what, size, batch, rest @ ..] = words.as_slice() else {
        panic!("say what, of which size and batch: `encode base 8`");
    };
    let (batch, repetitions) = (batch.parse().unwrap(), rest.first().map_or(5, |word| word.parse().unwrap()));
    let device = device::open("cpu".parse().unwrap()).unwrap();
    let config = preset(size);
    let times = match what.as_str() {
        "encode" => encode(&config, batch, repetitions, &device),
        "train" => train(&config, batch, repetitions, &device),
        _ => panic!("there is no measurement `{what}`"),
    };
    let [wall, processor] = times;
    let (median_s, cpu_median_s) = (median(wall), median(processor));
    println!(
        r#"{{"bench":"{what}","size":"{size}","batch":{batch},"median_s":{median_s:.5},"cpu_median_s":{cpu_median_s:.5}}}"#
    );
}

fn preset(size: &str) -> RunConfig {
    let name = match size {
        "small" => "ijepa-vit-s16",
        "base" => "ijepa-vit-b16",
        "large" => "ijepa-vit-l16",
        name => name,
    };
    let mut config = Preset::find(name).unwrap().config();
    config.train.precision = Precision::F32;
    config
}

fn encode(config: &RunConfig, batch: usize, repetitions: usize, device: &Device) -> [Vec<f64>; 2] {
    let encoder = Encoder::new(&config.model, Precision::F32, Init::Constant, device);
    let (pixels, shape) = pixels(config, batch);
    let images = upload(pixels, shape, device);
    measure(repetitions, || {
        encoder.forward(images.clone(), None);
    })
}

fn train(config: &RunConfig, batch: usize, repetitions: usize, device: &Device) -> [Vec<f64>; 2] {
    let mut networks = Some(Networks::new(config, Init::Seed(0), device));
    let mut optimizer = AdamW::default();
    let rates = Schedule::new(&config.optim, 100).at(1);
    let (pixels, shape) = pixels(config, batch);
    let images = upload(pixels, shape, device);
    let mut step = 0;
    measure(repetitions, || {
        let now = networks.take().unwrap();
        let forward = now.forward(&config.loss, images.clone(), &masks(config, batch, step));
        let loss = match forward.spread {
            Some(spread) => forward.loss + spread,
            None => forward.loss,
        };
        let grads = now.backward(loss);
        networks = Some(now.update(&mut optimizer, grads, config, rates));
        step += 1;
    })
}

/// The masks of step `step`: those of the preset on a small grid, else masks of the published sampler's mean sizes.
fn masks(config: &RunConfig, batch: usize, step: u64) -> Masks {
    let (grid, tokens) = (config.model.grid(), config.model.tokens());
    if grid < 10 {
        let samples: Vec<u64> = (0..batch as u64).collect();
        return MaskSampler::new(&config.mask, grid).unwrap().sample(0, step, &samples);
    }
    let mut stream = Stream::new(0, step, 0, Purpose::MaskPosition);
    let mut draw = |share: f64| {
        let keep = (tokens as f64 * share).round() as usize;
        let row = |_| {
            let mut order: Vec<u32> = (0..tokens as u32).collect();
            stream.shuffle(&mut order);
            order.truncate(keep);
            order.sort_unstable();
            order
        };
        IndexMask { batch, keep, indices: (0..batch).flat_map(row).collect() }
    };
    let context = vec![draw(KEPT[0])];
    let targets = (0..config.mask.targets).map(|_| draw(KEPT[1])).collect();
    Masks { context, targets, ..Masks::default() }
}

fn pixels(config: &RunConfig, batch: usize) -> (Vec<f32>, [usize; 4]) {
    let side = config.model.image_size;
    let shape = [batch, config.model.channels, side, side];
    let mut stream = Stream::new(0, 0, 0, Purpose::Augment);
    ((0..shape.iter().product()).map(|_| stream.normal() as f32).collect(), shape)
}

/// Seconds by the clock, and seconds of all threads, of each repetition.
fn measure(repetitions: usize, mut work: impl FnMut()) -> [Vec<f64>; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for i in 0..WARM_UP + repetitions {
        let (wall, processor) = (Instant::now(), processor_seconds());
        work();
        if i >= WARM_UP {
            times[0].push(wall.elapsed().as_secs_f64());
            times[1].push(processor_seconds() - processor);
        }
    }
    times
}

/// User and system seconds of this process, in steps of a hundredth; 0 where the system does not say.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
