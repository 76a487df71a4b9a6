//! What frozen features are worth: probes, health and feature maps, computed from host matrices.

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

#[cfg(test)]
mod tests;

pub use crate::matrix::Matrix;
pub use health::{Health, health};
pub use knn::{KnnConfig, Metric, Neighbour, knn, neighbours};
pub use logistic::{Logistic, LogisticConfig, logistic};
pub use pca::{Pca, feature_colours};
pub use probe::{Accuracy, Labelled, Standardiser, few_labels};
pub use score::{Probe, Score, score};
