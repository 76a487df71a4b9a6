//! A batch cut into micro-batches, and their gradients made one.

use burn::optim::GradientsAccumulator;

use super::step::{Networks, StepGradients};
use crate::data::Batch;
use crate::model::{Encoder, Predictor};

/// The pictures or clips of one forward pass.
pub(super) struct MicroBatch {
    /// `[B, C F, H, W]`, the frames of a channel one after the other.
    pub pixels: Vec<f32>,
    /// `B`, `C F`, `H`, `W`.
    pub shape: [usize; 4],
    /// The data set's indices of the `B` samples.
    pub samples: Vec<u64>,
    /// Of the batch's samples: how much its loss counts.
    pub share: f64,
}

/// Cuts a batch into micro-batches of at most `micro` images.
pub(super) fn micro_batches(batch: Batch, micro: usize) -> Vec<MicroBatch> {
    let [_, channels, height, width] = batch.shape;
    let image = channels * height * width;
    let pixels = batch.pixels.chunks(micro * image);
    let cut = |(pixels, samples): (&[f32], &[u64])| MicroBatch {
        pixels: pixels.to_vec(),
        shape: [samples.len(), channels, height, width],
        samples: samples.to_vec(),
        share: samples.len() as f64 / batch.samples.len() as f64,
    };
    pixels.zip(batch.samples.chunks(micro)).map(cut).collect()
}

/// The sum of micro-batches' gradients.
#[derive(Default)]
pub(super) struct Accumulator {
    encoder: GradientsAccumulator<Encoder>,
    predictor: GradientsAccumulator<Predictor>,
}

impl Accumulator {
    /// Adds the gradients of one micro-batch.
    pub(super) fn add(&mut self, networks: &Networks, grads: StepGradients) {
        self.encoder.accumulate(&networks.encoder, grads.encoder);
        self.predictor.accumulate(&networks.predictor, grads.predictor);
    }

    /// The sum.
    pub(super) fn grads(mut self) -> StepGradients {
        StepGradients { encoder: self.encoder.grads(), predictor: self.predictor.grads() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_micro_batch_counts_by_its_samples() {
        let batch = Batch {
            pixels: (0..5).map(|i| i as f32).collect(),
            shape: [5, 1, 1, 1],
            samples: vec![7, 3, 9, 1, 4],
            times: vec![0.0; 5],
            epoch: 0,
            step: 0,
            skipped: Vec::new(),
            wait: Duration::ZERO,
        };
        let parts = micro_batches(batch, 2);
        let found: Vec<_> = parts.iter().map(|part| (part.samples.as_slice(), part.shape[0], part.share)).collect();
        assert_eq!(found, [(&[7, 3][..], 2, 0.4), (&[9, 1], 2, 0.4), (&[4], 1, 0.2)]);
        assert_eq!(parts[2].pixels, [4.0]);
    }
}
