//! AdamW as the published code uses it, and the moving average of the target encoder.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::schedule::Rates;
use super::step::Networks;
use crate::config::OptimConfig;
use crate::error::Result;
use crate::weights::{Gradients, MOMENTS, Tensors, collect, fill};

/// AdamW (arXiv 1711.05101) with decay on parameters of two and more axes alone.
///
/// Reference: the mask token has three axes and is decayed; biases and norms are not.
#[derive(Default)]
pub struct AdamW {
    /// The first moments.
    pub first: GradientsParams,
    /// The second moments.
    pub second: GradientsParams,
    /// Steps made so far.
    pub steps: usize,
}

impl AdamW {
    /// Updates every parameter of `module` that has a gradient in `grads`. [`AdamW::advance`] ends the step once every
    /// network was updated.
    pub fn step<M: Module>(&mut self, module: M, grads: GradientsParams, optim: &OptimConfig, rates: Rates) -> M {
        let [beta1, beta2] = optim.betas;
        let count = self.steps as i32 + 1;
        let corrections = [1.0 - beta1.powi(count), 1.0 - beta2.powi(count)];
        module.map(&mut Update { state: self, grads, optim, rates, corrections })
    }

    /// Ends a step in which every network was updated.
    pub fn advance(&mut self) {
        self.steps += 1;
    }

    /// Both moments by name: `first.encoder...`, `second.predictor...`.
    ///
    /// # Errors
    /// A device error where a tensor cannot be read back.
    pub fn tensors(&self, networks: &Networks) -> Result<Tensors> {
        let mut tensors = Tensors::new();
        for (moment, values) in MOMENTS.into_iter().zip([&self.first, &self.second]) {
            tensors.extend(collect(&networks.encoder, &format!("{moment}.encoder"), &Gradients(values))?);
            tensors.extend(collect(&networks.predictor, &format!("{moment}.predictor"), &Gradients(values))?);
        }
        Ok(tensors)
    }

    /// The state after `steps` steps, from tensors named as by [`AdamW::tensors`].
    ///
    /// # Errors
    /// A data error where a tensor has another shape than its parameter.
    pub fn load(networks: &Networks, tensors: &Tensors, steps: usize) -> Result<Self> {
        let mut state = Self { steps, ..Self::default() };
        for (moment, values) in MOMENTS.into_iter().zip([&mut state.first, &mut state.second]) {
            fill(&networks.encoder, &format!("{moment}.encoder"), tensors, values)?;
            fill(&networks.predictor, &format!("{moment}.predictor"), tensors, values)?;
        }
        Ok(state)
    }
}

struct Update<'a> {
    state: &'a mut AdamW,
    grads: GradientsParams,
    optim: &'a OptimConfig,
    rates: Rates,
    corrections: [f64; 2],
}

impl ModuleMapper for Update<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(grad) = self.grads.remove::<D>(param.id) else {
            return param;
        };
        let trained = param.is_require_grad();
        let (id, value, mapper) = param.consume();
        let value = value.inner();
        let [beta1, beta2] = self.optim.betas;
        let weigh = |old: Option<Tensor<D>>, new: Tensor<D>, beta: f64| match old {
            Some(old) => old * beta + new * (1.0 - beta),
            None => new * (1.0 - beta),
        };
        let first = weigh(self.state.first.remove(id), grad.clone(), beta1);
        let second = weigh(self.state.second.remove(id), grad.clone() * grad, beta2);
        self.state.first.register(id, first.clone());
        self.state.second.register(id, second.clone());

        let decay = if D >= 2 { 1.0 - self.rates.lr * self.rates.weight_decay } else { 1.0 };
        let [correction1, correction2] = self.corrections;
        let root = second.sqrt() / correction2.sqrt() + self.optim.eps;
        let value = value * decay - first / root * (self.rates.lr / correction1);
        Param::from_mapped_value(id, value.autodiff().set_require_grad(trained), mapper)
    }
}

/// Moves `target` towards `online`: `t = m t + (1 - m) p`, after the optimizer's step.
///
/// Both have the same structure, so parameters correspond in the order of a visit.
pub fn moving_average<M: Module>(target: M, online: &M, momentum: f64) -> M {
    let mut values = Collect { values: GradientsParams::new(), ids: Vec::new() };
    online.visit(&mut values);
    values.ids.reverse();
    target.map(&mut Average { online: values.values, ids: values.ids, momentum })
}

struct Collect {
    values: GradientsParams,
    ids: Vec<burn::module::ParamId>,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.values.register(param.id, param.val().inner());
        self.ids.push(param.id);
    }
}

struct Average {
    online: GradientsParams,
    ids: Vec<burn::module::ParamId>,
    momentum: f64,
}

impl ModuleMapper for Average {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let online = self.ids.pop().and_then(|id| self.online.remove::<D>(id));
        let Some(online) = online else {
            return param;
        };
        let (id, value, mapper) = param.consume();
        let value = value * self.momentum + online * (1.0 - self.momentum);
        Param::from_mapped_value(id, value, mapper)
    }
}
