//! Matrix products `[M, K] x [K, N]` by all threads, without the copies that burn's CPU backend makes of each result.
//!
//! The right operand is packed into panels of `PANEL` columns; a tile of the result stays in the registers while a
//! stretch of the depth goes by. The order of every sum depends on `K` alone.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::product::{Left, Out, Right, Store, product};

/// Columns of a panel: three of the widest vectors.
const PANEL: usize = 48;
/// The deepest stretch that is summed in registers; a panel of it stays in the second cache.
const DEPTH: usize = 384;
/// Rows of a task are a multiple of this, the rows of a tile.
const ROWS: usize = 8;
/// Rows of one task, at most.
const TASK_ROWS: usize = 96;
/// Multiply-adds below which one thread does all.
const SMALL: usize = 1 << 18;

/// An operand: value `(i, j)` stands at `i * strides[0] + j * strides[1]`, and one of the strides is 1.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// All values.
    pub values: &'a [f32],
    /// Of rows and columns.
    pub strides: [usize; 2],
}

/// The product, `[M, N]`, plus `bias`, `[N]`, on every row.
pub fn matmul(left: Matrix, right: Matrix, [m, k, n]: [usize; 3], bias: Option<&[f32]>) -> Vec<f32> {
    let mut out = vec![0.0; m * n];
    if out.is_empty() {
        return out;
    }
    if k == 0 {
        out.chunks_exact_mut(n).zip(bias).for_each(|(row, bias)| row.copy_from_slice(bias));
        return out;
    }
    let arch = Arch::new();
    let threads = if m * n * k < SMALL { 1 } else { rayon::current_num_threads() };
    let task_rows = m.div_ceil(threads).next_multiple_of(ROWS).min(TASK_ROWS);
    let stretch = k.div_ceil(k.div_ceil(DEPTH));
    let mut packed = vec![0.0; n.div_ceil(PANEL) * PANEL * stretch];
    for start in (0..k).step_by(stretch) {
        let depth = stretch.min(k - start);
        let panels = &mut packed[..n.div_ceil(PANEL) * PANEL * depth];
        let pack = |(i, panel): (usize, &mut [f32])| pack(right, [start, i * PANEL], (n - i * PANEL).min(PANEL), panel);
        let bias = bias.filter(|_| start == 0);
        if threads == 1 {
            panels.chunks_exact_mut(PANEL * depth).enumerate().for_each(pack);
        } else {
            panels.par_chunks_exact_mut(PANEL * depth).enumerate().for_each(pack);
        }
        let panels = &*panels;
        let task = |(i, out): (usize, &mut [f32])| {
            let place = [i * task_rows, start];
            arch.dispatch(Task { left, place, depth, panels, columns: n, bias, out });
        };
        if threads == 1 {
            out.chunks_mut(task_rows * n).enumerate().for_each(task);
        } else {
            out.par_chunks_mut(task_rows * n).enumerate().for_each(task);
        }
    }
    out
}

/// Copies `width` columns of a stretch of rows, from `(row, column)`, to `[depth, PANEL]`.
fn pack(right: Matrix, [row, column]: [usize; 2], width: usize, panel: &mut [f32]) {
    let [down, across] = right.strides;
    let values = &right.values[row * down + column * across..];
    if across == 1 && width == PANEL {
        for (to, from) in panel.as_chunks_mut::<PANEL>().0.iter_mut().zip(values.chunks(down)) {
            to.copy_from_slice(&from[..PANEL]);
        }
        return;
    }
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

/// A band of rows of the result, over one stretch of the depth.
struct Task<'a, 'b> {
    left: Matrix<'a>,
    /// The first row and where the stretch begins.
    place: [usize; 2],
    depth: usize,
    panels: &'a [f32],
    columns: usize,
    bias: Option<&'a [f32]>,
    out: &'b mut [f32],
}

impl WithSimd for Task<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { left, place, depth, panels, columns, bias, out } = self;
        let rows = out.len() / columns;
        let [down, across] = left.strides;
        let values = &left.values[place[0] * down + place[1] * across..];
        let turned;
        let left = if across == 1 {
            Left::Rows(values, down)
        } else {
            turned =
                values.chunks(across).take(depth).flat_map(|column| column[..rows].iter().copied()).collect::<Vec<_>>();
            Left::Columns(&turned, rows)
        };
        for (i, panel) in panels.chunks_exact(PANEL * depth).enumerate() {
            let column = i * PANEL;
            let store = match bias {
                Some(bias) => Store::Bias(&bias[column..]),
                None if place[1] > 0 => Store::Add,
                None => Store::Replace,
            };
            let mut out = Out { values: &mut out[column..], stride: columns };
            let sizes = [rows, depth, (columns - column).min(PANEL)];
            product(simd, sizes, left, Right { values: panel, stride: PANEL }, &mut out, store);
        }
    }
}
