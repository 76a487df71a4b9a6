//! Elementary functions without branches and calls, so that loops over them become vector code.

/// `e^x` for `x` up to 80, to 2 units in the last place; below -87 it is that of -87.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: what is added to it loses its fraction, and its integer part stands in the lowest bits.
    const SHIFT: f32 = 12_582_912.0;
    /// ln 2, in two parts: multiples of the first are exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    /// Of degree 6 on `|r| <= ln 2 / 2`, for the smallest relative error (1.9e-9 before rounding).
    const SERIES: [f32; 7] = [1.0, 1.0, 0.499_999_91, 0.166_664_2, 0.041_668_225, 0.008_374_816, 0.001_383_684_6];
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = x - n * LN_2[0] - n * LN_2[1];
    let power = polynomial(SERIES, r);
    f32::from_bits(power.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// `c[0] + c[1] x + c[2] x^2 + ...`
#[inline(always)]
pub fn polynomial<const N: usize>(c: [f32; N], x: f32) -> f32 {
    c.iter().rev().fold(0.0, |sum, c| sum * x + c)
}

/// Lanes of a sum: partial sums that are added at the end, in a fixed order.
const LANES: usize = 16;

/// The sum of `term` over slices of one length, taken side by side, in a fixed order.
#[inline(always)]
pub fn sum<const N: usize>(slices: [&[f32]; N], term: impl Fn([f32; N]) -> f32) -> f32 {
    let count = slices[0].len();
    let whole = count - count % LANES;
    let mut lanes = [0.0; LANES];
    for start in (0..whole).step_by(LANES) {
        let mut parts = [&slices[0][..LANES]; N];
        for (part, slice) in parts.iter_mut().zip(slices) {
            *part = &slice[start..start + LANES];
        }
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane += at(parts, i, &term);
        }
    }
    (whole..count).fold(lanes.iter().sum(), |sum, i| sum + at(slices, i, &term))
}

#[inline(always)]
fn at<const N: usize>(slices: [&[f32]; N], i: usize, term: &impl Fn([f32; N]) -> f32) -> f32 {
    let mut values = [0.0; N];
    for (value, slice) in values.iter_mut().zip(slices) {
        *value = slice[i];
    }
    term(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_right_to_two_units_in_the_last_place() {
        for i in -870_000..=800_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.0 * f64::from(f32::EPSILON), "exp({x}) is off by {error:e}");
        }
    }
}
