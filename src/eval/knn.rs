//! The nearest-neighbour probe: a majority vote among the k training rows that are most like a test row.
//!
//! Rules for ties: of rows that are equally near, the one that comes first in the training set is nearer; of classes
//! with equally many votes, the one that holds the nearest neighbour wins.

use burn::tensor::Device;
use rayon::prelude::*;

use super::probe::{Accuracy, Labelled, same_width};
use super::product::{download, upload};
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// What "near" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// A large cosine of the angle between two rows; a row of zeros has cosine 0 with every other.
    Cosine,
    /// A small Euclidean distance.
    Euclidean,
}

/// How neighbours vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnnConfig {
    /// How many neighbours vote.
    pub k: usize,
    /// Which rows are neighbours.
    pub metric: Metric,
}

impl Default for KnnConfig {
    fn default() -> Self {
        Self { k: 10, metric: Metric::Cosine }
    }
}

impl KnnConfig {
    /// Refuses more neighbours than `rows` to learn from, and none.
    pub(super) fn votes_among(&self, rows: usize) -> Result<()> {
        if (1..=rows).contains(&self.k) {
            return Ok(());
        }
        Err(Error::usage(format!("k is {}, but there are {rows} training rows", self.k))
            .with_remedy("choose a k from 1 to the number of training rows"))
    }
}

/// A training row near a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Its row.
    pub row: usize,
    /// Its cosine with the query, or minus their squared distance: larger is nearer.
    pub score: f32,
}

/// The accuracy on `test` of the vote among `train`, on the features as they are.
///
/// # Errors
/// Of kind `Data` if features or labels do not fit each other, of kind `Usage` if `k` is 0 or more than the training
/// rows, of kind `Device` if the device fails.
pub fn knn(train: Labelled, test: Labelled, config: &KnnConfig, device: &Device) -> Result<Accuracy> {
    let classes = train.labels.iter().chain(test.labels).max().map_or(0, |&label| label as usize + 1);
    train.check_pair(&test, classes)?;
    let nearest = neighbours(train.features, test.features, config, device)?;
    let predictions: Vec<u32> = nearest.iter().map(|nearest| vote(nearest, train.labels)).collect();
    Ok(Accuracy::count(&predictions, test.labels))
}

/// Queries and training rows whose scores are computed at once: 16 MB of scores.
const QUERY_ROWS: usize = 1024;
const TRAIN_ROWS: usize = 4096;

/// For each query its `config.k` nearest rows of `train`, the nearest first.
///
/// Memory is bounded by the two matrices and one block of scores.
///
/// # Errors
/// As [`knn`].
pub fn neighbours(
    train: &Matrix,
    queries: &Matrix,
    config: &KnnConfig,
    device: &Device,
) -> Result<Vec<Vec<Neighbour>>> {
    same_width(train, queries)?;
    config.votes_among(train.rows)?;
    let (train, queries) = match config.metric {
        Metric::Cosine => (&normalised(train), &normalised(queries)),
        Metric::Euclidean => (train, queries),
    };
    let train_squares = squares(train);
    let mut nearest = Vec::with_capacity(queries.rows);
    for from in (0..queries.rows).step_by(QUERY_ROWS) {
        let to = (from + QUERY_ROWS).min(queries.rows);
        let block = upload(queries, from, to, device);
        let mut found = vec![Vec::with_capacity(config.k + 1); to - from];
        for start in (0..train.rows).step_by(TRAIN_ROWS) {
            let end = (start + TRAIN_ROWS).min(train.rows);
            let rows = upload(train, start, end, device);
            let products = download(block.clone().matmul(rows.transpose()))?; // [to - from, end - start]
            found.par_iter_mut().zip(products.par_chunks_exact(end - start)).for_each(|(found, products)| {
                for (row, &product) in (start..end).zip(products) {
                    let score = match config.metric {
                        Metric::Cosine => product,
                        // The query's own square is the same for every row: it is taken off below.
                        Metric::Euclidean => 2.0 * product - train_squares[row],
                    };
                    keep(found, Neighbour { row, score }, config.k);
                }
            });
        }
        nearest.append(&mut found);
    }
    if config.metric == Metric::Euclidean {
        for (found, square) in nearest.iter_mut().zip(squares(queries)) {
            found.iter_mut().for_each(|neighbour| neighbour.score -= square);
        }
    }
    Ok(nearest)
}

/// Puts a neighbour into its place among the `k` nearest; rows arrive in ascending order, so equals go behind.
fn keep(found: &mut Vec<Neighbour>, neighbour: Neighbour, k: usize) {
    if found.len() == k && found.last().is_some_and(|last| neighbour.score <= last.score) {
        return;
    }
    let place = found.partition_point(|other| other.score >= neighbour.score);
    found.insert(place, neighbour);
    found.truncate(k);
}

