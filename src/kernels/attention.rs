//! Self-attention over the packed product of queries, keys and values, a block of queries of one head at a time.
//!
//! `B` batch, `N` tokens, `H` heads, `K` head size, `P` head size filled up to whole steps, `W` queries of a block.
//!
//! For query `i` with scores `s[j] = q[i] . k[j] / sqrt(K)`, the result is `sum over j of p[j] v[j]` with
//! `p = softmax(s)`. Only the scores of one block, `[N, W]`, ever exist; the backward pass makes them again from
//! the logarithm of each query's sum. Blocks are kept with a key's scores in one piece, so that softmax runs over all
//! queries of a block at once.

use burn::backend::Shape;
use burn::backend::flex::FlexTensor;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::elementary::exp;
use super::memory::tensor;
use super::product::{Left, Out, Right, STEP, Store, product};

/// The most queries of a block: its scores and those of the gradient stay in the second cache at usual lengths.
const BLOCK: usize = 64;

#[derive(Clone, Copy)]
struct Shapes {
    batch: usize,
    tokens: usize,
    heads: usize,
    size: usize,
}

impl Shapes {
    fn of(qkv: &FlexTensor, heads: usize) -> Self {
        let [batch, tokens, triple] = qkv.layout().shape().dims();
        Self { batch, tokens, heads, size: triple / 3 / heads }
    }

    fn scale(self) -> f32 {
        1.0 / (self.size as f32).sqrt()
    }

    /// Cuts `values`, `[B, N, parts, H, K]`, into the rows of each (sample, head): `N * parts` rows.
    fn rows(self, values: &mut [f32], parts: usize) -> Vec<Vec<&mut [f32]>> {
        let Self { batch, tokens, heads, size } = self;
        let mut rows: Vec<Vec<_>> = (0..batch * heads).map(|_| Vec::with_capacity(tokens * parts)).collect();
        for (i, row) in values.chunks_exact_mut(size).enumerate() {
            let (sample, head) = (i / (heads * parts * tokens), i % heads);
            rows[sample * heads + head].push(row);
        }
        rows
    }

    /// Copies one part (of `parts`) of `values`, `[B, N, parts, H, K]`, that belongs to one (sample, head), to `[N, P]`.
    fn gather(self, values: &[f32], [part, parts]: [usize; 2], task: usize, padded: usize, to: &mut [f32]) {
        let Self { tokens, heads, size, .. } = self;
        let (sample, head) = (task / heads, task % heads);
        for (token, to) in to.chunks_exact_mut(padded).enumerate() {
            let start = (((sample * tokens + token) * parts + part) * heads + head) * size;
            to[..size].copy_from_slice(&values[start..start + size]);
        }
    }
}

/// The result, `[B, N, H K]`, and the logarithm of each query's sum, `[B, H, N]`, from `[B, N, 3 H K]`.
pub fn forward(qkv: &FlexTensor, heads: usize) -> (FlexTensor, Vec<f32>) {
    let shapes = Shapes::of(qkv, heads);
    let Shapes { batch, tokens, heads, size } = shapes;
    let qkv = qkv.to_contiguous();
    let qkv = qkv.storage::<f32>();
    let mut mixed = vec![0.0; batch * tokens * heads * size];
    let mut log_sums = vec![0.0; batch * heads * tokens];
    let arch = Arch::new();
    let tasks = shapes.rows(&mut mixed, 1).into_par_iter().zip(log_sums.par_chunks_mut(tokens.max(1)));
    tasks.enumerate().for_each_init(Vec::new, |scratch, (task, (rows, log_sums))| {
        arch.dispatch(Forward { shapes, qkv, task, rows, log_sums, scratch });
    });
    (tensor(mixed, Shape::from([batch, tokens, heads * size])), log_sums)
}

/// The gradient of `[B, N, 3 H K]` from that of the result, `[B, N, H K]`.
pub fn backward(qkv: &FlexTensor, log_sums: &[f32], grad: &FlexTensor, heads: usize) -> FlexTensor {
    let shapes = Shapes::of(qkv, heads);
    let Shapes { batch, tokens, heads, size } = shapes;
    let (qkv, grad) = (qkv.to_contiguous(), grad.to_contiguous());
    let (qkv, grad) = (qkv.storage::<f32>(), grad.storage::<f32>());
    let mut result = vec![0.0; batch * tokens * 3 * heads * size];
    let arch = Arch::new();
    let tasks = shapes.rows(&mut result, 3).into_par_iter().zip(log_sums.par_chunks(tokens.max(1)));
    tasks.enumerate().for_each_init(Vec::new, |scratch, (task, (rows, log_sums))| {
        arch.dispatch(Backward { shapes, qkv, grad, task, rows, log_sums, scratch });
    });
    tensor(result, Shape::from([batch, tokens, 3 * heads * size]))
}

