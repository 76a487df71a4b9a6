//! Multi-block masks without the published code's biases: every block shape, every position, and a cut that no other
//! image of the batch has a say in.
//!
//! A step draws the sizes of its blocks, scale and aspect on their own. Target masks then all have the same size. What
//! the targets leave of the context block differs from image to image, so the step also fixes how many tokens a context
//! mask keeps: it rehearses [`REHEARSALS`] images and takes the size that all but [`SHORTER`] of them reach. An image
//! with a larger context keeps a uniform subsample of it; one with a smaller context is drawn anew, targets and all,
//! which moves the distribution of the masks by about [`SHORTER`] in total variation. Since the rehearsal draws from
//! the step's own stream, an image's masks are a function of (seed, step, sample) alone, whatever batch it is in.

use super::draft::Draft;
use super::grid::{Block, Size, Sizes, TokenSet};
use crate::config::BlockConfig;
use crate::random::Stream;

/// Images that a step rehearses: enough for a stable low quantile, and cheaper than the masks of a large batch.
pub(super) const REHEARSALS: usize = 256;
/// Share of images whose context is smaller than what is kept, as 1 / this.
pub(super) const SHORTER: usize = 20;
/// Draws of an image before target blocks are released; at `1 / SHORTER` each, all fail once in 10^26 images, unless
/// `min_keep` asks for more than the targets leave.
pub(super) const DRAWS: usize = 20;

/// What a step fixes for all of its images, with the image drawn last.
pub(super) struct Plan<'a> {
    config: &'a BlockConfig,
    sizes: Sizes,
    /// Tokens of a context mask.
    keep: usize,
    targets: Vec<Block>,
    contexts: Vec<Block>,
}

impl<'a> Plan<'a> {
    /// Draws the step's sizes and finds how many tokens its context masks keep.
    pub fn new(config: &'a BlockConfig, stream: &mut Stream, set: &mut TokenSet) -> Self {
        let grid = set.side();
        let target = Size::draw(config.target_scale, config.target_aspect, grid, stream);
        let context = Size::draw(config.context_scale, [1.0, 1.0], grid, stream);
        let sizes = Sizes { target, context };
        let mut plan = Self { config, sizes, keep: context.area(), targets: Vec::new(), contexts: Vec::new() };
        if !config.allow_overlap {
            let mut lengths = [0; REHEARSALS];
            for length in &mut lengths {
                plan.draw(stream, grid);
                *length = plan.shortest_context(plan.targets.len(), set);
            }
            let (_, reached, _) = lengths.select_nth_unstable(REHEARSALS / SHORTER);
            plan.keep = (*reached).max(sizes.least_context(config));
        }
        plan
    }

    /// Draws one image's blocks and adds their rows to `draft`.
    pub fn place(&mut self, stream: &mut Stream, set: &mut TokenSet, draft: &mut Draft) {
        let grid = set.side();
        let mut hidden = if self.config.allow_overlap { 0 } else { draft.targets.len() };
        let fits = (0..DRAWS).any(|_| {
            self.draw(stream, grid);
            self.shortest_context(hidden, set) >= self.keep
        });
        if !fits {
            // As in the published code, targets are released from the end; a context block alone is never too small.
            while hidden > 0 && self.shortest_context(hidden, set) < self.keep {
                hidden -= 1;
            }
        }
        for (rows, block) in draft.targets.iter_mut().zip(&self.targets) {
            rows.push(block.tokens(grid));
        }
        for (rows, block) in draft.contexts.iter_mut().zip(&self.contexts) {
            set.show(*block, &self.targets[..hidden]);
            rows.push_cut(set.len(), set.subsample(self.keep, stream));
        }
    }

    /// Draws the positions of an image's blocks.
    fn draw(&mut self, stream: &mut Stream, grid: usize) {
        let Sizes { target, context } = self.sizes;
        self.targets.clear();
        self.targets.extend((0..self.config.targets).map(|_| Block::anywhere(target, grid, stream)));
        self.contexts.clear();
        self.contexts.extend((0..self.config.contexts).map(|_| Block::anywhere(context, grid, stream)));
    }

    /// Tokens of the smallest of the drawn contexts, less the first `hidden` targets.
    fn shortest_context(&self, hidden: usize, set: &mut TokenSet) -> usize {
        let lengths = self.contexts.iter().map(|block| {
            set.show(*block, &self.targets[..hidden]);
            set.len()
        });
        lengths.min().unwrap_or(0)
    }
}
