//! Which tokens the context encoder sees and which the predictor must predict, for each picture or clip of a batch.
//!
//! Tokens are numbered in raster order, row by row, over a square grid, and of a clip time after time. Everything here is a function of the
//! configuration, the grid and (seed, step, sample); nothing is kept between two calls.

mod ablation;
mod draft;
pub(crate) mod goldens;
mod grid;
mod reference;
pub(crate) mod statistics;
pub(crate) mod tube_statistics;
mod tubes;
mod unbiased;

use std::collections::HashSet;

use crate::config::{BlockConfig, Grid, MaskConfig, MaskMode, MaskShape, TubeConfig};
use crate::error::{Error, Result};
use crate::random::{Purpose, Stream};

/// The largest grid whose masks are drawn: a million tokens, so that sets of tokens stay small.
pub const MAX_GRID: usize = 1024;
/// The most tokens of a grid.
pub const MAX_TOKENS: usize = MAX_GRID * MAX_GRID;
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

/// Context and target masks of one pass over a batch, with what the cut to a common size cost.
///
/// All context masks keep the same number of tokens, and so do all target masks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Masks {
    /// What the context encoder sees, one mask a context block.
    pub context: Vec<IndexMask>,
    /// What the predictor predicts, one mask a target block.
    pub targets: Vec<IndexMask>,
    /// The range that they are of, and so the mask token that stands for what they hide.
    pub range: usize,
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
/// So in all modes but `reference` a sample's masks do not depend on the other samples of its batch.
#[derive(Debug, Clone)]
pub struct MaskSampler {
    config: MaskConfig,
    grid: Grid,
}

impl MaskSampler {
    /// A sampler of masks over `grid`.
    ///
    /// # Errors
    /// A usage error where no masks of that grid or that many blocks can be drawn.
    pub fn new(config: &MaskConfig, grid: impl Into<Grid>) -> Result<Self> {
        let grid = grid.into();
        if !(2..=MAX_GRID).contains(&grid.side) || !(1..=MAX_TOKENS / grid.area()).contains(&grid.time) {
            return Err(Error::usage(format!(
                "masks need a grid of 2x2 to {MAX_GRID}x{MAX_GRID} tokens, found {grid}"
            ))
            .with_remedy("choose another model.image_size or model.patch_size"));
        }
        let problem = match &config.shape {
            MaskShape::Blocks(_) if grid.time > 1 => {
                let problem = format!("blocks cannot mask a clip of {grid} tokens");
                Some((problem, "mask clips with mask.short and mask.long, as the presets vjepa-* do"))
            }
            MaskShape::Blocks(blocks) => [("mask.contexts", blocks.contexts), ("mask.targets", blocks.targets)]
                .into_iter()
                .find(|(_, count)| !(1..=MAX_BLOCKS).contains(count))
                .map(|(key, count)| {
                    (format!("{key} = {count} must be from 1 to {MAX_BLOCKS}"), "the published recipe has 1 and 4")
                }),
            MaskShape::Tubes(_) if matches!(config.mode, MaskMode::Block | MaskMode::Rasterised) => {
                let problem = "the modes `block` and `rasterised` mask pictures, not clips";
                Some((problem.to_owned(), "clips take the modes reference, unbiased and random"))
            }
            MaskShape::Tubes(tubes) => {
                let counts = tubes.ranges().map(|(_, range)| range.num_blocks);
                let there = counts.iter().any(|count| *count > 0) && counts.iter().all(|count| *count <= MAX_BLOCKS);
                (!there).then(|| {
                    let problem = format!("num_blocks of short and long is {counts:?}, expected 1 to {MAX_BLOCKS}");
                    (problem, "the published recipe has 8 short and 2 long ones; 0 leaves one of the two out")
                })
            }
        };
        match problem {
            Some((problem, remedy)) => Err(Error::usage(problem).with_remedy(remedy)),
            None => Ok(Self { config: config.clone(), grid }),
        }
    }

