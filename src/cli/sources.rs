//! What a probe learns from and is tested on: features on disk, or computed on the spot.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyjepa::data::{Dataset, MAX_BAD, Split, check_bad, renumber, unlabelled};
use anyjepa::device::{self, Spec};
use anyjepa::error::{Error, Kind, Result};
use anyjepa::extract::{FeatureDtype, FeatureSet, Frozen, Index, Shape};
use clap::Args;

use super::DeviceArgs;
use super::frozen::{EngineArg, FrozenArgs, Opened};
use super::progress::CountProgress;

/// The classes of a part's samples, known before any of them is encoded.
pub struct Classes<'a> {
    /// One a sample.
    pub labels: Vec<u32>,
    /// The names of the labels 0, 1, ...
    pub names: &'a [String],
}

impl<'a> Classes<'a> {
    fn of(data: &'a Dataset) -> Result<Self> {
        let label = |sample| data.label(sample).ok_or_else(|| unlabelled(&data.name(sample)));
        Ok(Self { labels: (0..data.len()).map(label).collect::<Result<_>>()?, names: data.classes() })
    }

    /// Refuses to learn from the first and to be tested on the second where the first lacks a class of the second, or where
    /// `learns` refuses its labels.
    pub fn fit([train, test]: &[Self; 2], learns: impl Fn(&[u32]) -> Result<()>) -> Result<()> {
        renumber(test.labels.clone(), test.names, train.names)?;
        learns(&train.labels)
    }
}

/// Where features come from, and where probes compute.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// A run, a checkpoint, or weights of any form, to compute the features of pictures or films with
    #[arg(long, value_name = "PATH", group = "encoder_source")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
    // The last, or its heading would stand over others too.
    #[command(flatten, next_help_heading = "With --weights")]
    pub frozen: FrozenArgs,
}

impl SourceArgs {
    /// Where the probe computes: on the encoder's device, or beside our kernels on the CPU where this build has no others
    /// for that device.
    pub fn probe_device(&self) -> Result<Spec> {
        let spec = self.device.device;
        let ours = self.weights.is_some() && self.frozen.engine(spec) == EngineArg::Compiled;
        if ours && !spec.trains() {
            tracing::info!("this build has no kernels that fit probes on {spec}: the CPU does");
            return "cpu".parse();
        }
        Ok(spec)
    }

    /// The features of each of `parts`, and whether too much of them could not be read.
    ///
    /// Every sample must have its label. `known` judges the labels before the weights are opened, and `fits` the encoder
    /// before it runs; of features on disk neither is asked.
    pub fn sets<const N: usize>(
        &self,
        parts: [(&Path, Split); N],
        known: impl Fn(&[Classes; N]) -> Result<()>,
        fits: impl Fn(&Frozen) -> Result<()>,
    ) -> Result<([FeatureSet; N], Result<()>)> {
        let mut sets = Vec::with_capacity(N);
        let bad = match &self.weights {
            None => {
                let indices =
                    parts.iter().filter(|(path, _)| path.is_dir()).filter_map(|(path, _)| Index::find(path).ok()?);
                require_room(&indices.map(|index| (index.rows as usize, index.shape)).collect::<Vec<_>>())?;
                for (path, _) in parts {
                    sets.push(features(path)?);
                }
                Ok(())
            }
            Some(weights) => self.encode(weights, parts, known, fits, &mut sets)?,
        };
        let sets = sets.try_into().map_err(|_| Error::new(Kind::Other, "a part has no features"))?;
        Ok((sets, bad))
    }

