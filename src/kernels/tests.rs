//! Every kernel equals its plain loop, on every instruction set and at odd sizes, and writes all of its result.

use std::io::Write as _;

use pulp::Arch;

use super::attention::{self, Outputs, Shapes};
use super::matmul::{self, Epilogue, Matrix, Product};
use super::norm::{self, Norm};
use super::panels::{Bf16, Panels};
use super::patchify::{self, patchify};
use super::pool::pool;
use super::workspace::Workspace;
use crate::random::{Purpose, Stream};

/// Sums of up to a thousand terms in 32 bits, over the largest value.
const TOLERANCE: f64 = 2e-6;

/// Every instruction set that this processor has, the plainest first.
pub fn archs() -> Vec<Arch> {
    #[cfg(target_arch = "x86_64")]
    let wider = pulp::x86::V3::try_new().map(Arch::V3);
    #[cfg(not(target_arch = "x86_64"))]
    let wider = None;
    [Some(Arch::Scalar), wider, Some(Arch::new())].into_iter().flatten().collect()
}

fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut stream = Stream::new(seed, 0, 0, Purpose::Init);
    (0..count).map(|_| stream.normal() as f32).collect()
}

/// The ways to multiply values of bfloat16 that this processor has.
fn bf16_ways() -> Vec<Bf16> {
    let best = Bf16::new();
    match best {
        Bf16::Unpacked => {
            let skipped =
                "SKIPPED: this processor has no AVX512-BF16, so products by its instructions were not compared";
            writeln!(std::io::stderr(), "{skipped}").unwrap();
            vec![best]
        }
        #[cfg(target_arch = "x86_64")]
        Bf16::Dots(_) => vec![Bf16::Unpacked, best],
    }
}

/// Values as bfloat16 keeps them.
fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| half::bf16::from_f32(*value).to_f32()).collect()
}

fn compare(what: &str, found: &[f32], wanted: &[f64]) {
    compare_to(TOLERANCE, what, found, wanted);
}

fn compare_to(tolerance: f64, what: &str, found: &[f32], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let largest = wanted.iter().fold(1e-3, |largest: f64, x| largest.max(x.abs()));
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let error = (f64::from(*found) - wanted).abs() / largest;
        assert!(error < tolerance, "{what}: value {i} is {found}, expected {wanted}"); // NaN fails as well
    }
}

/// The normal distribution's share below `x`, by adding up its density in steps of a thousandth.
fn gelu(x: f64) -> f64 {
    let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let steps = 1 + (x.abs() * 1000.0) as usize;
    let step = x / steps as f64;
    // Simpson's rule.
    let sum: f64 = (0..steps)
        .map(|i| {
            let t = i as f64 * step;
            (density(t) + 4.0 * density(t + 0.5 * step) + density(t + step)) * step / 6.0
        })
        .sum();
    x * (0.5 + sum)
}

/// The right operand `[K, N]`, packed.
type Pack = Box<dyn Fn(Matrix, [usize; 2]) -> Panels>;

#[test]
fn products_equal_their_sums() {
    products("f32", |values| values.to_vec(), || vec![Box::new(Panels::new)]);
}

#[test]
fn products_of_bf16_equal_the_sums_of_what_is_rounded() {
    let ways = bf16_ways();
    let packs = || -> Vec<Pack> {
        let pack = |way: Bf16| -> Pack { Box::new(move |right, sizes| Panels::bf16(right, sizes, way)) };
        ways.iter().copied().map(pack).collect()
    };
    products("bf16", rounded, packs);
}

#[test]
fn every_way_to_multiply_bf16_gives_the_same_bits() {
    let [m, k, n] = [31, 777, 65];
    let (left, right) = (random(1, m * k), random(2, k * n));
    let mut all = bf16_ways().into_iter().map(|way| {
        let panels = Panels::bf16(Matrix { values: &right, strides: [n, 1] }, [k, n], way);
        let left = Matrix { values: &left, strides: [k, 1] };
        let product = Product { left, right: &panels, bias: None, epilogue: Epilogue::Bias };
        let mut found = vec![f32::NAN; m * n];
        matmul::matmul(product, Arch::new(), &Workspace::new(matmul::workspace(k)), &mut found);
        found.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    });
    let first = all.next().unwrap();
    assert!(all.all(|other| other == first));
}

