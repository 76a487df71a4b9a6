//! Named tensors on the host.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::error::{Error, Result};

/// A dense f32 tensor on the host, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Length of each axis, the slowest first.
    pub shape: Vec<usize>,
    /// The values; as many as the shape's product.
    pub values: Vec<f32>,
}

/// Tensors by name, in the layout of the published checkpoints.
pub type Tensors = BTreeMap<String, HostTensor>;

/// Values of a line of memory.
const LINE: usize = 16;

impl HostTensor {
    /// A tensor of `shape`.
    ///
    /// # Errors
    /// A data error where `values` has another length than the shape's product.
    pub fn new(shape: Vec<usize>, values: Vec<f32>) -> Result<Self> {
        let expected = shape.iter().try_fold(1usize, |product, side| product.checked_mul(*side));
        if expected != Some(values.len()) {
            return Err(Error::new(
                crate::error::Kind::Data,
                format!("a tensor of shape {shape:?} cannot hold {} values", values.len()),
            ));
        }
        Ok(Self { shape, values })
    }

    /// Whether no value is NaN or infinite.
    pub fn is_finite(&self) -> bool {
        self.values.iter().all(|value| value.is_finite())
    }

    /// The transpose of the matrix whose rows are the entries of the first axis.
    pub fn transposed(&self) -> Self {
        let rows = self.shape.first().copied().unwrap_or(1);
        let columns = self.values.len() / rows.max(1);
        let mut values = vec![0.0; self.values.len()];
        // A line of memory holds so many values: each is read and written while it is at hand.
        values.par_chunks_mut((LINE * rows).max(1)).enumerate().for_each(|(block, written)| {
            for (i, row) in self.values.chunks_exact(columns.max(1)).enumerate() {
                for (j, value) in row[LINE * block..].iter().take(LINE).enumerate() {
                    written[j * rows + i] = *value;
                }
            }
        });
        Self { shape: vec![columns, rows], values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transpose_has_each_value_at_the_other_place() {
        for [rows, columns] in [[1, 1], [16, 32], [37, 50], [50, 3], [0, 4]] {
            let values: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
            let turned = HostTensor::new(vec![rows, columns], values.clone()).unwrap().transposed();
            let value = |i: usize| values[i % rows * columns + i / rows];
            assert_eq!(turned.values, (0..rows * columns).map(value).collect::<Vec<_>>(), "{rows} x {columns}");
        }
    }
}
