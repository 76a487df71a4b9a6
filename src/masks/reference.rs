//! The multi-block masks of the published I-JEPA code, its quirks included, bit for bit.

use rand_mt::Mt;

use super::draft::Draft;
use super::grid::{Block, Draws, Size, Sizes, TokenSet};
use crate::config::BlockConfig;

/// Reference: after so many draws whose context keeps too little, one more target block may overlap it.
const FAILURES_PER_RELEASE: usize = 20;

/// The sizes of the blocks of step `step`, for every image of its batch and every seed.
///
/// Reference: a fresh MT19937 seeded with the step (the first is 0) draws the target's size, then the context's.
pub(super) fn sizes(config: &BlockConfig, grid: usize, step: u64) -> Sizes {
    // Reference: PyTorch seeds its MT19937 with the low 32 bits.
    let mut generator = Mt::new(step as u32);
    let target = size(&mut generator, config.target_scale, config.target_aspect, grid);
    let context = size(&mut generator, config.context_scale, [1.0, 1.0], grid);
    Sizes { target, context }
}

/// Reference: one draw sets scale and aspect, and a block never spans the grid.
fn size(generator: &mut Mt, scale: [f64; 2], aspect: [f64; 2], grid: usize) -> Size {
    let draw = unit(generator);
    let between = |[low, high]: [f64; 2]| low + draw * (high - low);
    let area = ((grid * grid) as f64 * between(scale)).trunc();
    let aspect = between(aspect);
    // Python rounds halves to even.
    let side = |length: f64| (length.sqrt().round_ties_even() as usize).clamp(1, grid - 1);
    Size { h: side(area * aspect), w: side(area / aspect) }
}

/// Reference: PyTorch's uniform 32-bit float, in [0, 1).
pub(super) fn unit(generator: &mut Mt) -> f64 {
    f64::from(generator.next_u32() & 0xFF_FFFF) / f64::from(1 << 24)
}

/// Draws one image's blocks and adds their rows to `draft`: targets first, then contexts.
pub(super) fn place(config: &BlockConfig, sizes: Sizes, draws: &mut impl Draws, set: &mut TokenSet, draft: &mut Draft) {
    let grid = set.side();
    let mut targets = Vec::with_capacity(draft.targets.len());
    for rows in &mut draft.targets {
        let block = corner(sizes.target, grid, draws);
        rows.push(block.tokens(grid));
        targets.push(block);
    }
    let hidden: &[Block] = if config.allow_overlap { &[] } else { &targets };
    for rows in &mut draft.contexts {
        let mut failures = 0;
        loop {
            // Reference: released from the end of the list. Once all are, the first draw is kept.
            let released = (failures / FAILURES_PER_RELEASE).min(hidden.len());
            set.show(corner(sizes.context, grid, draws), &hidden[..hidden.len() - released]);
            if set.len() >= sizes.least_context(config) {
                break;
            }
            failures += 1;
        }
        rows.push(set.tokens());
    }
}

/// Reference: the corner is drawn from [0, H - h), so that no block reaches the last row or column; top before left.
fn corner(size: Size, grid: usize, draws: &mut impl Draws) -> Block {
    let top = draws.below(grid - size.h);
    Block { top, left: draws.below(grid - size.w), size }
}
