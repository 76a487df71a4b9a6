//! Token features in memory, in 32 or 16 bits, and the rows of a labelled set that are held out.

use std::collections::BTreeMap;

use half::f16;
use half::slice::HalfFloatSliceExt as _;

use crate::error::{Error, Kind, Result};
use crate::random::{Purpose, Stream};

/// The token features of samples: `S` samples of `N` tokens of `D` values.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenSet {
    shape: [usize; 3],
    values: Values,
}

/// `[S, N, D]`
#[derive(Debug, Clone, PartialEq)]
enum Values {
    F32(Vec<f32>),
    F16(Vec<f16>),
}

/// Token features with one label a sample.
#[derive(Debug, Clone, Copy)]
pub struct LabelledTokens<'a> {
    /// The features.
    pub tokens: &'a TokenSet,
    /// The class of each sample, counted from 0.
    pub labels: &'a [u32],
}

impl TokenSet {
    /// Features of the shape `[S, N, D]`.
    ///
    /// # Errors
    /// Of kind [`Kind::Data`] if there is another number of values, or one of them is not finite.
    pub fn new(shape: [usize; 3], values: Vec<f32>) -> Result<Self> {
        let [samples, tokens, dim] = shape;
        if samples.checked_mul(tokens).and_then(|rows| rows.checked_mul(dim)) != Some(values.len()) {
            let message = format!("{samples} samples of {tokens} x {dim} values cannot have {} values", values.len());
            return Err(Error::new(Kind::Data, message));
        }
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(Self { shape, values: Values::F32(values) }),
            Some(at) => {
                let (sample, token) = (at / (tokens * dim), at / dim % tokens);
                let message = format!("value {} of token {token} of sample {sample} is {}", at % dim, values[at]);
                Err(Error::new(Kind::Data, message))
            }
        }
    }

    /// The same in 16 bits: half the memory, three digits.
    ///
    /// # Errors
    /// Of kind [`Kind::Data`] if a value is above 65504.
    pub fn halved(self) -> Result<Self> {
        let Values::F32(values) = self.values else { return Ok(self) };
        let halves: Vec<f16> = values.iter().map(|value| f16::from_f32(*value)).collect();
        match halves.iter().position(|half| half.is_infinite()) {
            None => Ok(Self { shape: self.shape, values: Values::F16(halves) }),
            Some(at) => {
                let message = format!("a value of {} is too large for 16 bits", values[at]);
                Err(Error::new(Kind::Data, message).with_remedy("keep the features in 32 bits"))
            }
        }
    }

    /// Samples.
    pub fn len(&self) -> usize {
        self.shape[0]
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of a sample.
    pub fn tokens(&self) -> usize {
        self.shape[1]
    }

    /// Values of a token.
    pub fn dim(&self) -> usize {
        self.shape[2]
    }

    /// The samples `rows`, in their order.
    ///
    /// # Errors
    /// None where each is below the number of samples.
    pub fn select(&self, rows: &[usize]) -> Result<Self> {
        Self::new([rows.len(), self.tokens(), self.dim()], self.gather(rows))
    }

    /// The values of the samples `rows`, each of which is below the number of samples, in their order.
    pub(super) fn gather(&self, rows: &[usize]) -> Vec<f32> {
        let width = self.tokens() * self.dim();
        let mut gathered = vec![0.0; rows.len() * width];
        for (out, row) in gathered.chunks_exact_mut(width.max(1)).zip(rows) {
            match &self.values {
                Values::F32(values) => out.copy_from_slice(&values[row * width..][..width]),
                Values::F16(values) => values[row * width..][..width].convert_to_f32_slice(out),
            }
        }
        gathered
    }
}

impl LabelledTokens<'_> {
    /// Refuses labels that do not fit the features.
    pub(super) fn check(&self, classes: usize) -> Result<()> {
        let (labels, samples) = (self.labels.len(), self.tokens.len());
        if labels != samples {
            return Err(Error::new(Kind::Data, format!("{labels} labels do not fit {samples} samples")));
        }
        match self.labels.iter().position(|label| *label as usize >= classes) {
            None => Ok(()),
            Some(row) => {
                let label = self.labels[row];
                let message = format!("sample {row} has label {label}, but there are {classes} classes");
                Err(Error::new(Kind::Data, message))
            }
        }
    }
}

