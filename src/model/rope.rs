//! V-JEPA 2's positions: queries and keys are turned by each token's time, row and column.
//!
//! `B` batch, `N` tokens, `H` heads, `K` head size, `D = H * K`.

use burn::tensor::{Device, Tensor, TensorData};

use super::Gather;
use crate::kernels::rotation;

/// The angles of every token of a grid, on the host.
#[derive(Debug, Clone)]
pub struct Rope {
    /// `[N, 2 K]`, as [`rotation::table`] gives it.
    table: Vec<f32>,
    size: usize,
}

/// The cosines and sines of the tokens of some sequences, on the device.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// `[B, N, 2 K]`
    table: Tensor<3>,
}

impl Rope {
    /// The angles of a grid (time, rows, columns) for heads of `size` channels.
    pub fn new(grid: [usize; 3], size: usize) -> Self {
        Self { table: rotation::table(grid, size), size }
    }

    /// The cosines and sines of all tokens, as [`rotation::table`] gives them.
    pub fn table(&self) -> &[f32] {
        &self.table
    }

    /// The rotation of all tokens, of one sequence that stands for any.
    pub fn whole(&self, device: &Device) -> Rotation {
        let tokens = self.table.len() / (2 * self.size);
        Rotation { table: Tensor::from_data(TensorData::new(self.table.clone(), [1, tokens, 2 * self.size]), device) }
    }
}

impl Rotation {
    /// The rotation of the tokens that `kept` keeps of `batch` sequences.
    pub fn keep(&self, kept: &Gather, batch: usize) -> Self {
        Self { table: kept.apply(self.table.clone().repeat_dim(0, batch)) }
    }

    /// That of `times` copies of all sequences, one after the other.
    pub fn repeat(self, times: usize) -> Self {
        Self { table: self.table.repeat_dim(0, times) }
    }

    /// That of these tokens followed by `other`'s.
    pub fn then(self, other: Self) -> Self {
        Self { table: Tensor::cat(vec![self.table, other.table], 1) }
    }

    /// Turns queries and keys; values stay as they are.
    ///
    /// # Shapes
    /// - `qkv` and output: `[B, N, 3 D]`
    pub(super) fn turn(&self, qkv: Tensor<3>, heads: usize) -> Tensor<3> {
        let [batch, tokens, triple] = qkv.dims();
        let (dim, size) = (triple / 3, triple / 3 / heads);
        let [sequences, _, _] = self.table.dims();
        let angles = self.table.clone().reshape([sequences, tokens, 2, size]);
        let [cos, sin] = [0, 1].map(|part| angles.clone().slice([0..sequences, 0..tokens, part..part + 1, 0..size]));
        let both = qkv.clone().slice([0..batch, 0..tokens, 0..2 * dim]);
        let values = qkv.slice([0..batch, 0..tokens, 2 * dim..triple]);
        let swapped = both.clone().reshape([batch, tokens, dim, 2]).flip([3]);
        let [both, swapped] =
            [both, swapped.reshape([batch, tokens, 2 * dim])].map(|x| x.reshape([batch, tokens, 2 * heads, size])); // queries' heads, then keys'
        let turned = both * cos + swapped * sin;
        Tensor::cat(vec![turned.reshape([batch, tokens, 2 * dim]), values], 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{self, read};

    #[test]
    fn each_axis_turns_its_channels_and_what_is_left_over_stays() {
        // Heads of 8 channels: 2 an axis, 2 left over.
        let device = device::open("cpu".parse().unwrap()).unwrap();
        let rotation = Rope::new([2, 2, 2], 8).whole(&device);
        let one: Vec<f32> = (0..24).map(|i| i as f32 + 1.0).collect();
        let qkv = Tensor::<3>::from_data(TensorData::new(one.repeat(8), [1, 8, 24]), &device);
        let turned = read::values(rotation.turn(qkv, 1)).unwrap();
        let token = |time: usize, row: usize, column: usize| &turned[(time * 4 + row * 2 + column) * 24..][..24];
        let (cos, sin) = (1f32.cos(), 1f32.sin());
        for (at, axis) in [(token(1, 0, 0), 0), (token(0, 1, 0), 1), (token(0, 0, 1), 2)] {
            for channel in (0..24).step_by(2) {
                let [a, b] = [one[channel], one[channel + 1]];
                let expected = match channel % 8 / 2 == axis && channel < 16 {
                    true => [a * cos - b * sin, b * cos + a * sin],
                    false => [a, b],
                };
                for (found, expected) in at[channel..].iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-5, "channel {channel}: {found}, expected {expected}");
                }
            }
        }
    }
}
