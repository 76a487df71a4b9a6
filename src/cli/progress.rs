//! The progress of counted things: a bar on a terminal, lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{is_quiet, say};

/// Shows on standard error how many of a known number of things are done.
pub struct CountProgress {
    bar: ProgressBar,
    what: &'static str,
    /// Of how many was last said that they are done; none before the start.
    said: Option<u64>,
}

impl CountProgress {
    /// Progress towards `count` of `what`, such as "images".
    pub fn new(count: usize, what: &'static str) -> Self {
        let target = if is_quiet() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(count as u64), target);
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg} {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, what, said: None }
    }

    /// So many are done; the first call may tell of what was done before, which is no part of the rate.
    pub fn at(&mut self, done: u64) {
        self.bar.set_position(done);
        let Some(said) = self.said else {
            self.said = Some(done);
            self.bar.reset_eta();
            return;
        };
        if self.bar.is_hidden() {
            let count = self.bar.length().unwrap_or(0);
            if done == count || done >= said + count.div_ceil(20) {
                self.said = Some(done);
                say(&format!("{done} of {count} {}", self.what));
            }
        } else {
            self.bar.set_message(format!("{:.0} {}/s", self.bar.per_sec(), self.what));
        }
    }

    /// Everything is done, or nothing more will be.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for CountProgress {
    fn drop(&mut self) {
        self.finish();
    }
}
