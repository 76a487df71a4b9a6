//! Principal components of tokens, and the colours that they give a feature map.

use nalgebra::{DMatrix, SymmetricEigen};

use super::gram::{Gram, block, gram};
use super::probe::same_width;
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// The directions in which rows of features vary most.
#[derive(Debug, Clone)]
pub struct Pca {
    mean: Vec<f64>,
    /// `[dim, k]`, unit columns.
    components: DMatrix<f64>,
    /// The variance along each component, the largest first.
    pub variances: Vec<f64>,
}

impl Pca {
    /// The first `k` components of the rows, or all if there are fewer with any variance.
    ///
    /// Of the two signs of a component, the one whose largest entry is positive, so that pictures do not flip from run
    /// to run.
    ///
    /// # Errors
    /// If the matrix is empty or has a value that is not finite, or `k` is 0.
    pub fn fit(features: &Matrix, k: usize) -> Result<Self> {
        features.require_finite()?;
        if k == 0 {
            return Err(Error::usage("0 principal components were asked for").with_remedy("ask for 1 or more"));
        }
        let mean = features.column_means();
        let (eigen, of_rows) = match gram(features, &mean) {
            Gram::OfRows(product) => (SymmetricEigen::new(product), true),
            Gram::OfColumns(product) => (SymmetricEigen::new(product), false),
        };
        let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        // What is smaller than the rounding of the largest is no direction.
        let floor = order.first().map_or(0.0, |&first| eigen.eigenvalues[first].max(0.0) * 1e-12);
        order.retain(|&at| eigen.eigenvalues[at] > floor);
        order.truncate(k);

        let mut components = eigen.eigenvectors.select_columns(&order);
        if of_rows {
            // X^T u is the direction in feature space, its length the square root of the eigenvalue.
            components = block(features, 0, features.rows, &mean).transpose() * components;
        }
        for mut component in components.column_iter_mut() {
            let largest = component[component.icamax()];
            component /= component.norm() * largest.signum();
        }
        let variances = order.iter().map(|&at| eigen.eigenvalues[at] / features.rows as f64).collect();
        Ok(Self { mean, components, variances })
    }

    /// The coordinates of rows along the components: as many columns as there are components.
    ///
    /// # Errors
    /// If the rows have another width than those fitted.
    pub fn project(&self, features: &Matrix) -> Result<Matrix> {
        let k = self.components.ncols();
        same_width(&Matrix { rows: 0, cols: self.mean.len(), values: Vec::new() }, features)?;
        let projected = block(features, 0, features.rows, &self.mean) * &self.components; // [rows, k]
        let values = (0..features.rows * k).map(|at| projected[(at / k, at % k)] as f32).collect();
        Matrix::new(features.rows, k, values)
    }
}

/// Share of the tokens at either end that may saturate, so that an outlier does not grey out the rest.
const SATURATED: f32 = 0.01;

/// A colour from 0 to 1 for each row of tokens: its place along the first three principal components as red, green and
/// blue.
///
/// Give the tokens of several images together, and equal colours mean equal features across them. A channel for which
/// there is no variance is 0.5.
///
/// # Errors
/// If the matrix is empty or has a value that is not finite.
pub fn feature_colours(tokens: &Matrix) -> Result<Vec<[f32; 3]>> {
    let projected = Pca::fit(tokens, 3)?.project(tokens)?;
    let mut colours = vec![[0.5; 3]; tokens.rows];
    for channel in 0..projected.cols {
        let mut sorted: Vec<f32> = projected.iter_rows().map(|row| row[channel]).collect();
        sorted.sort_by(f32::total_cmp);
        let margin = (SATURATED * sorted.len() as f32) as usize;
        let (low, high) = (sorted[margin], sorted[sorted.len() - 1 - margin]);
        if high > low {
            for (colour, row) in colours.iter_mut().zip(projected.iter_rows()) {
                colour[channel] = ((row[channel] - low) / (high - low)).clamp(0.0, 1.0);
            }
        }
    }
    Ok(colours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    /// Rows that vary by 9, 3 and 1 along three orthogonal directions.
    fn three_directions(rows: usize, cols: usize) -> Matrix {
        let mut stream = Stream::new(3, 0, 0, Purpose::Init);
        let mut values = vec![0.25; rows * cols];
        for row in values.chunks_exact_mut(cols) {
            let [a, b, c] = [9.0, 3.0, 1.0].map(|scale| (scale * stream.normal()) as f32);
            row[0] += a;
            row[1] -= b;
            row[2] += c;
        }
        Matrix::new(rows, cols, values).unwrap()
    }

    #[test]
    fn components_are_found_in_order_with_fixed_signs_from_either_side() {
        for (rows, cols) in [(300, 5), (30, 50)] {
            let features = three_directions(rows, cols);
            let pca = Pca::fit(&features, 3).unwrap();
            assert!(pca.variances.is_sorted_by(|a, b| a > b));
            for component in 0..3 {
                let own = pca.components[(component, component)];
                assert!(own > 0.9, "component {component} of {rows} by {cols} has {own} where it should have nearly 1");
            }
        }
    }

    #[test]
    fn projections_have_the_variance_of_their_component() {
        let features = three_directions(100, 6);
        let pca = Pca::fit(&features, 2).unwrap();
        let projected = pca.project(&features).unwrap();
        for (component, variance) in pca.variances.iter().enumerate() {
            let squares: f64 = projected.iter_rows().map(|row| f64::from(row[component]).powi(2)).sum();
            assert!((squares / 100.0 / variance - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn colours_span_the_range_and_do_not_depend_on_the_order_of_images() {
        let tokens = three_directions(200, 8);
        let colours = feature_colours(&tokens).unwrap();
        for channel in 0..3 {
            let values = colours.iter().map(|colour| colour[channel]);
            assert_eq!(values.clone().fold(f32::INFINITY, f32::min), 0.0);
            assert_eq!(values.fold(0.0, f32::max), 1.0);
        }
        let turned: Vec<usize> = (0..200).rev().collect();
        let again = feature_colours(&tokens.select(&turned)).unwrap();
        for (colour, again) in colours.iter().zip(again.iter().rev()) {
            // Only the order of a sum has changed.
            assert!(colour.iter().zip(again).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }

    #[test]
    fn tokens_without_variance_are_grey() {
        let same = Matrix::new(4, 5, vec![2.0; 20]).unwrap();
        assert_eq!(feature_colours(&same).unwrap(), [[0.5; 3]; 4]);
        let line = Matrix::new(3, 2, vec![0.0, 0.0, 1.0, 1.0, 2.0, 2.0]).unwrap();
        assert_eq!(feature_colours(&line).unwrap(), [[0.0, 0.5, 0.5], [0.5, 0.5, 0.5], [1.0, 0.5, 0.5]]);
    }
}
