//! One training step: what is updated, in which order.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};

use super::objective::{distance, normalise_targets, spread};
use super::optimizer::{AdamW, moving_average};
use super::schedule::Rates;
use crate::config::{LossConfig, RunConfig, TargetKind};
use crate::error::Result;
use crate::masks::Masks;
use crate::model::{Encoder, Gather, Init, Predictor};
use crate::weights::{Gradients, Tensors, Values, collect, load};

/// The three networks of a JEPA.
#[derive(Clone)]
pub struct Networks {
    /// Sees the context; learns by gradient.
    pub encoder: Encoder,
    /// Predicts the targets; learns by gradient.
    pub predictor: Predictor,
    /// Sees the whole image; follows the encoder.
    pub target_encoder: Encoder,
}

/// What a step's forward passes give, on the device.
pub struct Forward {
    /// Mean distance between predictions and targets, the mean of all passes, `[1]`.
    pub loss: Tensor<1>,
    /// The weighted spread terms, where the configuration has them, the mean of all passes, `[1]`.
    pub spread: Option<Tensor<1>>,
    /// One for each of the masks.
    pub passes: Vec<Pass>,
}

/// What one pass gives, on the device.
pub struct Pass {
    /// `[C * B, K, D]`
    pub context: Tensor<3>,
    /// `[T * C * B, M, D]`
    pub prediction: Tensor<3>,
    /// `[T * C * B, M, D]`
    pub target: Tensor<3>,
}

/// Gradients of the two networks that learn.
pub struct StepGradients {
    /// Of the encoder.
    pub encoder: GradientsParams,
    /// Of the predictor.
    pub predictor: GradientsParams,
}

impl Networks {
    /// New networks of `config` on `device` (without autodiff); the target encoder begins as a copy of the encoder.
    pub fn new(config: &RunConfig, init: Init, device: &Device) -> Self {
        let learning = device.clone().autodiff();
        let (model, precision) = (&config.model, config.train.precision);
        let output = match config.loss.target {
            TargetKind::Features => model.dim,
            TargetKind::Pixels => model.patch_values(),
        };
        let encoder = Encoder::new(model, precision, init, &learning);
        Self {
            predictor: Predictor::new(model, output, precision, init, &learning),
            target_encoder: encoder.clone().valid(),
            encoder,
        }
    }

    /// The forward passes of one micro-batch, one for each of `masks`: a picture has one, a clip one for each range.
    ///
    /// # Shapes
    /// - `images`: `[B, C F, H, W]`, without autodiff
    pub fn forward(&self, config: &LossConfig, images: Tensor<4>, masks: &[Masks]) -> Forward {
        let full = normalise_targets(match config.target {
            TargetKind::Features => self.target_encoder.forward(images.clone(), None),
            TargetKind::Pixels => self.encoder.patch_embed.patchify(images.clone()),
        });
        let images = images.autodiff();
        let passes: Vec<Pass> = masks.iter().map(|masks| self.pass(images.clone(), full.clone(), masks)).collect();
        // Reference: each range is a pass of its own, and their losses are averaged.
        let mean = |terms: Vec<Tensor<1>>| {
            let count = terms.len();
            let sum = terms.into_iter().reduce(|sum, term| sum + term);
            sum.map(|sum| if count > 1 { sum / count as f64 } else { sum })
        };
        let loss = |pass: &Pass| distance(config.kind, pass.prediction.clone(), pass.target.clone().autodiff());
        let spread = |pass: &Pass| spread(config, pass.context.clone());
        let no_loss = || Tensor::zeros([1], &images.device());
        Forward {
            loss: mean(passes.iter().map(loss).collect()).unwrap_or_else(no_loss),
            spread: mean(passes.iter().filter_map(spread).collect()),
            passes,
        }
    }

