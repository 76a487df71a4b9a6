//! The attentive probe over frozen token features: a sweep of learning rates and weight decays in one pass over them.

mod fitted;
mod stack;
mod sweep;

#[cfg(test)]
mod tests;

pub use fitted::{FittedAttentive, ProbeCard};
pub use sweep::{AttentiveSweep, SweepData, SweepOutcome, SweptProbe};

/// Learning rate and weight decay of one probe of a sweep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// The learning rate of the first step; it falls to 0 along half a cosine.
    pub lr: f64,
    /// Weight decay of parameters of two and more axes.
    pub weight_decay: f64,
}

impl Rates {
    /// The learning rates of V-JEPA 2's published sweep.
    pub const PUBLISHED_LR: [f64; 5] = [5e-3, 3e-3, 1e-3, 3e-4, 1e-4];
    /// Its weight decays.
    pub const PUBLISHED_WEIGHT_DECAY: [f64; 4] = [0.01, 0.1, 0.4, 0.8];

    /// Every learning rate with every weight decay.
    pub fn grid(lr: &[f64], weight_decay: &[f64]) -> Vec<Self> {
        lr.iter().flat_map(|&lr| weight_decay.iter().map(move |&weight_decay| Self { lr, weight_decay })).collect()
    }
}
