//! What `shaders/matmul.wgsl` computes, as plain loops.

use rayon::prelude::*;

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
    /// Rows that are read again and again: `[T, N]`, added with the position epilogue; `[T, 2 K]`, the cosines and sines
    /// of a head of size K, with the rotation's.
    pub table: &'a [f32],
}

/// Writes y, `[M, N]`; with a residual, adds to it.
pub fn matmul(product: &Matmul<'_>, y: &mut [f32]) {
    let columns = product.b.len();
    y.par_chunks_mut(columns).enumerate().for_each(|(row, y)| {
        for (column, y) in y.iter_mut().enumerate() {
            let sum_of = |column: usize| {
                let mut sum = f64::from(product.b[column]);
                for k in 0..product.depth {
                    sum += f64::from(product.x[row * product.depth + k]) * f64::from(product.w[k * columns + column]);
                }
                sum
            };
            let sum = sum_of(column);
            let value = match product.epilogue {
                Epilogue::Bias => sum,
                Epilogue::Gelu => gelu(sum),
                Epilogue::Residual => sum + f64::from(*y),
                Epilogue::Position => sum + f64::from(product.table[(row * columns + column) % product.table.len()]),
                Epilogue::Rotation { size } if column < columns / 3 * 2 => {
                    let cosine = (row * 2 * size) % product.table.len() + column % size;
                    let (cosine, sine) = (product.table[cosine], product.table[cosine + size]);
                    sum * f64::from(cosine) + sum_of(column ^ 1) * f64::from(sine)
                }
                Epilogue::Rotation { .. } => sum,
            };
            *y = value as f32;
        }
    });
}
