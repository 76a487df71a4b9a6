//! The vision transformer that turns images into token features: context encoder and target encoder alike.
//!
//! `B` batch, `C` channels, `N` tokens, `D` width.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

use super::block::BlockShape;
use super::{Block, Gather, Init, LayerNorm, PatchEmbed, interpolate, sincos_2d};
use crate::config::{Layers, ModelConfig, Precision};
use crate::device::read;
use crate::error::{Error, Result};

/// A pre-norm vision transformer without class token.
#[derive(Module, Debug)]
pub struct Encoder {
    /// From pixels to tokens.
    pub patch_embed: PatchEmbed,
    /// `[1, N, D]`, fixed: no gradient reaches it.
    pub pos_embed: Param<Tensor<3>>,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// After the last block.
    pub norm: LayerNorm,
    #[module(skip)]
    grid: (usize, usize),
}

impl Encoder {
    /// An encoder of `config`.
    pub fn new(config: &ModelConfig, precision: Precision, init: Init, device: &Device) -> Self {
        let ModelConfig { channels, patch_size, dim, depth, heads, mlp, norm_eps, .. } = *config;
        let shape = BlockShape { dim, heads, mlp, norm_eps, precision };
        let table = TensorData::new(sincos_2d(dim, config.grid()), [1, config.tokens(), dim]);
        Self {
            patch_embed: PatchEmbed::new("patch_embed", [dim, channels, patch_size, patch_size], init, device),
            pos_embed: fixed(Tensor::from_data(table, device)),
            blocks: (0..depth).map(|i| Block::new(&format!("blocks.{i}"), shape, init, device)).collect(),
            norm: LayerNorm::new(dim, norm_eps, init, device),
            grid: (config.grid(), config.grid()),
        }
    }

    /// The features of all tokens, or of those that `context` keeps.
    ///
    /// Reference: the mask is applied after the position embeddings are added.
    ///
    /// # Shapes
    /// - `images`: `[B, C, H, W]`
    /// - output: `[B, N, D]`, or `[masks * B, K, D]`
    pub fn forward(&self, images: Tensor<4>, context: Option<&Gather>) -> Tensor<3> {
        let x = self.embed(images);
        let x = context.map_or(x.clone(), |context| context.apply(x));
        self.norm.forward(self.blocks.iter().fold(x, |x, block| block.forward(x)))
    }

    /// The features of all tokens at `layers`.
    ///
    /// # Shapes
    /// - `images`: `[B, C, H, W]`
    /// - output: `[B, N, D * n]`
    pub fn forward_layers(&self, images: Tensor<4>, layers: Layers) -> Tensor<3> {
        let Layers::LastOf(count) = layers else {
            return self.forward(images, None);
        };
        let outputs = self.forward_blocks(images);
        let kept = outputs.into_iter().rev().take(count).rev().map(|x| self.norm.forward(x));
        Tensor::cat(kept.collect(), 2)
    }

    /// The output of every block, before the final norm.
    ///
    /// # Shapes
    /// - `images`: `[B, C, H, W]`
    /// - outputs: `[B, N, D]` each
    pub fn forward_blocks(&self, images: Tensor<4>) -> Vec<Tensor<3>> {
        let mut x = self.embed(images);
        let mut outputs = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            x = block.forward(x);
            outputs.push(x.clone());
        }
        outputs
    }

    fn embed(&self, images: Tensor<4>) -> Tensor<3> {
        self.patch_embed.forward(images) + self.pos_embed.val()
    }

    /// The same encoder for images of `height` x `width` pixels, its position embeddings interpolated.
    ///
    /// # Errors
    /// A usage error where a side is no multiple of the patch size; a device error where the table cannot be read.
    pub fn at_resolution(mut self, height: usize, width: usize) -> Result<Self> {
        let patch = self.patch_embed.patch_size();
        let divides = |side: usize| side > 0 && side.is_multiple_of(patch);
        if !divides(height) || !divides(width) {
            return Err(Error::usage(format!("{height}x{width} pixels do not divide into patches of {patch}x{patch}"))
                .with_remedy(format!("take sides that are multiples of {patch}")));
        }
        let to = (height / patch, width / patch);
        if to == self.grid {
            return Ok(self);
        }
        let [_, _, dim] = self.pos_embed.dims();
        let device = self.pos_embed.device();
        let table = read::values(self.pos_embed.val().inner())?;
        let table = TensorData::new(interpolate(&table, dim, self.grid, to), [1, to.0 * to.1, dim]);
        self.pos_embed = fixed(Tensor::from_data(table, &device));
        self.grid = to;
        Ok(self)
    }

    /// Tokens along height and width.
    pub fn grid(&self) -> (usize, usize) {
        self.grid
    }

    /// Width of a token.
    pub fn dim(&self) -> usize {
        self.pos_embed.dims()[2]
    }
}

/// A parameter that no gradient reaches.
pub(super) fn fixed<const D: usize>(tensor: Tensor<D>) -> Param<Tensor<D>> {
    Param::from_tensor(tensor).set_require_grad(false)
}