    fn encode<const N: usize>(
        &self,
        weights: &Path,
        parts: [(&Path, Split); N],
        known: impl Fn(&[Classes; N]) -> Result<()>,
        fits: impl Fn(&Frozen) -> Result<()>,
        sets: &mut Vec<FeatureSet>,
    ) -> Result<Result<()>> {
        let data = parts.iter().map(|(path, split)| Ok(Arc::new(samples(path, *split)?)));
        let data: Vec<Arc<Dataset>> = data.collect::<Result<_>>()?;
        let classes: Vec<Classes> = data.iter().map(|data| Classes::of(data)).collect::<Result<_>>()?;
        let classes = classes.try_into().map_err(|_| Error::new(Kind::Other, "a part has no samples"))?;
        known(&classes)?;
        drop(classes);
        let inputs = data.iter().map(|data| data.len()).sum();
        let Opened { frozen, batch, workers, .. } =
            self.frozen.open(weights, FeatureDtype::F32, self.device.device, inputs)?;
        tracing::info!("{} on {}: batches of {batch}, {workers} threads", frozen.provenance.model, self.device.device);
        fits(&frozen)?;
        require_room(&[(inputs, frozen.engine.shape())])?;
        let (mut progress, mut done, mut skipped) = (CountProgress::new(inputs, "images"), 0, 0);
        progress.at(0);
        for data in &data {
            let (set, skips) = frozen.features(data, batch, workers, &mut |more| {
                done += more as u64;
                progress.at(done);
            })?;
            skips.iter().for_each(|skip| tracing::warn!("{skip}"));
            skipped += skips.len();
            sets.push(set);
        }
        let bad = check_bad(skipped, inputs, MAX_BAD);
        Ok(bad.map_err(|error| error.with_remedy("the warnings above say why")))
    }
}

/// Warns where more than one in a hundred samples of `test` has the features of one of `train`: probes know them.
pub fn warn_of_known(train: &FeatureSet, test: &FeatureSet) {
    let sum = |row: &[f32]| blake3::hash(bytemuck::cast_slice(row));
    let learnt: HashSet<blake3::Hash> = train.features.iter_rows().map(sum).collect();
    let known = test.features.iter_rows().filter(|row| learnt.contains(&sum(row))).count();
    if known * 100 > test.features.rows {
        tracing::warn!("{known} of {} samples to be tested on were learnt from as well", test.features.rows);
    }
}

/// The features at `path`; pictures need an encoder first.
fn features(path: &Path) -> Result<FeatureSet> {
    FeatureSet::open(path).map_err(|error| match error.kind() {
        Kind::Data if !FeatureSet::stand_at(path) => Error::data(path, "holds no features")
            .with_remedy("give what `anyjepa extract` wrote, or pictures together with --weights"),
        _ => error,
    })
}

/// The samples at `path`, which an encoder is to see; extracted features are none.
fn samples(path: &Path, split: Split) -> Result<Dataset> {
    Dataset::open_split(path, split).map_err(|error| match FeatureSet::stand_at(path) {
        true => Error::data(path, "holds extracted features, and --weights encode pictures").with_remedy(
            "leave --weights out and give extracted features as both --train and --test, or give pictures as both",
        ),
        false => error,
    })
}

/// Refuses sets of features, each so many rows of a shape, that memory cannot hold together: probes look at all of them
/// again and again.
fn require_room(sets: &[(usize, Shape)]) -> Result<()> {
    let values = |(rows, shape): &(usize, Shape)| *rows as f64 * shape.width() as f64;
    let bytes = sets.iter().map(values).sum::<f64>() * size_of::<f32>() as f64;
    device::require_memory(Spec { api: device::Api::Cpu, index: None }, bytes, 0.0).map_err(|error| {
        let rows: Vec<String> = sets.iter().map(|(rows, shape)| format!("{rows} rows of {shape}")).collect();
        Error::new(Kind::Data, format!("{} are held in memory, and do not fit: {error}", rows.join(" and ")))
            .with_remedy(
                "give fewer inputs, or take fewer values of each: --tokens pooled, --layers last, a smaller model",
            )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_that_memory_cannot_hold_are_a_data_error_with_a_remedy() {
        let set = (usize::MAX / 2, Shape { tokens: 1568, dim: 1024 });
        let error = require_room(&[set, set]).unwrap_err();
        assert_eq!((error.kind(), error.remedy().is_some()), (Kind::Data, true));
        assert!(error.to_string().contains("rows of 1568 x 1024 values are held in memory"), "{error}");
        assert!(require_room(&[(10, Shape { tokens: 4, dim: 4 })]).is_ok());
    }
}
