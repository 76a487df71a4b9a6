//! Matrix products of one thread, a tile of the result in the registers at a time.
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

/// The right operand, `[K, N]`: its rows are `stride` values apart, and up to the next multiple of [`STEP`] columns they
/// can be read.
#[derive(Clone, Copy)]
pub struct Right<'a> {
    /// All values.
    pub values: &'a [f32],
    /// From row to row.
    pub stride: usize,
}

/// The result, `[M, N]`.
pub struct Out<'a> {
    /// All values.
    pub values: &'a mut [f32],
    /// From row to row.
    pub stride: usize,
}

/// What is added to the product.
#[derive(Clone, Copy)]
pub enum Store {
    /// Nothing.
    Replace,
    /// What stands in the result.
    Add,
}

/// Writes the product of `left` and `right`, of sizes `[M, K, N]`.
#[inline(always)]
pub fn product<S: Simd>(simd: S, sizes: [usize; 3], left: Left, right: Right, out: &mut Out, store: Store) {
    let mut column = 0;
    while column < sizes[2] {
        let vectors = (sizes[2] - column).div_ceil(S::F32_LANES);
        // Three vectors of columns fill the registers best; four go as two and two.
        let taken = match vectors {
            1 => strip::<S, 1>(simd, sizes, column, left, right, out, store),
            2 | 4 => strip::<S, 2>(simd, sizes, column, left, right, out, store),
            _ => strip::<S, 3>(simd, sizes, column, left, right, out, store),
        };
        column += taken * S::F32_LANES;
    }
}

/// `V` vectors of columns of all rows; returns `V`.
#[inline(always)]
fn strip<S: Simd, const V: usize>(
    simd: S,
    sizes: [usize; 3],
    column: usize,
    left: Left,
    right: Right,
    out: &mut Out,
    store: Store,
) -> usize {
    let mut row = 0;
    if S::REGISTER_COUNT >= 32 {
        while row + 8 <= sizes[0] {
            tile::<S, 8, V>(simd, sizes, [row, column], left, right, out, store);
            row += 8;
        }
    }
    while row + 4 <= sizes[0] {
        tile::<S, 4, V>(simd, sizes, [row, column], left, right, out, store);
        row += 4;
    }
    while row < sizes[0] {
        tile::<S, 1, V>(simd, sizes, [row, column], left, right, out, store);
        row += 1;
    }
    V
}

/// `R` rows by `V` vectors of columns.
#[inline(always)]
fn tile<S: Simd, const R: usize, const V: usize>(
    simd: S,
    [_, depth, columns]: [usize; 3],
    [row, column]: [usize; 2],
    left: Left,
    right: Right,
    out: &mut Out,
    store: Store,
) {
    // A copy, so that the sums themselves are never indexed by a variable and stay in registers.
    let sums = sums::<S, R, V>(simd, depth, row, left, &right.values[column..], right.stride);
    for (r, sums) in sums.iter().enumerate() {
        let out = &mut out.values[(row + r) * out.stride..];
        if column + V * S::F32_LANES <= columns {
            let (out, _) = S::as_mut_simd_f32s(&mut out[column..column + V * S::F32_LANES]);
            match store {
                Store::Replace => out.iter_mut().zip(sums).for_each(|(out, sum)| *out = *sum),
                Store::Add => out.iter_mut().zip(sums).for_each(|(out, sum)| *out = simd.add_f32s(*out, *sum)),
            }
            continue;
        }
        for (v, sum) in sums.iter().enumerate() {
            let places = column + v * S::F32_LANES..(column + (v + 1) * S::F32_LANES).min(columns);
            let out = &mut out[places];
            let sum = match store {
                Store::Replace => *sum,
                Store::Add => simd.add_f32s(simd.partial_load_f32s(out), *sum),
            };
            simd.partial_store_f32s(out, sum);
        }
    }
}

/// The sums of a tile, in `R * V` registers.
#[inline(always)]
fn sums<S: Simd, const R: usize, const V: usize>(
    simd: S,
    depth: usize,
    row: usize,
    left: Left,
    right: &[f32],
    stride: usize,
) -> [[S::f32s; V]; R] {
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    let right = right.chunks(stride).take(depth);
    match left {
        Left::Rows(values, stride) => {
            let mut rows = [values; R];
            for (r, slot) in rows.iter_mut().enumerate() {
                *slot = &values[(row + r) * stride..][..depth];
            }
            for (k, right) in (0..depth).zip(right) {
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
    sums
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

#[cfg(test)]
mod tests {
    use pulp::WithSimd;

    use super::super::tests::archs;
    use super::*;
    use crate::random::{Purpose, Stream};

    struct Work<'a>([usize; 3], Left<'a>, Right<'a>, Out<'a>, Store);

    impl WithSimd for Work<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, simd: S) {
            assert_eq!(STEP % S::F32_LANES, 0);
            product(simd, self.0, self.1, self.2, &mut self.3, self.4);
        }
    }

    #[test]
    fn products_equal_their_sums_on_every_instruction_set() {
        let mut stream = Stream::new(0, 0, 0, Purpose::Init);
        let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| stream.normal() as f32).collect() };
        for [m, k, n] in [[1usize, 1, 1], [4, 3, 16], [13, 7, 33], [21, 50, 64], [9, 5, 48]] {
            let (stride, gap) = (n.next_multiple_of(STEP), 3);
            let (left, right) = (draw(m * (k + gap)), draw(k * stride));
            let turned: Vec<f32> =
                (0..k).flat_map(|k_| (0..m).map(move |i| (i, k_))).map(|(i, j)| left[i * (k + gap) + j]).collect();
            for arch in archs() {
                for operand in [Left::Rows(&left, k + gap), Left::Columns(&turned, m)] {
                    for store in [Store::Replace, Store::Add] {
                        let mut found = vec![2.0; m * n];
                        let out = Out { values: &mut found, stride: n };
                        arch.dispatch(Work([m, k, n], operand, Right { values: &right, stride }, out, store));
                        for (i, found) in found.iter().enumerate() {
                            let (row, column) = (i / n, i % n);
                            let sum: f32 = (0..k).map(|j| left[row * (k + gap) + j] * right[j * stride + column]).sum();
                            let wanted = sum
                                + match store {
                                    Store::Replace => 0.0,
                                    Store::Add => 2.0,
                                };
                            // Sums of at most 50 terms of order 1, in another order.
                            assert!((found - wanted).abs() < 2e-5, "{m}x{k}x{n} at {row}, {column} on {arch:?}");
                        }
                    }
                }
            }
        }
    }
}
