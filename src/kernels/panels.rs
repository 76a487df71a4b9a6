//! The right operand of a matrix product, packed so that it is read from front to end.

use bytemuck::Pod;
use rayon::prelude::*;

use super::aligned::Aligned;
#[cfg(target_arch = "x86_64")]
use super::dots::Dots;
use super::matmul::Matrix;
use super::terms::{Unpacked, Whole, pair};

/// Columns of a panel: two of the widest vectors.
pub const PANEL: usize = 32;

/// `[K, N]` as panels `[N / 32, K', 32]` of terms; the last panel is filled up with zeros, and so is the last term.
#[derive(Debug)]
pub struct Panels {
    pub(super) kept: Kept,
    depth: usize,
    columns: usize,
}

/// The terms, with what multiplies them.
#[derive(Debug)]
pub(super) enum Kept {
    /// Values of 32 bits.
    Whole(Whole, Packed<f32>),
    /// Pairs of bfloat16 values, unpacked in the registers.
    Unpacked(Unpacked, Packed<u32>),
    /// Such pairs, multiplied as they are.
    #[cfg(target_arch = "x86_64")]
    Dots(Dots, Packed<u32>),
}

/// How products of bfloat16 values are computed.
#[derive(Debug, Clone, Copy)]
pub enum Bf16 {
    /// Weights become values of 32 bits again in the registers: half the memory, and the arithmetic of 32 bits.
    Unpacked,
    /// By AVX512-BF16.
    #[cfg(target_arch = "x86_64")]
    Dots(Dots),
}

impl Bf16 {
    /// What this processor does best.
    pub fn new() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(dots) = Dots::try_new() {
            return Self::Dots(dots);
        }
        Self::Unpacked
    }
}

impl Default for Bf16 {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Display for Bf16 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unpacked => "unpacked to f32",
            #[cfg(target_arch = "x86_64")]
            Self::Dots(_) => "AVX512-BF16",
        })
    }
}

impl Panels {
    /// Packs `right`, `[K, N]`.
    pub fn new(right: Matrix, sizes: [usize; 2]) -> Self {
        let packed = Packed::new(sizes, &|first, width, panel| columns(right, first, width, panel));
        Self::of(Kept::Whole(Whole, packed), sizes)
    }

    /// Packs `right`, `[K, N]`, rounded to bfloat16: a product rounds its left operand too.
    pub fn bf16(right: Matrix, sizes: [usize; 2], by: Bf16) -> Self {
        let [depth, columns] = sizes;
        let packed =
            Packed::new([depth.div_ceil(2), columns], &|first, width, panel| pairs(right, depth, first, width, panel));
        let kept = match by {
            Bf16::Unpacked => Kept::Unpacked(Unpacked, packed),
            #[cfg(target_arch = "x86_64")]
            Bf16::Dots(dots) => Kept::Dots(dots, packed),
        };
        Self::of(kept, sizes)
    }

    fn of(kept: Kept, [depth, columns]: [usize; 2]) -> Self {
        Self { kept, depth, columns }
    }

    /// Terms of panels that hold `[K', N]`.
    pub fn values([depth, columns]: [usize; 2]) -> usize {
        columns.next_multiple_of(PANEL) * depth
    }

    /// K
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// N
    pub fn columns(&self) -> usize {
        self.columns
    }
}

/// Panels of terms.
#[derive(Debug)]
pub(super) struct Packed<T> {
    terms: Aligned<T>,
    panels: usize,
    /// K'
    depth: usize,
}

impl<T: Pod + Send + Sync> Packed<T> {
    /// Panels of K' terms for N columns: `pack` fills one `[K', 32]` with so many columns from a first one on.
    fn new([depth, columns]: [usize; 2], pack: &(dyn Fn(usize, usize, &mut [T]) + Sync)) -> Self {
        let panels = columns.div_ceil(PANEL);
        let mut terms = Aligned::zeros(Panels::values([depth, columns]));
        terms.par_chunks_exact_mut((depth * PANEL).max(1)).enumerate().for_each(|(i, panel)| {
            let first = i * PANEL;
            pack(first, (columns - first).min(PANEL), panel);
        });
        Self { terms, panels, depth }
    }

    /// The panels in order, each `[K', 32]`.
    pub fn iter(&self) -> impl Iterator<Item = &[[T; PANEL]]> {
        let rows = self.terms.as_chunks::<PANEL>().0;
        (0..self.panels).map(move |i| &rows[i * self.depth..(i + 1) * self.depth])
    }
}

/// Copies `width` columns of all rows, from column `first`, to `[K, 32]`.
fn columns(right: Matrix, first: usize, width: usize, panel: &mut [f32]) {
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

/// The pairs of `width` columns of all `depth` rows, from column `first`, as `[K', 32]`.
fn pairs(right: Matrix, depth: usize, first: usize, width: usize, panel: &mut [u32]) {
    let [down, across] = right.strides;
    for (k, to) in panel.chunks_exact_mut(PANEL).enumerate() {
        for (column, to) in to[..width].iter_mut().enumerate() {
            let at = |row: usize| right.values[row * down + (first + column) * across];
            *to = pair(|i| if 2 * k + i < depth { at(2 * k + i) } else { 0.0 });
        }
    }
}
