//! What every probe of frozen features shares: labelled rows, standardising, accuracy and the choice of few labels.

use std::collections::BTreeMap;

use crate::error::{Error, Kind, Result};
use crate::matrix::Matrix;
use crate::random::{Purpose, Stream};

/// Features with one label a row.
#[derive(Debug, Clone, Copy)]
pub struct Labelled<'a> {
    /// One row a sample.
    pub features: &'a Matrix,
    /// The class of each row, counted from 0.
    pub labels: &'a [u32],
}

/// How many samples a probe classified right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accuracy {
    /// Samples whose class was found.
    pub correct: usize,
    /// All samples.
    pub total: usize,
}

/// The mean and the scale of each column of the features that a probe is trained on.
#[derive(Debug, Clone)]
pub struct Standardiser {
    mean: Vec<f64>,
    scale: Vec<f64>,
}

/// A column whose standard deviation is below this share of its mean is constant: f32 cannot tell it from rounding.
const CONSTANT: f64 = 1e-7;

impl Labelled<'_> {
    /// Refuses features that are empty or not finite, and labels that do not fit them.
    ///
    /// # Errors
    /// Of kind [`Kind::Data`].
    pub fn check(&self, classes: usize) -> Result<()> {
        if self.labels.len() != self.features.rows {
            let message = format!("{} labels do not fit {} rows of features", self.labels.len(), self.features.rows);
            return Err(Error::new(Kind::Data, message));
        }
        if let Some((row, label)) = self.labels.iter().enumerate().find(|(_, label)| **label as usize >= classes) {
            let message = format!("row {row} has label {label}, but there are {classes} classes, counted from 0");
            return Err(Error::new(Kind::Data, message));
        }
        self.features.require_finite()
    }

    /// Refuses a test set whose features are not those of this training set.
    ///
    /// # Errors
    /// Of kind [`Kind::Data`].
    pub(super) fn check_pair(&self, test: &Labelled, classes: usize) -> Result<()> {
        self.check(classes)?;
        test.check(classes)?;
        same_width(self.features, test.features)
    }
}

impl Accuracy {
    /// Counts the predictions that equal their label.
    pub fn count(predictions: &[u32], labels: &[u32]) -> Self {
        let correct = predictions.iter().zip(labels).filter(|(prediction, label)| prediction == label).count();
        Self { correct, total: labels.len() }
    }

    /// The share of right ones, from 0 to 1; 0 of no samples.
    pub fn fraction(&self) -> f64 {
        self.correct as f64 / self.total.max(1) as f64
    }
}

impl Standardiser {
    /// The mean and the population standard deviation of each column.
    pub fn fit(features: &Matrix) -> Self {
        let mean = features.column_means();
        let stds = features.column_stds(&mean);
        let scale =
            stds.into_iter().zip(&mean).map(|(std, mean)| if std <= CONSTANT * mean.abs() { 0.0 } else { 1.0 / std });
        Self { scale: scale.collect(), mean }
    }

    /// The features with mean 0 and standard deviation 1 where they were fitted; columns constant there become 0.
    ///
    /// # Errors
    /// If the features have another width than those fitted.
    pub fn apply(&self, features: &Matrix) -> Result<Matrix> {
        if features.cols != self.mean.len() {
            return Err(other_width(self.mean.len(), features.cols));
        }
        let mut values = Vec::with_capacity(features.values.len());
        for row in features.iter_rows() {
            let scaled = row.iter().zip(&self.mean).zip(&self.scale);
            values.extend(scaled.map(|((&value, mean), scale)| ((f64::from(value) - mean) * scale) as f32));
        }
        Matrix::new(features.rows, features.cols, values)
    }
}