/// Products of many sizes, with every epilogue, from and to every order in memory; `stored` says what becomes of operands.
fn products(what: &str, stored: fn(&[f32]) -> Vec<f32>, packs: impl Fn() -> Vec<Pack>) {
    let sizes = [
        [1usize, 1, 1],
        [2, 3, 5],
        [14, 16, 32],
        [15, 385, 33],
        [29, 50, 64],
        [113, 7, 47],
        [230, 96, 80],
        [6, 900, 31],
        // With two heads of 10 and 22 values.
        [17, 20, 60],
        [100, 5, 132],
    ];
    for [m, k, n] in sizes {
        let table = m.div_ceil(3);
        let (left, right, bias) = (random(1, m * k), random(2, k * n), random(3, n));
        let (stream, positions, turns) = (random(4, m * n), random(5, table * n), random(6, table * n / 3));
        let turned: Vec<f32> = (0..k).flat_map(|j| left[j..].iter().step_by(k).copied().collect::<Vec<_>>()).collect();
        let across: Vec<f32> = (0..n).flat_map(|j| right[j..].iter().step_by(n).copied().collect::<Vec<_>>()).collect();
        let (exact_left, exact_right) = (stored(&left), stored(&right));
        let sum = |row: usize, column: usize| -> f64 {
            let terms = (0..k).map(|j| f64::from(exact_left[row * k + j]) * f64::from(exact_right[j * n + column]));
            terms.sum::<f64>() + f64::from(bias[column])
        };
        let lefts = [Matrix { values: &left, strides: [k, 1] }, Matrix { values: &turned, strides: [1, m] }];
        let rights = [Matrix { values: &right, strides: [n, 1] }, Matrix { values: &across, strides: [1, k] }];
        let mut epilogues = vec![Epilogue::Bias, Epilogue::Gelu, Epilogue::Residual, Epilogue::Position(&positions)];
        if n.is_multiple_of(12) {
            epilogues.push(Epilogue::Rotation { table: &turns, size: n / 6 });
        }
        for epilogue in epilogues {
            let wanted: Vec<f64> = (0..m * n)
                .map(|i| match epilogue {
                    Epilogue::Bias => sum(i / n, i % n),
                    Epilogue::Gelu => gelu(sum(i / n, i % n)),
                    Epilogue::Residual => sum(i / n, i % n) + f64::from(stream[i]),
                    Epilogue::Position(positions) => sum(i / n, i % n) + f64::from(positions[i % (table * n)]),
                    Epilogue::Rotation { table: turns, size } if i % n < 4 * size => {
                        let [cosine, sine] =
                            [0, size].map(|part| f64::from(turns[i / n % table * 2 * size + part + i % n % size]));
                        sum(i / n, i % n) * cosine + sum(i / n, (i % n) ^ 1) * sine
                    }
                    Epilogue::Rotation { .. } => sum(i / n, i % n),
                })
                .collect();
            for (arch, left, right) in
                archs().into_iter().flat_map(|arch| lefts.map(|left| rights.map(|right| (arch, left, right)))).flatten()
            {
                for (way, pack) in packs().iter().enumerate() {
                    let mut found =
                        if let Epilogue::Residual = epilogue { stream.clone() } else { vec![f32::NAN; m * n] };
                    let panels = pack(right, [k, n]);
                    let product = Product { left, right: &panels, bias: Some(&bias), epilogue };
                    matmul::matmul(product, arch, &Workspace::new(matmul::workspace(k)), &mut found);
                    compare(&format!("{m}x{k}x{n} of {what}, {epilogue:.0?} on {arch:?}, way {way}"), &found, &wanted);
                }
            }
        }
    }
}

#[test]
fn norms_equal_their_formula() {
    for [rows, dim, stride, column] in [[1, 1, 1, 0], [3, 5, 5, 0], [70, 48, 96, 48], [33, 771, 780, 4]] {
        norm_equals_its_formula([rows, dim, stride, column], &random(1, rows * dim), TOLERANCE);
    }
}

#[test]
fn norms_of_rows_far_from_zero_equal_their_formula() {
    // The mean is rounded as a value of its size.
    const FAR: f64 = TOLERANCE + 100.0 * 2.4e-7;
    for [rows, dim] in [[70, 48], [33, 771]] {
        let x: Vec<f32> = random(1, rows * dim).into_iter().map(|x| x + 100.0).collect();
        norm_equals_its_formula([rows, dim, dim, 0], &x, FAR);
    }
}

