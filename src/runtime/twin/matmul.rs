//! What `shaders/matmul.wgsl` computes, as plain loops.

use super::gelu::gelu;
use crate::compile::Epilogue;

/// Operands of a product `y = x W + b`.
pub struct Matmul<'a> {
    /// `[M, K]`
    pub x: &'a [f32],
    /// `[K, N]`
    pub w: &'a [f32],
    /// `[N]`
    pub b: &'a [f32],
    /// K
    pub depth: usize,
    /// What is done to the sums.
    pub epilogue: Epilogue,
    /// Rows that are added with the position epilogue, again and again: `[T, N]`.
    pub table: &'a [f32],
}

/// Writes y, `[M, N]`; with a residual, adds to it.
pub fn matmul(product: &Matmul<'_>, y: &mut [f32]) {
    let columns = product.b.len();
    for (row, y) in y.chunks_mut(columns).enumerate() {
        for (column, y) in y.iter_mut().enumerate() {
            let mut sum = f64::from(product.b[column]);
            for k in 0..product.depth {
                sum += f64::from(product.x[row * product.depth + k]) * f64::from(product.w[k * columns + column]);
            }
            let value = match product.epilogue {
                Epilogue::Bias => sum,
                Epilogue::Gelu => gelu(sum),
                Epilogue::Residual => sum + f64::from(*y),
                Epilogue::Position => sum + f64::from(product.table[(row * columns + column) % product.table.len()]),
            };
            *y = value as f32;
        }
    }
}
