//! Every operation, in many shapes and both ways of storing values, computes on a GPU what its twin computes.

use std::sync::Arc;

use anyjepa::compile::wgsl::{self, MATMUL_TILES, Tile};
use anyjepa::compile::{Dtype, Epilogue, Kernel};
use anyjepa::runtime::gpu::Gpu;
use anyjepa::runtime::twin;

use crate::device::{Operation, computed, dtypes, gpu, normal};

/// The unit of 32-bit and of 16-bit floats.
const UNIT: f64 = 1.0 / (1 << 24) as f64;
const HALF_UNIT: f64 = 1.0 / (1 << 11) as f64;
/// A sum of K terms that round at random is off by sqrt(K) units of its terms; the largest of some thousand sums by a
/// few times that. What stays exact, such as a copy, has none.
const SLACK: f64 = 4.0;

/// The scores of normal queries and keys stay below it.
const MILD: f64 = 4.0;

/// How far a result may be off: units x sqrt(K) x the largest value, and the rounding of a result in 16 bits.
fn tolerance(operation: &Operation, expected: &[f32]) -> f64 {
    let root = |depth: usize| (depth as f64).sqrt();
    let terms = match operation.kernel {
        Kernel::Patchify { .. } | Kernel::Gather { .. } => 0.0,
        Kernel::Matmul { k, .. } => root(k),
        // The mean is rounded as a value of its size, and what is left of it stands beside the deviation.
        Kernel::Norm { dim, .. } => root(dim) + mean_over_deviation(&operation.operands[0].1, dim),
        // Weights sum to one: their errors are those of the scores, sums of K terms, and as large as these.
        Kernel::Attention { size, .. } => root(4 * size) * (largest_score(operation) / MILD).max(1.0),
        Kernel::Pool { tokens, .. } => root(tokens),
    };
    let scale = expected.iter().filter(|value| !value.is_nan()).map(|value| f64::from(value.abs())).fold(0.0, f64::max);
    let rounding = match operation.operands.last() {
        Some((Dtype::F16, _)) => HALF_UNIT * scale,
        _ => 0.0,
    };
    SLACK * UNIT * terms * scale.max(1.0) + rounding
}

/// Of the row that is farthest from zero for its deviation.
fn mean_over_deviation(x: &[f32], dim: usize) -> f64 {
    let of = |row: &[f32]| {
        let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / dim as f64;
        let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / dim as f64;
        mean.abs() / (variance + f64::from(EPS)).sqrt()
    };
    x.chunks(dim).map(of).fold(0.0, f64::max)
}

/// The largest score of an attention, without its sign.
fn largest_score(operation: &Operation) -> f64 {
    let Kernel::Attention { batch, tokens, heads, size, scale } = operation.kernel else { return 0.0 };
    let qkv = &operation.operands[0].1;
    let at = |token: usize, part: usize, head: usize| &qkv[((token * 3 + part) * heads + head) * size..][..size];
    let mut largest = 0.0_f64;
    for (query, head) in (0..batch * tokens).flat_map(|query| (0..heads).map(move |head| (query, head))) {
        for key in query / tokens * tokens..(query / tokens + 1) * tokens {
            let products = at(query, 0, head).iter().zip(at(key, 1, head)).map(|(q, k)| f64::from(*q) * f64::from(*k));
            largest = largest.max((products.sum::<f64>() * f64::from(scale)).abs());
        }
    }
    largest
}

/// Compares all operations; a failure names each kernel and variant that is off, with the first bad index.
fn check(operations: &[Operation], tile: Option<Tile>) {
    let Some(gpu) = gpu() else { return };
    check_on(&gpu, operations, tile);
}

