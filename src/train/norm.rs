//! The global norm of a network's gradient, and clipping to it; on the device, nothing is read back.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// Added to a norm before it divides: PyTorch's.
const NORM_EPS: f64 = 1e-6;

/// The L2 norm over all gradients of `module`, `[1]`; zero where there are none.
pub fn global_norm<M: Module>(module: &M, grads: &GradientsParams) -> Tensor<1> {
    let mut sum = Sum { grads, squares: None };
    module.visit(&mut sum);
    let device = module.devices().into_iter().next().unwrap_or_default().inner();
    sum.squares.unwrap_or_else(|| Tensor::zeros([1], &device)).sqrt()
}

/// Scales the gradients of `module` so that their norm, now `norm`, is at most `limit`.
pub fn clip<M: Module>(module: &M, grads: GradientsParams, norm: Tensor<1>, limit: f64) -> GradientsParams {
    let factor = ((norm + NORM_EPS).recip() * limit).clamp_max(1.0);
    let mut scale = Scale { grads, factor };
    module.visit(&mut scale);
    scale.grads
}

struct Sum<'a> {
    grads: &'a GradientsParams,
    squares: Option<Tensor<1>>,
}

impl ModuleVisitor for Sum<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            let squares = (grad.clone() * grad).sum();
            self.squares = Some(match self.squares.take() {
                Some(sum) => sum + squares,
                None => squares,
            });
        }
    }
}

struct Scale {
    grads: GradientsParams,
    factor: Tensor<1>,
}

impl ModuleVisitor for Scale {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            self.grads.register(param.id, grad * self.factor.clone().reshape([1; D]));
        }
    }
}
