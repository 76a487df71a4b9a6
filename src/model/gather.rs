//! Taking the tokens that a mask keeps.
//!
//! `B` batch, `N` tokens, `K` kept tokens, `D` width.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::masks::IndexMask;

/// A list of masks on the device: rows of a flattened `[B * N, D]` matrix, mask after mask.
///
/// Reference: masks are joined on the batch axis, mask-major: row `i * B + b`.
#[derive(Debug, Clone)]
pub struct Gather {
    rows: Tensor<1, Int>,
    batch: usize,
    keep: usize,
}

impl Gather {
    /// Uploads `masks`, which all keep the same number of tokens of the same batch, for inputs of `tokens` tokens.
    pub fn new(masks: &[IndexMask], tokens: usize, device: &Device) -> Self {
        let keep = masks.first().map_or(0, |mask| mask.keep);
        let batch = masks.iter().map(|mask| mask.batch).sum();
        let rows = masks.iter().flat_map(|mask| rows_of(mask, tokens)).collect();
        Self { rows: upload(rows, device), batch, keep }
    }

    /// # Shapes
    /// - `x`: `[B, N, D]`
    /// - output: `[masks * B, K, D]`
    pub fn apply(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, dim] = x.dims();
        let kept = x.reshape([batch * tokens, dim]).select(0, self.rows.clone());
        kept.reshape([self.batch, self.keep, dim])
    }

    /// The tokens that each mask keeps.
    pub fn keep(&self) -> usize {
        self.keep
    }
}

/// The rows of a flattened `[B * N, D]` matrix that `mask` keeps.
pub fn rows_of(mask: &IndexMask, tokens: usize) -> impl Iterator<Item = i32> + '_ {
    let in_sample = move |(i, index): (usize, &u32)| (i / mask.keep.max(1) * tokens) as i32 + *index as i32;
    mask.indices.iter().enumerate().map(in_sample)
}

fn upload(rows: Vec<i32>, device: &Device) -> Tensor<1, Int> {
    let count = rows.len();
    Tensor::from_data(TensorData::new(rows, [count]), device)
}
