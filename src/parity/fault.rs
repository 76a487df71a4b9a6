//! The first dispatch that computes something else than its twin from the very same operands.

use serde::Serialize;

use super::compare::{Permitted, distance};
use crate::compile::Plan;
use crate::error::Result;
use crate::runtime::twin::TwinEngine;
use crate::runtime::{Engine, Weights};

/// What went wrong, and where.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fault {
    /// The dispatch.
    pub label: String,
    /// Its kernel and sizes.
    pub kernel: String,
    /// The shapes of its operands, the written one last.
    pub shapes: Vec<Vec<usize>>,
    /// The relative distance of its result.
    pub relative_l2: f64,
    /// The place of the value that is farthest off.
    pub index: usize,
    /// What the twin computes there.
    pub expected: f32,
    /// What was found there.
    pub found: f32,
}

/// Runs `engine`, and each of its dispatches once more by the twin, on the operands that the engine itself made; `plan`
/// and `weights` are what the engine should have been given.
///
/// # Errors
/// A device error where the engine fails; whatever `weights` reports.
pub fn find(engine: &mut dyn Engine, plan: &Plan, weights: Weights<'_>, images: &[f32]) -> Result<Option<Fault>> {
    let mut mirror = TwinEngine::new(plan.clone(), weights)?;
    let mut fault = None;
    let mut next = plan.dispatches.iter();
    if let Some(input) = plan.input() {
        mirror.set(input, images);
    }
    engine.trace(images, &mut |_, found| {
        let Some(dispatch) = next.next() else { return Ok(()) };
        let Some(write) = dispatch.operands.last() else { return Ok(()) };
        mirror.step(dispatch)?;
        let expected = mirror.values(*write);
        let sum = dispatch.kernel.longest_sum();
        let apart = distance(expected, found);
        let near = apart <= Permitted { depth: 1, sum, stored: plan.dtype }.distance() * SLACK;
        if !near && fault.is_none() {
            let off = |i: &usize| -> f64 {
                let off = (f64::from(expected[*i]) - f64::from(found[*i])).abs();
                if off.is_nan() { f64::INFINITY } else { off }
            };
            let index = (0..expected.len().min(found.len())).max_by(|a, b| off(a).total_cmp(&off(b))).unwrap_or(0);
            fault = Some(Fault {
                label: dispatch.label.clone(),
                kernel: dispatch.kernel.to_string(),
                shapes: dispatch.operands.iter().map(|operand| plan.buffer(*operand).shape.clone()).collect(),
                relative_l2: apart,
                index,
                expected: expected.get(index).copied().unwrap_or(f32::NAN),
                found: found.get(index).copied().unwrap_or(f32::NAN),
            });
        }
        if found.len() == expected.len() {
            mirror.set(*write, found);
        }
        Ok(())
    })?;
    Ok(fault)
}

/// One dispatch alone may add operands that nearly cancel: its bound is not averaged over many.
const SLACK: f64 = 4.0;
