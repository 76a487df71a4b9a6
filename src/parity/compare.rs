//! How far two layers are from each other.

use serde::Serialize;

use super::{Alone, Found};
use crate::compile::Dtype;

/// What rounding may do to a layer.
#[derive(Debug, Clone, Copy)]
pub struct Permitted {
    /// Dispatches up to this one.
    pub depth: usize,
    /// The terms of the longest sum up to this one.
    pub sum: usize,
    /// How values between dispatches are stored.
    pub stored: Dtype,
}

impl Permitted {
    /// The permitted relative distance.
    pub fn distance(self) -> f64 {
        let depth = self.depth as f64;
        LAYER * unit(Dtype::F32) * (self.sum as f64 * depth).sqrt() + unit(self.stored) * depth.sqrt()
    }
}

/// Of `u sqrt(K d)`, what a layer may be off; docs/PARITY.md has what is measured.
const LAYER: f64 = 0.5;

/// The relative rounding of a value that is stored as `stored`.
pub fn unit(stored: Dtype) -> f64 {
    f64::powi(
        2.0,
        match stored {
            Dtype::F32 | Dtype::U32 => -24,
            Dtype::F16 => -11,
            Dtype::Bf16 => -8,
        },
    )
}

/// One layer of one way, beside the measure.
#[derive(Debug, Clone, Serialize)]
pub struct Layer {
    /// The dispatch that computes it.
    pub label: String,
    /// Number of values.
    pub values: usize,
    /// The largest difference of two values.
    pub max_abs: f64,
    /// The Euclidean norm of the difference over that of the measure.
    pub relative_l2: f64,
    /// The smallest cosine between two rows.
    pub worst_cosine: f64,
    /// The median of these cosines.
    pub median_cosine: f64,
    /// The permitted relative distance.
    pub permitted: f64,
    /// Its dispatch alone, where it is one of ours.
    pub alone: Option<Alone>,
    /// Whether both are near enough.
    pub passed: bool,
}

impl Layer {
    /// Compares `found` with `expected`, by rows of `width` values.
    pub fn new(expected: &Found, found: &Found, width: usize, permitted: f64) -> Self {
        let relative_l2 = distance(&expected.values, &found.values);
        let rows = expected.values.chunks(width.max(1)).zip(found.values.chunks(width.max(1)));
        let mut cosines: Vec<f64> = rows.map(|(a, b)| cosine(a, b)).collect();
        cosines.sort_by(f64::total_cmp);
        let pairs = expected.values.iter().zip(&found.values);
        let differences = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
        Self {
            label: expected.label.clone(),
            values: expected.values.len(),
            max_abs: differences.max_by(f64::total_cmp).unwrap_or(0.0),
            relative_l2,
            worst_cosine: cosines.first().copied().unwrap_or(f64::NAN),
            median_cosine: cosines.get(cosines.len() / 2).copied().unwrap_or(f64::NAN),
            permitted,
            alone: None,
            passed: relative_l2 <= permitted,
        }
    }

    /// The same with its dispatch alone.
    pub fn with(self, alone: Option<Alone>) -> Self {
        Self { passed: self.passed && alone.is_none_or(Alone::passed), alone, ..self }
    }
}

/// The Euclidean norm of `found - expected` over that of `expected`; NaN where a value is, infinite where one has more
/// values.
pub fn distance(expected: &[f32], found: &[f32]) -> f64 {
    if expected.len() != found.len() {
        return f64::INFINITY;
    }
    let square = |value: f64| value * value;
    let apart: f64 = expected.iter().zip(found).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let norm: f64 = expected.iter().map(|value| square(f64::from(*value))).sum();
    if apart == 0.0 { 0.0 } else { (apart / norm).sqrt() }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
