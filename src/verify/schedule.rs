//! The schedule of a case, in the reference's words.

use serde::Deserialize;

use crate::config::OptimConfig;

/// The arguments of the published schedulers.
#[derive(Deserialize)]
pub(super) struct CaseSchedule {
    /// Whose schedules they are: `ijepa`, or `jepa` for V-JEPA's.
    pub repo: String,
    /// Steps of an epoch.
    pub ipe: usize,
    pub epochs: usize,
    pub ipe_scale: f64,
    pub warmup: f64,
    start_lr: f64,
    lr: f64,
    final_lr: f64,
    wd: f64,
    final_wd: f64,
    ema: [f64; 2],
}

impl CaseSchedule {
    /// `base` with these schedules.
    pub fn optim(&self, base: OptimConfig) -> OptimConfig {
        OptimConfig {
            epochs: self.epochs,
            warmup_epochs: self.warmup,
            schedule_scale: self.ipe_scale,
            start_lr: self.start_lr,
            lr: self.lr,
            final_lr: self.final_lr,
            weight_decay: self.wd,
            final_weight_decay: self.final_wd,
            ema: self.ema,
            ..base
        }
    }
}
