//! The progress of training: a bar on a terminal, lines elsewhere.

use std::path::Path;

use anyjepa::train::{Metrics, Observer};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{is_quiet, say};
use super::ready::GettingReady;

/// Shows a run's progress on standard error.
pub struct TrainProgress {
    ready: Option<GettingReady>,
    bar: ProgressBar,
    rank: Option<f64>,
    said: u64,
}

impl TrainProgress {
    /// Progress that has not begun.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Self { ready: None, bar, rank: None, said: 0 }
    }

    /// Of a run that is getting ready until it begins.
    pub fn after(ready: GettingReady) -> Self {
        let mut progress = Self::new();
        progress.ready = Some(ready);
        progress
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for TrainProgress {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Observer for TrainProgress {
    fn begin(&mut self, step: usize, steps: usize) {
        self.ready = None;
        self.bar.set_length(steps as u64);
        if step > 0 {
            say(&format!("continuing after step {step} of {steps}"));
        }
        self.bar.reset_eta();
        self.bar.set_position(step as u64);
        if !is_quiet() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg} {eta} left");
        self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    }

    fn metrics(&mut self, metrics: &Metrics) {
        self.rank = metrics.feature_rank.or(self.rank);
        let rank = self.rank.map_or(String::new(), |rank| format!(" rank {rank:.1}"));
        let line = format!(
            "loss {:.4} lr {:.1e} wd {:.3} ema {:.4} {:.0} images/s{rank}",
            metrics.loss, metrics.lr, metrics.weight_decay, metrics.momentum, metrics.images_per_second
        );
        self.bar.set_position(metrics.step as u64);
        if self.bar.is_hidden() {
            // No terminal: about twenty lines a run.
            let (step, steps) = (metrics.step as u64, self.bar.length().unwrap_or(0));
            if step == steps || step >= self.said + steps.div_ceil(20) {
                self.said = step;
                say(&format!("step {step} of {steps}: {line}"));
            }
        } else {
            self.bar.set_message(line);
        }
    }

    fn checkpoint(&mut self, path: &Path) {
        tracing::info!("checkpoint {}", path.display());
    }

    fn warning(&mut self, message: &str) {
        self.bar.suspend(|| tracing::warn!("{message}"));
    }
}
