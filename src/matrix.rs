//! A matrix of features on the host: what extraction writes and what probes, health and feature maps read.

use crate::error::{Error, Kind, Result};

/// Rows of features, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// Number of rows: images or tokens.
    pub rows: usize,
    /// Values of one row.
    pub cols: usize,
    /// `rows * cols` values, row after row.
    pub values: Vec<f32>,
}

impl Matrix {
    /// A matrix of `rows` by `cols`.
    ///
    /// # Errors
    /// If `values` has another length.
    pub fn new(rows: usize, cols: usize, values: Vec<f32>) -> Result<Self> {
        if rows.checked_mul(cols) != Some(values.len()) {
            let message = format!("a matrix of {rows} by {cols} cannot have {} values", values.len());
            return Err(Error::new(Kind::Data, message));
        }
        Ok(Self { rows, cols, values })
    }

    /// The values of row `index`, which is below `rows`.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.cols..][..self.cols]
    }

    /// All rows in order.
    pub fn iter_rows(&self) -> impl Iterator<Item = &[f32]> {
        (0..self.rows).map(|index| self.row(index))
    }

    /// The rows with the given indices, in their order; each index is below `rows`.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let values = indices.iter().flat_map(|&index| self.row(index)).copied().collect();
        Self { rows: indices.len(), cols: self.cols, values }
    }

    /// The mean of each column; 0 without rows.
    pub fn column_means(&self) -> Vec<f64> {
        let mut means = vec![0.0; self.cols];
        for row in self.iter_rows() {
            means.iter_mut().zip(row).for_each(|(mean, &value)| *mean += f64::from(value));
        }
        means.iter_mut().for_each(|mean| *mean /= self.rows.max(1) as f64);
        means
    }

    /// The standard deviation of each column around its mean, over all rows; 0 without rows.
    pub fn column_stds(&self, means: &[f64]) -> Vec<f64> {
        let mut squares = vec![0.0; self.cols];
        for row in self.iter_rows() {
            for ((square, mean), &value) in squares.iter_mut().zip(means).zip(row) {
                *square += (f64::from(value) - mean).powi(2);
            }
        }
        squares.iter().map(|square| (square / self.rows.max(1) as f64).sqrt()).collect()
    }

    /// Refuses a matrix without values, or with one that is not a finite number.
    ///
    /// # Errors
    /// Of kind [`Kind::Data`], naming the first such value.
    pub fn require_finite(&self) -> Result<()> {
        if self.values.is_empty() {
            return Err(Error::new(Kind::Data, format!("{} rows of {} features are empty", self.rows, self.cols)));
        }
        match self.values.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(at) => {
                let (row, column) = (at / self.cols, at % self.cols);
                let message = format!("feature {column} of row {row} is {}, not a finite number", self.values[at]);
                Err(Error::new(Kind::Data, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_of_the_wrong_length_is_refused() {
        let error = Matrix::new(2, 3, vec![0.0; 5]).unwrap_err();
        insta::assert_snapshot!(error, @"a matrix of 2 by 3 cannot have 5 values");
        assert!(Matrix::new(usize::MAX, 2, Vec::new()).is_err());
    }

    #[test]
    fn selecting_keeps_the_order_asked_for() {
        let matrix = Matrix::new(3, 2, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!(matrix.select(&[2, 0]).values, [4.0, 5.0, 0.0, 1.0]);
    }

    #[test]
    fn columns_have_means_and_population_deviations() {
        let matrix = Matrix::new(2, 2, vec![1.0, 5.0, 3.0, 5.0]).unwrap();
        assert_eq!(matrix.column_means(), [2.0, 5.0]);
        assert_eq!(matrix.column_stds(&[2.0, 5.0]), [1.0, 0.0]);
    }

    #[test]
    fn a_value_that_is_not_finite_is_named() {
        let matrix = Matrix::new(2, 2, vec![0.0, 1.0, f32::NAN, 3.0]).unwrap();
        let error = matrix.require_finite().unwrap_err();
        insta::assert_snapshot!(error, @"feature 0 of row 1 is NaN, not a finite number");
    }
}
