//! Rectangles and tubes of tokens, sets of tokens, and the draws that place them.

use std::ops::Range;

use crate::config::{BlockConfig, Grid};
use crate::random::Stream;

/// A source of uniform integers, from which positions come.
pub(super) trait Draws {
    /// Uniform among 0, 1, ..., `n` - 1; 0 where `n` is 0.
    fn below(&mut self, n: usize) -> usize;
}

impl Draws for Stream {
    fn below(&mut self, n: usize) -> usize {
        Stream::below(self, n)
    }
}

/// Height and width of a block, in tokens; neither is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub h: usize,
    pub w: usize,
}

impl Size {
    pub fn area(self) -> usize {
        self.h * self.w
    }

    /// Draws scale and aspect on their own: the scale uniform, the aspect uniform in its logarithm, so that from 1/2 to 2
    /// as many blocks are high as are wide.
    pub fn draw([low, high]: [f64; 2], [flat, tall]: [f64; 2], grid: usize, stream: &mut Stream) -> Self {
        let area = stream.range(low, high) * (grid * grid) as f64;
        let aspect = stream.range(flat.ln(), tall.ln()).exp();
        let side = |length: f64| (length.sqrt().round() as usize).clamp(1, grid);
        Self { h: side(area * aspect), w: side(area / aspect) }
    }
}

/// The sizes of a step's blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub target: Size,
    pub context: Size,
}

impl Sizes {
    /// What a context mask must keep: more than `min_keep` tokens, or its whole block where that is no larger.
    ///
    /// The second half keeps every search for a mask finite; the published code would search for ever.
    pub fn least_context(self, config: &BlockConfig) -> usize {
        config.min_keep.saturating_add(1).min(self.context.area())
    }
}

/// A rectangle of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub top: usize,
    pub left: usize,
    pub size: Size,
}

impl Block {
    /// A block anywhere on the grid, every place equally likely.
    pub fn anywhere(size: Size, grid: usize, draws: &mut impl Draws) -> Self {
        let top = draws.below(grid - size.h + 1);
        Self { top, left: draws.below(grid - size.w + 1), size }
    }

    /// Its tokens, in raster order.
    pub fn tokens(self, grid: usize) -> impl Iterator<Item = u32> {
        self.runs(grid).flatten().map(|token| token as u32)
    }

    /// Its tokens as one range a row.
    fn runs(self, grid: usize) -> impl Iterator<Item = Range<usize>> {
        (self.top..self.top + self.size.h).map(move |row| {
            let start = row * grid + self.left;
            start..start + self.size.w
        })
    }
}

/// A rectangle of tokens at several times, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tube {
    /// Its first time.
    pub start: usize,
    /// How many times.
    pub time: usize,
    pub block: Block,
}

impl Tube {
    fn runs(self, grid: Grid) -> impl Iterator<Item = Range<usize>> {
        let times = self.start..self.start + self.time;
        times.flat_map(move |time| {
            let before = time * grid.area();
            self.block.runs(grid.side).map(move |run| before + run.start..before + run.end)
        })
    }
}

/// A set of a grid's tokens.
#[derive(Debug, Clone)]
pub(super) struct TokenSet {
    grid: Grid,
    /// One bit a token, the lowest bit first.
    words: Vec<u64>,
}

impl TokenSet {
    /// The empty set of a grid's tokens.
    pub fn new(grid: impl Into<Grid>) -> Self {
        let grid = grid.into();
        Self { grid, words: vec![0; grid.tokens().div_ceil(64)] }
    }

    /// Tokens along one side of the grid.
    pub fn side(&self) -> usize {
        self.grid.side
    }

    /// Becomes the tokens of `block`, at the first time, that are in none of `hidden`.
    pub fn show(&mut self, block: Block, hidden: &[Block]) {
        let side = self.grid.side;
        self.words.fill(0);
        self.change(block.runs(side), |word, bits| *word |= bits);
        for block in hidden {
            self.change(block.runs(side), |word, bits| *word &= !bits);
        }
    }

    /// Becomes the tokens of the first `times`.
    pub fn fill(&mut self, times: usize) {
        self.words.fill(0);
        self.change(std::iter::once(0..times * self.grid.area()), |word, bits| *word |= bits);
    }

    /// Loses the tokens of `tube`.
    pub fn hide(&mut self, tube: Tube) {
        self.change(tube.runs(self.grid), |word, bits| *word &= !bits);
    }

    /// Becomes the tokens that it lacks.
    pub fn invert(&mut self) {
        self.change(std::iter::once(0..self.grid.tokens()), |word, bits| *word ^= bits);
    }

    /// Loses all but `keep` of its tokens; every subset is equally likely.
    pub fn thin(&mut self, keep: usize, draws: &mut impl Draws) {
        let kept: Vec<u32> = self.subsample(keep, draws).collect();
        self.words.fill(0);
        kept.into_iter().for_each(|token| self.words[token as usize / 64] |= 1 << (token % 64));
    }

