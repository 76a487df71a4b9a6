//! One accuracy: a probe of some kind, learnt from all labels or from a few of each class.

use burn::tensor::Device;

use super::probe::{Accuracy, Labelled, Standardiser, few_labels};
use super::{KnnConfig, LogisticConfig, knn, logistic, penalty};
use crate::error::Result;

/// A kind of probe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Probe {
    /// Logistic regression.
    Linear {
        /// Weight of the penalty, see [`LogisticConfig`]; where none is given, the best on held-out training rows.
        l2: Option<f64>,
    },
    /// The vote of the nearest neighbours.
    Knn(KnnConfig),
}

impl Probe {
    /// Refuses what cannot be learnt from samples of these labels, or from `labels_per_class` of each class.
    ///
    /// # Errors
    /// Of kind `Usage` if there are fewer labels or neighbours than asked for.
    pub fn learns(&self, labels: &[u32], labels_per_class: Option<usize>) -> Result<()> {
        // Whether there are enough does not depend on the seed.
        let rows = labels_per_class.map_or(Ok(labels.len()), |count| Ok(few_labels(labels, count, 0)?.len()))?;
        match self {
            Self::Linear { .. } => Ok(()),
            Self::Knn(config) => config.votes_among(rows),
        }
    }
}

/// What a probe reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Of the test set.
    pub accuracy: Accuracy,
    /// The penalty of a logistic probe.
    pub l2: Option<f64>,
}

/// The accuracy on `test` of `probe`, learnt from `train`, or from `labels_per_class` of each class that `seed` chooses.
///
/// For both kinds the features are standardised by the mean and the deviation of what the probe learns from.
///
/// # Errors
/// Of kind `Data` if features or labels do not fit each other, of kind `Usage` if there are fewer labels or neighbours
/// than asked for, of kind `Device` if the device fails.
pub fn score(
    probe: &Probe,
    train: Labelled,
    test: Labelled,
    (labels_per_class, seed): (Option<usize>, u64),
    device: &Device,
) -> Result<Score> {
    let classes = train.labels.iter().chain(test.labels).max().map_or(0, |label| *label as usize + 1);
    train.check_pair(&test, classes)?;
    let rows: Vec<usize> = match labels_per_class {
        None => (0..train.labels.len()).collect(),
        Some(count) => few_labels(train.labels, count, seed)?,
    };
    let labels: Vec<u32> = rows.iter().map(|row| train.labels[*row]).collect();
    let chosen = train.features.select(&rows);
    let standardiser = Standardiser::fit(&chosen);
    let (chosen, tested) = (standardiser.apply(&chosen)?, standardiser.apply(test.features)?);
    let train = Labelled { features: &chosen, labels: &labels };
    let test = Labelled { features: &tested, labels: test.labels };
    match probe {
        Probe::Linear { l2 } => {
            let l2 = l2.map_or_else(|| penalty::chosen(train, classes, device), Ok)?;
            let config = LogisticConfig { l2, ..LogisticConfig::default() };
            Ok(Score { accuracy: logistic(train, test, classes, &config, device)?, l2: Some(l2) })
        }
        Probe::Knn(config) => Ok(Score { accuracy: knn(train, test, config, device)?, l2: None }),
    }
}
