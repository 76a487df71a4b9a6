//! From pixels to tokens.
//!
//! `B` batch, `C` channels, `P` patch side, `N` tokens in raster order, `D` width.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::Init;
use crate::fused;

/// A convolution whose kernel and stride are one patch, written as a product.
#[derive(Module, Debug)]
pub struct PatchEmbed {
    /// The projection.
    pub proj: PatchProjection,
}

/// The projection of one patch, with a convolution's layout.
#[derive(Module, Debug)]
pub struct PatchProjection {
    /// `[D, C, P, P]`, as in the checkpoints.
    pub weight: Param<Tensor<4>>,
    /// `[D]`
    pub bias: Param<Tensor<1>>,
}

impl PatchEmbed {
    pub(super) fn new(name: &str, shape: [usize; 4], init: Init, device: &Device) -> Self {
        Self {
            proj: PatchProjection {
                weight: init.weight(&format!("{name}.proj.weight"), shape, device),
                bias: init.bias(shape[0], device),
            },
        }
    }

    /// Side of a patch, in pixels.
    pub fn patch_size(&self) -> usize {
        self.proj.weight.dims()[3]
    }

    /// # Shapes
    /// - `images`: `[B, C, H, W]`, H and W multiples of P
    /// - output: `[B, N, D]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<3> {
        let [dim, channels, patch, _] = self.proj.weight.dims();
        let weight = self.proj.weight.val().reshape([dim, channels * patch * patch]).transpose();
        fused::linear(patchify(images, patch), weight, self.proj.bias.val())
    }
}

/// Cuts images into patches, in raster order; the values of a patch are ordered as channel, row, column.
///
/// # Shapes
/// - `images`: `[B, C, H, W]`
/// - output: `[B, N, C P P]`
pub fn patchify(images: Tensor<4>, patch: usize) -> Tensor<3> {
    let [batch, channels, height, width] = images.dims();
    let (rows, columns) = (height / patch, width / patch);
    images
        .reshape([batch, channels, rows, patch, columns, patch])
        .permute([0, 2, 4, 1, 3, 5]) // [B, rows, columns, C, P, P]
        .reshape([batch, rows * columns, channels * patch * patch])
}
