//! The choice of a logistic probe's penalty, on rows that are held out of what the probe learns from.

use burn::tensor::Device;

use super::logistic::{Logistic, LogisticConfig};
use super::probe::{Accuracy, Labelled};
use crate::error::Result;
use crate::matrix::Matrix;
use crate::random::{Purpose, Stream};

/// The penalties to choose from, the strongest first: C = 0.001 to 1 of scikit-learn.
const PENALTIES: [f64; 4] = [1e3, 100.0, 10.0, 1.0];
/// A fold is one row of so many.
const FOLDS: usize = 5;
/// Folds are scored until so many rows have been: all folds of a small set, one of a large.
const ENOUGH_ROWS: usize = 1000;
/// How far a probe of a fold is fitted: which penalty is best shows long before the last digit of the weights.
const FOLD: LogisticConfig = LogisticConfig { l2: 0.0, max_iter: 100, tolerance: 1e-3 };

/// The penalty whose probe classifies the most held-out rows of `train` right; of equals, the strongest.
///
/// The folds depend on the number of rows alone, so that probes of different features are chosen on the same rows. Test
/// data plays no part.
///
/// # Errors
/// As [`Logistic::fit`].
pub(crate) fn chosen(train: Labelled, classes: usize, device: &Device) -> Result<f64> {
    let mut rows: Vec<usize> = (0..train.labels.len()).collect();
    Stream::new(0, 0, rows.len() as u64, Purpose::Folds).shuffle(&mut rows);
    let mut best = (0, PENALTIES[0]);
    for l2 in PENALTIES {
        let (mut correct, mut scored) = (0, 0);
        for fold in (0..FOLDS).take_while(|fold| fold * rows.len() / FOLDS < ENOUGH_ROWS) {
            let is_held = |place: usize| place % FOLDS == fold;
            let part = |held: bool| part(train, rows.iter().enumerate().filter(|(i, _)| is_held(*i) == held));
            let ((learnt, learnt_labels), (held, held_labels)) = (part(false), part(true));
            let learnt = Labelled { features: &learnt, labels: &learnt_labels };
            let held = Labelled { features: &held, labels: &held_labels };
            let probe = Logistic::fit(learnt, classes, &LogisticConfig { l2, ..FOLD }, device)?;
            correct += Accuracy::count(&probe.predict(held.features, device)?, held.labels).correct;
            scored += held_labels.len();
        }
        tracing::debug!(l2, correct, scored, "a penalty on held-out rows");
        if correct > best.0 {
            best = (correct, l2);
        }
    }
    tracing::info!("the penalty that is best on held-out rows: {}", best.1);
    Ok(best.1)
}

fn part<'a>(whole: Labelled, rows: impl Iterator<Item = (usize, &'a usize)>) -> (Matrix, Vec<u32>) {
    let rows: Vec<usize> = rows.map(|(_, row)| *row).collect();
    (whole.features.select(&rows), rows.iter().map(|row| whole.labels[*row]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen_on(rows: usize, features: impl Fn(u32, &mut Stream) -> Vec<f64>) -> f64 {
        let mut stream = Stream::new(0, 0, 0, Purpose::Init);
        let labels: Vec<u32> = (0..rows as u32).map(|row| row % 2).collect();
        let values: Vec<f32> =
            labels.iter().flat_map(|label| features(*label, &mut stream)).map(|value| value as f32).collect();
        let features = Matrix::new(rows, values.len() / rows, values).unwrap();
        chosen(Labelled { features: &features, labels: &labels }, 2, &Device::flex()).unwrap()
    }

    #[test]
    fn few_rows_of_much_noise_ask_for_a_strong_penalty() {
        let l2 = chosen_on(100, |label, stream| {
            let signal = 1.5 * f64::from(label) + stream.normal();
            std::iter::once(signal).chain((0..300).map(|_| stream.normal())).collect()
        });
        assert!(l2 >= 100.0, "{l2}");
    }

    #[test]
    fn classes_that_differ_by_a_small_difference_of_features_ask_for_a_weak_one() {
        let l2 = chosen_on(1000, |label, stream| {
            let shared = 10.0 * stream.normal();
            vec![shared + f64::from(label), shared]
        });
        assert_eq!(l2, PENALTIES[3]);
    }
}
