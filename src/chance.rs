//! Statistics of two samples beside each other, and whether they differ by more than chance.

use std::collections::{BTreeMap, BTreeSet};

/// Standard deviations by which a statistic may miss; a comparison makes thousands of them, and the draws are fixed, so
/// that it passes always or never.
pub const DEVIATIONS: f64 = 5.0;

/// Statistics that were found, beside those that were expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What they are statistics of.
    pub name: String,
    /// What was found.
    pub found: Vec<f64>,
    /// What was expected.
    pub expected: Vec<f64>,
    /// The standard deviation of each difference that is chance alone; 0 where there is no chance in it.
    deviations: Vec<f64>,
}

/// How often each value was found, by the value's name.
pub type Counts = BTreeMap<String, u64>;

/// Which counts two samples may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// The same: the sizes of both come from the same draws.
    Same,
    /// Others, of the same values.
    SameKinds,
    /// Others; a rare value may be missing in one of the samples.
    Any,
}

impl Sample {
    /// Statistics with the standard deviation of each difference; of another number of them, nothing holds.
    pub fn new(name: impl Into<String>, found: Vec<f64>, expected: Vec<f64>, deviations: Vec<f64>) -> Self {
        Self { name: name.into(), found, expected, deviations }
    }

    /// Whether there is no chance in it.
    pub fn is_exact(&self) -> bool {
        self.deviations.iter().all(|deviation| *deviation == 0.0)
    }

    /// Statistics that are the same, but for the rounding of f64.
    pub fn exact(name: impl Into<String>, found: Vec<f64>, expected: Vec<f64>) -> Self {
        let deviations = vec![0.0; expected.len()];
        Self::new(name, found, expected, deviations)
    }

    /// One mean or one standard deviation of two samples of `independent` values that deviate by `std`.
    pub fn moment(name: impl Into<String>, found: f64, expected: f64, std: f64, independent: f64) -> Self {
        Self::new(name, vec![found], vec![expected], vec![std * (2.0 / independent).sqrt()])
    }

    /// Shares of two samples of `independent` yes-or-no values each.
    pub fn shares(name: impl Into<String>, found: Vec<f64>, expected: Vec<f64>, independent: f64) -> Self {
        let deviation = |(found, expected): (&f64, &f64)| {
            let middle = (found + expected) / 2.0;
            (2.0 * middle * (1.0 - middle) / independent).max(0.0).sqrt()
        };
        let deviations = found.iter().zip(&expected).map(deviation).collect();
        Self::new(name, found, expected, deviations)
    }

    /// Counts of two samples, in units of the `together` values that are drawn as one, and at the end their sums.
    pub fn counts(name: impl Into<String>, found: &Counts, expected: &Counts, values: Values, together: u64) -> Self {
        let kinds: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
        let of =
            |counts: &Counts, kind: &String| counts.get(kind).copied().unwrap_or(0) as f64 / together.max(1) as f64;
        let pairs: Vec<(f64, f64)> = kinds.into_iter().map(|kind| (of(found, kind), of(expected, kind))).collect();
        // The difference of two binomial counts; a count of none is one that chance might have made.
        let deviation = |(found, expected): &(f64, f64)| match values {
            Values::Same => 0.0,
            Values::SameKinds if *found == 0.0 || *expected == 0.0 => 0.0,
            Values::SameKinds | Values::Any => (found + expected).sqrt().max(1.0),
        };
        let deviations = pairs.iter().map(deviation).chain([0.0]).collect();
        let sums = pairs.iter().fold((0.0, 0.0), |sums, pair| (sums.0 + pair.0, sums.1 + pair.1));
        let (found, expected) = pairs.into_iter().chain([sums]).unzip();
        Self::new(name, found, expected, deviations)
    }

    /// What differs by more than chance, in words.
    pub fn problem(&self) -> Option<String> {
        /// What sums of f64 in another order lose, as a share of the value.
        const ROUNDING: f64 = 1e-9;
        let Self { found, expected, deviations, .. } = self;
        if found.is_empty() || found.len() != expected.len() || found.len() != deviations.len() {
            return Some(format!("{} values were found, expected {}", found.len(), expected.len()));
        }
        let near = |at: &usize| {
            let bound = DEVIATIONS * deviations[*at] + ROUNDING * expected[*at].abs();
            (found[*at] - expected[*at]).abs() <= bound
        };
        let at = (0..found.len()).find(|at| !near(at))?;
        let place = if found.len() > 1 { format!("value {at} of {} ", found.len()) } else { String::new() };
        let (found, expected, deviation) = (found[at], expected[at], deviations[at]);
        Some(match deviation {
            0.0 => format!("{place}is {found}, expected {expected}"),
            _ => format!("{place}is {found}, expected {expected} with a standard deviation of {deviation:.2e}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(&str, u64)]) -> Counts {
        pairs.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect()
    }

    #[test]
    fn what_chance_explains_passes_and_nothing_else_does() {
        assert_eq!(
            Sample::moment("x", 1.0, 1.06, 1.0, 20_000.0).problem(),
            Some("is 1, expected 1.06 with a standard deviation of 1.00e-2".into())
        );
        assert_eq!(Sample::moment("x", 1.0, 1.04, 1.0, 20_000.0).problem(), None);
        assert_eq!(
            Sample::exact("x", vec![1.0, 2.0], vec![1.0, 3.0]).problem(),
            Some("value 1 of 2 is 2, expected 3".into())
        );
        assert!(Sample::exact("x", vec![1.0], vec![f64::NAN]).problem().is_some());
        assert!(Sample::exact("x", vec![1.0], vec![1.0, 1.0]).problem().is_some());
        assert!(Sample::exact("x", vec![], vec![]).problem().is_some());
    }

    #[test]
    fn a_rare_value_may_be_missing_only_where_it_is_said_so() {
        let (found, expected) = (counts(&[("5", 1000)]), counts(&[("5", 998), ("9", 2)]));
        let passes = |values| Sample::counts("x", &found, &expected, values, 1).problem().is_none();
        assert!(passes(Values::Any) && !passes(Values::SameKinds) && !passes(Values::Same));
    }
}
