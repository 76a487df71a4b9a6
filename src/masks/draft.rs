//! Masks under construction: rows of different lengths, and their cut to a common size.

use super::{CutReport, IndexMask, Masks};

/// The masks of a batch, to which each sample adds one row a mask.
pub(super) struct Draft {
    pub contexts: Vec<Rows>,
    pub targets: Vec<Rows>,
}

/// The rows of one mask, of different lengths.
#[derive(Default)]
pub(super) struct Rows {
    tokens: Vec<u32>,
    /// Where each row ends in `tokens`.
    ends: Vec<usize>,
    /// Tokens of all rows, before any cut.
    drawn: usize,
}

impl Rows {
    /// Adds a sample's row.
    pub fn push(&mut self, tokens: impl Iterator<Item = u32>) {
        let start = self.tokens.len();
        self.tokens.extend(tokens);
        self.drawn += self.tokens.len() - start;
        self.ends.push(self.tokens.len());
    }

    /// Adds a sample's row that was cut already, from `drawn` tokens.
    pub fn push_cut(&mut self, drawn: usize, tokens: impl Iterator<Item = u32>) {
        self.tokens.extend(tokens);
        self.drawn += drawn;
        self.ends.push(self.tokens.len());
    }

    fn rows(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.tokens[start..end])
    }
}

impl Draft {
    /// `contexts` and `targets` masks without rows.
    pub fn new(contexts: usize, targets: usize) -> Self {
        let empty = |masks| std::iter::repeat_with(Rows::default).take(masks).collect();
        Self { contexts: empty(contexts), targets: empty(targets) }
    }

    /// Cuts all context masks to the shortest of them, and all target masks to the shortest of them.
    pub fn finish(self) -> Masks {
        let (context, context_before, context_after) = cut(&self.contexts);
        let (targets, target_before, target_after) = cut(&self.targets);
        let cut = CutReport { context_before, context_after, target_before, target_after };
        Masks { context, targets, range: 0, cut }
    }
}

/// The masks with as many tokens as the shortest row has; mean tokens of a mask before and after.
///
/// Reference: the first tokens in raster order are kept, so what is lost is the bottom of the image.
fn cut(masks: &[Rows]) -> (Vec<IndexMask>, f64, f64) {
    let keep = masks.iter().flat_map(Rows::rows).map(<[u32]>::len).min().unwrap_or(0);
    let rows: usize = masks.iter().map(|mask| mask.ends.len()).sum();
    let drawn: usize = masks.iter().map(|mask| mask.drawn).sum();
    let cut = masks
        .iter()
        .map(|mask| IndexMask {
            batch: mask.ends.len(),
            keep,
            indices: mask.rows().flat_map(|row| &row[..keep]).copied().collect(),
        })
        .collect();
    (cut, drawn as f64 / rows.max(1) as f64, keep as f64)
}