    /// One pass: `full` are the targets of all tokens, `[B, N, D]`.
    fn pass(&self, images: Tensor<4>, full: Tensor<3>, masks: &Masks) -> Pass {
        let device = full.device();
        let tokens = full.dims()[1];
        // Reference: targets are repeated for every context mask, row `(target * C + context) * B + sample`.
        let contexts = masks.context.len();
        let repeated: Vec<_> =
            masks.targets.iter().flat_map(|mask| std::iter::repeat_n(mask.clone(), contexts)).collect();
        let target = Gather::new(&repeated, tokens, &device).apply(full);

        let visible = Gather::new(&masks.context, tokens, &device);
        let context = self.encoder.forward(images, Some(&visible));
        let prediction = self.predictor.forward(context.clone(), masks);
        Pass { context, prediction, target }
    }

    /// The gradients of `loss`.
    pub fn backward(&self, loss: Tensor<1>) -> StepGradients {
        let mut grads = loss.backward();
        let mut encoder = GradientsParams::from_module(&mut grads, &self.encoder);
        self.encoder.visit(&mut Patches { grads: &mut encoder });
        StepGradients { encoder, predictor: GradientsParams::from_module(&mut grads, &self.predictor) }
    }

    /// Updates encoder and predictor by AdamW, then the target encoder by its moving average.
    pub fn update(self, optimizer: &mut AdamW, grads: StepGradients, config: &RunConfig, rates: Rates) -> Self {
        let encoder = optimizer.step(self.encoder, grads.encoder, &config.optim, rates);
        let predictor = optimizer.step(self.predictor, grads.predictor, &config.optim, rates);
        optimizer.advance();
        let target_encoder = moving_average(self.target_encoder, &encoder, rates.momentum);
        Self { encoder, predictor, target_encoder }
    }

    /// All parameters by their names in the published checkpoints.
    ///
    /// # Errors
    /// A device error where a tensor cannot be read back.
    pub fn tensors(&self) -> Result<Tensors> {
        let mut tensors = collect(&self.encoder, "encoder", &Values)?;
        tensors.extend(collect(&self.predictor, "predictor", &Values)?);
        tensors.extend(collect(&self.target_encoder, "target_encoder", &Values)?);
        Ok(tensors)
    }

    /// Fills all parameters from tensors named as by [`Networks::tensors`].
    ///
    /// # Errors
    /// A data error that lists every tensor that does not fit.
    pub fn load(self, tensors: &Tensors) -> Result<Self> {
        Ok(Self {
            encoder: load(self.encoder, "encoder", tensors)?,
            predictor: load(self.predictor, "predictor", tensors)?,
            target_encoder: load(self.target_encoder, "target_encoder", tensors)?,
        })
    }

    /// What `encoder` and `predictor` hold for each parameter of the two networks, by name.
    ///
    /// # Errors
    /// A device error where a tensor cannot be read back.
    pub fn named(&self, encoder: &GradientsParams, predictor: &GradientsParams) -> Result<Tensors> {
        let mut tensors = collect(&self.encoder, "encoder", &Gradients(encoder))?;
        tensors.extend(collect(&self.predictor, "predictor", &Gradients(predictor))?);
        Ok(tensors)
    }
}

/// Uploads pixels as `[B, C F, H, W]`, the frames of a channel one after the other.
pub fn upload(pixels: Vec<f32>, shape: [usize; 4], device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(pixels, shape), device)
}

/// Copies the gradient of the patch embedding, the weight of five axes: it is transposed in memory, and burn's fusion
/// (0.22.1) reads such a tensor as if it were not, so that the update would be made of other gradients than its own.
struct Patches<'a> {
    grads: &'a mut GradientsParams,
}

impl ModuleVisitor for Patches<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if D == 5
            && let Some(grad) = self.grads.remove::<D>(param.id)
        {
            let all = grad.dims().map(|axis| 0..axis);
            let copy = Tensor::<D>::zeros(grad.dims(), &grad.device()).slice_assign(all, grad);
            self.grads.register(param.id, copy);
        }
    }
}
