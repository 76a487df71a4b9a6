//! Masks of clips: blocks that last a while, all of one range together being its target; the published code's, bit for
//! bit, and without its biases.
//!
//! The published code cuts context and target to the batch's shortest, in the order time, row, column: the last frames are
//! lost. Without bias a step fixes both sizes itself, as `unbiased` does for pictures: it rehearses [`REHEARSALS`] clips
//! and takes the sizes that all but one in [`SHORTER`] of them reach; a larger mask keeps a uniform subsample, and a clip
//! with a smaller one is drawn anew.

use rand_mt::Mt;

use super::draft::Draft;
use super::grid::{Block, Draws, Size, TokenSet, Tube};
use super::reference::unit;
use super::unbiased::{DRAWS, REHEARSALS, SHORTER};
use crate::config::{Grid, RangeConfig};
use crate::random::Stream;

/// Share of a frame that `random` hides, as in the paper's ablation (V-JEPA, table 4).
const HIDDEN: f64 = 0.9;

/// Duration, height and width of a block, in tokens; none of them is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub time: usize,
    pub size: Size,
}

/// The extent of a range's blocks in step `step`, for every clip of its batch and every seed.
///
/// Reference: a fresh MT19937 seeded with the step (the first is 0) draws duration, area and aspect on their own.
pub(super) fn reference_extent(range: &RangeConfig, grid: Grid, step: u64) -> Extent {
    // Reference: PyTorch seeds its MT19937 with the low 32 bits.
    let mut generator = Mt::new(step as u32);
    let mut between = |[low, high]: [f64; 2]| low + unit(&mut generator) * (high - low);
    let time = (grid.time as f64 * between(range.temporal_scale)).trunc() as usize;
    let area = (grid.area() as f64 * between(range.spatial_scale)).trunc();
    let aspect = between(range.aspect_ratio);
    // Python rounds halves to even.
    let side = |length: f64| (length.sqrt().round_ties_even() as usize).clamp(1, grid.side);
    Extent { time: time.clamp(1, grid.time), size: Size { h: side(area * aspect), w: side(area / aspect) } }
}

/// Draws one clip's blocks and adds its context and its target to `draft`.
pub(super) fn reference_place(
    range: &RangeConfig,
    grid: Grid,
    extent: Extent,
    draws: &mut impl Draws,
    set: &mut TokenSet,
    draft: &mut Draft,
) {
    draw(range, grid, extent, draws, set);
    let most = if range.max_keep > 0 { range.max_keep } else { grid.tokens() };
    let [context, target] = rows(draft);
    context.push_cut(set.len(), set.tokens().take(most));
    set.invert();
    target.push(set.tokens());
}

/// What a step fixes for all of its clips.
pub(super) struct Plan<'a> {
    range: &'a RangeConfig,
    grid: Grid,
    extent: Extent,
    /// Tokens of a context and of a target.
    keep: [usize; 2],
}

impl<'a> Plan<'a> {
    /// Draws the extent of the step's blocks, and finds how many tokens its masks keep.
    pub fn new(range: &'a RangeConfig, grid: Grid, stream: &mut Stream, set: &mut TokenSet) -> Self {
        let [low, high] = range.temporal_scale;
        let time = (grid.time as f64 * stream.range(low, high)).round() as usize;
        let size = Size::draw(range.spatial_scale, range.aspect_ratio, grid.side, stream);
        let extent = Extent { time: time.clamp(1, grid.time), size };
        let mut contexts: Vec<usize> = Vec::with_capacity(REHEARSALS);
        for _ in 0..REHEARSALS {
            draw(range, grid, extent, stream, set);
            contexts.push(set.len());
        }
        contexts.sort_unstable();
        let [least, most] = [contexts[REHEARSALS / SHORTER], contexts[REHEARSALS - 1 - REHEARSALS / SHORTER]];
        let bound = if range.max_keep > 0 { range.max_keep } else { least };
        Self { range, grid, extent, keep: [least.min(bound), grid.tokens() - most] }
    }

    /// Draws one clip's blocks and adds its context and its target to `draft`.
    pub fn place(&self, stream: &mut Stream, set: &mut TokenSet, draft: &mut Draft) {
        let (tokens, [shown, hidden]) = (self.grid.tokens(), self.keep);
        let fits = |set: &TokenSet| set.len() >= shown && tokens - set.len() >= hidden;
        for _ in 0..DRAWS {
            draw(self.range, self.grid, self.extent, stream, set);
            if fits(set) {
                break;
            }
        }
        // All draws fail once in 10^20 clips; then the context is scattered.
        if !fits(set) {
            set.fill(seen(self.range, self.grid));
            set.thin(shown, stream);
        }
        let [context, target] = rows(draft);
        context.push_cut(set.len(), set.subsample(shown, stream));
        set.invert();
        target.push_cut(set.len(), set.subsample(hidden, stream));
    }
}

/// `random`: the target is scattered tubes as long as the clip, the context is the rest.
pub(super) fn scatter(grid: Grid, stream: &mut Stream, set: &mut TokenSet, draft: &mut Draft) {
    let shown = (((1.0 - HIDDEN) * grid.area() as f64).round() as usize).clamp(1, grid.area());
    set.fill(1);
    set.thin(shown, stream);
    set.repeat();
    let [context, target] = rows(draft);
    context.push(set.tokens());
    set.invert();
    target.push(set.tokens());
}

/// Makes `set` what a clip's blocks leave of the times that the context may see; never nothing.
///
/// Reference: top, left, begin in this order, again until something is left. Here the search ends: one block after the
/// other is released, and at last one token is shown, where the published code draws for ever.
fn draw(range: &RangeConfig, grid: Grid, extent: Extent, draws: &mut impl Draws, set: &mut TokenSet) {
    let seen = seen(range, grid);
    for failures in 0..DRAWS * range.num_blocks {
        let held = range.num_blocks - failures / DRAWS;
        set.fill(seen);
        for block in 0..range.num_blocks {
            let tube = anywhere(extent, grid, draws);
            if block < held {
                set.hide(tube);
            }
        }
        if set.len() > 0 {
            return;
        }
    }
    set.fill(seen);
    set.thin(1, draws);
}

/// The times that a context may see: the first ones, whatever the blocks hide of them.
fn seen(range: &RangeConfig, grid: Grid) -> usize {
    ((grid.time as f64 * range.max_temporal_keep) as usize).clamp(1, grid.time)
}

fn anywhere(Extent { time, size }: Extent, grid: Grid, draws: &mut impl Draws) -> Tube {
    let block = Block::anywhere(size, grid.side, draws);
    Tube { start: draws.below(grid.time - time + 1), time, block }
}

/// The one context and the one target of a pass.
fn rows(draft: &mut Draft) -> [&mut super::draft::Rows; 2] {
    [&mut draft.contexts[0], &mut draft.targets[0]]
}
