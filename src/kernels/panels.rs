//! The right operand of a matrix product, packed so that it is read from front to end.

use rayon::prelude::*;

use super::aligned::Aligned;
use super::matmul::Matrix;

/// Columns of a panel: two of the widest vectors.
pub const PANEL: usize = 32;

/// `[K, N]` as panels `[N / 32, K, 32]`; the last panel is filled up with zeros.
#[derive(Debug)]
pub struct Panels {
    values: Aligned,
    depth: usize,
    columns: usize,
}

impl Panels {
    /// Packs `right`, `[K, N]`.
    pub fn new(right: Matrix, [depth, columns]: [usize; 2]) -> Self {
        let mut values = Aligned::zeros(columns.div_ceil(PANEL) * depth * PANEL);
        values.par_chunks_exact_mut((depth * PANEL).max(1)).enumerate().for_each(|(i, panel)| {
            let first = i * PANEL;
            pack(right, first, (columns - first).min(PANEL), panel);
        });
        Self { values, depth, columns }
    }

    /// K
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// N
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The panels in order, each `[K, 32]`.
    pub fn iter(&self) -> impl Iterator<Item = &[[f32; PANEL]]> {
        let rows = self.values.as_chunks::<PANEL>().0;
        (0..self.columns.div_ceil(PANEL)).map(move |i| &rows[i * self.depth..(i + 1) * self.depth])
    }
}

/// Copies `width` columns of all rows, from column `first`, to `[K, 32]`.
fn pack(right: Matrix, first: usize, width: usize, panel: &mut [f32]) {
    let [down, across] = right.strides;
    let values = &right.values[first * across..];
    if across == 1 {
        for (k, to) in panel.chunks_exact_mut(PANEL).enumerate() {
            to[..width].copy_from_slice(&values[k * down..][..width]);
        }
        return;
    }
    // Eight rows at a time, so that a column's next values are still at hand when they are needed.
    for (block, to) in panel.chunks_mut(8 * PANEL).enumerate() {
        let depth = to.len() / PANEL;
        for column in 0..width {
            let from = &values[column * across + block * 8 * down..][..(depth - 1) * down + 1];
            for (to, from) in to[column..].iter_mut().step_by(PANEL).zip(from.iter().step_by(down)) {
                *to = *from;
            }
        }
    }
}
