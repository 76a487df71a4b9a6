//! Reading tensors back from a device.

use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// The values of a tensor, row-major, as f32.
///
/// # Errors
/// A device error where the device fails, as when it ran out of memory before.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let failed = |error: &dyn std::fmt::Display| {
        let said = error.to_string();
        // Less the places in burn's libraries, on one line.
        let said = said.split("Backtrace:").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        Error::device(format!("cannot read a tensor back from the device: {said}")).with_remedy(
            "if it ran out of memory, lower the batch (--batch, or --set train.batch=N); if it was lost, run the command \
             again: a run continues after its last checkpoint",
        )
    };
    let data = tensor.try_into_data().map_err(|error| failed(&error))?;
    data.convert::<f32>().try_into_vec::<f32>().map_err(|error| failed(&error))
}

/// The value of a tensor of one element.
///
/// # Errors
/// As [`values`].
pub fn scalar(tensor: Tensor<1>) -> Result<f64> {
    Ok(values(tensor)?.first().copied().map_or(f64::NAN, f64::from))
}

/// The rows of a tensor of two axes.
///
/// # Errors
/// As [`values`].
pub fn matrix(tensor: Tensor<2>) -> Result<Matrix> {
    let [rows, cols] = tensor.dims();
    Matrix::new(rows, cols, values(tensor)?)
}
