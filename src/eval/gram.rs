//! The Gram matrix of the smaller side of a feature matrix, in f64.

use nalgebra::DMatrix;

use crate::matrix::Matrix;

/// The products of a matrix `X` with itself, along its smaller side; both have the same eigenvalues but for zeros.
pub(super) enum Gram {
    /// `X X^T`, where there are fewer rows than columns.
    OfRows(DMatrix<f64>),
    /// `X^T X`.
    OfColumns(DMatrix<f64>),
}

/// Rows that are turned into f64 at once.
const BLOCK: usize = 1024;

/// The Gram matrix of the rows after `mean` is taken from each.
pub(super) fn gram(matrix: &Matrix, mean: &[f64]) -> Gram {
    if matrix.rows < matrix.cols {
        let rows = block(matrix, 0, matrix.rows, mean);
        return Gram::OfRows(&rows * rows.transpose());
    }
    let mut product = DMatrix::zeros(matrix.cols, matrix.cols);
    for from in (0..matrix.rows).step_by(BLOCK) {
        let rows = block(matrix, from, (from + BLOCK).min(matrix.rows), mean);
        product.gemm(1.0, &rows.transpose(), &rows, 1.0);
    }
    Gram::OfColumns(product)
}

/// Rows `from` to `to` in f64, less `mean`.
pub(super) fn block(matrix: &Matrix, from: usize, to: usize, mean: &[f64]) -> DMatrix<f64> {
    DMatrix::from_fn(to - from, matrix.cols, |row, col| {
        f64::from(matrix.values[(from + row) * matrix.cols + col]) - mean[col]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_have_the_same_eigenvalues() {
        let values: Vec<f32> = (0..12).map(|at| ((at * 7) % 5) as f32).collect();
        let wide = Matrix::new(3, 4, values.clone()).unwrap();
        let turned = (0..4).flat_map(|col| (0..3).map(move |row| (row, col)));
        let tall = Matrix::new(4, 3, turned.map(|(row, col)| wide.row(row)[col]).collect()).unwrap();
        let (Gram::OfRows(rows), Gram::OfColumns(columns)) = (gram(&wide, &[0.0; 4]), gram(&tall, &[0.0; 3])) else {
            panic!("the smaller side was not taken");
        };
        assert_eq!(rows, columns);
    }
}
