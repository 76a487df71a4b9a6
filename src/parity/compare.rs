//! How far two layers are from each other.

use serde::Serialize;

use super::Found;
use crate::compile::Dtype;

/// What rounding may do to a layer.
#[derive(Debug, Clone, Copy)]
pub struct Permitted {
    /// Dispatches up to this one.
    pub depth: usize,
    /// The terms of the longest sum.
    pub sum: usize,
    /// How values between dispatches are stored.
    pub stored: Dtype,
}

impl Permitted {
    /// The permitted relative distance.
    pub fn distance(self) -> f64 {
        let unit = f64::powi(2.0, -24);
        let stored = match self.stored {
            Dtype::F32 | Dtype::U32 => unit,
            Dtype::F16 => f64::powi(2.0, -11),
            Dtype::Bf16 => f64::powi(2.0, -8),
        };
        let depth = self.depth as f64;
        unit * (self.sum as f64).sqrt() * depth + stored * depth.sqrt()
    }
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
    /// The smallest cosine between two tokens.
    pub worst_cosine: f64,
    /// The median of these cosines.
    pub median_cosine: f64,
    /// The permitted relative distance.
    pub permitted: f64,
    /// Whether it is near enough.
    pub passed: bool,
}

impl Layer {
    /// Compares `found` with `expected`, by rows of `width` values.
    pub fn new(expected: &Found, found: &Found, width: usize, permitted: Permitted) -> Self {
        let permitted = permitted.distance();
        let whole = expected.values.len() == found.values.len();
        let relative_l2 = if whole { distance(&expected.values, &found.values) } else { f64::INFINITY };
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
            passed: relative_l2 <= permitted,
        }
    }
}

/// The Euclidean norm of `found - expected` over that of `expected`; NaN where a value is.
pub fn distance(expected: &[f32], found: &[f32]) -> f64 {
    let square = |value: f64| value * value;
    let apart: f64 = expected.iter().zip(found).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let norm: f64 = expected.iter().map(|value| square(f64::from(*value))).sum();
    if apart == 0.0 { 0.0 } else { (apart / norm).sqrt() }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
