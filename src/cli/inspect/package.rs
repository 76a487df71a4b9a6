//! What `anyjepa inspect` says of a package.

use std::path::Path;

use anyjepa::compile::Dtype;
use anyjepa::error::Result;
use anyjepa::extract::package::Package;
use anyjepa::extract::{Provenance, Shape};
use serde::Serialize;

use super::word;
use crate::cli::output::Shown;

/// A compiled encoder. Its files have the sums that it states, or there would be none.
#[derive(Serialize)]
pub struct PackageLines {
    path: Shown,
    batch: usize,
    dtype: Dtype,
    /// Channels, height and width.
    input: [usize; 3],
    shape: Shape,
    dispatches: usize,
    weight_bytes: usize,
    scratch_bytes: usize,
    gflop: f64,
    provenance: Provenance,
    verified: bool,
}

/// Whether a package also has every tensor read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Sums alone.
    Sums,
    /// Every tensor too.
    Tensors,
}

impl PackageLines {
    /// Reads the package at `path`.
    pub fn of(path: &Path, depth: Depth) -> Result<Self> {
        let package = Package::open(path)?;
        if depth == Depth::Tensors {
            package.verify()?;
        }
        let plan = &package.plan;
        Ok(Self {
            path: path.to_path_buf().into(),
            batch: plan.batch,
            dtype: plan.dtype,
            input: package.transform.input().shape(),
            shape: package.shape()?,
            dispatches: plan.dispatches.len(),
            weight_bytes: plan.weight_bytes(),
            scratch_bytes: plan.slots().iter().sum(),
            gflop: plan.flops() as f64 / 1e9,
            provenance: package.provenance,
            verified: depth == Depth::Tensors,
        })
    }

    pub fn to_text(&self) -> String {
        let Self { batch, dtype, shape, dispatches, provenance, .. } = self;
        let [channels, height, width] = self.input;
        let mebibytes = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        let mut text = format!("{}: a package of {dtype} weights, for {batch} at once", self.path.display());
        text += &format!("\n{} encoder: {}", provenance.encoder, provenance.model);
        text += &format!("\ninput: {channels}x{height}x{width}, {}", provenance.input());
        text +=
            &format!("\nfeatures: {shape}, {} tokens of the blocks {:?}", word(&provenance.tokens), provenance.layers);
        let (weights, scratch) = (mebibytes(self.weight_bytes), mebibytes(self.scratch_bytes));
        text += &format!("\n{dispatches} dispatches, {:.2} GFLOP a batch", self.gflop);
        text += &format!("\nweights {weights:.2} MiB, scratch {scratch:.2} MiB, by version {}", provenance.version);
        text += &format!("\nBLAKE3 of the encoder: {}", provenance.weights_blake3);
        text + if self.verified { "\nverified: all files and weights, whole and finite" } else { "" }
    }
}
