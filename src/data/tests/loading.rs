//! The loaders: what a batch holds depends on the seed and the step, never on threads or on where a run resumes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{animals, png, put, repository};
use crate::config::Sampling;
use crate::data::{
    Batch, Dataset, EvalLoader, EvalPlan, EvalTransform, Geometry, InputFormat, Interpolation, RandomCrop, TrainLoader,
    TrainPlan, TrainTransform,
};

const CROP: RandomCrop = RandomCrop { scale: [0.3, 1.0], aspect: [0.75, 4.0 / 3.0] };

fn input(size: usize, channels: usize) -> InputFormat {
    InputFormat::new(size, &[0.5; 3][..channels], &[0.25; 3][..channels]).unwrap()
}

fn train_plan(batch: usize, workers: usize, steps: std::ops::Range<u64>) -> TrainPlan {
    let transform = TrainTransform::new(input(24, 3), CROP, 0.5);
    TrainPlan { seed: 5, batch, workers, transform, first_step: steps.start, end_step: steps.end }
}

fn train(dataset: &Arc<Dataset>, plan: TrainPlan) -> Vec<Batch> {
    TrainLoader::new(Arc::clone(dataset), plan).unwrap().collect()
}

fn assert_same(a: &[Batch], b: &[Batch], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(b) {
        assert_eq!((a.epoch, a.step, &a.samples, a.shape), (b.epoch, b.step, &b.samples, b.shape), "{what}");
        assert_eq!(a.skipped, b.skipped, "{what}");
        assert!(a.pixels == b.pixels, "{what}: pixels of step {}", a.step);
        assert_eq!(a.pixels.len(), a.shape.iter().product::<usize>(), "{what}");
    }
}

/// Photographs, silhouettes as files of their own, and three files that are no pictures.
fn mixed(folder: &std::path::Path) -> Arc<Dataset> {
    for file in ["chelsea.png", "rocket.jpg"] {
        std::fs::copy(repository("examples/data/photos").join(file), folder.join(file)).unwrap();
    }
    for i in 0..20_u8 {
        put(folder, &format!("{i:02}.png"), png(20 + u32::from(i), 30, i * 10));
    }
    for name in ["a.jpg", "b.jpg", "c.jpg"] {
        put(folder, name, "no picture");
    }
    Arc::new(Dataset::open(folder).unwrap())
}

#[test]
fn training_batches_are_the_same_for_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = mixed(folder.path());
    let alone = train(&dataset, train_plan(6, 0, 0..11));
    assert_eq!(alone.len(), 11);
    assert_eq!(alone.iter().map(|batch| batch.epoch).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2]);
    for workers in [1, 2, 8] {
        assert_same(&alone, &train(&dataset, train_plan(6, workers, 0..11)), &format!("{workers} workers"));
    }
}

#[test]
fn resuming_at_any_step_continues_the_same_batches() {
    let dataset = Arc::new(Dataset::open(&animals()).unwrap());
    let whole = train(&dataset, train_plan(128, 0, 55..65));
    assert_eq!((whole[4].epoch, whole[5].epoch), (0, 1), "the resumed steps cross from one epoch to the next");
    assert_same(&whole[7..], &train(&dataset, train_plan(128, 2, 62..65)), "resumed");
}

#[test]
fn an_epoch_has_each_sample_at_most_once_and_epochs_differ() {
    let dataset = Arc::new(Dataset::open(&animals()).unwrap());
    let mut plan = train_plan(700, 2, 0..22);
    plan.transform = TrainTransform::new(input(4, 1), CROP, 0.5);
    let batches = train(&dataset, plan);
    let samples = |epoch: u64| {
        let of_epoch = batches.iter().filter(move |batch| batch.epoch == epoch);
        of_epoch.flat_map(|batch| batch.samples.clone()).collect::<Vec<u64>>()
    };
    for epoch in 0..2 {
        let mut sorted = samples(epoch);
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 7700);
    }
    assert_ne!(samples(0), samples(1));
}

#[test]
fn what_cannot_be_read_is_missing_and_named_and_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = mixed(folder.path());
    let batches = train(&dataset, train_plan(25, 2, 0..2));
    for batch in &batches {
        assert_eq!((batch.samples.len(), batch.skipped.len(), batch.shape), (22, 3, [22, 3, 24, 24]));
        let mut names: Vec<&str> = batch.skipped.iter().map(|skip| skip.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["a.jpg", "b.jpg", "c.jpg"]);
    }
}

#[test]
fn a_batch_of_which_nothing_can_be_read_is_empty_and_training_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..4 {
        put(folder.path(), &format!("{i}.png"), "no picture");
    }
    let dataset = Arc::new(Dataset::open(folder.path()).unwrap());
    let batches = train(&dataset, train_plan(2, 1, 0..4));
    assert!(batches.iter().all(|batch| batch.shape == [0, 3, 24, 24] && batch.skipped.len() == 2));
    assert_eq!(batches.len(), 4);
}

