//! The health of features: whether they vary, fill their dimensions and differ between images.

use super::gram::{Gram, gram};
use crate::error::Result;
use crate::matrix::Matrix;

/// Numbers that show a collapse before the loss does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Health {
    /// The standard deviation of each dimension over the rows, averaged; 0 where all images look the same.
    pub std: f64,
    /// The smallest of these standard deviations; 0 where a dimension is dead.
    pub std_min: f64,
    /// RankMe: how many directions the features use, from 1 to the smaller side; 0 where all features are 0.
    ///
    /// The exponential of the entropy of the singular values as shares of their sum, each plus 1e-7, of the features as
    /// they are, not centred (Garrido et al., RankMe, ICML 2023, equation 5).
    pub rank: f64,
    /// The cosine between two rows, averaged over all pairs; near 1 where all images look the same; 0 for one row.
    pub cosine: f64,
}

/// RankMe's epsilon.
const EPS: f64 = 1e-7;

/// The health of rows of features.
///
/// Costs the square of the smaller side times the larger, and the cube of the smaller: a few hundred rows are enough
/// and cheap.
///
/// # Errors
/// If the matrix is empty or has a value that is not finite.
pub fn health(features: &Matrix) -> Result<Health> {
    features.require_finite()?;
    let stds = features.column_stds(&features.column_means());
    let std = stds.iter().sum::<f64>() / features.cols as f64;
    let std_min = stds.into_iter().fold(f64::INFINITY, f64::min);
    Ok(Health { std, std_min, rank: rank_me(features), cosine: mean_cosine(features) })
}

fn rank_me(features: &Matrix) -> f64 {
    let (Gram::OfRows(product) | Gram::OfColumns(product)) = gram(features, &vec![0.0; features.cols]);
    // Rounding can make an eigenvalue that is 0 slightly negative.
    let singular: Vec<f64> = product.symmetric_eigenvalues().iter().map(|value| value.max(0.0).sqrt()).collect();
    let sum: f64 = singular.iter().sum();
    if sum == 0.0 {
        return 0.0;
    }
    let entropy: f64 = singular.iter().map(|value| value / sum + EPS).map(|share| -share * share.ln()).sum();
    entropy.exp()
}

/// Uses that the sum over all pairs is the square of the sum of the unit vectors, less each one's own square.
fn mean_cosine(features: &Matrix) -> f64 {
    if features.rows < 2 {
        return 0.0;
    }
    let mut sum = vec![0.0; features.cols];
    let mut own = 0.0;
    for row in features.iter_rows() {
        let norm = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        if norm > 0.0 {
            sum.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value) / norm);
            own += 1.0;
        }
    }
    let pairs = features.rows as f64 * (features.rows as f64 - 1.0);
    (sum.iter().map(|sum| sum * sum).sum::<f64>() - own) / pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::random::{Purpose, Stream};

    fn of(rows: usize, cols: usize, values: Vec<f32>) -> Health {
        health(&Matrix::new(rows, cols, values).unwrap()).unwrap()
    }

    /// EPS adds about `n * EPS * ln(1 / EPS)` to the entropy of `n` singular values: 1e-5 of the rank.
    const TOLERANCE: f64 = 1e-4;
    /// All is f64, but the singular values come from the Gram matrix, which squares their condition.
    const ROUNDING: f64 = 1e-9;

    #[test]
    fn orthogonal_rows_fill_every_dimension() {
        let identity = (0..64).map(|at| f32::from(u8::from(at % 9 == 0))).collect();
        let health = of(8, 8, identity);
        assert!((health.rank - 8.0).abs() < 8.0 * TOLERANCE, "{health:?}");
        assert_eq!(health.cosine, 0.0);
    }

    #[test]
    fn equal_rows_have_rank_one_and_cosine_one() {
        let health = of(5, 3, [1.0, -2.0, 0.5].repeat(5));
        assert!((health.rank - 1.0).abs() < TOLERANCE, "{health:?}");
        assert!((health.cosine - 1.0).abs() < 1e-12);
        assert!(health.std < 1e-12);
    }

    #[test]
    fn the_numbers_are_those_of_numpy() {
        // np.linalg.svd with RankMe's formula, .std(0).mean(), and the mean of the cosines off the diagonal.
        let health = of(4, 3, vec![1.0, 2.0, 0.0, -1.0, 0.5, 3.0, 2.0, 2.0, -2.0, 0.0, 1.0, 1.0]);
        for (ours, numpy) in [
            (health.std, 1.190_109_559_773_406_2),
            (health.rank, 2.100_053_470_423_016),
            (health.cosine, 0.258_150_689_921_980_4),
        ] {
            assert!((ours - numpy).abs() < ROUNDING, "{health:?} {numpy}");
        }
        assert!(health.std_min > 0.0 && health.std_min < health.std, "{health:?}");
    }

    #[test]
    fn both_orientations_have_the_same_rank() {
        let mut stream = Stream::new(1, 0, 0, Purpose::Init);
        let values: Vec<f32> = (0..60 * 20).map(|_| stream.normal() as f32).collect();
        let turned = (0..20 * 60).map(|at| values[at % 60 * 20 + at / 60]).collect();
        let (tall, wide) = (of(60, 20, values), of(20, 60, turned));
        assert!((tall.rank - wide.rank).abs() < ROUNDING, "{tall:?} {wide:?}");
    }

    #[test]
    fn zeros_and_single_rows_have_numbers_too() {
        assert_eq!(of(3, 2, vec![0.0; 6]), Health { std: 0.0, std_min: 0.0, rank: 0.0, cosine: 0.0 });
        let one = of(1, 2, vec![1.0, 1.0]);
        assert!((one.rank - 1.0).abs() < TOLERANCE && one.cosine == 0.0, "{one:?}");
    }

    #[test]
    fn features_that_are_not_finite_are_refused() {
        let error = health(&Matrix::new(1, 1, vec![f32::INFINITY]).unwrap()).unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
    }
}
