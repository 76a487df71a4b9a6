//! Each dispatch beside its twin on the very same operands, and the first that computes something else.

use serde::Serialize;

use super::compare::{distance, unit};
use crate::compile::{Dispatch, Dtype, Kernel, Plan};
use crate::error::Result;
use crate::runtime::Weights;
use crate::runtime::twin::TwinEngine;

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

impl Fault {
    /// That of `dispatch`, which should have made `expected` where `found` was.
    pub(super) fn of(plan: &Plan, dispatch: &Dispatch, expected: &[f32], found: &[f32]) -> Self {
        let off = |i: &usize| -> f64 {
            let off = (f64::from(expected[*i]) - f64::from(found[*i])).abs();
            if off.is_nan() { f64::INFINITY } else { off }
        };
        let index = (0..expected.len().min(found.len())).max_by(|a, b| off(a).total_cmp(&off(b))).unwrap_or(0);
        Self {
            label: dispatch.label.clone(),
            kernel: dispatch.kernel.to_string(),
            shapes: dispatch.operands.iter().map(|operand| plan.buffer(*operand).shape.clone()).collect(),
            relative_l2: distance(expected, found),
            index,
            expected: expected.get(index).copied().unwrap_or(f32::NAN),
            found: found.get(index).copied().unwrap_or(f32::NAN),
        }
    }
}

/// How far the result of one dispatch is from what its twin makes of the same operands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Alone {
    /// The relative distance.
    pub relative_l2: f64,
    /// The permitted one.
    pub permitted: f64,
}

impl Alone {
    /// Whether it is near enough.
    pub fn passed(self) -> bool {
        self.relative_l2 <= self.permitted
    }
}

/// The permitted relative distance of a result of `kernel` alone, stored as `stored`.
pub fn permitted_alone(kernel: &Kernel, stored: Dtype) -> f64 {
    let root = (kernel.longest_sum() as f64).sqrt();
    let sums = match kernel {
        // Terms of one sign: what their sum loses is lost from the square of the deviation, and so by half.
        Kernel::Norm { .. } => NORM * root + 4.0,
        Kernel::Attention { .. } => ATTENTION * root,
        _ => SUM * root,
    };
    // A value that lies between two of 16 bits may become either.
    sums * unit(Dtype::F32) + 2.0 * unit(stored)
}

/// Of `u sqrt(K)`, what one dispatch may be off. The operands of a sum may nearly cancel, which no average over many
/// dispatches hides; scores are as large as they like, and their errors with them. docs/PARITY.md has what is measured.
const SUM: f64 = 4.0;
const ATTENTION: f64 = 8.0;
const NORM: f64 = 0.5;

/// The twins of a plan, one step behind an engine.
pub struct Mirror<'a> {
    plan: &'a Plan,
    twin: TwinEngine,
    next: usize,
    /// The first dispatch that was too far.
    pub fault: Option<Fault>,
}

impl<'a> Mirror<'a> {
    /// `plan` and `weights` are what the engine should have been given, `images` what it is given.
    ///
    /// # Errors
    /// A data error where the plan is broken; whatever `weights` reports.
    pub fn new(plan: &'a Plan, weights: Weights<'_>, images: &[f32]) -> Result<Self> {
        let mut twin = TwinEngine::new(plan.clone(), weights)?;
        if let Some(input) = plan.input() {
            twin.set(input, images);
        }
        Ok(Self { plan, twin, next: 0, fault: None })
    }

    /// Repeats the next dispatch, of which the engine made `found`, on the operands that the engine itself made.
    ///
    /// # Errors
    /// A failure where its operands are not those that its kernel takes.
    pub fn repeat(&mut self, found: &[f32]) -> Result<Option<Alone>> {
        let Some(dispatch) = self.plan.dispatches.get(self.next) else { return Ok(None) };
        self.next += 1;
        let Some(&write) = dispatch.operands.last() else { return Ok(None) };
        self.twin.step(dispatch)?;
        let expected = self.twin.values(write);
        let permitted = permitted_alone(&dispatch.kernel, self.plan.buffer(write).dtype);
        let alone = Alone { relative_l2: distance(expected, found), permitted };
        if !alone.passed() && self.fault.is_none() {
            self.fault = Some(Fault::of(self.plan, dispatch, expected, found));
        }
        if found.len() == expected.len() {
            self.twin.set(write, found);
        }
        Ok(Some(alone))
    }
}
