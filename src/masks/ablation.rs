//! The other masking strategies of I-JEPA's table 6, for ablation.
//!
//! They read the aspect of a block from the configuration and nothing else: numbers of blocks, scales, `min_keep` and
//! `allow_overlap` belong to multi-block masks. Context and targets never overlap, and no mask needs a cut.

use super::draft::Draft;
use super::grid::{Block, Size, TokenSet};
use crate::config::BlockConfig;
use crate::random::Stream;

/// Share of the tokens that `block` and `random` hide and predict, as in the paper.
const HIDDEN: f64 = 0.6;

/// The size of `block`'s one target, for every image of a step; it leaves at least one token to the context.
pub(super) fn block_size(config: &BlockConfig, grid: usize, stream: &mut Stream) -> Size {
    let size = Size::draw([HIDDEN, HIDDEN], config.target_aspect, grid, stream);
    if size.area() < grid * grid { size } else { Size { h: size.h, w: size.w - 1 } }
}

/// `block`: the target is one block, every position equally likely, and the context is its complement.
pub(super) fn place_block(size: Size, stream: &mut Stream, set: &mut TokenSet, draft: &mut Draft) {
    let grid = set.side();
    let target = Block::anywhere(size, grid, stream);
    draft.targets.iter_mut().for_each(|rows| rows.push(target.tokens(grid)));
    set.show(whole(grid), &[target]);
    draft.contexts.iter_mut().for_each(|rows| rows.push(set.tokens()));
}

/// `rasterised`: the context is the top left quadrant, the targets are the three others.
///
/// Quadrants are as large as each other: the middle row and column of an odd grid are in none of them.
pub(super) fn place_quadrants(grid: usize, draft: &mut Draft) {
    let side = grid / 2;
    let quadrant = |top, left| Block { top, left, size: Size { h: side, w: side } }.tokens(grid);
    let far = grid - side;
    draft.contexts.iter_mut().for_each(|rows| rows.push(quadrant(0, 0)));
    for (rows, (top, left)) in draft.targets.iter_mut().zip([(0, far), (far, 0), (far, far)]) {
        rows.push(quadrant(top, left));
    }
}

/// `random`: the targets are scattered tokens, the context is the rest.
pub(super) fn scatter(stream: &mut Stream, set: &mut TokenSet, draft: &mut Draft) {
    let tokens = set.side() * set.side();
    set.show(whole(set.side()), &[]);
    let hidden: Vec<u32> = set.subsample((HIDDEN * tokens as f64).round() as usize, stream).collect();
    draft.targets.iter_mut().for_each(|rows| rows.push(hidden.iter().copied()));
    for rows in &mut draft.contexts {
        let mut hidden = hidden.iter().copied().peekable();
        rows.push(set.tokens().filter(|token| hidden.next_if_eq(token).is_none()));
    }
}

/// The block that covers the grid.
fn whole(grid: usize) -> Block {
    Block { top: 0, left: 0, size: Size { h: grid, w: grid } }
}
