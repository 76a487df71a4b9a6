//! The two-layer perceptron of a block, with the exact (erf) GELU.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::block::BlockShape;
use super::{Init, Linear};
use crate::fused;

/// `fc2(gelu(fc1(x)))`.
#[derive(Module, Debug)]
pub struct Mlp {
    /// From the token's width to the hidden width.
    pub fc1: Linear,
    /// And back.
    pub fc2: Linear,
}

impl Mlp {
    pub(super) fn new(name: &str, shape: BlockShape, init: Init, device: &Device) -> Self {
        let (dim, hidden) = (shape.dim, shape.mlp);
        Self {
            fc1: Linear::new(&format!("{name}.fc1"), [dim, hidden], shape.precision, init, device),
            fc2: Linear::new(
                &format!("{name}.fc2"),
                [hidden, dim],
                shape.precision,
                init.residual(shape.layer),
                device,
            ),
        }
    }

    /// # Shapes
    /// - `x` and output: `[B, N, D]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.fc2.forward(fused::gelu(self.fc1.forward(x)))
    }
}
