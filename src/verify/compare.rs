//! How far a computed tensor is from its golden value, and whether that is near enough.

use serde::Serialize;

use crate::chance::{DEVIATIONS, Sample};

/// What counts as near enough; `docs/PARITY.md` gives the reasons.
#[derive(Debug, Clone, Copy)]
pub enum Tolerance {
    /// Every element within `absolute + relative * |expected|`.
    Elements {
        /// Bound that holds at zero.
        absolute: f64,
        /// Part of the bound that grows with the value.
        relative: f64,
    },
    /// The norm of the difference within this share of the norm of the golden value.
    RelativeNorm(f64),
    /// The same to the bit.
    Exact,
}

/// One tensor's comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The tensor's name in the case.
    pub name: String,
    /// The golden value's shape.
    pub shape: Vec<usize>,
    /// Largest absolute difference.
    pub max_abs: f64,
    /// Largest difference over the largest golden value.
    pub max_rel: f64,
    /// Cosine of the angle between the two, as flat vectors; 1 where both are zero.
    pub cosine: f64,
    /// The bound, in words.
    pub tolerance: String,
    /// Whether the bound holds.
    pub passed: bool,
    /// Why there is no comparison, where shapes differ or a value is missing; or what is wrong with elements that have a
    /// bound of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Comparison {
    /// Compares `found` with `expected`, both row-major. Elements that `own` gives an absolute bound of their own (if any)
    /// must keep to that, and count for nothing else.
    pub fn new(
        name: &str,
        shape: (&[usize], &[usize]),
        found: &[f32],
        expected: &[f32],
        tolerance: Tolerance,
        own: impl Fn(usize) -> Option<f64>,
    ) -> Self {
        let (found_shape, expected_shape) = shape;
        if found_shape != expected_shape || found.len() != expected.len() {
            return Self::failed(name, expected_shape, format!("computed shape is {found_shape:?}"));
        }
        let pairs = || {
            let all = found.iter().zip(expected).enumerate();
            all.filter(|(i, _)| own(*i).is_none()).map(|(_, (f, e))| (f64::from(*f), f64::from(*e)))
        };
        let sum = |term: fn(f64, f64) -> f64| pairs().map(|(f, e)| term(f, e)).sum::<f64>();
        // Terms have no sign, so that a NaN is the largest of all.
        let largest =
            |term: fn(f64, f64) -> f64| pairs().map(|(f, e)| term(f, e)).max_by(f64::total_cmp).unwrap_or(0.0);
        let max_abs = largest(|f, e| (f - e).abs());
        let max_expected = largest(|_, e| e.abs());
        let norms = (sum(|f, _| f * f) * sum(|_, e| e * e)).sqrt();
        let cosine = if norms == 0.0 { if max_abs == 0.0 { 1.0 } else { 0.0 } } else { sum(|f, e| f * e) / norms };
        let (passed, words) = match tolerance {
            Tolerance::Elements { absolute, relative } => {
                let holds = pairs().all(|(f, e)| (f - e).abs() <= absolute + relative * e.abs());
                let words = match (absolute, relative) {
                    (absolute, 0.0) => format!("abs {absolute:.0e}"),
                    (0.0, relative) => format!("rel {relative:.0e}"),
                    (absolute, relative) => format!("abs {absolute:.0e} + rel {relative:.0e}"),
                };
                (holds, words)
            }
            Tolerance::RelativeNorm(bound) => {
                let difference = sum(|f, e| (f - e) * (f - e)).sqrt();
                (difference <= bound * sum(|_, e| e * e).sqrt(), format!("rel L2 {bound:.0e}"))
            }
            Tolerance::Exact => (found.iter().zip(expected).all(|(f, e)| f == e), "exact".to_owned()),
        };
        let off = found.iter().zip(expected).enumerate().find_map(|(i, (f, e))| {
            let (bound, difference) = (own(i)?, (f64::from(*f) - f64::from(*e)).abs());
            let holds = difference <= bound;
            (!holds).then(|| format!("element {i}, of bound {bound:.1e}, is off by {difference:.1e}"))
        });
        Self {
            name: name.to_owned(),
            shape: expected_shape.to_vec(),
            max_abs,
            max_rel: if max_expected == 0.0 { max_abs } else { max_abs / max_expected },
            cosine,
            tolerance: words,
            passed: passed && off.is_none(),
            problem: off,
        }
    }

    /// Statistics of draws, which chance alone may keep apart.
    pub fn sampled(name: &str, sample: &Sample) -> Self {
        let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let shapes = ([sample.found.len()], [sample.expected.len()]);
        let (found, expected) = (narrow(&sample.found), narrow(&sample.expected));
        let problem = sample.problem();
        Self {
            tolerance: if sample.is_exact() { "exact".into() } else { format!("{DEVIATIONS} standard deviations") },
            passed: problem.is_none(),
            problem,
            ..Self::new(name, (&shapes.0, &shapes.1), &found, &expected, Tolerance::Exact, |_| None)
        }
    }

    /// A comparison to the bit, made byte by byte.
    pub fn identical(name: &str, shape: &[usize]) -> Self {
        Self {
            name: name.to_owned(),
            shape: shape.to_vec(),
            max_abs: 0.0,
            max_rel: 0.0,
            cosine: 1.0,
            tolerance: "exact".to_owned(),
            passed: true,
            problem: None,
        }
    }

    /// A comparison that could not be made, or that only says whether things are equal, and they are not.
    pub fn failed(name: &str, shape: &[usize], problem: String) -> Self {
        Self {
            name: name.to_owned(),
            shape: shape.to_vec(),
            max_abs: f64::NAN,
            max_rel: f64::NAN,
            cosine: f64::NAN,
            tolerance: String::new(),
            passed: false,
            problem: Some(problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABS: Tolerance = Tolerance::Elements { absolute: 1e-3, relative: 0.0 };

    fn compare(found: &[f32], expected: &[f32]) -> Comparison {
        Comparison::new("x", (&[found.len()], &[expected.len()]), found, expected, ABS, |_| None)
    }

    #[test]
    fn near_values_pass_and_far_ones_fail() {
        assert!(compare(&[1.0, 2.0], &[1.0, 2.0005]).passed);
        assert!(!compare(&[1.0, 2.0], &[1.0, 2.1]).passed);
    }

    #[test]
    fn elements_with_a_bound_of_their_own_keep_to_it() {
        let compare =
            |found: [f32; 2]| Comparison::new("x", (&[2], &[2]), &found, &[1.0, 1.0], ABS, |i| (i == 0).then_some(0.1));
        assert!(compare([1.05, 1.0]).passed);
        for found in [[1.2, 1.0], [f32::NAN, 1.0], [1.0, 1.05]] {
            assert!(!compare(found).passed, "{found:?}");
        }
        let all = Comparison::new("x", (&[1], &[1]), &[9.0], &[1.0], ABS, |_| Some(0.1));
        assert!(!all.passed && all.problem.is_some());
    }

    #[test]
    fn a_nan_or_another_shape_never_passes() {
        assert!(!compare(&[f32::NAN], &[1.0]).passed);
        assert!(!compare(&[1.0], &[f32::NAN]).passed);
        assert!(!compare(&[1.0], &[1.0, 1.0]).passed);
        let nan = Comparison::new("x", (&[1], &[1]), &[f32::NAN], &[1.0], Tolerance::RelativeNorm(1.0), |_| None);
        assert!(!nan.passed && nan.max_abs.is_nan());
    }
}
