//! The ways to run an encoder, and what each shows of its layers.

use std::fmt;

use burn::tensor::{Device, Tensor, TensorData};

use crate::compile::{Buffer, Dtype, Outputs, Plan, Take, compile};
use crate::config::{ModelConfig, Precision};
use crate::device::{self, Spec, read};
use crate::error::Result;
use crate::model::{Encoder, Init};
use crate::runtime::twin::TwinEngine;
use crate::runtime::{self, Engine, TooLarge};
use crate::weights::{self, Tensors, of_plan};

/// An encoder, its weights and the images on which it is compared.
pub struct Subject {
    /// The architecture.
    pub model: ModelConfig,
    /// The encoder's tensors, without prefix.
    pub weights: Tensors,
    /// `[B, C F, H, W]`
    pub images: Vec<f32>,
    /// B
    pub batch: usize,
}

/// One layer's values.
#[derive(Debug, Clone)]
pub struct Found {
    /// The dispatch that computes it.
    pub label: String,
    /// The values.
    pub values: Vec<f32>,
}

/// A way to run an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// burn's operations on one of its devices.
    Burn(Spec),
    /// Our own kernels, with values stored as told.
    Compiled(Spec, Dtype),
}

impl Way {
    /// How values between operations are stored.
    pub fn stored(self) -> Dtype {
        match self {
            Self::Burn(_) => Dtype::F32,
            Self::Compiled(_, dtype) => dtype,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Burn(device) => write!(f, "burn on {device}"),
            Self::Compiled(device, dtype) => write!(f, "compiled on {device}, {dtype}"),
        }
    }
}

impl Subject {
    /// An encoder of `model` with the first weights of `seed`, on images of normal noise.
    pub fn untrained(model: &ModelConfig, batch: usize, seed: u64) -> Result<Self> {
        let device = device::open("cpu".parse()?)?;
        let encoder = Encoder::new(model, Precision::F32, Init::Seed(seed), &device);
        Ok(Self::new(model, weights::collect(&encoder, "", &weights::Values)?, batch, seed))
    }

    /// An encoder with `weights`, on `batch` images of normal noise.
    pub fn new(model: &ModelConfig, weights: Tensors, batch: usize, seed: u64) -> Self {
        let mut noise = crate::random::Stream::new(seed, 0, 0, crate::random::Purpose::Augment);
        let count = batch * model.input_shape().iter().product::<usize>();
        let images = (0..count).map(|_| noise.normal() as f32).collect();
        Self { model: model.clone(), weights, images, batch }
    }

    /// Every layer, by the plain twins.
    ///
    /// # Errors
    /// A data error where the weights do not fit the model.
    pub fn measure(&self) -> Result<Vec<Found>> {
        let mut twin = TwinEngine::new(self.plan(Dtype::F32)?, &|buffer| self.constant(buffer))?;
        traced(&mut twin, &self.images)
    }

    /// What a way shows of its layers.
    ///
    /// # Errors
    /// A device error where a device is missing or fails.
    pub fn layers(&self, way: Way) -> Result<Vec<Found>> {
        match way {
            Way::Burn(spec) => self.burn(&device::open(spec)?),
            Way::Compiled(spec, dtype) => traced(self.engine(spec, dtype)?.as_mut(), &self.images),
        }
    }

    /// The compiled encoder on a device.
    ///
    /// # Errors
    /// A device error where the device is missing or fails.
    pub fn engine(&self, spec: Spec, dtype: Dtype) -> Result<Box<dyn Engine>> {
        runtime::open(spec, self.plan(dtype)?, TooLarge::Refuse, &|buffer| self.constant(buffer))
    }

    /// The values of a constant of its plans.
    ///
    /// # Errors
    /// A data error where the weights do not fit the model.
    pub fn constant(&self, buffer: &Buffer) -> Result<Vec<f32>> {
        of_plan(&self.weights, buffer)
    }

    /// The plan that is compared.
    ///
    /// # Errors
    /// A failure that names an operation which no kernel computes.
    pub fn plan(&self, dtype: Dtype) -> Result<Plan> {
        compile(&self.model, self.batch, Outputs { layers: 1, take: Take::Mean }, dtype)
    }

    fn burn(&self, device: &Device) -> Result<Vec<Found>> {
        let encoder = Encoder::new(&self.model, Precision::F32, Init::Constant, device);
        let encoder = weights::load(encoder, "", &self.weights)?;
        let [planes, height, width] = self.model.input_shape();
        let images = TensorData::new(self.images.clone(), [self.batch, planes, height, width]);
        let images = Tensor::<4>::from_data(images, device);
        let mut found = Vec::new();
        let embedded = encoder.embed(images.clone());
        found.push(Found { label: "patch_embed.proj".into(), values: read::values(embedded)? });
        let blocks = encoder.forward_blocks(images);
        for (i, block) in blocks.iter().enumerate() {
            found.push(Found { label: format!("blocks.{i}.mlp.fc2"), values: read::values(block.clone())? });
        }
        if let Some(last) = blocks.into_iter().next_back() {
            let tokens = encoder.norm.forward(last);
            found.push(Found { label: "norm".into(), values: read::values(tokens.clone())? });
            found.push(Found { label: "pool".into(), values: read::values(tokens.mean_dim(1))? });
        }
        Ok(found)
    }
}

fn traced(engine: &mut dyn Engine, images: &[f32]) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    engine.trace(images, &mut |dispatch, values| {
        found.push(Found { label: dispatch.label.clone(), values: values.to_vec() });
        Ok(())
    })?;
    Ok(found)
}
