//! Where a module's first values come from.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

use crate::random::{Purpose, Stream};

/// Standard deviation of every weight at the start: that of the published code, whose truncation at 2 never acts.
const STD: f64 = 0.02;

/// Where a module's first values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// Drawn on the host from this seed: normal weights of deviation 0.02, zero biases, unit gains.
    ///
    /// Reference: the rescaling of residual projections by 1 / sqrt(2 * layer) is undone by a second initialisation in
    /// I-JEPA's and V-JEPA's published code, so it is left out here.
    Seed(u64),
    /// The same for a residual projection of V-JEPA 2, where the rescaling stays; layers count from 1.
    Residual {
        /// As of [`Init::Seed`].
        seed: u64,
        /// The number of its block.
        layer: usize,
    },
    /// Zeros and ones: for weights that are loaded next.
    Constant,
}

impl Init {
    /// For a residual projection of block `layer`, where that makes a difference.
    pub(super) fn residual(self, layer: Option<usize>) -> Self {
        match (self, layer) {
            (Self::Seed(seed), Some(layer)) => Self::Residual { seed, layer },
            _ => self,
        }
    }

    /// A weight called `name` (its full path), drawn from a stream of its own.
    pub(super) fn weight<const D: usize>(self, name: &str, shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
        let (seed, std) = match self {
            Self::Seed(seed) => (seed, STD),
            Self::Residual { seed, layer } => (seed, STD / (2.0 * layer as f64).sqrt()),
            Self::Constant => return Param::from_tensor(Tensor::zeros(shape, device)),
        };
        let name = blake3::hash(name.as_bytes());
        let number = name.as_bytes()[..8].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        let mut stream = Stream::new(seed, 0, number, Purpose::Init);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| (stream.normal() * std) as f32).collect();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// A vector of zeros.
    pub(super) fn bias(self, length: usize, device: &Device) -> Param<Tensor<1>> {
        Param::from_tensor(Tensor::zeros([length], device))
    }

    /// A vector of ones.
    pub(super) fn gain(self, length: usize, device: &Device) -> Param<Tensor<1>> {
        Param::from_tensor(Tensor::ones([length], device))
    }
}