/// Likewise, on a device.
pub fn check_on(gpu: &Arc<Gpu>, operations: &[Operation], tile: Option<Tile>) {
    let mut failures = Vec::new();
    for (operation, found) in operations.iter().zip(computed(gpu, operations, tile)) {
        let expected = operation.expected();
        let tolerance = tolerance(operation, &expected);
        // Where the twin writes nothing, the poison must still stand.
        let off = |(found, expected): &(&f32, &f32)| match expected.is_nan() {
            true => !found.is_nan(),
            false => {
                let off = (f64::from(**found) - f64::from(**expected)).abs();
                off > tolerance || off.is_nan()
            }
        };
        let pairs = found.iter().zip(&expected);
        let share = |(found, expected): (&f32, &f32)| (f64::from(*found) - f64::from(*expected)).abs() / tolerance;
        let worst = pairs.clone().map(share).max_by(f64::total_cmp).unwrap_or(0.0);
        eprintln!("{}: {worst:.3} of the tolerance", operation.label);
        if let Some((i, (found, expected))) = pairs.clone().enumerate().find(|(_, pair)| off(pair)) {
            let stored: Vec<Dtype> = operation.operands.iter().map(|(dtype, _)| *dtype).collect();
            let shader = wgsl::shader(&operation.kernel, &stored, tile).unwrap();
            let count = pairs.filter(off).count();
            failures.push(format!(
                "{}\n  {}: {count} values are off, first at {i}: {found}, expected {expected} to {tolerance:e}",
                operation.label, shader.permutation,
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

pub fn products(shapes: &[(usize, usize, usize)], half: bool) -> Vec<Operation> {
    let epilogues = [Epilogue::Bias, Epilogue::Gelu, Epilogue::Residual, Epilogue::Position];
    let each = |(m, k, n): &(usize, usize, usize)| {
        epilogues.map(|epilogue| {
            let table = if epilogue == Epilogue::Position { m.div_ceil(2) } else { 0 };
            Operation::new(Kernel::Matmul { m: *m, k: *k, n: *n, epilogue, table }, half)
        })
    };
    shapes.iter().flat_map(each).collect()
}

#[test]
fn products_of_every_tile_and_epilogue_equal_their_twins() {
    for half in [false, true] {
        for tile in MATMUL_TILES {
            check(&products(&[(1, 4, 4), (197, 68, 132)], half), Some(tile));
        }
        check(&products(&[(1, 36, 20), (65, 100, 96), (1000, 48, 36)], half), None);
    }
}

#[test]
fn products_whose_sizes_are_no_multiples_of_four_equal_their_twins() {
    for half in [false, true] {
        check(&products(&[(1, 1, 1), (49, 49, 96), (70, 64, 67), (3, 33, 130)], half), None);
    }
}

/// A product of 16 bits whose result is the first of the residual stream.
pub fn begins(m: usize, k: usize, n: usize) -> Operation {
    let mut operation = Operation::new(Kernel::Matmul { m, k, n, epilogue: Epilogue::Bias, table: 0 }, true);
    operation.operands.last_mut().unwrap().0 = Dtype::F32;
    operation
}

#[test]
fn products_of_16_bits_may_begin_the_residual_stream() {
    for tile in MATMUL_TILES {
        check(&[begins(1, 4, 4), begins(197, 68, 132)], Some(tile));
    }
    check(&[begins(49, 49, 96)], None);
}

/// A product of queries, keys and values that turns them.
pub fn turned(m: usize, k: usize, heads: usize, size: usize, half: bool) -> Operation {
    let epilogue = Epilogue::Rotation { size };
    Operation::new(Kernel::Matmul { m, k, n: 3 * heads * size, epilogue, table: m.div_ceil(2) }, half)
}

#[test]
fn queries_and_keys_are_turned_as_their_twins_turn_them() {
    for half in [false, true] {
        for tile in MATMUL_TILES {
            check(&[turned(197, 68, 2, 88, half)], Some(tile));
        }
        check(&[turned(1, 4, 1, 4, half), turned(70, 16, 3, 20, half)], None);
        // Heads that are no whole number of groups of four, and a depth that is none.
        check(&[turned(1, 1, 1, 2, half), turned(67, 36, 4, 6, half), turned(9, 33, 2, 64, half)], None);
    }
}

fn attention(batch: usize, tokens: usize, heads: usize, size: usize) -> Kernel {
    Kernel::Attention { batch, tokens, heads, size, scale: 1.0 / (size as f32).sqrt() }
}

#[test]
fn attention_of_every_head_size_equals_its_twin() {
    for half in [false, true] {
        let sizes = [1, 6, 8, 12, 20, 24, 32, 33, 40, 48, 64, 66, 72, 80, 88, 100, 104, 127, 128, 130, 200, 256];
        let mut operations: Vec<_> = sizes.map(|size| Operation::new(attention(2, 37, 2, size), half)).into();
        let tokens = [1, 7, 64, 197];
        operations.extend(tokens.map(|tokens| Operation::new(attention(1, tokens, 2, 64), half)));
        operations.push(Operation::new(attention(1, 1000, 1, 24), half));
        // So many heads that a workgroup takes twice the queries.
        operations.extend([6, 24, 64, 90, 104, 129].map(|size| Operation::new(attention(128, 3, 2, size), half)));
        check(&operations, None);
    }
}

/// Queries, keys and values, `[N, 3, H, K]`, whose scores run with the keys from `scores[0]` to `scores[1]`, of every
/// second query with the other sign.
fn pointed(tokens: usize, heads: usize, size: usize, scores: [f32; 2]) -> Vec<f32> {
    let direction = normal(11, size, 1.0);
    let length = direction.iter().map(|x| x * x).sum::<f32>().sqrt();
    // A query and a key along it have a product of `sqrt(size)` times what they are multiplied with.
    let along = |k: usize| direction[k] / length * (size as f32).powf(0.25);
    let mut values = normal(12, tokens * 3 * heads * size, 1.0);
    for (i, value) in values.iter_mut().enumerate() {
        let (token, part, k) = (i / (3 * heads * size), i / (heads * size) % 3, i % size);
        let share = token as f32 / (tokens.max(2) - 1) as f32;
        let score = scores[0] + (scores[1] - scores[0]) * share;
        match part {
            0 => *value = along(k) * if token % 2 == 0 { 10.0 } else { -10.0 },
            1 => *value = along(k) * score / 10.0,
            _ => {}
        }
    }
    values
}

/// `e^100` is beyond 32 bits and `e^-100` is nothing there: only what is relative to the largest score so far is left.
#[test]
fn attention_to_keys_of_large_scores_equals_its_twin() {
    for half in [false, true] {
        let mut operations = Vec::new();
        for (tokens, heads, size) in [(37, 2, 24), (70, 1, 64), (197, 1, 80), (67, 1, 66), (45, 1, 130), (200, 1, 6)] {
            // The largest comes last, or for every second query first; some queries have scores around -100 alone.
            for scores in [[-100.0, 100.0], [90.0, 100.0], [100.0, 90.0]] {
                let operation = Operation::new(attention(1, tokens, heads, size), half);
                let what = format!(" of scores from {} to {}", scores[0], scores[1]);
                operations.push(operation.on(&what, 0, |_| pointed(tokens, heads, size, scores)));
            }
        }
        check(&operations, None);
    }
}

const EPS: f32 = 1e-6;

fn norm(rows: usize, dim: usize, stride: usize, column: usize) -> Kernel {
    Kernel::Norm { rows, dim, eps: EPS, stride, column }
}

#[test]
fn norms_of_rows_far_from_zero_equal_their_twins() {
    for half in [false, true] {
        let far = |rows, dim| {
            let above = |count| normal(13, count, 1.0).into_iter().map(|x| x + 100.0).collect();
            Operation::new(norm(rows, dim, dim, 0), half).on(" of a mean of 100", 0, above)
        };
        check(&[far(5, 192), far(9, 768), far(3, 1279)], None);
    }
}

/// There what is added to the variance decides.
#[test]
fn norms_of_rows_of_small_variance_equal_their_twins() {
    for half in [false, true] {
        let small = |rows: usize, dim: usize| {
            // Variances from 1e-6 to 1e-4, row by row.
            let deviation = |row: usize| 10_f32.powf(-3.0 + row as f32 / (rows - 1) as f32);
            let scaled = |count| {
                let values = normal(14, count, 1.0).into_iter().enumerate();
                values.map(|(i, x)| x * deviation(i / dim)).collect()
            };
            Operation::new(norm(rows, dim, dim, 0), half).on(" of variances from 1e-6 to 1e-4", 0, scaled)
        };
        check(&[small(5, 192), small(9, 768), small(3, 1279)], None);
    }
}

#[test]
fn norms_equal_their_twins_and_leave_other_columns_alone() {
    let kernels = [norm(1, 768, 768, 0), norm(197, 192, 192, 0), norm(7, 1280, 2560, 1280), norm(5, 3, 7, 2)];
    for half in [false, true] {
        check(&kernels.map(|kernel| Operation::new(kernel, half)), None);
    }
}

#[test]
fn patches_are_copied_exactly() {
    let patchify = |batch, channels, [frames, height, width]: [usize; 3], [tubelet, patch]: [usize; 2]| {
        Kernel::Patchify { batch, channels, frames, height, width, tubelet, patch }
    };
    let pictures = [(1, 1, 28, 28, 7), (2, 3, 48, 32, 16), (3, 3, 30, 45, 14)]
        .map(|(batch, channels, height, width, patch)| patchify(batch, channels, [1, height, width], [1, patch]));
    let clips = [
        patchify(1, 1, [4, 12, 8], [2, 4]),
        patchify(2, 3, [7, 30, 45], [3, 14]),
        patchify(3, 2, [5, 9, 6], [1, 3]),
        patchify(1, 3, [4, 8, 8], [4, 8]),
    ];
    let kernels = [pictures.as_slice(), &clips].concat();
    for half in [false, true] {
        check(&kernels.iter().map(|kernel| Operation::new(*kernel, half)).collect::<Vec<_>>(), None);
    }
}

#[test]
fn rows_are_gathered_exactly() {
    for (from, rows, dim) in [(1, 1, 1), (392, 70, 192), (7, 300, 33), (5, 5, 4)] {
        check(&[Operation::new(Kernel::Gather { from, rows, dim }, false)], None);
    }
}

#[test]
fn rows_of_a_table_of_one_image_are_counted_round_and_round() {
    let of_all = Operation::new(Kernel::Gather { from: 60, rows: 33, dim: 8 }, false);
    let mut table = Operation::new(Kernel::Gather { from: 20, rows: 33, dim: 6 }, false);
    table.operands[1] = of_all.operands[1].clone();
    assert!(table.operands[1].1.iter().any(|row| *row >= 40.0));
    check(&[of_all, table], None);
}

#[test]
fn means_equal_their_twins() {
    let pool = |batch, tokens, dim| Kernel::Pool { batch, tokens, dim };
    let kernels = [pool(1, 1, 1), pool(2, 7, 96), pool(1, 197, 130), pool(3, 1000, 64)];
    check(&kernels.map(|kernel| Operation::new(kernel, false)), None);
}

/// What the shader promises of a value of the size of 1, in 32 bits.
const GELU: f64 = 5e-7;

#[test]
fn gelu_is_exact_to_half_a_millionth() {
    let Some(gpu) = gpu() else { return };
    let xs: Vec<f32> = (-7000..=7000).map(|i| i as f32 * 0.002).chain([-100.0, 100.0, -1e-30, 0.0]).collect();
    let kernel = Kernel::Matmul { m: xs.len(), k: 4, n: 4, epilogue: Epilogue::Gelu, table: 0 };
    let first = |count: usize, value: f32| (0..count).map(move |i| if i % 4 == 0 { value } else { 0.0 });
    let operands = [
        xs.iter().flat_map(|x| first(4, *x)).collect(),
        (0..16).map(|i| if i == 0 { 1.0 } else { 0.0 }).collect(),
        vec![0.0; 4],
        vec![f32::NAN; 4 * xs.len()],
    ];
    let operands = dtypes(&kernel, false).into_iter().zip(operands).collect();
    let operation = Operation { label: "gelu".into(), kernel, operands };
    let found = computed(&gpu, &[operation], None).remove(0);
    let off =
        |(x, found): (&f32, &f32)| (f64::from(*found) - twin::gelu(f64::from(*x))).abs() / f64::from(x.abs().max(1.0));
    let worst = xs.iter().zip(found.iter().step_by(4)).map(off).max_by(f64::total_cmp).unwrap();
    assert!(worst < GELU, "gelu is off by {worst:e}");
}