    /// The grid.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// The masks of `samples` (their indices in the data set) in optimizer step `step`, counted from 0: one entry a pass,
    /// one for pictures and one for each range of clips.
    pub fn sample(&self, seed: u64, step: u64, samples: &[u64]) -> Vec<Masks> {
        let mut sizes = Stream::new(seed, step, 0, Purpose::MaskSize);
        let streams = samples.iter().map(|&sample| Stream::new(seed, step, sample, Purpose::MaskPosition));
        match &self.config.shape {
            MaskShape::Blocks(blocks) => vec![self.blocks(blocks, step, &mut sizes, streams)],
            MaskShape::Tubes(tubes) => self.tubes(tubes, step, &mut sizes, streams.collect()),
        }
    }

    fn blocks(
        &self,
        config: &BlockConfig,
        step: u64,
        sizes: &mut Stream,
        streams: impl Iterator<Item = Stream>,
    ) -> Masks {
        let side = self.grid.side;
        let mut set = grid::TokenSet::new(self.grid);
        match self.config.mode {
            MaskMode::Reference => {
                let sizes = reference::sizes(config, side, step);
                let mut draft = draft::Draft::new(config.contexts, config.targets);
                streams.for_each(|mut stream| reference::place(config, sizes, &mut stream, &mut set, &mut draft));
                draft.finish()
            }
            MaskMode::Unbiased => {
                let mut plan = unbiased::Plan::new(config, sizes, &mut set);
                let mut draft = draft::Draft::new(config.contexts, config.targets);
                streams.for_each(|mut stream| plan.place(&mut stream, &mut set, &mut draft));
                draft.finish()
            }
            MaskMode::Block => {
                let size = ablation::block_size(config, side, sizes);
                let mut draft = draft::Draft::new(1, 1);
                streams.for_each(|mut stream| ablation::place_block(size, &mut stream, &mut set, &mut draft));
                draft.finish()
            }
            MaskMode::Rasterised => {
                let mut draft = draft::Draft::new(1, 3);
                streams.for_each(|_| ablation::place_quadrants(side, &mut draft));
                draft.finish()
            }
            MaskMode::Random => {
                let mut draft = draft::Draft::new(1, 1);
                streams.for_each(|mut stream| ablation::scatter(&mut stream, &mut set, &mut draft));
                draft.finish()
            }
        }
    }

    /// A sample's stream goes on from one range to the next, so that they know nothing of each other.
    fn tubes(&self, config: &TubeConfig, step: u64, sizes: &mut Stream, mut streams: Vec<Stream>) -> Vec<Masks> {
        let grid = self.grid;
        let mut set = grid::TokenSet::new(grid);
        let mut passes = Vec::new();
        for (number, (_, range)) in config.ranges().into_iter().enumerate().filter(|(_, (_, r))| r.num_blocks > 0) {
            let mut draft = draft::Draft::new(1, 1);
            match self.config.mode {
                MaskMode::Reference => {
                    let extent = tubes::reference_extent(range, grid, step);
                    for stream in &mut streams {
                        tubes::reference_place(range, grid, extent, stream, &mut set, &mut draft);
                    }
                }
                MaskMode::Unbiased => {
                    let plan = tubes::Plan::new(range, grid, sizes, &mut set);
                    streams.iter_mut().for_each(|stream| plan.place(stream, &mut set, &mut draft));
                }
                MaskMode::Random | MaskMode::Block | MaskMode::Rasterised => {
                    streams.iter_mut().for_each(|stream| tubes::scatter(grid, stream, &mut set, &mut draft));
                }
            }
            passes.push(Masks { range: number, ..draft.finish() });
            if self.config.mode == MaskMode::Random {
                // Scattered tubes have no range: one pass is all there is.
                break;
            }
        }
        passes
    }
}

#[cfg(test)]
mod tests;