/// The rows that a probe with few labels sees: `per_class` of each class, drawn from `seed`, in ascending order.
///
/// The choice depends on the labels and the seed alone, so that probes of different features see the same rows.
///
/// # Errors
/// Of kind [`Kind::Usage`] if a class has fewer samples or none are asked for.
pub fn few_labels(labels: &[u32], per_class: usize, seed: u64) -> Result<Vec<usize>> {
    if per_class == 0 {
        return Err(Error::usage("0 labels a class leave nothing to learn from").with_remedy("ask for 1 or more"));
    }
    let mut rows_of: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (row, &label) in labels.iter().enumerate() {
        rows_of.entry(label).or_default().push(row);
    }
    let mut chosen = Vec::new();
    for (label, mut rows) in rows_of {
        if rows.len() < per_class {
            let message = format!("class {label} has {} samples, fewer than the {per_class} asked for", rows.len());
            return Err(Error::usage(message).with_remedy("ask for fewer labels a class"));
        }
        Stream::new(seed, 0, u64::from(label), Purpose::Labels).shuffle(&mut rows);
        chosen.extend_from_slice(&rows[..per_class]);
    }
    chosen.sort_unstable();
    Ok(chosen)
}

/// The class of the highest score; of equals, the lowest.
pub(crate) fn largest(scores: &[f32]) -> u32 {
    let higher = |best: usize, class: usize| if scores[class] > scores[best] { class } else { best };
    (1..scores.len()).fold(0, higher) as u32
}

pub(super) fn same_width(train: &Matrix, test: &Matrix) -> Result<()> {
    if train.cols == test.cols { Ok(()) } else { Err(other_width(train.cols, test.cols)) }
}

fn other_width(expected: usize, found: usize) -> Error {
    Error::new(Kind::Data, format!("expected rows of {expected} features as in training, found rows of {found}"))
        .with_remedy("extract both sets with the same encoder and the same options")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standardising_uses_the_training_statistics_and_zeroes_constant_columns() {
        let train = Matrix::new(2, 3, vec![1.0, 0.1, -2.0, 3.0, 0.1, 2.0]).unwrap();
        let standardiser = Standardiser::fit(&train);
        assert_eq!(standardiser.apply(&train).unwrap().values, [-1.0, 0.0, -1.0, 1.0, 0.0, 1.0]);
        let test = Matrix::new(1, 3, vec![4.0, 7.0, 1.0]).unwrap();
        assert_eq!(standardiser.apply(&test).unwrap().values, [2.0, 0.0, 0.5]);
    }

    #[test]
    fn few_labels_are_balanced_sorted_and_a_function_of_the_seed() {
        let labels: Vec<u32> = (0..300).map(|row| row % 3).collect();
        let chosen = few_labels(&labels, 7, 0).unwrap();
        assert!(chosen.is_sorted());
        for class in 0..3 {
            assert_eq!(chosen.iter().filter(|&&row| labels[row] == class).count(), 7);
        }
        assert_eq!(chosen, few_labels(&labels, 7, 0).unwrap());
        assert_ne!(chosen, few_labels(&labels, 7, 1).unwrap());
    }

    #[test]
    fn the_few_labels_of_a_seed_never_change() {
        let labels: Vec<u32> = (0..40).map(|row| row % 2).collect();
        assert_eq!(few_labels(&labels, 3, 5).unwrap(), [1, 4, 7, 24, 28, 37]);
    }

    #[test]
    fn a_class_with_too_few_samples_is_named() {
        let error = few_labels(&[0, 0, 1], 2, 0).unwrap_err();
        insta::assert_snapshot!(error, @"class 1 has 1 samples, fewer than the 2 asked for");
    }

    #[test]
    fn labels_that_do_not_fit_are_named() {
        let features = Matrix::new(2, 1, vec![0.0, 1.0]).unwrap();
        let error = Labelled { features: &features, labels: &[0] }.check(2).unwrap_err();
        insta::assert_snapshot!(error, @"1 labels do not fit 2 rows of features");
        let error = Labelled { features: &features, labels: &[0, 2] }.check(2).unwrap_err();
        insta::assert_snapshot!(error, @"row 1 has label 2, but there are 2 classes, counted from 0");
    }
}