/// There what is added to the variance decides.
#[test]
fn norms_of_rows_of_small_variance_equal_their_formula() {
    for [rows, dim] in [[70, 48], [33, 771]] {
        // Variances from 1e-6 to 1e-4, row by row.
        let deviation = |row: usize| 10_f32.powf(-3.0 + row as f32 / (rows - 1) as f32);
        let x = random(1, rows * dim).into_iter().enumerate().map(|(i, x)| x * deviation(i / dim));
        norm_equals_its_formula([rows, dim, dim, 0], &x.collect::<Vec<_>>(), TOLERANCE);
    }
}

fn norm_equals_its_formula([rows, dim, stride, column]: [usize; 4], x: &[f32], tolerance: f64) {
    let (gain, bias) = (random(2, dim), random(3, dim));
    let mut wanted = vec![2.0; rows * stride];
    for (y, x) in wanted.chunks_exact_mut(stride).zip(x.chunks_exact(dim)) {
        let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / dim as f64;
        let variance = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / dim as f64;
        for i in 0..dim {
            let normalised = (f64::from(x[i]) - mean) / (variance + 1e-6).sqrt();
            y[column + i] = normalised * f64::from(gain[i]) + f64::from(bias[i]);
        }
    }
    for arch in archs() {
        let mut found = vec![2.0; rows * stride];
        let norm = Norm { gain: &gain, bias: &bias, eps: 1e-6, stride, column };
        norm::forward(norm, arch, x, &mut found);
        compare_to(tolerance, &format!("norm of {rows}x{dim} on {arch:?}"), &found, &wanted);
    }
}

#[test]
fn attention_equals_its_formula() {
    for [batch, tokens, heads, size] in
        [[1, 1, 1, 1], [2, 3, 2, 5], [1, 49, 3, 24], [1, 65, 2, 80], [2, 130, 1, 88], [1, 300, 1, 104]]
    {
        let qkv = random(1, 3 * batch * tokens * heads * size);
        attention_equals_its_formula_on([batch, tokens, heads, size], &qkv, 1, TOLERANCE);
    }
}

/// Of some queries, for the sake of time.
#[test]
fn attention_to_the_most_tokens_equals_its_formula() {
    // What is left of so many values of both signs is a fiftieth of them.
    const MEAN: f64 = 10.0 * TOLERANCE;
    attention_equals_its_formula_on([1, 8192, 1, 24], &random(1, 3 * 8192 * 24), 1637, MEAN);
}

/// `e^100` is beyond 32 bits and `e^-100` is nothing there: only what is relative to the largest score is left.
#[test]
fn attention_to_keys_of_large_scores_equals_its_formula() {
    // Scores are off by a hundred times as much, and their exponentials are off by that.
    const LARGE: f64 = 100.0 * TOLERANCE;
    for ([batch, tokens, heads, size], scores) in [
        // The largest comes last, or for every second query first; some queries have scores around -100 alone.
        ([1, 49, 3, 24], [-100.0, 100.0]),
        ([1, 65, 2, 80], [90.0, 100.0]),
        ([2, 130, 1, 88], [100.0, 90.0]),
    ] {
        let mut qkv = random(1, 3 * batch * tokens * heads * size);
        for (i, value) in qkv.iter_mut().enumerate() {
            let (token, part, k) = (i / (3 * heads * size) % tokens, i / (heads * size) % 3, i % size);
            let score: f32 = scores[0] + (scores[1] - scores[0]) * token as f32 / (tokens - 1) as f32;
            // All along one direction; the product is divided by the root of the size.
            let along = if k % 3 == 0 { -1.0 } else { 1.0 } / (size as f32).powf(0.25);
            match part {
                0 => *value = along * if token % 2 == 0 { 10.0 } else { -10.0 },
                1 => *value = along * score / 10.0,
                _ => {}
            }
        }
        attention_equals_its_formula_on([batch, tokens, heads, size], &qkv, 1, LARGE);
    }
}

