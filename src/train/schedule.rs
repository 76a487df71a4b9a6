//! Learning rate, weight decay and momentum of the target encoder, as functions of the step.

use std::f64::consts::PI;

use serde::Serialize;

use crate::config::OptimConfig;

/// The schedules of one run; `docs/PARITY.md` compares them with the published code's.
#[derive(Debug, Clone)]
pub struct Schedule {
    optim: OptimConfig,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// Steps after which the schedules have reached their ends.
    pub end: usize,
    /// Steps of the run.
    pub steps: usize,
}

/// What the schedules say of one step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Learning rate.
    pub lr: f64,
    /// Weight decay of parameters of two and more axes.
    pub weight_decay: f64,
    /// Momentum of the target encoder.
    pub momentum: f64,
}

impl Schedule {
    /// The schedules of a run whose epochs have `steps_per_epoch` steps.
    pub fn new(optim: &OptimConfig, steps_per_epoch: usize) -> Self {
        let epoch = steps_per_epoch as f64;
        Self {
            warmup_steps: (optim.warmup_epochs * epoch) as usize,
            end: (optim.schedule_scale * optim.epochs as f64 * epoch) as usize,
            steps: optim.epochs.saturating_mul(steps_per_epoch),
            optim: optim.clone(),
        }
    }

    /// The rates of the optimizer step number `step`, the first being 0.
    ///
    /// Reference: learning rate and weight decay are advanced before the step and momentum after it, so the first
    /// learning rate is one increment above the start. Past the end every value stays at its end; the reference's
    /// cosine rises again and its momentum runs out.
    pub fn at(&self, step: usize) -> Rates {
        let optim = &self.optim;
        let count = (step + 1) as f64;
        let (warmup, end) = (self.warmup_steps as f64, self.end as f64);
        let lr = if count < warmup {
            optim.start_lr + count / warmup * (optim.lr - optim.start_lr)
        } else {
            cosine(optim.lr, optim.final_lr, (count - warmup) / (end - warmup).max(1.0))
        };
        let [first, last] = optim.ema;
        // Reference: the momentum's end is not cut to a whole step, as the others' is.
        let whole = (optim.schedule_scale * self.steps as f64).max(1.0);
        Rates {
            lr,
            weight_decay: cosine(optim.weight_decay, optim.final_weight_decay, count / end.max(1.0)),
            momentum: first + (step as f64 / whole).min(1.0) * (last - first),
        }
    }
}

/// From `first` to `last` along half a cosine; `last` past the end.
fn cosine(first: f64, last: f64, progress: f64) -> f64 {
    last + (first - last) * 0.5 * (1.0 + (PI * progress.min(1.0)).cos())
}
