//! From pixels to tokens.
//!
//! `B` batch, `C` channels, `F` frames, `T` frames of a tubelet, `P` patch side, `N` tokens in raster order, of a clip time
//! after time, `D` width. A picture is a clip of one frame, with tubelets of one frame.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::Init;
use crate::fused;

/// A convolution whose kernel and stride are one patch or tubelet, written as a product.
#[derive(Module, Debug)]
pub struct PatchEmbed {
    /// The projection.
    pub proj: PatchProjection,
}

/// The projection of one patch or tubelet, with a convolution's layout.
#[derive(Module, Debug)]
pub struct PatchProjection {
    /// `[D, C, T, P, P]`; without `T` in the checkpoints where that is 1.
    pub weight: Param<Tensor<5>>,
    /// `[D]`
    pub bias: Param<Tensor<1>>,
}

impl PatchEmbed {
    pub(super) fn new(name: &str, shape: [usize; 5], init: Init, device: &Device) -> Self {
        Self {
            proj: PatchProjection {
                weight: init.weight(&format!("{name}.proj.weight"), shape, device),
                bias: init.bias(shape[0], device),
            },
        }
    }

    /// Frames and side of a token, in frames and pixels.
    pub fn spans(&self) -> [usize; 2] {
        let [_, _, tubelet, patch, _] = self.proj.weight.dims();
        [tubelet, patch]
    }

    /// # Shapes
    /// - `images`: `[B, C F, H, W]`, F a multiple of T, H and W of P
    /// - output: `[B, N, D]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<3> {
        let [dim, channels, tubelet, patch, _] = self.proj.weight.dims();
        let weight = self.proj.weight.val().reshape([dim, channels * tubelet * patch * patch]).transpose();
        fused::linear(self.patchify(images), weight, self.proj.bias.val())
    }

    /// Cuts pictures into patches or clips into tubelets; the values of one are ordered as channel, frame, row, column.
    ///
    /// # Shapes
    /// - `images`: `[B, C F, H, W]`, the frames of a channel one after the other
    /// - output: `[B, N, C T P P]`
    pub fn patchify(&self, images: Tensor<4>) -> Tensor<3> {
        let [_, channels, tubelet, patch, _] = self.proj.weight.dims();
        let [batch, planes, height, width] = images.dims();
        let (times, rows, columns) = (planes / channels / tubelet, height / patch, width / patch);
        if planes == channels {
            images
                .reshape([batch, channels, rows, patch, columns, patch])
                .permute([0, 2, 4, 1, 3, 5]) // [B, rows, columns, C, P, P]
                .reshape([batch, rows * columns, channels * patch * patch])
        } else {
            images
                .reshape([batch, channels, times, tubelet, rows, patch, columns, patch])
                .permute([0, 2, 4, 6, 1, 3, 5, 7]) // [B, times, rows, columns, C, T, P, P]
                .reshape([batch, times * rows * columns, channels * tubelet * patch * patch])
        }
    }
}