#[test]
fn evaluation_goes_through_the_data_set_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = mixed(folder.path());
    let load = |workers, samples| {
        let transform = EvalTransform::new(
            input(16, 1),
            Geometry::CentreCrop { resize: 20, interpolation: Interpolation::Bicubic },
        )
        .unwrap();
        let plan = EvalPlan { batch: 4, workers, transform, samples };
        EvalLoader::new(Arc::clone(&dataset), plan).unwrap().collect::<Vec<_>>()
    };
    let alone = load(0, 0..usize::MAX);
    for workers in [1, 8] {
        assert_same(&alone, &load(workers, 0..usize::MAX), &format!("{workers} workers"));
    }
    assert_eq!(alone.len(), 7);
    let samples: Vec<u64> = alone.iter().flat_map(|batch| batch.samples.clone()).collect();
    assert_eq!(samples, (0..20).chain([23, 24]).collect::<Vec<u64>>());
    assert_eq!(alone[6].names(&dataset), ["rocket.jpg"]);
    assert_eq!(alone[6].labels(&dataset), [None]);
    let part = load(2, 18..23);
    assert_eq!(part.iter().map(|batch| batch.samples.clone()).collect::<Vec<_>>(), [vec![18, 19], vec![]]);
    assert_eq!(part.iter().map(|batch| batch.skipped.len()).sum::<usize>(), 3);
}

#[test]
fn a_data_set_smaller_than_a_batch_is_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "a.png", png(2, 2, 0));
    let dataset = Arc::new(Dataset::open(folder.path()).unwrap());
    let Err(error) = TrainLoader::new(dataset, train_plan(8, 0, 0..1)) else { panic!("there is no batch of 8") };
    assert_eq!(error.to_string(), "the data set has 1 picture, fewer than a batch of 8");
    assert_eq!(error.remedy(), Some("add more, or set train.batch to 1 or less"));
}

#[test]
fn dropping_a_loader_ends_its_threads_and_waiting_is_measured() {
    /// Far less than the million batches that are left.
    const PROMPT: Duration = Duration::from_secs(5);
    let dataset = Arc::new(Dataset::open(&animals()).unwrap());
    for workers in [0, 4] {
        let mut loader = TrainLoader::new(Arc::clone(&dataset), train_plan(64, workers, 0..1_000_000)).unwrap();
        let batch = loader.next().unwrap();
        assert!(batch.wait > Duration::ZERO);
        let start = Instant::now();
        drop(loader);
        assert!(start.elapsed() < PROMPT);
    }
    assert_eq!(Arc::strong_count(&dataset), 1, "no thread is left that holds the data set");
}

/// Photopan films through the loader of clips, `T` = 4.
fn clips(workers: usize, sampling: Sampling, steps: std::ops::Range<u64>) -> Vec<Batch> {
    let dataset = Arc::new(Dataset::open(std::path::Path::new("synthetic:photopan")).unwrap());
    let transform = TrainTransform::new(input(32, 3).of_clips(4), CROP, 0.5).sampled(sampling);
    train(&dataset, TrainPlan { seed: 5, batch: 5, workers, transform, first_step: steps.start, end_step: steps.end })
}

#[test]
fn training_clips_are_the_same_for_any_number_of_threads_and_wherever_a_run_resumes() {
    let sampling = Sampling { stride: 2, ..Sampling::ONE };
    let alone = clips(0, sampling, 0..4);
    for batch in &alone {
        assert_eq!((batch.shape, batch.times.len()), ([5, 12, 32, 32], 20));
        let clips: Vec<&[f64]> = batch.times.chunks_exact(4).collect();
        assert!(clips.iter().all(|clip| clip.windows(2).all(|pair| (pair[1] - pair[0] - 0.25).abs() < 1e-9)));
    }
    // A clip of 7 of 16 frames begins at one of ten.
    let starts: std::collections::BTreeSet<u64> =
        alone.iter().flat_map(|batch| batch.times.iter().step_by(4).map(|time| time.to_bits())).collect();
    assert!(starts.len() > 3, "{starts:?}");
    for workers in [1, 3, 8] {
        assert_same(&alone, &clips(workers, sampling, 0..4), &format!("{workers} workers"));
    }
    assert_same(&alone[2..], &clips(2, sampling, 2..4), "resumed");
}

#[test]
fn training_takes_no_memory_for_clips_that_it_does_not_draw() {
    for batch in clips(0, Sampling { clips: 4, views: 8, ..Sampling::ONE }, 0..2) {
        let (held, used) = (batch.pixels.capacity(), batch.pixels.len());
        assert!(used > 0 && held < 2 * used, "{held} values for {used}");
    }
}