    /// Shows at every time what it shows at the first.
    pub fn repeat(&mut self) {
        let area = self.grid.area() as u32;
        let frame: Vec<u32> = self.tokens().take_while(|token| *token < area).collect();
        self.words.fill(0);
        for time in 0..self.grid.time as u32 {
            let tokens = frame.iter().map(|token| time * area + token);
            tokens.for_each(|token| self.words[token as usize / 64] |= 1 << (token % 64));
        }
    }

    /// Number of tokens in the set.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The tokens of the set, in raster order.
    pub fn tokens(&self) -> impl Iterator<Item = u32> {
        self.words.iter().enumerate().flat_map(|(at, &word)| {
            let lowest_removed = |rest: &u64| Some(rest & (rest - 1)).filter(|rest| *rest != 0);
            std::iter::successors(Some(word).filter(|word| *word != 0), lowest_removed)
                .map(move |rest| at as u32 * 64 + rest.trailing_zeros())
        })
    }

    /// `keep` of the set's tokens, or all where it has fewer, in raster order; every subset is equally likely.
    pub fn subsample(&self, keep: usize, draws: &mut impl Draws) -> impl Iterator<Item = u32> {
        let (mut left, mut wanted) = (self.len(), keep);
        self.tokens().filter(move |_| {
            let taken = draws.below(left) < wanted;
            left -= 1;
            wanted -= usize::from(taken);
            taken
        })
    }

    /// Applies `change` to each word that holds tokens of `runs`, with their bits.
    fn change(&mut self, runs: impl Iterator<Item = Range<usize>>, change: impl Fn(&mut u64, u64)) {
        for run in runs {
            let (first, last) = (run.start / 64, (run.end - 1) / 64);
            for at in first..=last {
                let low = if at == first { u64::MAX << (run.start % 64) } else { u64::MAX };
                let high = if at == last { u64::MAX >> (63 - (run.end - 1) % 64) } else { u64::MAX };
                change(&mut self.words[at], low & high);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    #[test]
    fn a_set_holds_what_is_shown_and_not_hidden_across_words() {
        let grid = 70;
        let block = Block { top: 1, left: 2, size: Size { h: 5, w: 68 } };
        let hidden = Block { top: 2, left: 60, size: Size { h: 2, w: 9 } };
        let mut set = TokenSet::new(grid);
        set.show(block, &[hidden]);
        let inside = |block: Block, token: usize| {
            let (row, column) = (token / grid, token % grid);
            (block.top..block.top + block.size.h).contains(&row)
                && (block.left..block.left + block.size.w).contains(&column)
        };
        let expected: Vec<u32> = (0..grid * grid)
            .filter(|&token| inside(block, token) && !inside(hidden, token))
            .map(|t| t as u32)
            .collect();
        assert_eq!(set.tokens().collect::<Vec<_>>(), expected);
        assert_eq!(set.len(), expected.len());
        assert!(block.tokens(grid).eq((0..grid * grid).filter(|&token| inside(block, token)).map(|t| t as u32)));
    }

    #[test]
    fn a_subsample_keeps_each_token_equally_often() {
        let mut set = TokenSet::new(4);
        set.show(Block { top: 0, left: 0, size: Size { h: 4, w: 4 } }, &[]);
        let mut stream = Stream::new(0, 0, 0, Purpose::MaskPosition);
        let (rounds, keep) = (4000, 5);
        let mut kept = [0u32; 16];
        for _ in 0..rounds {
            let tokens: Vec<u32> = set.subsample(keep, &mut stream).collect();
            assert_eq!(tokens.len(), keep);
            assert!(tokens.is_sorted());
            tokens.iter().for_each(|&token| kept[token as usize] += 1);
        }
        let share = keep as f64 / 16.0;
        // Five standard deviations of a binomial count.
        let bound = 5.0 * (f64::from(rounds) * share * (1.0 - share)).sqrt();
        for count in kept {
            assert!((f64::from(count) - f64::from(rounds) * share).abs() < bound, "{kept:?}");
        }
    }

    #[test]
    fn sizes_stay_on_the_grid_whatever_the_ranges() {
        let mut stream = Stream::new(0, 0, 0, Purpose::MaskSize);
        for (scale, aspect) in
            [([1e-300, 1.0], [f64::MIN_POSITIVE, f64::MAX]), ([1.0, 1.0], [1.0, 1.0]), ([0.5, 0.5], [9.0, 9.0])]
        {
            for grid in [2, 3, 1024] {
                for _ in 0..100 {
                    let size = Size::draw(scale, aspect, grid, &mut stream);
                    assert!((1..=grid).contains(&size.h) && (1..=grid).contains(&size.w), "{size:?}");
                }
            }
        }
    }
}
