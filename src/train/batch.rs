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
