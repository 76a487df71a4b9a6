//! The probes of a demonstration, and raw pixels as the features to beat.

use burn::tensor::Device;
use serde::Serialize;

use crate::config::RunConfig;
use crate::data::{EvalTransform, Scratch};
use crate::demo::{Part, percent};
use crate::error::{Error, Kind, Result};
use crate::eval::{KnnConfig, Labelled, LogisticConfig, Probe, score};
use crate::matrix::Matrix;

/// Whose features are probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Features {
    /// The pixels of the input.
    Raw,
    /// The encoder before training.
    Untrained,
    /// The target encoder after training.
    Trained,
}

/// The accuracies of one set of features, from 0 to 1.
#[derive(Debug, Clone, Serialize)]
pub struct ProbeRow {
    /// Whose features.
    pub features: Features,
    /// Labels of each class that the probe learns from; all where there is none.
    pub labels_per_class: Option<usize>,
    /// Seed of the training run and of the choice of labels.
    pub seed: u64,
    /// Logistic regression.
    pub logistic: f64,
    /// k nearest neighbours.
    pub knn: f64,
}

impl ProbeRow {
    /// What [`Self::cells`] shows.
    pub const HEADER: [&str; 5] = ["features", "labels", "seed", "logistic", "k-NN"];

    /// A line of a table.
    pub fn cells(&self) -> [String; 5] {
        let features = match self.features {
            Features::Raw => "raw pixels",
            Features::Untrained => "untrained encoder",
            Features::Trained => "trained encoder",
        };
        let labels = self.labels_per_class.map_or("all".to_owned(), |count| format!("{count} a class"));
        [features.to_owned(), labels, self.seed.to_string(), percent(self.logistic), percent(self.knn)]
    }
}

/// Probes `train` and `test`, each features with labels.
///
/// Features are standardised by the training part's mean and deviation for both probes. The logistic probe's
/// penalty is the same for all features, the one that is best for raw pixels; docs/benchmarks/animals28.md shows others.
///
/// # Errors
/// A data error where features and labels do not fit each other.
pub fn probe(
    features: Features,
    train: (&Matrix, &[u32]),
    test: (&Matrix, &[u32]),
    labels_per_class: Option<usize>,
    seed: u64,
    device: &Device,
) -> Result<ProbeRow> {
    if train.0.rows != train.1.len() || test.0.rows != test.1.len() {
        return Err(Error::new(
            Kind::Data,
            "some pictures could not be read, so features and labels do not correspond",
        ));
    }
    let train = Labelled { features: train.0, labels: train.1 };
    let test = Labelled { features: test.0, labels: test.1 };
    let fraction =
        |probe| score(&probe, train, test, (labels_per_class, seed), device).map(|score| score.accuracy.fraction());
    Ok(ProbeRow {
        features,
        labels_per_class,
        seed,
        logistic: fraction(Probe::Linear { l2: Some(LogisticConfig::default().l2) })?,
        knn: fraction(Probe::Knn(KnnConfig::default()))?,
    })
}

/// Pixels as features.
pub struct RawPixels<'a> {
    config: &'a RunConfig,
}

impl<'a> RawPixels<'a> {
    /// The pixels that an encoder of `config` sees.
    pub fn new(config: &'a RunConfig) -> Self {
        Self { config }
    }

    /// The pixels of both parts, one row a picture.
    pub(super) fn encode(&self, train: &Part, test: &Part) -> Result<[Matrix; 2]> {
        let transform = EvalTransform::of(self.config)?;
        let pixels = |part: &Part| -> Result<Matrix> {
            let (mut scratch, mut values) = (Scratch::default(), Vec::new());
            for i in 0..part.data.len() {
                let picture = part.data.picture(i).map_err(|skip| {
                    Error::new(Kind::Data, skip.to_string())
                        .with_remedy("take it out of the data: all features are probed on the same pictures")
                })?;
                transform.append(&picture, &mut scratch, &mut values);
            }
            Matrix::new(part.data.len(), transform.input().values(), values)
        };
        Ok([pixels(train)?, pixels(test)?])
    }
}
