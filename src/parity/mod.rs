//! Whether every way to run an encoder gives the same values, layer by layer, and where the first one goes wrong.
//!
//! The plain twins of the kernels are the measure. `u` is the rounding of an f32 sum, 2^-24; `s` that of a stored value
//! (`u` for f32, 2^-11 for f16); after `d` dispatches of depth at most `K`, a relative distance (of Euclidean norms) of
//! `u sqrt(K) d + s sqrt(d)` is permitted: sums err by at most `u sqrt(K)` each and add up, stored values are rounded
//! independently of each other.

mod compare;
mod fault;
mod ways;

pub use compare::{Layer, Permitted};
pub use fault::{Fault, find};
pub use ways::{Found, Subject, Way};

use serde::Serialize;

use crate::error::Result;

/// One way to run the encoder, beside the measure.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Its name, such as `compiled on vulkan:0`.
    pub way: String,
    /// Every layer that it shows.
    pub layers: Vec<Layer>,
    /// The first dispatch that computes something else from the same operands, where a layer is too far.
    pub fault: Option<Fault>,
}

impl Outcome {
    /// Whether every layer is near enough.
    pub fn passed(&self) -> bool {
        !self.layers.is_empty() && self.layers.iter().all(|layer| layer.passed)
    }
}

/// Compares `way` with `measure`, which [`Subject::measure`] made, and looks for the fault where they differ.
///
/// # Errors
/// A device error where a device is missing or fails.
pub fn compare(subject: &Subject, measure: &[Found], way: &Way) -> Result<Outcome> {
    let found = subject.run(way)?;
    let mut layers = Vec::new();
    for (depth, expected) in measure.iter().enumerate() {
        if let Some(found) = found.iter().find(|found| found.label == expected.label) {
            let permitted = Permitted { depth: depth + 1, sum: subject.deepest(), stored: way.stored() };
            layers.push(Layer::new(expected, found, subject.width(), permitted));
        }
    }
    let mut outcome = Outcome { way: way.to_string(), layers, fault: None };
    if !outcome.passed() {
        outcome.fault = subject.fault(way)?;
    }
    Ok(outcome)
}
