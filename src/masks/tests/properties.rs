//! What holds for the masks of every configuration.

use proptest::prelude::*;

use super::super::{BlockConfig, IndexMask, MaskMode, MaskSampler, Masks};
use super::{blocks, one};

fn range(low: f64, high: f64) -> impl Strategy<Value = [f64; 2]> {
    (low..high, low..high).prop_map(|(a, b)| [a.min(b), a.max(b)])
}

fn mode() -> impl Strategy<Value = MaskMode> {
    use MaskMode::{Block, Random, Rasterised, Reference, Unbiased};
    prop::sample::select(vec![Reference, Reference, Unbiased, Unbiased, Block, Rasterised, Random])
}

prop_compose! {
    fn config()(
        contexts in 1..3_usize,
        context_scale in range(0.01, 1.0),
        targets in 1..6_usize,
        target_scale in range(0.01, 1.0),
        target_aspect in range(0.1, 10.0),
        min_keep in prop::sample::select(vec![0, 1, 4, 10, 1000]),
        allow_overlap: bool,
    ) -> BlockConfig {
        BlockConfig {
            contexts, context_scale, targets, target_scale, target_aspect, min_keep, allow_overlap,
        }
    }
}

/// Tokens of the smallest context block that a multi-block configuration can draw.
fn smallest_context(config: &BlockConfig, grid: usize) -> usize {
    let area = (config.context_scale[0] * (grid * grid) as f64).trunc();
    (area.sqrt().round() as usize).clamp(1, grid - 1).pow(2)
}

/// Whether targets, however they fall, leave enough of any context for none of them to be released.
fn targets_always_fit(config: &BlockConfig, grid: usize, masks: &Masks) -> bool {
    let hidden: usize = masks.targets.iter().map(|mask| mask.keep).sum();
    hidden + config.min_keep < smallest_context(config, grid)
}

fn is_multi_block(mode: MaskMode) -> bool {
    matches!(mode, MaskMode::Reference | MaskMode::Unbiased)
}

fn all(masks: &Masks) -> impl Iterator<Item = &IndexMask> {
    masks.context.iter().chain(&masks.targets)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_mask_is_in_range_sorted_and_of_one_size(
        mode in mode(), config in config(), grid in 2..24_usize, seed: u64, step: u64, samples in prop::collection::vec(any::<u64>(), 1..9),
    ) {
        let masks = one(MaskSampler::new(&blocks(mode, config.clone()), grid).unwrap().sample(seed, step, &samples));
        for list in [&masks.context, &masks.targets] {
            for mask in list {
                prop_assert_eq!((mask.batch, mask.keep), (samples.len(), list[0].keep));
                prop_assert_eq!(mask.indices.len(), mask.batch * mask.keep);
                prop_assert!(mask.keep > 0);
                for row in 0..mask.batch {
                    prop_assert!(mask.row(row).is_sorted_by(|a, b| a < b));
                    prop_assert!(mask.row(row).iter().all(|&token| (token as usize) < grid * grid));
                }
            }
        }
        let counts = (masks.context.len(), masks.targets.len());
        match mode {
            MaskMode::Reference | MaskMode::Unbiased => {
                prop_assert_eq!(counts, (config.contexts, config.targets));
                let least = smallest_context(&config, grid).min(config.min_keep + 1);
                prop_assert!(masks.context[0].keep >= least, "{} kept of {least}", masks.context[0].keep);
            }
            MaskMode::Rasterised => prop_assert_eq!(counts, (1, 3)),
            MaskMode::Block | MaskMode::Random => {
                prop_assert_eq!(counts, (1, 1));
                prop_assert_eq!(masks.context[0].keep + masks.targets[0].keep, grid * grid);
            }
        }
        prop_assert!(masks.cut.context_before >= masks.cut.context_after);
        prop_assert_eq!(masks.cut.context_after, masks.context[0].keep as f64);
        prop_assert_eq!(masks.cut.target_before, masks.cut.target_after);
        prop_assert_eq!(masks.cut.target_after, masks.targets[0].keep as f64);
    }

    #[test]
    fn context_and_targets_are_disjoint(
        mode in mode(), config in config(), grid in 2..24_usize, seed: u64, samples in prop::collection::vec(any::<u64>(), 1..5),
    ) {
        let config = BlockConfig { target_scale: config.target_scale.map(|scale| scale / 5.0), ..config };
        let masks = one(MaskSampler::new(&blocks(mode, config.clone()), grid).unwrap().sample(seed, 0, &samples));
        let must = !is_multi_block(mode) || (!config.allow_overlap && targets_always_fit(&config, grid, &masks));
        for row in (0..samples.len()).filter(|_| must) {
            for target in &masks.targets {
                let hidden = target.row(row);
                for context in &masks.context {
                    prop_assert!(context.row(row).iter().all(|token| hidden.binary_search(token).is_err()));
                }
            }
        }
    }

    #[test]
    fn masks_are_a_function_of_seed_step_and_samples(
        mode in mode(), config in config(), grid in 2..24_usize, seed: u64, step: u64, samples in prop::collection::vec(any::<u64>(), 1..9),
    ) {
        let sampler = MaskSampler::new(&blocks(mode, config), grid).unwrap();
        let together = one(sampler.sample(seed, step, &samples));
        prop_assert_eq!(&together, &one(sampler.sample(seed, step, &samples)));
        for (row, &sample) in samples.iter().enumerate() {
            let alone = one(sampler.sample(seed, step, &[sample]));
            for (together, alone) in all(&together).zip(all(&alone)) {
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

#[test]
fn extreme_configurations_end() {
    let tiny = f64::MIN_POSITIVE;
    for mode in [MaskMode::Reference, MaskMode::Unbiased, MaskMode::Block, MaskMode::Rasterised, MaskMode::Random] {
        for (grid, scale, aspect) in [
            (2, [1.0, 1.0], [1.0, 1.0]),
            (2, [tiny, tiny], [tiny, f64::MAX]),
            (3, [tiny, 1.0], [f64::MAX, f64::MAX]),
            (63, [1.0, 1.0], [tiny, tiny]),
            (1024, [0.15, 0.2], [0.75, 1.5]),
        ] {
            let config = BlockConfig {
                contexts: 2,
                context_scale: scale,
                targets: 4,
                target_scale: scale,
                target_aspect: aspect,
                min_keep: usize::MAX,
                allow_overlap: false,
            };
            let masks =
                one(MaskSampler::new(&blocks(mode, config), grid).unwrap().sample(u64::MAX, u64::MAX, &[0, u64::MAX]));
            assert!(all(&masks).all(|mask| mask.keep > 0), "{mode:?} at {grid}x{grid}");
        }
    }
}
