//! Masks of clips: the published code's statistics, the last frames that `unbiased` keeps, and what always holds.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::super::tube_statistics::TubeStatistics;
use super::super::{MaskMode, MaskSampler, Masks};
use super::{differences, fixture, published_tubes, tubes};
use crate::config::{Grid, RangeConfig, TubeConfig};

const GRID: Grid = Grid { time: 8, side: 14 };
const MODES: [MaskMode; 3] = [MaskMode::Reference, MaskMode::Unbiased, MaskMode::Random];

/// Mean share of each time's tokens that the contexts of a pass keep, and that the targets keep.
fn over_time(masks: &[Masks], grid: Grid) -> [Vec<f64>; 2] {
    [true, false].map(|contexts| {
        let mut counts = vec![0.0; grid.time];
        let mut rows = 0;
        for pass in masks {
            for mask in if contexts { &pass.context } else { &pass.targets } {
                mask.indices.iter().for_each(|token| counts[*token as usize / grid.area()] += 1.0);
                rows += mask.batch;
            }
        }
        counts.into_iter().map(|count| count / (rows * grid.area()) as f64).collect()
    })
}

/// All passes of `range` in the first steps, of batches of `batch` clips.
fn draws(sampler: &MaskSampler, steps: u64, batch: u64, range: usize) -> Vec<Masks> {
    let samples: Vec<u64> = (0..batch).collect();
    let all = (0..steps).flat_map(|step| sampler.sample(0, step, &samples));
    all.filter(|pass| pass.range == range).collect()
}

#[test]
fn the_reference_sampler_of_clips_has_the_published_codes_statistics() {
    let goldens: BTreeMap<String, Value> = fixture("mask_stats.json");
    let cases: Vec<_> = goldens.into_iter().filter(|(case, _)| case.starts_with("vjepa")).collect();
    assert_eq!(cases.len(), 5);
    for (case, golden) in cases {
        let golden: TubeStatistics = serde_json::from_value(golden).unwrap();
        assert_eq!(differences(&golden.compare().unwrap()), "", "{case}");
    }
}

/// Share of the first time's tokens by which the last's may differ by chance, over the draws below.
const CHANCE: f64 = 0.05;

#[test]
fn the_published_cut_loses_the_last_frames_and_unbiased_keeps_them() {
    for range in [0, 1] {
        let shares = |mode| {
            let sampler = MaskSampler::new(&tubes(mode, published_tubes()), GRID).unwrap();
            over_time(&draws(&sampler, 100, 24, range), GRID)
        };
        for share in shares(MaskMode::Reference) {
            assert!(share[7] < 0.4 * share[0], "{share:?}");
        }
        for share in shares(MaskMode::Unbiased) {
            assert!((share[7] / share[0] - 1.0).abs() < CHANCE, "{share:?}");
        }
    }
}

#[test]
fn random_tubes_hide_nine_tenths_of_each_frame_at_the_same_places() {
    let sampler = MaskSampler::new(&tubes(MaskMode::Random, published_tubes()), GRID).unwrap();
    let passes = sampler.sample(1, 2, &[3, 4]);
    assert_eq!(passes.len(), 1);
    assert_eq!((passes[0].context[0].keep, passes[0].targets[0].keep), (8 * 20, 8 * 176));
    let row = passes[0].context[0].row(1);
    for time in 0..8 {
        let here = row[time * 20..][..20].iter().map(|token| token - time as u32 * 196);
        assert!(here.eq(row[..20].iter().copied()));
    }
}

#[test]
fn a_range_without_blocks_is_left_out_and_the_other_keeps_its_mask_token() {
    let short = RangeConfig { num_blocks: 0, ..published_tubes().short };
    let config = TubeConfig { short, ..published_tubes() };
    let sampler = MaskSampler::new(&tubes(MaskMode::Unbiased, config), GRID).unwrap();
    let passes = sampler.sample(0, 0, &[0]);
    assert_eq!(passes.iter().map(|pass| pass.range).collect::<Vec<_>>(), [1]);
}

#[test]
fn blocks_that_hide_everything_leave_a_token_to_the_context() {
    let all = RangeConfig { spatial_scale: [1.0, 1.0], aspect_ratio: [1.0, 1.0], ..published_tubes().short };
    let config = TubeConfig { short: all.clone(), long: all };
    for mode in [MaskMode::Reference, MaskMode::Unbiased] {
        let sampler = MaskSampler::new(&tubes(mode, config.clone()), Grid { time: 2, side: 2 }).unwrap();
        for pass in sampler.sample(0, 0, &[0, 1, 2]) {
            assert_eq!((pass.context[0].keep, pass.targets[0].keep), (1, 7));
        }
    }
}

fn range() -> impl Strategy<Value = RangeConfig> {
    let pair = |low: f64, high: f64| (low..high, low..high).prop_map(|(a, b)| [a.min(b), a.max(b)]);
    let shares = (pair(0.01, 1.0), pair(0.01, 1.0), pair(0.1, 10.0), 0.01..1.0);
    (1..9_usize, shares, prop::sample::select(vec![0, 1, 30])).prop_map(
        |(num_blocks, (spatial_scale, temporal_scale, aspect_ratio, max_temporal_keep), max_keep)| RangeConfig {
            num_blocks,
            spatial_scale,
            temporal_scale,
            aspect_ratio,
            max_temporal_keep,
            max_keep,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn context_and_target_of_a_clip_are_sorted_disjoint_and_of_one_size(
        mode in prop::sample::select(MODES.to_vec()), short in range(), long in range(),
        time in 1..9_usize, side in 2..15_usize, seed: u64, step: u64, samples in prop::collection::vec(any::<u64>(), 1..7),
    ) {
        let grid = Grid { time, side };
        let config = TubeConfig { short, long };
        let sampler = MaskSampler::new(&tubes(mode, config.clone()), grid).unwrap();
        let passes = sampler.sample(seed, step, &samples);
        prop_assert_eq!(passes.len(), if mode == MaskMode::Random { 1 } else { 2 });
        for (pass, (_, range)) in passes.iter().zip(config.ranges()) {
            let (context, target) = (&pass.context[0], &pass.targets[0]);
            prop_assert!(context.keep > 0 && target.keep > 0);
            prop_assert!(mode == MaskMode::Random || range.max_keep == 0 || context.keep <= range.max_keep);
            for row in 0..samples.len() {
                for mask in [context, target] {
                    prop_assert!(mask.row(row).is_sorted_by(|a, b| a < b));
                    prop_assert!(mask.row(row).iter().all(|token| (*token as usize) < grid.tokens()));
                }
                prop_assert_eq!(pass.shown_targets(row)[0], 0);
            }
        }
        for (row, &sample) in samples.iter().enumerate() {
            for (together, alone) in passes.iter().zip(sampler.sample(seed, step, &[sample])) {
                for (together, alone) in
                    together.context.iter().chain(&together.targets).zip(alone.context.iter().chain(&alone.targets))
                {
                    // The cut to the batch's shortest mask is the published code's alone.
                    let same = match mode {
                        MaskMode::Reference => alone.row(0).starts_with(together.row(row)),
                        _ => alone.row(0) == together.row(row),
                    };
                    prop_assert!(same, "sample {sample} depends on its batch");
                }
            }
        }
    }
}