struct Forward<'a, 'b> {
    shapes: Shapes,
    qkv: &'a [f32],
    task: usize,
    rows: Vec<&'b mut [f32]>,
    log_sums: &'b mut [f32],
    scratch: &'a mut Vec<f32>,
}

impl WithSimd for Forward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { shapes, qkv, task, mut rows, log_sums, scratch } = self;
        let Shapes { tokens, size, .. } = shapes;
        let padded = size.next_multiple_of(STEP);
        let widest = widest(tokens);
        let lengths = [tokens * padded; 3].into_iter().chain([size * widest, tokens * widest, widest * padded, widest]);
        let [queries, keys, values, turned, scores, mixed, sums] = cut(scratch, lengths.collect());
        for (part, to) in [&mut *queries, &mut *keys, &mut *values].into_iter().enumerate() {
            shapes.gather(qkv, [part, 3], task, padded, to);
        }
        for Queries { start, count, width } in blocks(tokens) {
            let (turned, scores) = (&mut turned[..size * width], &mut scores[..tokens * width]);
            let (mixed, sums) = (&mut mixed[..width * padded], &mut sums[..width]);
            transpose(&queries[start * padded..][..count * padded], padded, shapes.scale(), width, turned);
            product(
                simd,
                [tokens, size, width],
                Left::Rows(keys, padded),
                right(turned, width),
                &mut out(scores, width),
                Store::Replace,
            );
            softmax(scores, sums, &mut log_sums[start..start + count]);
            product(
                simd,
                [count, tokens, padded],
                Left::Columns(scores, width),
                right(values, padded),
                &mut out(mixed, padded),
                Store::Replace,
            );
            for ((row, mixed), sum) in rows[start..].iter_mut().zip(mixed.chunks_exact(padded)).zip(&*sums).take(count)
            {
                row.iter_mut().zip(mixed).for_each(|(to, mixed)| *to = mixed / sum);
            }
        }
    }
}

struct Backward<'a, 'b> {
    shapes: Shapes,
    qkv: &'a [f32],
    grad: &'a [f32],
    task: usize,
    /// Of each token in turn: the gradient of its query, key and value.
    rows: Vec<&'b mut [f32]>,
    log_sums: &'a [f32],
    scratch: &'a mut Vec<f32>,
}

impl WithSimd for Backward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { shapes, qkv, grad, task, mut rows, log_sums, scratch } = self;
        let Shapes { tokens, size, .. } = shapes;
        let padded = size.next_multiple_of(STEP);
        let widest = widest(tokens);
        let lengths = [tokens * padded; 6].into_iter().chain([size * widest; 2]).chain([tokens * widest; 2]);
        let lengths = lengths.chain([widest * padded, widest]);
        let [queries, keys, values, grads, dkeys, dvalues, turned, dturned, shares, dscores, dqueries, column] =
            cut(scratch, lengths.collect());
        for (part, to) in [&mut *queries, &mut *keys, &mut *values].into_iter().enumerate() {
            shapes.gather(qkv, [part, 3], task, padded, to);
        }
        shapes.gather(grad, [0, 1], task, padded, grads);
        dkeys.fill(0.0);
        dvalues.fill(0.0);
        for Queries { start, count, width } in blocks(tokens) {
            let (turned, dturned) = (&mut turned[..size * width], &mut dturned[..size * width]);
            let (shares, dscores) = (&mut shares[..tokens * width], &mut dscores[..tokens * width]);
            let (dqueries, column) = (&mut dqueries[..width * padded], &mut column[..width]);
            let queries = &queries[start * padded..][..count * padded];
            let grads = &grads[start * padded..][..count * padded];

            transpose(queries, padded, shapes.scale(), width, turned);
            product(
                simd,
                [tokens, size, width],
                Left::Rows(keys, padded),
                right(turned, width),
                &mut out(shares, width),
                Store::Replace,
            );
            column.fill(0.0);
            column[..count].copy_from_slice(&log_sums[start..start + count]);
            shares_of(shares, column);
            transpose(grads, padded, 1.0, width, dturned);
            product(
                simd,
                [tokens, size, width],
                Left::Rows(values, padded),
                right(dturned, width),
                &mut out(dscores, width),
                Store::Replace,
            );
            softmax_backward(shares, dscores, width, shapes.scale());

            product(
                simd,
                [count, tokens, padded],
                Left::Columns(dscores, width),
                right(keys, padded),
                &mut out(dqueries, padded),
                Store::Replace,
            );
            let sizes = [tokens, count, padded];
            product(
                simd,
                sizes,
                Left::Rows(dscores, width),
                right(queries, padded),
                &mut out(dkeys, padded),
                Store::Add,
            );
            product(
                simd,
                sizes,
                Left::Rows(shares, width),
                right(grads, padded),
                &mut out(dvalues, padded),
                Store::Add,
            );
            for (token, dquery) in dqueries.chunks_exact(padded).enumerate().take(count) {
                rows[(start + token) * 3].copy_from_slice(&dquery[..size]);
            }
        }
        for token in 0..tokens {
            rows[token * 3 + 1].copy_from_slice(&dkeys[token * padded..][..size]);
            rows[token * 3 + 2].copy_from_slice(&dvalues[token * padded..][..size]);
        }
    }
}

