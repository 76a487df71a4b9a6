//! What a case found: one comparison a golden value, and every golden value that nothing was compared with.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Tensor;
use serde::Serialize;

use super::{Comparison, Tolerance};
use crate::device::read;
use crate::error::Result;
use crate::weights::{HostTensor, Tensors};

/// The comparisons of one case.
#[derive(Debug, Serialize)]
pub struct Report {
    /// One entry a tensor.
    pub tensors: Vec<Comparison>,
    /// What a reader must know of them.
    pub notes: Vec<String>,
    #[serde(skip)]
    expected: Tensors,
    #[serde(skip)]
    seen: BTreeSet<String>,
    /// By reason, the golden values that are not this build's to meet.
    #[serde(skip)]
    skipped: BTreeMap<String, Vec<String>>,
}

impl Report {
    /// A report against the golden values `expected`.
    pub fn new(expected: Tensors) -> Self {
        Self { tensors: Vec::new(), notes: Vec::new(), expected, seen: BTreeSet::new(), skipped: BTreeMap::new() }
    }

    /// Whether every golden value was met. A golden value that was compared with nothing counts as a failure.
    pub fn passed(&self) -> bool {
        !self.tensors.is_empty() && self.tensors.iter().all(|tensor| tensor.passed)
    }

    /// Whether the case holds a golden value whose name begins with `prefix`.
    pub fn expects(&self, prefix: &str) -> bool {
        self.expected.keys().any(|name| name.starts_with(prefix))
    }

    /// Compares a tensor of the device.
    ///
    /// # Errors
    /// A device error where it cannot be read back.
    pub fn tensor<const D: usize>(&mut self, name: &str, found: Tensor<D>, tolerance: Tolerance) -> Result<()> {
        let shape = found.dims().to_vec();
        let values = read::values(found)?;
        self.host(name, &HostTensor { shape, values }, tolerance);
        Ok(())
    }

    /// Compares a tensor of the host.
    pub fn host(&mut self, name: &str, found: &HostTensor, tolerance: Tolerance) {
        self.host_but(name, found, tolerance, |_| None);
    }

    /// Compares a tensor of the host, but for the elements that `own` gives an absolute bound of their own, by flat index.
    pub fn host_but(
        &mut self,
        name: &str,
        found: &HostTensor,
        tolerance: Tolerance,
        own: impl Fn(usize) -> Option<f64>,
    ) {
        self.seen.insert(name.to_owned());
        let comparison = match self.expected.get(name) {
            Some(expected) => {
                let shapes = (found.shape.as_slice(), expected.shape.as_slice());
                Comparison::new(name, shapes, &found.values, &expected.values, tolerance, own)
            }
            None => Comparison::failed(name, &found.shape, "the case holds no golden value of this name".into()),
        };
        self.tensors.push(comparison);
    }

    /// Compares a number with the golden value of its name.
    pub fn scalar(&mut self, name: &str, found: f64, tolerance: Tolerance) {
        self.host(name, &HostTensor { shape: Vec::new(), values: vec![found as f32] }, tolerance);
    }

    /// Compares a number with a golden value that stands outside the case's tensors.
    pub fn value(&mut self, name: &str, found: f64, golden: f64, tolerance: Tolerance) {
        let (found, golden) = ([found as f32], [golden as f32]);
        self.tensors.push(Comparison::new(name, (&[], &[]), &found, &golden, tolerance, |_| None));
    }

    /// Compares a tensor with a golden value that stands outside the case's expected tensors.
    pub fn against(&mut self, name: &str, found: &HostTensor, golden: &HostTensor, tolerance: Tolerance) {
        let shapes = (found.shape.as_slice(), golden.shape.as_slice());
        self.tensors.push(Comparison::new(name, shapes, &found.values, &golden.values, tolerance, |_| None));
    }

    /// Adds a comparison that was made elsewhere.
    pub fn add(&mut self, comparison: Comparison) {
        self.tensors.push(comparison);
    }

    /// The golden value called `name`.
    pub fn golden(&self, name: &str) -> Option<&HostTensor> {
        self.expected.get(name)
    }

    /// Adds a sentence for the reader.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Leaves out the golden value `name`; the report's notes name it with the `reason`.
    pub fn skip(&mut self, name: &str, reason: &str) {
        self.seen.insert(name.to_owned());
        self.skipped.entry(reason.to_owned()).or_default().push(name.to_owned());
    }

    /// The names of the golden values.
    pub fn names(&self) -> Vec<String> {
        self.expected.keys().cloned().collect()
    }

    /// The names of the golden values that were neither compared nor left out.
    pub fn unseen(&self) -> Vec<String> {
        self.expected.keys().filter(|name| !self.seen.contains(*name)).cloned().collect()
    }

    /// Ends the report: every golden value that nothing was compared with becomes a failure.
    #[must_use]
    pub fn finish(mut self) -> Self {
        for name in self.unseen() {
            let shape = self.expected[&name].shape.clone();
            let problem = "nothing was computed to compare with this golden value".to_owned();
            self.tensors.push(Comparison::failed(&name, &shape, problem));
        }
        for (reason, names) in std::mem::take(&mut self.skipped) {
            self.note(format!("not compared, {reason}: {}", names.join(", ")));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_golden_value_that_nothing_was_compared_with_fails_its_case() {
        let value = HostTensor { shape: vec![1], values: vec![2.0] };
        let golden = ["seen", "unseen"].map(|name| (name.to_owned(), value.clone()));
        let mut report = Report::new(Tensors::from(golden));
        report.host("seen", &value, Tolerance::Exact);
        assert!(report.passed());
        let report = report.finish();
        let failed: Vec<&str> =
            report.tensors.iter().filter(|tensor| !tensor.passed).map(|tensor| tensor.name.as_str()).collect();
        assert_eq!((report.passed(), failed), (false, vec!["unseen"]));
    }
}
