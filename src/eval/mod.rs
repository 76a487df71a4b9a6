//! What frozen features are worth: probes, health and feature maps, computed from features on the host.

mod attentive;
mod gram;
mod health;
mod knn;
mod lbfgs;
mod logistic;
mod pca;
mod penalty;
mod probe;
mod product;
mod score;
mod tokens;

#[cfg(test)]
mod tests;

pub use crate::matrix::Matrix;
pub use attentive::{AttentiveSweep, FittedAttentive, ProbeCard, Rates, SweepData, SweepOutcome, SweptProbe};
pub use health::{Health, health};
pub use knn::{KnnConfig, Metric, Neighbour, knn, neighbours};
pub use logistic::{Logistic, LogisticConfig, logistic};
pub use pca::{Pca, feature_colours};
pub(crate) use penalty::chosen as chosen_penalty;
pub(crate) use probe::largest;
pub use probe::{Accuracy, Labelled, Standardiser, few_labels};
pub use score::{Probe, Score, score};
pub use tokens::{LabelledTokens, TokenSet, held_out};