/// The class with the most votes; of equals, the one that comes first among the neighbours.
fn vote(nearest: &[Neighbour], labels: &[u32]) -> u32 {
    let votes = |label: u32| nearest.iter().filter(|other| labels[other.row] == label).count();
    let mut best = (0, 0);
    for label in nearest.iter().map(|neighbour| labels[neighbour.row]) {
        let votes = votes(label);
        if votes > best.0 {
            best = (votes, label);
        }
    }
    best.1
}

fn normalised(matrix: &Matrix) -> Matrix {
    let mut values = Vec::with_capacity(matrix.values.len());
    for row in matrix.iter_rows() {
        let norm = row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let scale = if norm > 0.0 { 1.0 / norm } else { 0.0 };
        values.extend(row.iter().map(|&v| (f64::from(v) * scale) as f32));
    }
    Matrix { rows: matrix.rows, cols: matrix.cols, values }
}

fn squares(matrix: &Matrix) -> Vec<f32> {
    matrix.iter_rows().map(|row| row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearest(metric: Metric, k: usize, train: &[[f32; 2]], query: [f32; 2]) -> Vec<usize> {
        let train = Matrix::new(train.len(), 2, train.concat()).unwrap();
        let query = Matrix::new(1, 2, query.to_vec()).unwrap();
        let found = neighbours(&train, &query, &KnnConfig { k, metric }, &Device::flex()).unwrap();
        found[0].iter().map(|neighbour| neighbour.row).collect()
    }

    #[test]
    fn cosine_looks_at_the_direction_and_euclid_at_the_distance() {
        let train = [[10.0, 1.0], [1.0, 0.5], [0.0, 1.0]];
        assert_eq!(nearest(Metric::Cosine, 2, &train, [1.0, 0.0]), [0, 1]);
        assert_eq!(nearest(Metric::Euclidean, 2, &train, [1.0, 0.0]), [1, 2]);
    }

    #[test]
    fn equally_near_rows_come_in_the_order_of_the_training_set() {
        let train = [[0.0, 1.0], [2.0, 0.0], [1.0, 0.0], [1.0, 0.0]];
        assert_eq!(nearest(Metric::Cosine, 3, &train, [1.0, 0.0]), [1, 2, 3]);
    }

    #[test]
    fn a_tied_vote_goes_to_the_class_of_the_nearest() {
        let rows = |rows: &[usize]| rows.iter().map(|&row| Neighbour { row, score: 0.0 }).collect::<Vec<_>>();
        let labels = [7, 3, 3, 7, 1];
        assert_eq!(vote(&rows(&[4, 1, 0, 3, 2]), &labels), 3);
        assert_eq!(vote(&rows(&[4, 0, 1, 3, 2]), &labels), 7);
        assert_eq!(vote(&rows(&[4]), &labels), 1);
    }

    #[test]
    fn scores_are_cosines_or_negative_squared_distances() {
        let train = Matrix::new(1, 2, vec![3.0, 4.0]).unwrap();
        let query = Matrix::new(1, 2, vec![3.0, 0.0]).unwrap();
        let score =
            |metric| neighbours(&train, &query, &KnnConfig { k: 1, metric }, &Device::flex()).unwrap()[0][0].score;
        assert!((score(Metric::Cosine) - 0.6).abs() < 1e-6);
        assert!((score(Metric::Euclidean) + 16.0).abs() < 1e-5);
    }

    #[test]
    fn blocks_give_what_sorting_all_distances_gives() {
        // Small whole numbers: products are exact and ties are many.
        let digits = |rows: usize, step: usize| {
            let values = (0..rows * 3).map(|at| (at * step % 8191 % 7) as f32).collect();
            Matrix::new(rows, 3, values).unwrap()
        };
        let (train, queries) = (digits(TRAIN_ROWS + 100, 31), digits(QUERY_ROWS + 1, 57));
        let config = KnnConfig { k: 25, metric: Metric::Euclidean };
        let found = neighbours(&train, &queries, &config, &Device::flex()).unwrap();
        assert_eq!(found.len(), queries.rows);
        for (query, found) in queries.iter_rows().zip(found) {
            let score = |row: usize| -train.row(row).iter().zip(query).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
            let mut expected: Vec<_> = (0..train.rows).map(|row| Neighbour { row, score: score(row) }).collect();
            expected.sort_by(|a, b| b.score.total_cmp(&a.score));
            assert_eq!(found, expected[..config.k]);
        }
    }

    #[test]
    fn a_k_that_cannot_be_is_refused() {
        let one = Matrix::new(1, 1, vec![1.0]).unwrap();
        let error = neighbours(&one, &one, &KnnConfig::default(), &Device::flex()).unwrap_err();
        insta::assert_snapshot!(error, @"k is 10, but there are 1 training rows");
    }
}