#[test]
fn a_configuration_says_which_frames_make_a_clip() {
    let of = |preset: &str| {
        let config = crate::config::Preset::find(preset).unwrap().config();
        let (train, eval) = (TrainTransform::of(&config).unwrap(), EvalTransform::of(&config).unwrap());
        assert_eq!((train.sampling(), train.input()), (eval.sampling(), eval.input()));
        (train.input().shape(), *train.sampling())
    };
    assert_eq!(of("vjepa-vit-l16"), ([48, 224, 224], Sampling { stride: 4, ..Sampling::ONE }));
    assert_eq!(of("vjepa2-vit-l"), ([48, 256, 256], Sampling { fps: 4.0, ..Sampling::ONE }));
    assert_eq!(of("ijepa-vit-b16"), ([3, 224, 224], Sampling::ONE));
}

#[test]
fn all_frames_of_a_clip_are_cut_alike() {
    let folder = tempfile::tempdir().unwrap();
    // One picture is a film that stands still: every frame is the crop and flip of the first.
    std::fs::copy(repository("examples/data/photos/chelsea.png"), folder.path().join("a.png")).unwrap();
    let dataset = Arc::new(Dataset::open(folder.path()).unwrap());
    let transform = TrainTransform::new(input(32, 3).of_clips(4), CROP, 0.5);
    let plan = TrainPlan { seed: 1, batch: 1, workers: 0, transform, first_step: 0, end_step: 6 };
    let batches = train(&dataset, plan);
    for batch in &batches {
        for channel in batch.pixels.chunks_exact(4 * 32 * 32) {
            let frames: Vec<&[f32]> = channel.chunks_exact(32 * 32).collect();
            assert!(frames.iter().all(|frame| *frame == frames[0]));
        }
        assert_eq!(batch.times, [0.0; 4]);
    }
    assert!(batches.windows(2).all(|pair| pair[0].pixels != pair[1].pixels));
}

#[test]
fn evaluation_has_an_input_for_each_view_of_each_clip() {
    let folder = tempfile::tempdir().unwrap();
    // A wide film whose columns tell their places, and whose frames their numbers.
    for frame in 0..10_u8 {
        let pixel = |x: u32, _| image::Rgb([x as u8 * 2, frame * 20, 0]);
        let picture = image::DynamicImage::ImageRgb8(image::RgbImage::from_fn(96, 32, pixel));
        put(folder.path(), &format!("film/{frame}.png"), super::encoded(&picture, "png"));
    }
    let path = std::path::PathBuf::from(format!("frames:{}", folder.path().display()));
    let dataset = Arc::new(Dataset::open(&path).unwrap());
    let input = InputFormat::new(32, &[0.0; 3], &[1.0; 3]).unwrap().of_clips(2);
    let geometry = Geometry::CentreCrop { resize: 32, interpolation: Interpolation::Linear };
    let sampling = Sampling { stride: 3, fps: 0.0, clips: 2, views: 3 };
    let transform = EvalTransform::new(input, geometry).unwrap().sampled(sampling);
    let plan = EvalPlan { batch: 4, workers: 2, transform, samples: 0..1 };
    let batches: Vec<Batch> = EvalLoader::new(dataset, plan).unwrap().collect();
    assert_eq!(batches.len(), 1);
    let batch = &batches[0];
    assert_eq!((batch.shape, batch.samples.as_slice()), ([6, 6, 32, 32], [0; 6].as_slice()));
    let level = |value: f32| (value * 255.0).round() as u32;
    let seen = batch.pixels.chunks_exact(6 * 32 * 32).map(|input| {
        let plane = |i: usize| level(input[i * 32 * 32]);
        // The first column of red, and the numbers of both frames by green.
        (plane(0) / 2, plane(2) / 20, plane(3) / 20)
    });
    let expected = [(0, 0, 3), (32, 0, 3), (64, 0, 3), (0, 6, 9), (32, 6, 9), (64, 6, 9)];
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    assert_eq!(batch.times[..4], [0.0, 0.12, 0.0, 0.12]);
    assert_eq!(batch.times[6..8], [0.24, 0.36]);
}

#[test]
fn clips_that_cannot_be_read_are_missing_and_named() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.mp4", "b.webm", "c.gif"] {
        put(folder.path(), name, "no film");
    }
    put(folder.path(), "d.png", png(40, 30, 9));
    let dataset = Arc::new(Dataset::open(folder.path()).unwrap());
    let transform = TrainTransform::new(input(16, 3).of_clips(2), CROP, 0.5);
    let plan = TrainPlan { seed: 1, batch: 4, workers: 2, transform, first_step: 0, end_step: 1 };
    let batches = train(&dataset, plan);
    assert_eq!((batches[0].samples.as_slice(), batches[0].shape), ([3].as_slice(), [1, 6, 16, 16]));
    let mut skips: Vec<String> =
        batches[0].skipped.iter().map(|skip| format!("{} {}", skip.name, skip.reason)).collect();
    skips.sort();
    assert_eq!(skips, ["a.mp4 corrupt", "b.webm corrupt", "c.gif corrupt"]);
}
