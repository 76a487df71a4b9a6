//! The linear probe: multinomial logistic regression on standardised features, all samples at once.
//!
//! Legend: `N` samples, `D` features, `C` classes.

use burn::tensor::{Device, Tensor, TensorData};

use super::lbfgs::{Stop, minimise};
use super::probe::{Accuracy, Labelled, Standardiser, largest};
use super::product::{download, upload};
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// How a [`Logistic`] is fitted.
///
/// The objective is `sum_i -log softmax(W x_i + b)[label_i] + l2 / 2 * |W|^2` over the standardised features `x_i`; the
/// bias is not penalised. That is scikit-learn's `LogisticRegression(C = 1 / l2)` after a `StandardScaler`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogisticConfig {
    /// Weight of the penalty: 1 / C of scikit-learn.
    pub l2: f64,
    /// Steps of L-BFGS at most.
    pub max_iter: usize,
    /// The fit has converged when no component of the gradient of the objective over `N` is larger than this.
    pub tolerance: f64,
}

impl Default for LogisticConfig {
    /// C = 0.01, the best of 1, 0.1, 0.01 and 0.001 for the raw pixels of animals28.
    fn default() -> Self {
        Self { l2: 100.0, max_iter: 1000, tolerance: 1e-4 }
    }
}

/// A fitted logistic regression.
#[derive(Debug, Clone)]
pub struct Logistic {
    standardiser: Standardiser,
    /// `[D, C]`
    weights: Matrix,
    /// `[C]`
    bias: Vec<f64>,
    /// Steps that the fit took.
    pub iterations: usize,
    /// The objective at the end, as [`LogisticConfig`] states it.
    pub objective: f64,
    /// Whether the fit reached its tolerance.
    pub converged: bool,
}

/// The accuracy on `test` of a logistic regression fitted on `train`, with labels from 0 to `classes - 1`.
///
/// # Errors
/// Of kind `Data` if features or labels do not fit each other, of kind `Device` if the device fails.
pub fn logistic(
    train: Labelled,
    test: Labelled,
    classes: usize,
    config: &LogisticConfig,
    device: &Device,
) -> Result<Accuracy> {
    train.check_pair(&test, classes)?;
    let probe = Logistic::fit(train, classes, config, device)?;
    if !probe.converged {
        tracing::warn!(iterations = probe.iterations, "the logistic probe stopped before it converged");
    }
    Ok(Accuracy::count(&probe.predict(test.features, device)?, test.labels))
}

/// Rows whose class is predicted at once: 24 MB of a thousand features.
const PREDICT_ROWS: usize = 8192;

impl Logistic {
    /// Fits on `train`; the whole of its features lies on the device meanwhile.
    ///
    /// # Errors
    /// As [`logistic`].
    pub fn fit(train: Labelled, classes: usize, config: &LogisticConfig, device: &Device) -> Result<Self> {
        check(config)?;
        train.check(classes)?;
        let standardiser = Standardiser::fit(train.features);
        let features = standardiser.apply(train.features)?;
        let (samples, width) = (features.rows as f64, features.cols);
        let x = upload(&features, 0, features.rows, device); // [N, D]
        drop(features);

        let stop = Stop { tolerance: config.tolerance, max_iter: config.max_iter };
        let minimum = minimise(vec![0.0; (width + 1) * classes], stop, |parameters| {
            let (weights, bias) = parameters.split_at(width * classes);
            let w = upload(&to_matrix(weights, classes), 0, width, device);
            let logits = download(x.clone().matmul(w))?; // [N, C]
            let (loss, residuals) = cross_entropy(&logits, bias, train.labels);

            let bias_gradient = column_sums(&residuals, classes);
            let r = Tensor::<2>::from_data(TensorData::new(residuals, [train.labels.len(), classes]), device);
            let gradient = download(x.clone().transpose().matmul(r))?; // [D, C]
            let penalised = gradient.iter().zip(weights).map(|(&gradient, w)| f64::from(gradient) + config.l2 * w);
            let gradient = penalised.chain(bias_gradient).map(|g| g / samples).collect();
            let penalty = 0.5 * config.l2 * weights.iter().map(|w| w * w).sum::<f64>();
            Ok(((loss + penalty) / samples, gradient))
        })?;
        let (weights, bias) = minimum.point.split_at(width * classes);
        Ok(Self {
            standardiser,
            weights: to_matrix(weights, classes),
            bias: bias.to_vec(),
            iterations: minimum.iterations,
            objective: minimum.value * samples,
            converged: minimum.converged,
        })
    }