/// Compares every `step`-th result.
fn attention_equals_its_formula_on([batch, tokens, heads, size]: [usize; 4], qkv: &[f32], step: usize, tolerance: f64) {
    let scale = 1.0 / (size as f32).sqrt();
    let shapes = Shapes { batch, tokens, heads, size, scale };
    let values = batch * tokens * heads * size;
    let at = |sample: usize, token: usize, part: usize, head: usize| -> Vec<f64> {
        let start = (((sample * tokens + token) * 3 + part) * heads + head) * size;
        qkv[start..start + size].iter().map(|x| f64::from(*x)).collect()
    };
    let mut wanted = Vec::new();
    let compared = || (0..batch * tokens * heads).step_by(step);
    for (sample, token, head) in compared().map(|i| (i / heads / tokens, i / heads % tokens, i % heads)) {
        let query = at(sample, token, 0, head);
        let score = |key: Vec<f64>| f64::from(scale) * query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>();
        let shares: Vec<f64> = (0..tokens).map(|other| score(at(sample, other, 1, head)).exp()).collect();
        let sum: f64 = shares.iter().sum();
        let mixed = shares.iter().enumerate().fold(vec![0.0; size], |mixed, (other, share)| {
            mixed.iter().zip(at(sample, other, 2, head)).map(|(mixed, v)| mixed + share * v / sum).collect()
        });
        wanted.extend(mixed);
    }
    for arch in archs() {
        let [mut mixed, mut by_head] = [(); 2].map(|()| vec![f32::NAN; values]);
        let mut log_sums = vec![f32::NAN; batch * heads * tokens];
        let outputs = Outputs { mixed: &mut mixed, heads: &mut by_head, log_sums: &mut log_sums };
        attention::forward(shapes, arch, &Workspace::new(shapes.workspace()), qkv, outputs);
        let found: Vec<f32> = compared().flat_map(|i| &mixed[i * size..][..size]).copied().collect();
        compare_to(tolerance, &format!("{shapes:?} on {arch:?}"), &found, &wanted);
        assert!(log_sums.iter().all(|x| x.is_finite()));
    }
}

#[test]
fn pooling_gives_the_mean() {
    for [batch, tokens, dim] in [[1, 1, 1], [3, 5, 7], [2, 130, 33]] {
        let x = random(1, batch * tokens * dim);
        let wanted: Vec<f64> = (0..batch * dim)
            .map(|i| {
                let tokens_of = x[i / dim * tokens * dim..][..tokens * dim].iter().skip(i % dim).step_by(dim);
                tokens_of.map(|x| f64::from(*x)).sum::<f64>() / tokens as f64
            })
            .collect();
        for arch in archs() {
            let mut found = vec![f32::NAN; batch * dim];
            pool(arch, [tokens, dim], &x, &mut found);
            compare(&format!("pool of {batch}x{tokens}x{dim} on {arch:?}"), &found, &wanted);
        }
    }
}

#[test]
fn patches_are_cut_in_raster_order() {
    let shapes = patchify::Shapes { channels: 2, frames: 1, height: 4, width: 6, tubelet: 1, patch: 2 };
    // The value says where it stands: sample, channel, row, column.
    let images: Vec<f32> =
        (0..2 * 2 * 4 * 6).map(|i| (i / 48 * 1000 + i / 24 % 2 * 100 + i / 6 % 4 * 10 + i % 6) as f32).collect();
    let mut rows = vec![f32::NAN; images.len()];
    patchify(&images, shapes, &mut rows);
    assert_eq!(rows[..8], [0.0, 1.0, 10.0, 11.0, 100.0, 101.0, 110.0, 111.0]);
    assert_eq!(rows[4 * 8..5 * 8], [22.0, 23.0, 32.0, 33.0, 122.0, 123.0, 132.0, 133.0]);
    assert_eq!(rows[11 * 8..], [1024.0, 1025.0, 1034.0, 1035.0, 1124.0, 1125.0, 1134.0, 1135.0]);
}

#[test]
fn tubelets_are_cut_time_after_time() {
    let shapes = patchify::Shapes { channels: 2, frames: 4, height: 2, width: 4, tubelet: 2, patch: 2 };
    // The value says where it stands: sample, channel, frame, row, column.
    let clips: Vec<f32> = (0..2 * 2 * 4 * 2 * 4)
        .map(|i| (i / 64 * 10_000 + i / 32 % 2 * 1000 + i / 8 % 4 * 100 + i / 4 % 2 * 10 + i % 4) as f32)
        .collect();
    let mut rows = vec![f32::NAN; clips.len()];
    patchify(&clips, shapes, &mut rows);
    let tubelet = |first: f32| {
        let offsets = [0, 1, 10, 11, 100, 101, 110, 111, 1000, 1001, 1010, 1011, 1100, 1101, 1110, 1111];
        offsets.map(|offset| first + offset as f32)
    };
    let firsts = [0.0, 2.0, 200.0, 202.0, 10_000.0, 10_002.0, 10_200.0, 10_202.0];
    assert_eq!(rows, firsts.map(tubelet).concat());
}
