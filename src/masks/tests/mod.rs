//! Tests of the samplers: golden masks, statistics of the published code, and properties of every configuration.

mod goldens;
mod properties;
mod statistics;
mod tubes;

use super::goldens::{published, published_tubes};
use super::*;
use crate::chance::Sample;

/// Masks of a picture by `mode`.
fn blocks(mode: MaskMode, blocks: BlockConfig) -> MaskConfig {
    MaskConfig { mode, shape: MaskShape::Blocks(blocks) }
}

/// Masks of a clip by `mode`.
fn tubes(mode: MaskMode, tubes: TubeConfig) -> MaskConfig {
    MaskConfig { mode, shape: MaskShape::Tubes(tubes) }
}

/// The masks of pictures, whose passes are one.
fn one(mut passes: Vec<Masks>) -> Masks {
    assert_eq!(passes.len(), 1);
    passes.remove(0)
}

/// A file of tests/fixtures/reference/misc.
fn fixture<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference/misc").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What differs by more than chance, a line each.
fn differences(samples: &[Sample]) -> String {
    let problem = |sample: &Sample| Some(format!("{}: {}", sample.name, sample.problem()?));
    samples.iter().filter_map(problem).collect::<Vec<_>>().join("\n")
}

#[test]
fn impossible_grids_and_numbers_of_blocks_are_refused() {
    let refusal = |config: BlockConfig, grid: usize| {
        MaskSampler::new(&blocks(MaskMode::Reference, config), grid).map(|_| ()).unwrap_err().to_string()
    };
    insta::assert_snapshot!(refusal(published(), 1), @"masks need a grid of 2x2 to 1024x1024 tokens, found 1x1");
    insta::assert_snapshot!(refusal(published(), 2000), @"masks need a grid of 2x2 to 1024x1024 tokens, found 2000x2000");
    insta::assert_snapshot!(
        refusal(BlockConfig { targets: 300, ..published() }, 14),
        @"mask.targets = 300 must be from 1 to 256"
    );
}

#[test]
fn an_empty_batch_has_empty_masks() {
    for mode in [MaskMode::Reference, MaskMode::Unbiased, MaskMode::Block, MaskMode::Rasterised, MaskMode::Random] {
        let sampler = MaskSampler::new(&blocks(mode, published()), 14).unwrap();
        let masks = one(sampler.sample(0, 0, &[]));
        assert!(masks.context.iter().chain(&masks.targets).all(|mask| mask.batch == 0 && mask.row(0).is_empty()));
    }
}

#[test]
fn quadrants_are_what_rasterised_means() {
    let sampler = MaskSampler::new(&blocks(MaskMode::Rasterised, published()), 5).unwrap();
    let masks = one(sampler.sample(0, 0, &[7]));
    let rows: Vec<&[u32]> = masks.context.iter().chain(&masks.targets).map(|mask| mask.row(0)).collect();
    assert_eq!(rows, [[0, 1, 5, 6], [3, 4, 8, 9], [15, 16, 20, 21], [18, 19, 23, 24]]);
}
