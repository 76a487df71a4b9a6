//! The vision transformer that turns pictures or clips into token features: context encoder and target encoder alike.
//!
//! `B` batch, `C` channels, `F` frames (1 of a picture), `N` tokens, `D` width.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

use super::block::BlockShape;
use super::position::{self, Kernel, interpolate};
use super::{Block, Gather, Init, LayerNorm, PatchEmbed, Rope};
use crate::config::{Layers, ModelConfig, Positions, Precision};
use crate::device::read;
use crate::error::{Error, Result};

/// A pre-norm vision transformer without class token.
#[derive(Module, Debug)]
pub struct Encoder {
    /// From pixels to tokens.
    pub patch_embed: PatchEmbed,
    /// `[1, N, D]`, fixed: no gradient reaches it. None where positions are rotations.
    pub pos_embed: Option<Param<Tensor<3>>>,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// After the last block.
    pub norm: LayerNorm,
    #[module(skip)]
    rope: Option<Rope>,
    #[module(skip)]
    size: Size,
}

/// The input that an encoder is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    /// Tokens along time, height and width.
    grid: [usize; 3],
    /// How its table is resized.
    kernel: Kernel,
    heads: usize,
}

impl Encoder {
    /// An encoder of `config`.
    pub fn new(config: &ModelConfig, precision: Precision, init: Init, device: &Device) -> Self {
        let ModelConfig { channels, patch_size, tubelet, dim, depth, heads, mlp, norm_eps, .. } = *config;
        let grid = [config.grid().time, config.grid().side, config.grid().side];
        let kernel = if config.frames > 1 { Kernel::Linear } else { Kernel::Cubic };
        let kernel_shape = [dim, channels, tubelet, patch_size, patch_size];
        let block = |i: usize| {
            let shape = BlockShape { dim, heads, mlp, norm_eps, precision, layer: rescaled(config, i) };
            Block::new(&format!("blocks.{i}"), shape, init, device)
        };
        Self {
            patch_embed: PatchEmbed::new("patch_embed", kernel_shape, init, device),
            pos_embed: table(config, dim, device),
            blocks: (0..depth).map(block).collect(),
            norm: LayerNorm::new(dim, norm_eps, init, device),
            rope: rope(config, grid, dim / heads),
            size: Size { grid, kernel, heads },
        }
    }

    /// The features of all tokens, or of those that `context` keeps.
    ///
    /// Reference: the mask is applied after the position embeddings are added.
    ///
    /// # Shapes
    /// - `images`: `[B, C F, H, W]`, the frames of a channel one after the other
    /// - output: `[B, N, D]`, or `[masks * B, K, D]`
    pub fn forward(&self, images: Tensor<4>, context: Option<&Gather>) -> Tensor<3> {
        let (device, [batch, ..]) = (images.device(), images.dims());
        let mut x = self.embed(images);
        let mut rotation = self.rope.as_ref().map(|rope| rope.whole(&device));
        if let Some(context) = context {
            x = context.apply(x);
            rotation = rotation.map(|rotation| rotation.keep(context, batch));
        }
        let blocks = self.blocks.iter();
        self.norm.forward(blocks.fold(x, |x, block| block.forward(x, rotation.as_ref())))
    }

    /// The features of all tokens at `layers`.
    ///
    /// # Shapes
    /// - `images`: `[B, C F, H, W]`
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
    /// - `images`: `[B, C F, H, W]`
    /// - outputs: `[B, N, D]` each
    pub fn forward_blocks(&self, images: Tensor<4>) -> Vec<Tensor<3>> {
        let rotation = self.rope.as_ref().map(|rope| rope.whole(&images.device()));
        let mut x = self.embed(images);
        let mut outputs = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            x = block.forward(x, rotation.as_ref());
            outputs.push(x.clone());
        }
        outputs
    }

    /// The tokens with their position embeddings, where there are any.
    ///
    /// # Shapes
    /// - `images`: `[B, C F, H, W]`
    /// - output: `[B, N, D]`
    pub fn embed(&self, images: Tensor<4>) -> Tensor<3> {
        let x = self.patch_embed.forward(images);
        match &self.pos_embed {
            Some(table) => x + table.val(),
            None => x,
        }
    }

    /// The same encoder for clips of `frames` frames (1 for pictures) of `height` x `width` pixels, its position embeddings
    /// interpolated.
    ///
    /// # Errors
    /// A usage error where a side is no multiple of the patch size, or the frames are none of the tubelet's; a device error
    /// where the table cannot be read.
    pub fn at_size(mut self, [frames, height, width]: [usize; 3]) -> Result<Self> {
        let [tubelet, patch] = self.patch_embed.spans();
        let divides = |length: usize, by: usize| length > 0 && length.is_multiple_of(by);
        if !divides(height, patch) || !divides(width, patch) {
            return Err(Error::usage(format!("{height}x{width} pixels do not divide into patches of {patch}x{patch}"))
                .with_remedy(format!("take sides that are multiples of {patch}")));
        }
        if !divides(frames, tubelet) {
            return Err(Error::usage(format!("{frames} frames do not divide into tubelets of {tubelet}"))
                .with_remedy(format!("take a multiple of {tubelet} frames")));
        }
        let (from, to) = (self.size.grid, [frames / tubelet, height / patch, width / patch]);
        if to == from {
            return Ok(self);
        }
        if let Some(table) = &self.pos_embed {
            let ([_, _, dim], device) = (table.dims(), table.device());
            let values = interpolate(&read::values(table.val().inner())?, dim, self.size.kernel, from, to);
            let values = TensorData::new(values, [1, to.iter().product(), dim]);
            self.pos_embed = Some(fixed(Tensor::from_data(values, &device)));
        }
        let size = self.dim() / self.size.heads;
        self.rope = self.rope.map(|_| Rope::new(to, size));
        self.size.grid = to;
        Ok(self)
    }

    /// The cosines and sines by which queries and keys are turned, `[N, 2 K]`, where they are.
    pub fn angles(&self) -> Option<&[f32]> {
        self.rope.as_ref().map(Rope::table)
    }

    /// Tokens along time, height and width.
    pub fn grid(&self) -> [usize; 3] {
        self.size.grid
    }

    /// Width of a token.
    pub fn dim(&self) -> usize {
        self.norm.weight.dims()[0]
    }
}

/// The fixed table of positions, `[1, N, dim]`, where there is one.
pub(super) fn table(config: &ModelConfig, dim: usize, device: &Device) -> Option<Param<Tensor<3>>> {
    let values = position::table(config, dim)?;
    Some(fixed(Tensor::from_data(TensorData::new(values, [1, config.tokens(), dim]), device)))
}

/// The rotations of positions for heads of `size` channels, where there are any.
pub(super) fn rope(config: &ModelConfig, grid: [usize; 3], size: usize) -> Option<Rope> {
    (config.positions == Positions::Rope).then(|| Rope::new(grid, size))
}

/// The number of block `i` where its residual projections are rescaled at the start.
///
/// Reference: V-JEPA 2 alone does so.
pub(super) fn rescaled(config: &ModelConfig, i: usize) -> Option<usize> {
    (config.positions == Positions::Rope).then_some(i + 1)
}

/// A parameter that no gradient reaches.
pub(super) fn fixed<const D: usize>(tensor: Tensor<D>) -> Param<Tensor<D>> {
    Param::from_tensor(tensor).set_require_grad(false)
}