    /// The class of each row; of classes that score the same, the lowest.
    ///
    /// # Errors
    /// As [`Logistic::scores`].
    pub fn predict(&self, features: &Matrix, device: &Device) -> Result<Vec<u32>> {
        Ok(self.scores(features, device)?.iter_rows().map(largest).collect())
    }

    /// The logarithm of each class's likelihood, up to a constant of the row.
    ///
    /// # Shapes
    /// - `features`: `[N, D]`
    /// - output: `[N, C]`
    ///
    /// # Errors
    /// If the features have another width than in training, or the device fails.
    pub fn scores(&self, features: &Matrix, device: &Device) -> Result<Matrix> {
        let features = self.standardiser.apply(features)?;
        let w = upload(&self.weights, 0, self.weights.rows, device);
        let mut scores = Vec::with_capacity(features.rows * self.bias.len());
        for from in (0..features.rows).step_by(PREDICT_ROWS) {
            let to = (from + PREDICT_ROWS).min(features.rows);
            let logits = download(upload(&features, from, to, device).matmul(w.clone()))?;
            let biases = self.bias.iter().cycle();
            scores.extend(logits.into_iter().zip(biases).map(|(logit, bias)| (f64::from(logit) + bias) as f32));
        }
        Matrix::new(features.rows, self.bias.len(), scores)
    }
}

fn check(config: &LogisticConfig) -> Result<()> {
    if config.l2 >= 0.0 && config.l2.is_finite() && config.tolerance > 0.0 {
        return Ok(());
    }
    let LogisticConfig { l2, tolerance, .. } = config;
    Err(Error::usage(format!("a logistic probe cannot have an l2 of {l2} and a tolerance of {tolerance}"))
        .with_remedy("l2 is 0 or more, the tolerance more than 0"))
}

/// The summed loss, and its derivative by each logit: `softmax - one_hot`, `[N, C]`.
fn cross_entropy(logits: &[f32], bias: &[f64], labels: &[u32]) -> (f64, Vec<f32>) {
    let mut loss = 0.0;
    let mut residuals = Vec::with_capacity(logits.len());
    let mut scores = vec![0.0; bias.len()];
    for (row, &label) in logits.chunks_exact(bias.len()).zip(labels) {
        let mut highest = f64::NEG_INFINITY;
        for ((score, &logit), bias) in scores.iter_mut().zip(row).zip(bias) {
            *score = f64::from(logit) + bias;
            highest = highest.max(*score);
        }
        let own = scores[label as usize] - highest;
        scores.iter_mut().for_each(|score| *score = (*score - highest).exp());
        let total: f64 = scores.iter().sum();
        loss += total.ln() - own;
        let from = residuals.len();
        residuals.extend(scores.iter().map(|score| (score / total) as f32));
        residuals[from + label as usize] -= 1.0;
    }
    (loss, residuals)
}

fn column_sums(values: &[f32], columns: usize) -> Vec<f64> {
    let mut sums = vec![0.0; columns];
    for row in values.chunks_exact(columns) {
        sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    sums
}

fn to_matrix(weights: &[f64], classes: usize) -> Matrix {
    let values = weights.iter().map(|&w| w as f32).collect();
    Matrix { rows: weights.len() / classes, cols: classes, values }
}
