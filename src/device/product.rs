//! A small product with a known answer: a device whose kernels were not compiled computes garbage and reports nothing.

use burn::tensor::{Device, Tensor, TensorData};

use super::Spec;
use crate::error::{Error, Result};

/// Rows and columns of both factors.
const SIDE: usize = 32;

/// Multiplies two matrices of whole numbers, whose product is exact.
///
/// # Errors
/// A device error where another product comes back, or none.
pub fn check(device: &Device, spec: Spec) -> Result<()> {
    let values: Vec<f32> = (0..SIDE * SIDE).map(number).collect();
    let matrix = Tensor::<2>::from_data(TensorData::new(values, [SIDE, SIDE]), device);
    let found = matrix.clone().matmul(matrix).try_into_data();
    let found = found.ok().and_then(|data| data.convert::<f32>().try_into_vec::<f32>().ok());
    judge(found.as_deref(), spec)
}

/// The value at a place of both factors.
fn number(at: usize) -> f32 {
    (at % 7) as f32 - 3.0
}

fn judge(found: Option<&[f32]>, spec: Spec) -> Result<()> {
    let product = |at: usize| (0..SIDE).map(|k| number(at / SIDE * SIDE + k) * number(k * SIDE + at % SIDE)).sum();
    let expected: Vec<f32> = (0..SIDE * SIDE).map(product).collect();
    if found == Some(&expected[..]) {
        return Ok(());
    }
    Err(Error::device(format!("`{spec}` computes a small product with a known answer wrongly"))
        .with_remedy("look for messages of NVRTC above: headers and driver must be of matching CUDA releases"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_computes_garbage_or_nothing_is_refused() {
        let spec = Spec { api: super::super::Api::Cuda, index: None };
        check(&Device::flex(), spec).unwrap();
        let untouched = vec![0.0; SIDE * SIDE];
        for garbage in [None, Some(&untouched[..]), Some(&[][..])] {
            assert_eq!(judge(garbage, spec).unwrap_err().exit_code(), 6);
        }
    }
}
