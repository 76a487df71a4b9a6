//! A shard in memory: rows of features with their names, labels and places in the input.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::provenance::Tokens;
use crate::error::{Error, Result};

/// What one row holds: `tokens` vectors of `dim` values; pooled features have one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Vectors of one row.
    pub tokens: usize,
    /// Values of one vector.
    pub dim: usize,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} values", self.tokens, self.dim)
    }
}

impl Shape {
    /// Values of one row.
    pub fn width(&self) -> usize {
        // A file may claim any shape; no number of values fits the largest.
        self.tokens.saturating_mul(self.dim)
    }

    /// The shape of `rows` rows as a tensor: `[rows, dim]`, or `[rows, tokens, dim]` for patches and times.
    pub(super) fn with_rows(&self, rows: usize, tokens: Tokens) -> Vec<usize> {
        match tokens {
            Tokens::Pooled => vec![rows, self.dim],
            Tokens::Patch | Tokens::Time => vec![rows, self.tokens, self.dim],
        }
    }

    /// The number of rows and the shape of one, from a tensor's shape.
    pub(super) fn of_tensor(shape: &[usize], path: &Path) -> Result<(usize, Self)> {
        match *shape {
            [rows, dim] => Ok((rows, Self { tokens: 1, dim })),
            [rows, tokens, dim] => Ok((rows, Self { tokens, dim })),
            _ => Err(Error::data(path, format!("features have shape {shape:?}, expected 2 or 3 axes"))),
        }
    }
}

/// The label on disk of a row without one.
pub(super) const NO_LABEL: i64 = -1;

/// Rows in the order of the input.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Shard {
    /// Each row's place in the input; inputs that could not be read leave gaps.
    pub index: Vec<i64>,
    /// Each row's class, or [`NO_LABEL`].
    pub labels: Vec<i64>,
    /// Each row's name, such as its path.
    pub names: Vec<String>,
    /// The values, row after row.
    pub features: Vec<f32>,
    /// `[rows, times, 2]`: when the first and the last frame of each time is shown, in seconds; none of pictures.
    pub times: Vec<f64>,
    /// The names of the labels 0, 1, ...; none where they are not known.
    pub classes: Vec<String>,
}

/// More classes than any probe tells apart; a file may claim any number.
const MOST_CLASSES: i64 = 65_536;

impl Shard {
    pub fn rows(&self) -> usize {
        self.index.len()
    }

    /// The shape of the times as a tensor: `[rows, times, 2]`; nothing where there are none.
    pub fn times_shape(&self) -> Option<Vec<usize>> {
        let rows = self.rows();
        (!self.times.is_empty()).then(|| vec![rows, self.times.len() / (2 * rows.max(1)), 2])
    }

    /// Refuses a shard read from `path` whose parts do not fit each other.
    pub fn check(&self, shape: Shape, tokens: Tokens, path: &Path) -> Result<()> {
        let rows = self.rows();
        let lengths = [self.labels.len(), self.names.len()];
        if lengths != [rows; 2] || rows.checked_mul(shape.width()) != Some(self.features.len()) {
            let message = format!(
                "{rows} places, {} labels, {} names and {} values of {} a row do not fit each other",
                lengths[0],
                lengths[1],
                self.features.len(),
                shape.width()
            );
            return Err(Error::data(path, message));
        }
        if !self.times.len().is_multiple_of(2 * rows.max(1)) {
            return Err(Error::data(path, format!("{} times are no pairs of {rows} rows", self.times.len())));
        }
        let times = self.times.len() / (2 * rows.max(1));
        let fit = match tokens {
            _ if self.times.is_empty() => true,
            Tokens::Pooled => times == 1,
            Tokens::Patch => shape.tokens.is_multiple_of(times),
            Tokens::Time => times == shape.tokens,
        };
        if !fit {
            return Err(Error::data(path, format!("{times} times do not fit rows of {shape}")));
        }
        if let Some([first, last]) =
            self.times.as_chunks().0.iter().find(|[first, last]| first.is_nan() || last.is_nan() || first > last)
        {
            return Err(Error::data(path, format!("what is seen from second {first} to second {last} is no time")));
        }
        if self.index.iter().any(|&place| place < 0) || !self.index.is_sorted_by(|a, b| a < b) {
            return Err(Error::data(path, "places in the input do not ascend"));
        }
        if let Some(label) = self.labels.iter().find(|&&label| label != NO_LABEL && !(0..MOST_CLASSES).contains(&label))
        {
            let message = format!("{label} is neither -1 nor a class, counted from 0 and below {MOST_CLASSES}");
            return Err(Error::data(path, message));
        }
        if shape.width() == 0 {
            return Err(Error::data(path, format!("rows of {shape} hold no feature")));
        }
        Ok(())
    }
}

/// Two rows for tests, one without a label, of classes without names.
#[cfg(test)]
pub(super) fn example() -> Shard {
    Shard {
        index: vec![4, 6],
        labels: vec![2, NO_LABEL],
        names: vec!["cats/größe.png".into(), String::new()],
        features: vec![0.0, 1.0, -2.5, 65504.0, 6.103_515_6e-5, 0.333_251_95],
        times: Vec::new(),
        classes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_probe_can_use_is_refused() {
        let path = Path::new("shard");
        let shape = Shape { tokens: 1, dim: 3 };
        assert!(example().check(shape, Tokens::Pooled, path).is_ok());
        let mut shard = example();
        shard.labels[0] = MOST_CLASSES;
        let refused = |shard: &Shard, shape| shard.check(shape, Tokens::Pooled, path).unwrap_err().to_string();
        insta::assert_snapshot!(refused(&shard, shape), @"shard: 65536 is neither -1 nor a class, counted from 0 and below 65536");
        let empty = Shard { features: Vec::new(), ..example() };
        insta::assert_snapshot!(refused(&empty, Shape { tokens: 0, dim: 3 }), @"shard: rows of 0 x 3 values hold no feature");
    }
}
