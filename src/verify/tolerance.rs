//! Every tolerance of a reference case, with its reason; `docs/PARITY.md` repeats them.

use super::Tolerance;

/// Activations: f32 itself loses about 6e-6 against f64 in the golden values; a tanh GELU would be off by 6e-4.
pub const ACTIVATION: Tolerance = Tolerance::Elements { absolute: 5e-5, relative: 1e-5 };
/// Losses: means over thousands of elements, where rounding averages out.
pub const LOSS: Tolerance = Tolerance::Elements { absolute: 0.0, relative: 1e-6 };
/// Losses after updates: the noise of near-zero gradients, which AdamW enlarges, has reached the parameters.
pub const LATER_LOSS: Tolerance = Tolerance::Elements { absolute: 0.0, relative: 2e-5 };
/// Gradients, by tensor.
pub const GRADIENT: Tolerance = Tolerance::RelativeNorm(1e-4);
/// Norms of gradients; the absolute part covers key biases, whose gradient is rounding noise around zero.
pub const GRADIENT_NORM: Tolerance = Tolerance::Elements { absolute: 2e-6, relative: 1e-4 };
/// Parameters after one step: an ulp or two of values around 1, and AdamW's first step, which is the sign of the
/// gradient times the learning rate.
pub const PARAMETER: Tolerance = Tolerance::Elements { absolute: 2e-6, relative: 1e-6 };
/// Parameters after several steps: the noise of each step's gradients adds to that of the first.
pub const LATER_PARAMETER: Tolerance = Tolerance::Elements { absolute: 1e-5, relative: 1e-6 };
/// Gradients below this are rounding noise to AdamW.
pub const QUIET_GRADIENT: f32 = 2e-6;
/// What a moving average of two equal values may change: an ulp of values up to 1.
pub const AVERAGED: Tolerance = Tolerance::Elements { absolute: 6e-8, relative: 6e-8 };
/// Position tables: angles in f64, rounded once; an ulp of values up to 1, where the libraries' sines differ.
pub const TABLE: Tolerance = Tolerance::Elements { absolute: 6e-8, relative: 0.0 };
/// Interpolated position tables: PyTorch sums 16 products in f32, whose rounding alone is 8e-7 against f64.
pub const INTERPOLATED: Tolerance = Tolerance::Elements { absolute: 2e-6, relative: 0.0 };
/// Schedules: f64 on both sides, compared as f32.
pub const RATE: Tolerance = Tolerance::Elements { absolute: 1e-12, relative: 2e-7 };
/// Means over an input: the golden values were summed in f32.
pub const MEAN: Tolerance = Tolerance::Elements { absolute: 1e-6, relative: 1e-6 };
/// Levels of 255 by which decoders may differ on a JPEG whose colour is stored at half resolution: blue shows a chroma
/// that was rounded the other way 1.77 times.
pub const DECODED_LEVELS: Tolerance = Tolerance::Elements { absolute: 4.0, relative: 0.0 };
