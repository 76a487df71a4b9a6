//! What `shaders/norm.wgsl` computes, as plain loops.

/// LayerNorm of each row, written to some columns of wider rows.
pub struct Norm<'a> {
    /// `[R, D]`
    pub x: &'a [f32],
    /// `[D]`
    pub gain: &'a [f32],
    /// `[D]`
    pub bias: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
    /// From row to row of the result.
    pub stride: usize,
    /// The first column of the result.
    pub column: usize,
}

/// Writes some columns of y, `[R, stride]`.
pub fn norm(norm: &Norm<'_>, y: &mut [f32]) {
    let dim = norm.gain.len();
    for (x, y) in norm.x.chunks(dim).zip(y.chunks_mut(norm.stride)) {
        let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / dim as f64;
        let variance = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / dim as f64;
        let scale = 1.0 / (variance + f64::from(norm.eps)).sqrt();
        for (i, y) in y[norm.column..][..dim].iter_mut().enumerate() {
            *y = ((f64::from(x[i]) - mean) * scale * f64::from(norm.gain[i]) + f64::from(norm.bias[i])) as f32;
        }
    }
}