fn right(values: &[f32], stride: usize) -> Right<'_> {
    Right { values, stride }
}

fn out(values: &mut [f32], stride: usize) -> Out<'_> {
    Out { values, stride }
}

/// A block of queries: the first, how many, and their number filled up to whole steps.
struct Queries {
    start: usize,
    count: usize,
    width: usize,
}

fn blocks(tokens: usize) -> impl Iterator<Item = Queries> {
    let widest = widest(tokens);
    (0..tokens).step_by(widest.max(1)).map(move |start| {
        let count = widest.min(tokens - start);
        Queries { start, count, width: count.next_multiple_of(STEP) }
    })
}

/// The queries of the widest block.
fn widest(tokens: usize) -> usize {
    tokens.next_multiple_of(STEP).min(BLOCK)
}

/// Cuts `scratch` into pieces of `lengths`, after making it long enough; what it held stands there still.
#[inline(always)]
fn cut<const N: usize>(scratch: &mut Vec<f32>, lengths: Vec<usize>) -> [&mut [f32]; N] {
    let all = lengths.iter().sum();
    if scratch.len() < all {
        scratch.resize(all, 0.0);
    }
    let mut rest = &mut scratch[..];
    std::array::from_fn(|i| {
        let (piece, after) = std::mem::take(&mut rest).split_at_mut(lengths[i]);
        rest = after;
        piece
    })
}

/// Writes rows of `padded` values, scaled, as columns of `turned`, `[K, W]`; columns beyond the rows become 0.
#[inline(always)]
fn transpose(rows: &[f32], padded: usize, scale: f32, width: usize, turned: &mut [f32]) {
    turned.fill(0.0);
    for (column, row) in rows.chunks_exact(padded).enumerate() {
        for (turned, value) in turned.chunks_exact_mut(width).zip(row) {
            turned[column] = value * scale;
        }
    }
}

/// Turns scores, `[N, W]`, into `e^(score - largest)` over each column, with their sums and the logarithms of the sums
/// of `e^score`.
#[inline(always)]
fn softmax(scores: &mut [f32], sums: &mut [f32], log_sums: &mut [f32]) {
    let width = sums.len();
    for (group, sums) in sums.as_chunks_mut::<STEP>().0.iter_mut().enumerate() {
        let mut largest = [f32::NEG_INFINITY; STEP];
        for scores in scores.chunks_exact(width) {
            let scores = &scores.as_chunks::<STEP>().0[group];
            for i in 0..STEP {
                largest[i] = if scores[i] > largest[i] { scores[i] } else { largest[i] };
            }
        }
        let mut total = [0.0; STEP];
        for scores in scores.chunks_exact_mut(width) {
            let scores = &mut scores.as_chunks_mut::<STEP>().0[group];
            for i in 0..STEP {
                scores[i] = exp(scores[i] - largest[i]);
                total[i] += scores[i];
            }
        }
        *sums = total;
        let log_sums = log_sums.iter_mut().skip(group * STEP);
        log_sums.zip(largest).zip(total).for_each(|((log_sum, largest), total)| *log_sum = largest + total.ln());
    }
}

/// Turns scores, `[N, W]`, into shares, from the logarithms of the columns' sums.
#[inline(always)]
fn shares_of(scores: &mut [f32], log_sums: &[f32]) {
    for scores in scores.chunks_exact_mut(log_sums.len()) {
        for (scores, log_sums) in scores.as_chunks_mut::<STEP>().0.iter_mut().zip(log_sums.as_chunks::<STEP>().0) {
            for i in 0..STEP {
                scores[i] = exp(scores[i] - log_sums[i]);
            }
        }
    }
}

/// Turns the gradient of shares `p`, `[N, W]`, into that of the unscaled scores: `p (dp - sum of p dp) scale`.
#[inline(always)]
fn softmax_backward(shares: &[f32], grads: &mut [f32], width: usize, scale: f32) {
    for group in 0..width / STEP {
        let mut sums = [0.0; STEP];
        for (shares, grads) in shares.chunks_exact(width).zip(grads.chunks_exact(width)) {
            let (shares, grads) = (&shares.as_chunks::<STEP>().0[group], &grads.as_chunks::<STEP>().0[group]);
            for i in 0..STEP {
                sums[i] += shares[i] * grads[i];
            }
        }
        for (shares, grads) in shares.chunks_exact(width).zip(grads.chunks_exact_mut(width)) {
            let (shares, grads) = (&shares.as_chunks::<STEP>().0[group], &mut grads.as_chunks_mut::<STEP>().0[group]);
            for i in 0..STEP {
                grads[i] = shares[i] * (grads[i] - sums[i]) * scale;
            }
        }
    }
}
