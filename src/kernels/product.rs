//! Small matrix products that stay in the registers: the inner loops of attention.
//!
//! `M` rows, `N` columns, `K` depth: `C[m, n] = sum over k of A[m, k] B[k, n]`.

use pulp::Simd;

/// Values that are always taken together: a whole number of vectors on every processor.
pub const STEP: usize = 16;

/// The left operand.
#[derive(Clone, Copy)]
pub enum Left<'a> {
    /// `[M, K]`, each row in one piece, rows as many values apart as the number says.
    Rows(&'a [f32], usize),
    /// Its transpose `[K, M]`, likewise.
    Columns(&'a [f32], usize),
}

/// What becomes of the values that stand in the result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// They are overwritten.
    Replace,
    /// The product is added to them.
    Add,
}

/// The sizes of a product.
#[derive(Clone, Copy)]
pub struct Sizes {
    /// `M`
    pub rows: usize,
    /// `K`
    pub depth: usize,
    /// `N`, a multiple of [`STEP`]: also how far apart the rows of the right operand and of the result are.
    pub columns: usize,
}

/// Writes or adds the product of `left` and `right`, `[K, N]`, to `out`, `[M, N]`.
#[inline(always)]
pub fn product<S: Simd>(simd: S, sizes: Sizes, left: Left, right: &[f32], out: &mut [f32], store: Store) {
    let lanes = S::F32_LANES;
    let mut column = 0;
    while column < sizes.columns {
        let vectors = (sizes.columns - column) / lanes;
        // Three vectors of columns fill the registers best; four go as two and two.
        let taken = match vectors {
            1 => strip::<S, 1>(simd, sizes, column, left, right, out, store),
            2 | 4 => strip::<S, 2>(simd, sizes, column, left, right, out, store),
            _ => strip::<S, 3>(simd, sizes, column, left, right, out, store),
        };
        column += taken * lanes;
    }
}

/// `V` vectors of columns of all rows; returns `V`.
#[inline(always)]
fn strip<S: Simd, const V: usize>(
    simd: S,
    sizes: Sizes,
    column: usize,
    left: Left,
    right: &[f32],
    out: &mut [f32],
    store: Store,
) -> usize {
    let mut row = 0;
    if S::REGISTER_COUNT >= 32 {
        while row + 8 <= sizes.rows {
            tile::<S, 8, V>(simd, sizes, [row, column], left, right, out, store);
            row += 8;
        }
    }
    while row + 4 <= sizes.rows {
        tile::<S, 4, V>(simd, sizes, [row, column], left, right, out, store);
        row += 4;
    }
    while row < sizes.rows {
        tile::<S, 1, V>(simd, sizes, [row, column], left, right, out, store);
        row += 1;
    }
    V
}

/// `R` rows by `V` vectors of columns, summed in `R * V` registers.
#[inline(always)]
fn tile<S: Simd, const R: usize, const V: usize>(
    simd: S,
    sizes: Sizes,
    [row, column]: [usize; 2],
    left: Left,
    right: &[f32],
    out: &mut [f32],
    store: Store,
) {
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    let right = right[column..].chunks(sizes.columns).take(sizes.depth);
    match left {
        Left::Rows(values, stride) => {
            let mut rows = [values; R];
            for (r, slot) in rows.iter_mut().enumerate() {
                *slot = &values[(row + r) * stride..][..sizes.depth];
            }
            for (k, right) in right.enumerate() {
                let mut left = [0.0; R];
                for r in 0..R {
                    left[r] = rows[r][k];
                }
                step(simd, &left, right, &mut sums);
            }
        }
        Left::Columns(values, stride) => {
            for (left, right) in values[row..].chunks(stride).zip(right) {
                step(simd, &left[..R], right, &mut sums);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        let out = &mut out[(row + r) * sizes.columns + column..][..V * S::F32_LANES];
        let (out, _) = S::as_mut_simd_f32s(out);
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = if store == Store::Add { simd.add_f32s(*out, *sum) } else { *sum };
        }
    }
}

/// Adds one term to every sum.
#[inline(always)]
fn step<S: Simd, const R: usize, const V: usize>(simd: S, left: &[f32], right: &[f32], sums: &mut [[S::f32s; V]; R]) {
    let left = &left[..R];
    let (right, _) = S::as_simd_f32s(&right[..V * S::F32_LANES]);
    let right = &right[..V];
    for r in 0..R {
        let left = simd.splat_f32s(left[r]);
        for v in 0..V {
            sums[r][v] = simd.mul_add_e_f32s(left, right[v], sums[r][v]);
        }
    }
}
