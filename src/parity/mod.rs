//! Whether every way to run an encoder gives the same values, layer by layer, and where the first one goes wrong.
//!
//! The plain twins of the kernels are the measure. `u` is the rounding of an f32 sum, 2^-24; `s` that of a stored value
//! (`u` for f32, 2^-11 for f16); after `d` dispatches whose longest sum has `K` terms, a relative distance (of Euclidean
//! norms) of `u sqrt(K d) / 2 + s sqrt(d)` is permitted: what sums and stored values lose is random, and adds up by its
//! square. Beside that, each dispatch of ours is repeated by its twin on the operands that the engine itself made, within
//! bounds of that kernel alone ([`permitted_alone`]).

mod compare;
mod fault;
mod ways;

pub use compare::{Layer, Permitted, distance};
pub use fault::{Alone, Fault, permitted_alone};
pub use ways::{Found, Subject, Way};

use std::collections::BTreeMap;

use serde::Serialize;

use crate::compile::{Dispatch, Dtype, Plan};
use crate::error::{Error, Kind, Result};
use crate::runtime::Engine;
use fault::Mirror;

/// One way to run the encoder, beside the measure.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Its name, such as `compiled on vulkan:0`.
    pub way: String,
    /// Every layer that it shows.
    pub layers: Vec<Layer>,
    /// The first dispatch that computes something else from the same operands; of burn the first layer that is too far.
    pub fault: Option<Fault>,
    /// Why it shows nothing.
    pub error: Option<String>,
}

impl Outcome {
    /// That of a way that could not be run.
    pub fn failed(way: Way, error: &Error) -> Self {
        Self { way: way.to_string(), layers: Vec::new(), fault: None, error: Some(error.to_string()) }
    }

    /// Whether every layer is near enough, and every dispatch alone.
    pub fn passed(&self) -> bool {
        !self.layers.is_empty() && self.layers.iter().all(|layer| layer.passed) && self.fault.is_none()
    }
}

/// The last row of a compiled way: the features of all dispatches in one pass, as an extraction runs them, beside those
/// of one dispatch after the other, bit for bit.
pub const ONE_PASS: &str = "all in one pass";

/// Compares `way` with `measure`, which [`Subject::measure`] made.
///
/// # Errors
/// A device error where a device is missing or fails.
pub fn compare(subject: &Subject, measure: &[Found], way: Way) -> Result<Outcome> {
    match way {
        Way::Burn(_) => survey(subject, measure, way, &subject.layers(way)?),
        Way::Compiled(spec, dtype) => {
            let mut engine = subject.engine(spec, dtype)?;
            examine(subject, measure, way, engine.as_mut())
        }
    }
}

/// Compares the layers that burn shows, `found`, with `measure`. What it computes between two of them is not seen, so that
/// a fault is that of the first layer behind it.
///
/// # Errors
/// A failure that names an operation which no kernel computes.
pub fn survey(subject: &Subject, measure: &[Found], way: Way, found: &[Found]) -> Result<Outcome> {
    let layers = beside(subject, measure, found, Dtype::F32)?;
    let plan = subject.plan(Dtype::F32)?;
    let fault = layers.iter().find(|layer| !layer.passed).and_then(|layer| {
        let of = |all: &[Found]| all.iter().position(|found| found.label == layer.label);
        let dispatch = plan.dispatches.iter().find(|dispatch| dispatch.label == layer.label)?;
        Some(Fault::of(&plan, dispatch, &measure[of(measure)?].values, &found[of(found)?].values))
    });
    Ok(Outcome { way: way.to_string(), layers, fault, error: None })
}

/// Compares `engine`, which should be what [`Subject::engine`] gives for `way`, with `measure`, and repeats each of its
/// dispatches by its twin.
///
/// # Errors
/// A device error where the device fails.
pub fn examine(subject: &Subject, measure: &[Found], way: Way, engine: &mut dyn Engine) -> Result<Outcome> {
    let plan = subject.plan(way.stored())?;
    let mut mirror = Mirror::new(&plan, &|buffer| subject.constant(buffer), &subject.images)?;
    let (mut found, mut alone) = (Vec::new(), BTreeMap::new());
    engine.trace(&subject.images, &mut |dispatch, values| {
        alone.insert(dispatch.label.clone(), mirror.repeat(values)?);
        found.push(Found { label: dispatch.label.clone(), values: values.to_vec() });
        Ok(())
    })?;
    let layers = beside(subject, measure, &found, way.stored())?.into_iter().map(|layer| {
        let alone = alone.get(&layer.label).copied().flatten();
        layer.with(alone)
    });
    let mut layers: Vec<Layer> = layers.collect();
    if let Some(last) = found.pop() {
        let features = Found { label: ONE_PASS.into(), values: engine.run(&subject.images)? };
        let one_by_one = Found { label: ONE_PASS.into(), ..last };
        layers.push(Layer::new(&one_by_one, &features, width(&plan, plan.dispatches.last()), 0.0));
    }
    Ok(Outcome { way: way.to_string(), layers, fault: mirror.fault, error: None })
}

/// Compares the layers that a way shows with `measure`, of which every dispatch of a plan has one.
///
/// # Errors
/// A failure that names an operation which no kernel computes.
pub fn beside(subject: &Subject, measure: &[Found], found: &[Found], stored: Dtype) -> Result<Vec<Layer>> {
    let plan = subject.plan(Dtype::F32)?;
    let (mut sum, mut layers) = (0, Vec::new());
    for ((depth, expected), dispatch) in measure.iter().enumerate().zip(&plan.dispatches) {
        sum = sum.max(dispatch.kernel.longest_sum());
        if let Some(found) = found.iter().find(|found| found.label == expected.label) {
            let permitted = Permitted { depth: depth + 1, sum, stored }.distance();
            layers.push(Layer::new(expected, found, width(&plan, Some(dispatch)), permitted));
        }
    }
    Ok(layers)
}

/// Values of a row of what `dispatch` computes.
fn width(plan: &Plan, dispatch: Option<&Dispatch>) -> usize {
    let write = dispatch.and_then(|dispatch| dispatch.operands.last());
    write.and_then(|write| plan.buffer(*write).shape.last()).copied().unwrap_or(1)
}

/// What is to be said of all ways.
///
/// # Errors
/// A data error where one of them is too far from the twins.
pub fn verdict(outcomes: &[Outcome]) -> Result<()> {
    if outcomes.iter().all(Outcome::passed) {
        return Ok(());
    }
    Err(Error::new(Kind::Data, "an engine computes something else than the plain twins")
        .with_remedy("docs/PARITY.md explains the bounds; a driver's fault shows on one device alone"))
}
