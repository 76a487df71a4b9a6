//! Which tokens the context encoder sees and which the predictor must predict, for each image of a batch.
//!
//! Tokens are numbered in raster order, row by row, over a square grid. Everything here is a function of the
//! configuration, the grid and (seed, step, sample); nothing is kept between two calls.

mod ablation;
mod draft;
pub(crate) mod goldens;
mod grid;
mod reference;
pub(crate) mod statistics;
mod unbiased;

use std::collections::HashSet;

use crate::config::{MaskConfig, MaskMode};
use crate::error::{Error, Result};
use crate::random::{Purpose, Stream};

/// The largest grid whose masks are drawn: a million tokens, so that sets of tokens stay small.
pub const MAX_GRID: usize = 1024;
/// The largest number of context blocks, and of target blocks, of an image.
pub const MAX_BLOCKS: usize = 256;

/// Token indices to keep, [batch, keep], one row per sample, raster order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexMask {
    /// Number of rows.
    pub batch: usize,
    /// Tokens of a row.
    pub keep: usize,
    /// The rows, one after the other.
    pub indices: Vec<u32>,
}

impl IndexMask {
    /// The tokens that sample `row` keeps; empty where there is no such row.
    pub fn row(&self, row: usize) -> &[u32] {
        self.indices.get(row * self.keep..(row + 1) * self.keep).unwrap_or_default()
    }
}

/// Context and target masks of one batch, with what the cut to a common size cost.
///
/// All context masks keep the same number of tokens, and so do all target masks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Masks {
    /// What the context encoder sees, one mask a context block.
    pub context: Vec<IndexMask>,
    /// What the predictor predicts, one mask a target block.
    pub targets: Vec<IndexMask>,
    /// What the cut to a common size cost.
    pub cut: CutReport,
}

impl Masks {
    /// Of sample `row`, how many tokens of its targets a context shows, and how many there are.
    pub fn shown_targets(&self, row: usize) -> [usize; 2] {
        let shown: HashSet<u32> = self.context.iter().flat_map(|mask| mask.row(row)).copied().collect();
        let tokens = || self.targets.iter().flat_map(|mask| mask.row(row));
        [tokens().filter(|token| shown.contains(token)).count(), tokens().count()]
    }
}

/// Mean tokens of a batch's masks, before and after they were cut to a common size.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CutReport {
    /// Of a context mask, as drawn.
    pub context_before: f64,
    /// Of a context mask, as kept.
    pub context_after: f64,
    /// Of a target mask, as drawn.
    pub target_before: f64,
    /// Of a target mask, as kept.
    pub target_after: f64,
}

/// Draws the masks of a batch.
///
/// | mode | block sizes from | positions from | common size from |
/// |---|---|---|---|
/// | `reference` | step | seed, step, sample | the batch's shortest mask |
/// | `unbiased` | seed, step | seed, step, sample | seed, step |
/// | `block` | seed, step | seed, step, sample | seed, step |
/// | `random` | fixed | seed, step, sample | fixed |
/// | `rasterised` | fixed | fixed | fixed |
///
/// So in all modes but `reference` an image's masks do not depend on the other images of its batch.
#[derive(Debug, Clone)]
pub struct MaskSampler {
    config: MaskConfig,
    grid: usize,
}

impl MaskSampler {
    /// A sampler of masks over `grid` x `grid` tokens.
    ///
    /// # Errors
    /// A usage error where no masks of that grid or that many blocks can be drawn.
    pub fn new(config: &MaskConfig, grid: usize) -> Result<Self> {
        if !(2..=MAX_GRID).contains(&grid) {
            return Err(Error::usage(format!(
                "masks need a grid of 2x2 to {MAX_GRID}x{MAX_GRID} tokens, found {grid}x{grid}"
            ))
            .with_remedy("choose another model.image_size or model.patch_size"));
        }
        for (key, blocks) in [("mask.contexts", config.contexts), ("mask.targets", config.targets)] {
            if !(1..=MAX_BLOCKS).contains(&blocks) {
                return Err(Error::usage(format!("{key} = {blocks} must be from 1 to {MAX_BLOCKS}")));
            }
        }
        Ok(Self { config: config.clone(), grid })
    }

    /// Tokens along one side of the grid.
    pub fn grid(&self) -> usize {
        self.grid
    }

    /// The masks of the images `samples` (their indices in the data set) in optimizer step `step`, counted from 0.
    pub fn sample(&self, seed: u64, step: u64, samples: &[u64]) -> Masks {
        let (config, grid) = (&self.config, self.grid);
        let mut set = grid::TokenSet::new(grid);
        let mut size_stream = Stream::new(seed, step, 0, Purpose::MaskSize);
        let streams = samples.iter().map(|&sample| Stream::new(seed, step, sample, Purpose::MaskPosition));
        match config.mode {
            MaskMode::Reference => {
                let sizes = reference::sizes(config, grid, step);
                let mut draft = draft::Draft::new(config.contexts, config.targets);
                streams.for_each(|mut stream| reference::place(config, sizes, &mut stream, &mut set, &mut draft));
                draft.finish()
            }
            MaskMode::Unbiased => {
                let mut plan = unbiased::Plan::new(config, &mut size_stream, &mut set);
                let mut draft = draft::Draft::new(config.contexts, config.targets);
                streams.for_each(|mut stream| plan.place(&mut stream, &mut set, &mut draft));
                draft.finish()
            }
            MaskMode::Block => {
                let size = ablation::block_size(config, grid, &mut size_stream);
                let mut draft = draft::Draft::new(1, 1);
                streams.for_each(|mut stream| ablation::place_block(size, &mut stream, &mut set, &mut draft));
                draft.finish()
            }
            MaskMode::Rasterised => {
                let mut draft = draft::Draft::new(1, 3);
                streams.for_each(|_| ablation::place_quadrants(grid, &mut draft));
                draft.finish()
            }
            MaskMode::Random => {
                let mut draft = draft::Draft::new(1, 1);
                streams.for_each(|mut stream| ablation::scatter(&mut stream, &mut set, &mut draft));
                draft.finish()
            }
        }
    }
}

#[cfg(test)]
mod tests;
