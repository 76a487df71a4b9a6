//! Runs a plan: on a GPU, by our own kernels through wgpu, and by the kernels' plain twins.
//!
//! It knows neither the model nor burn: a [`Plan`](crate::compile::Plan) and the values of its weights are all it needs.

mod check;
pub mod gpu;
pub mod twin;
