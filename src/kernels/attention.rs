//! Self-attention over the packed product of queries, keys and values, a block of queries of one head at a time.
//!
//! `B` batch, `N` tokens, `H` heads, `K` head size, `P` head size filled up to whole steps, `W` queries of a block.
//!
//! For query `i` with scores `s[j] = q[i] . k[j] / sqrt(K)`, the result is `sum over j of p[j] v[j]` with
//! `p = softmax(s)`. Only the scores of one block, `[N, W]`, ever exist; the backward pass makes them again from
//! the logarithm of each query's sum. Blocks are kept with a key's scores in one piece, so that softmax runs over all
//! queries of a block at once.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::elementary::exp;
use super::product::{Left, Out, Right, STEP, Store, product};
use super::workspace::{Workspace, cut};

/// The most queries of a block: its scores and those of the gradient stay in the second cache at usual lengths.
const BLOCK: usize = 64;

/// The sizes of an attention.
#[derive(Debug, Clone, Copy)]
pub struct Shapes {
    /// B
    pub batch: usize,
    /// N
    pub tokens: usize,
    /// H
    pub heads: usize,
    /// K
    pub size: usize,
    /// Of the scores, usually `1 / sqrt(K)`.
    pub scale: f32,
}

impl Shapes {
    /// Values that a thread's workspace needs.
    pub fn workspace(self) -> usize {
        self.pieces().iter().sum()
    }

    /// Lengths of queries, keys and values of one head, and of a block's queries, scores, results and sums.
    #[inline(always)]
    fn pieces(self) -> [usize; 7] {
        let Self { tokens, size, .. } = self;
        let (padded, widest) = (size.next_multiple_of(STEP), widest(tokens));
        let head = tokens * padded;
        [head, head, head, size * widest, tokens * widest, widest * padded, widest]
    }

    fn workspace_backward(self) -> usize {
        self.pieces_backward().iter().sum()
    }

    /// The same with the gradients of keys, values, queries and scores, and of the result.
    #[inline(always)]
    fn pieces_backward(self) -> [usize; 12] {
        let [head, _, _, turned, scores, mixed, sums] = self.pieces();
        [head, head, head, head, head, head, turned, turned, scores, scores, mixed, sums]
    }

    /// Cuts `values`, `[B, N, parts, H, K]`, into the rows of each (sample, head): `N * parts` rows.
    fn rows(self, values: &mut [f32], parts: usize) -> Vec<Vec<&mut [f32]>> {
        let Self { batch, tokens, heads, size, .. } = self;
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

/// Where the result of an attention goes, and what else is known of it.
pub struct Outputs<'a> {
    /// The result, `[B, N, H K]`.
    pub mixed: &'a mut [f32],
    /// The same values head by head, `[B, H, N, K]`.
    pub heads: &'a mut [f32],
    /// The logarithm of each query's sum, `[B, H, N]`.
    pub log_sums: &'a mut [f32],
}

/// Attention over `qkv`, `[B, N, 3 H K]`.
pub fn forward(shapes: Shapes, arch: Arch, workspace: &Workspace, qkv: &[f32], outputs: Outputs) {
    let Shapes { tokens, heads, size, .. } = shapes;
    if outputs.mixed.is_empty() {
        return;
    }
    let tasks = outputs.heads.par_chunks_exact_mut(tokens * size).zip(outputs.log_sums.par_chunks_exact_mut(tokens));
    tasks.enumerate().for_each(|(task, (rows, log_sums))| {
        workspace.with(|scratch| arch.dispatch(Forward { shapes, qkv, task, rows, log_sums, scratch }));
    });
    let by_head = &*outputs.heads;
    outputs.mixed.par_chunks_exact_mut(heads * size).enumerate().for_each(|(row, to)| {
        let (sample, token) = (row / tokens, row % tokens);
        for (head, to) in to.chunks_exact_mut(size).enumerate() {
            to.copy_from_slice(&by_head[((sample * heads + head) * tokens + token) * size..][..size]);
        }
    });
}

/// The gradient of `[B, N, 3 H K]` from that of the result, `[B, N, H K]`.
pub fn backward(qkv: &[f32], log_sums: &[f32], grad: &[f32], shapes: Shapes) -> Vec<f32> {
    let Shapes { batch, tokens, heads, size, .. } = shapes;
    let mut result = vec![0.0; batch * tokens * 3 * heads * size];
    let arch = Arch::new();
    let workspace = Workspace::new(shapes.workspace_backward());
    let tasks = shapes.rows(&mut result, 3).into_par_iter().zip(log_sums.par_chunks(tokens.max(1)));
    tasks.enumerate().for_each(|(task, (rows, log_sums))| {
        workspace.with(|scratch| arch.dispatch(Backward { shapes, qkv, grad, task, rows, log_sums, scratch }));
    });
    result
}

struct Forward<'a, 'b> {
    shapes: Shapes,
    qkv: &'a [f32],
    task: usize,
    /// `[N, K]`
    rows: &'b mut [f32],
    log_sums: &'b mut [f32],
    scratch: &'a mut [f32],
}

impl WithSimd for Forward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { shapes, qkv, task, rows, log_sums, scratch } = self;
        let Shapes { tokens, size, .. } = shapes;
        let padded = size.next_multiple_of(STEP);
        let [queries, keys, values, turned, scores, mixed, sums] = cut(scratch, shapes.pieces());
        for (part, to) in [&mut *queries, &mut *keys, &mut *values].into_iter().enumerate() {
            shapes.gather(qkv, [part, 3], task, padded, to);
        }
        for Queries { start, count, width } in blocks(tokens) {
            let (turned, scores) = (&mut turned[..size * width], &mut scores[..tokens * width]);
            let (mixed, sums) = (&mut mixed[..width * padded], &mut sums[..width]);
            transpose(&queries[start * padded..][..count * padded], padded, shapes.scale, width, turned);
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
            let rows = rows[start * size..].chunks_exact_mut(size);
            for ((row, mixed), sum) in rows.zip(mixed.chunks_exact(padded)).zip(&*sums).take(count) {
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
    scratch: &'a mut [f32],
}

impl WithSimd for Backward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { shapes, qkv, grad, task, mut rows, log_sums, scratch } = self;
        let Shapes { tokens, size, .. } = shapes;
        let padded = size.next_multiple_of(STEP);
        let [queries, keys, values, grads, dkeys, dvalues, turned, dturned, shares, dscores, dqueries, column] =
            cut(scratch, shapes.pieces_backward());
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

            transpose(queries, padded, shapes.scale, width, turned);
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
            softmax_backward(shares, dscores, width, shapes.scale);

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
