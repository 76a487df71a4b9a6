//! What `shaders/shared/gelu.wgsl` computes: `x` times the share of the normal distribution below `x`, to 1e-13.

use std::f64::consts::{PI, SQRT_2};

/// The exact GELU.
pub fn gelu(x: f64) -> f64 {
    let tail = 0.5 * erfc(x.abs() / SQRT_2);
    x * if x < 0.0 { tail } else { 1.0 - tail }
}

/// The complement of the error function, for `x` of 0 and above: its series below 3, its continued fraction above.
fn erfc(x: f64) -> f64 {
    if x < 3.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..100 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return 1.0 - 2.0 / PI.sqrt() * sum;
    }
    let fraction = (1..=60).rev().fold(0.0, |fraction, n| f64::from(n) / 2.0 / (x + fraction));
    (-x * x).exp() / PI.sqrt() / (x + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_are_met() {
        // erfc(0.5), erfc(3) and erfc(5), as tables give them.
        let known = [(0.5, 0.479_500_122_186_953_5), (3.0, 2.209_049_699_858_544e-5), (5.0, 1.537_459_794_428_035e-12)];
        for (x, expected) in known {
            assert!((erfc(x) / expected - 1.0).abs() < 1e-11, "erfc({x}) is {}", erfc(x));
        }
        assert!((gelu(1.0) - 0.841_344_746_068_542_9).abs() < 1e-14);
        assert!((gelu(-1.0) + 0.158_655_253_931_457_05).abs() < 1e-14);
    }
}
