//! Each fused operation equals burn's own, forward and backward, and does not depend on the number of threads.

use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, Tensor, TensorData, activation, module};

use super::{attention, gelu, layer_norm, linear};
use crate::random::{Purpose, Stream};

/// Both sides round in 32 bits, in sums of up to a thousand terms: bounds of the largest error over the largest value.
const FORWARD: f32 = 2e-6;
const BACKWARD: f32 = 5e-6;

fn random<const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<D> {
    let mut stream = Stream::new(seed, 0, 0, Purpose::Init);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| stream.normal() as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff()).require_grad()
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.inner().into_data().try_into_vec().unwrap()
}

fn error(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    let largest = wanted.iter().fold(1e-3f32, |largest, x| largest.max(x.abs()));
    let difference = found.iter().zip(wanted).map(|(a, b)| if a.is_nan() { f32::NAN } else { (a - b).abs() });
    difference.max_by(f32::total_cmp).unwrap_or(0.0) / largest
}

/// The result, then the gradients of `inputs`, all under a random gradient of the result.
fn results<const D: usize>(y: Tensor<D>, inputs: &[&dyn Fn(&burn::tensor::Gradients) -> Vec<f32>]) -> Vec<Vec<f32>> {
    let weights = random(99, y.dims()).detach();
    let grads = (y.clone() * weights).sum().backward();
    std::iter::once(values(y)).chain(inputs.iter().map(|input| input(&grads))).collect()
}

fn compare(what: &str, found: &[Vec<f32>], wanted: &[Vec<f32>]) {
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let (error, bound) = (error(found, wanted), if i == 0 { FORWARD } else { BACKWARD });
        assert!(error <= bound, "{what}, value {i} (0: result, then gradients): {error:e} over {bound:e}");
    }
}

macro_rules! grad {
    ($x:ident) => {
        &|grads: &burn::tensor::Gradients| values($x.grad(grads).unwrap())
    };
}

fn gelu_both(shape: [usize; 3]) -> [Vec<Vec<f32>>; 2] {
    let x = random(1, shape) * 3.0;
    let x = x.detach().require_grad();
    [results(gelu(x.clone()), &[grad!(x)]), results(activation::gelu(x.clone()), &[grad!(x)])]
}

fn linear_both([batch, tokens, dim]: [usize; 3], output: usize) -> [Vec<Vec<f32>>; 2] {
    let (x, w, b) = (random(1, [batch, tokens, dim]), random(2, [dim, output]), random(3, [output]));
    let inputs: [&dyn Fn(&burn::tensor::Gradients) -> Vec<f32>; 3] = [grad!(x), grad!(w), grad!(b)];
    let own = module::linear(x.clone(), w.clone(), Some(b.clone()));
    [results(linear(x.clone(), w.clone(), b.clone()), &inputs), results(own, &inputs)]
}

fn norm_both(shape: [usize; 3]) -> [Vec<Vec<f32>>; 2] {
    let (x, g, b) = (random(1, shape) * 2.0 + 0.7, random(2, [shape[2]]), random(3, [shape[2]]));
    let x = x.detach().require_grad();
    let inputs: [&dyn Fn(&burn::tensor::Gradients) -> Vec<f32>; 3] = [grad!(x), grad!(g), grad!(b)];
    let own = module::layer_norm(x.clone(), g.clone(), Some(b.clone()), 1e-6);
    [results(layer_norm(x.clone(), g.clone(), Some(b.clone()), 1e-6), &inputs), results(own, &inputs)]
}

fn attention_both([batch, tokens, heads, size]: [usize; 4]) -> [Vec<Vec<f32>>; 2] {
    let qkv = random(1, [batch, tokens, 3 * heads * size]);
    let split = qkv.clone().reshape([batch, tokens, 3, heads, size]).permute([2, 0, 3, 1, 4]);
    let part = |i: usize| -> Tensor<4> { split.clone().slice([i..i + 1]).squeeze_dim(0) };
    let own = module::attention(part(0), part(1), part(2), None, None, AttentionModuleOptions::default());
    let own = own.swap_dims(1, 2).reshape([batch, tokens, heads * size]);
    [results(attention(qkv.clone(), heads), &[grad!(qkv)]), results(own, &[grad!(qkv)])]
}

#[test]
fn gelu_equals_burns() {
    for shape in [[1, 1, 1], [2, 3, 5], [1, 7, 33], [3, 41, 517]] {
        let [found, wanted] = gelu_both(shape);
        compare(&format!("gelu of {shape:?}"), &found, &wanted);
    }
}

#[test]
fn gelu_is_right_where_the_tail_is_thin() {
    let xs: Vec<f32> = (-1200..=1200).map(|i| i as f32 * 0.01).collect();
    let found = values(gelu(Tensor::<1>::from_floats(xs.as_slice(), &Device::flex().autodiff())));
    for (x, found) in xs.iter().zip(found) {
        let share = 0.5 * libm_erfc(-f64::from(*x) / std::f64::consts::SQRT_2);
        assert!(
            (f64::from(found) - f64::from(*x) * share).abs() < 5e-7 * f64::from(x.abs().max(1.0)),
            "gelu({x}) = {found}"
        );
    }
}

/// `erfc` by its series below 3 and by its continued fraction above, to 1e-13.
fn libm_erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - libm_erfc(-x);
    }
    if x < 3.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return 1.0 - sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let fraction = (1..200).rev().fold(x, |rest, n| x + f64::from(n) * 0.5 / rest);
    (-x * x).exp() / std::f64::consts::PI.sqrt() / fraction
}

#[test]
fn linear_equals_burns() {
    for (shape, output) in [([1, 1, 1], 1), ([2, 3, 5], 7), ([3, 70, 48], 129)] {
        let [found, wanted] = linear_both(shape, output);
        compare(&format!("linear of {shape:?} to {output}"), &found, &wanted);
    }
}

#[test]
fn layer_norm_equals_burns() {
    for shape in [[1, 1, 4], [2, 3, 5], [3, 70, 48], [1, 2, 771]] {
        let [found, wanted] = norm_both(shape);
        compare(&format!("layer_norm of {shape:?}"), &found, &wanted);
    }
}

#[test]
fn attention_equals_burns() {
    for shape in [[1, 1, 1, 1], [2, 3, 2, 5], [1, 16, 1, 16], [2, 49, 3, 20], [1, 65, 2, 80], [2, 130, 2, 24]] {
        let [found, wanted] = attention_both(shape);
        compare(&format!("attention of {shape:?}"), &found, &wanted);
    }
}

#[test]
fn long_sequences_equal_burns_streaming_attention() {
    let [found, wanted] = attention_both([1, 700, 1, 8]);
    compare("attention of 700 tokens", &found, &wanted);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let all = || {
        let parts = [
            gelu_both([3, 41, 517]).map(|r| r.concat())[0].clone(),
            linear_both([3, 170, 48], 129).map(|r| r.concat())[0].clone(),
            norm_both([3, 170, 48]).map(|r| r.concat())[0].clone(),
            attention_both([2, 130, 3, 24]).map(|r| r.concat())[0].clone(),
        ];
        parts.concat().into_iter().map(f32::to_bits).collect::<Vec<u32>>()
    };
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    assert_eq!(pool(1).install(all), pool(2).install(all));
    assert_eq!(pool(1).install(all), pool(3).install(all));
}
