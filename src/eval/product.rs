//! Carries host matrices to a device and products back.

use burn::tensor::{Device, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// Rows `from` to `to` of a matrix as a tensor on the device: `[to - from, cols]`.
pub(super) fn upload(matrix: &Matrix, from: usize, to: usize, device: &Device) -> Tensor<2> {
    let values = matrix.values[from * matrix.cols..to * matrix.cols].to_vec();
    Tensor::from_data(TensorData::new(values, [to - from, matrix.cols]), device)
}

/// The values of a tensor, row-major.
///
/// # Errors
/// Of kind `Device` if the device cannot give them.
pub(super) fn download(tensor: Tensor<2>) -> Result<Vec<f32>> {
    let failed = |cause: String| Error::device(format!("cannot read a product back from the device: {cause}"));
    let data = tensor.try_into_data().map_err(|error| failed(error.to_string()))?;
    data.try_into_vec::<f32>().map_err(|error| failed(format!("{error:?}")))
}