/// The samples to learn from and those that are held out: `share` of each class, drawn from `seed`, in ascending order.
///
/// Of each class with two samples at least one is on either side; a class with one has it to learn from. The choice
/// depends on the labels and the seed alone, so that probes of different features are chosen on the same samples.
///
/// # Errors
/// Of kind [`Kind::Usage`] if `share` is not between 0 and 1, of kind [`Kind::Data`] if no class has two samples.
pub fn held_out(labels: &[u32], share: f64, seed: u64) -> Result<[Vec<usize>; 2]> {
    if !(share > 0.0 && share < 1.0) {
        return Err(Error::usage(format!("a share of {share} cannot be held out"))
            .with_remedy("choose a share between 0 and 1, such as 0.2"));
    }
    let mut rows_of: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (row, label) in labels.iter().enumerate() {
        rows_of.entry(*label).or_default().push(row);
    }
    let (mut learnt, mut held) = (Vec::new(), Vec::new());
    for (label, mut rows) in rows_of {
        Stream::new(seed, 0, u64::from(label), Purpose::Folds).shuffle(&mut rows);
        let count = match rows.len() {
            1 => 0,
            count => ((count as f64 * share).round() as usize).clamp(1, count - 1),
        };
        learnt.extend_from_slice(&rows[count..]);
        held.extend_from_slice(&rows[..count]);
    }
    if held.is_empty() {
        return Err(Error::new(Kind::Data, "no class has two samples, one to learn from and one to hold out")
            .with_remedy("give more labelled samples of each class"));
    }
    learnt.sort_unstable();
    held.sort_unstable();
    Ok([learnt, held])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_held_out_samples_are_a_share_of_each_class_and_a_function_of_the_seed() {
        let labels: Vec<u32> = (0..100).map(|row| u32::from(row % 10 == 0)).chain([2]).collect();
        let [learnt, held] = held_out(&labels, 0.2, 0).unwrap();
        let count = |rows: &[usize], class| rows.iter().filter(|row| labels[**row] == class).count();
        assert_eq!([0, 1, 2].map(|class| count(&held, class)), [18, 2, 0]);
        assert_eq!([0, 1, 2].map(|class| count(&learnt, class)), [72, 8, 1]);
        let mut all = [learnt.clone(), held.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
        assert_eq!(held_out(&labels, 0.2, 0).unwrap(), [learnt, held.clone()]);
        assert_ne!(held_out(&labels, 0.2, 1).unwrap()[1], held);
        // However small the share, something is held out, and however large, something is learnt from.
        assert_eq!(held_out(&[0, 0, 1], 0.01, 0).unwrap().map(|rows| rows.len()), [2, 1]);
        assert_eq!(held_out(&[0, 0, 1], 0.99, 0).unwrap().map(|rows| rows.len()), [2, 1]);
    }

    #[test]
    fn what_cannot_be_held_out_is_refused() {
        for (labels, share) in [(&[0, 1, 2][..], 0.2), (&[0, 0], 0.0), (&[0, 0], 1.0), (&[0, 0], f64::NAN)] {
            let error = held_out(labels, share, 0).unwrap_err();
            assert!(error.remedy().is_some(), "{error}");
        }
    }

    #[test]
    fn sixteen_bits_hold_three_digits_and_no_large_value() {
        let set = TokenSet::new([2, 1, 2], vec![1.0, -0.333_333, 0.5, 100.0]).unwrap();
        let halves = set.clone().halved().unwrap();
        assert_eq!(set.gather(&[1, 0]), [0.5, 100.0, 1.0, -0.333_333]);
        assert_eq!(halves.gather(&[1, 0]), [0.5, 100.0, 1.0, -0.333_251_95]);
        let error = TokenSet::new([1, 1, 1], vec![1e5]).unwrap().halved().unwrap_err();
        insta::assert_snapshot!(error, @"a value of 100000 is too large for 16 bits");
    }

    #[test]
    fn values_that_are_not_finite_or_do_not_fit_are_refused() {
        let error = TokenSet::new([1, 2, 2], vec![0.0, 1.0, 2.0, f32::NAN]).unwrap_err();
        insta::assert_snapshot!(error, @"value 1 of token 1 of sample 0 is NaN");
        assert!(TokenSet::new([usize::MAX, 2, 2], vec![]).is_err());
        assert!(TokenSet::new([1, 2, 2], vec![0.0; 5]).is_err());
        let tokens = TokenSet::new([2, 1, 1], vec![0.0; 2]).unwrap();
        assert!(LabelledTokens { tokens: &tokens, labels: &[0] }.check(1).is_err());
        assert!(LabelledTokens { tokens: &tokens, labels: &[0, 1] }.check(1).is_err());
        assert!(LabelledTokens { tokens: &tokens, labels: &[0, 1] }.check(2).is_ok());
    }
}
