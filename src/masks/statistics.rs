//! Statistics of the published code's masks over thousands of images, beside those of the `reference` mode.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{BlockConfig, IndexMask, MaskConfig, MaskMode, MaskSampler, MaskShape, Masks};
use crate::chance::{Counts, Sample, Values};
use crate::config::Grid;
use crate::error::{Error, Kind, Result};

/// The seed of the draws that are compared: the comparison passes always or never.
pub(super) const SEED: u64 = 11;

/// One sampler of `mask_stats.json` of a reference case, and the statistics of its masks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Statistics {
    params: Params,
    n_samples: u64,
    /// Of the reference's generator, which is another.
    #[serde(default, rename = "seed")]
    _seed: IgnoredAny,
    context_size: Summary,
    context_fraction_mean: f64,
    target_size: Summary,
    target_height: Summary,
    target_width: Summary,
    target_top: Summary,
    target_left: Summary,
    target_block_hw_histogram: Counts,
    target_aspect_h_over_w: Moments,
    context_target_overlap_patches: Summary,
    union_of_targets_size: Summary,
    context_occupancy_per_patch: Vec<f64>,
    target_occupancy_per_patch: Vec<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    grid: usize,
    enc_mask_scale: [f64; 2],
    pred_mask_scale: [f64; 2],
    aspect_ratio: [f64; 2],
    nenc: usize,
    npred: usize,
    min_keep: usize,
    allow_overlap: bool,
    batch_size: u64,
}

/// A whole number's moments and the counts of its values.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Summary {
    mean: f64,
    std: f64,
    min: f64,
    max: f64,
    histogram: Counts,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Moments {
    mean: f64,
    std: f64,
    min: f64,
    max: f64,
}

/// How the values of a summary are drawn.
#[derive(Clone, Copy)]
pub(super) struct Drawing {
    pub values: Values,
    /// Values that one draw sets.
    pub together: u64,
    /// Draws that know nothing of each other.
    pub independent: f64,
}

impl Statistics {
    /// The statistics of as many masks of this crate beside the golden ones.
    ///
    /// # Errors
    /// A data error where the golden values ask for masks that cannot be drawn.
    pub fn compare(&self) -> Result<Vec<Sample>> {
        let Params { grid, nenc, batch_size, .. } = self.params;
        let drawn = Drawn::new(self.sampler()?, self.n_samples, batch_size);
        let (images, steps) = (self.n_samples as f64, (self.n_samples / batch_size) as f64);
        // Sizes depend on the iteration alone, and the reference counts iterations from 0.
        let same = Drawing { values: Values::Same, together: 1, independent: images };
        let places = Drawing { values: Values::SameKinds, ..same };
        let unions = Drawing { values: Values::Any, ..same };
        // Masks of one batch share its cut, so only batches count as independent.
        let contexts =
            Drawing { values: Values::Any, together: batch_size.saturating_mul(nenc as u64), independent: steps };
        let mut samples = Vec::new();
        for (name, found, golden, drawing) in [
            ("context_size", &drawn.context_size, &self.context_size, contexts),
            ("target_size", &drawn.target_size, &self.target_size, same),
            ("target_height", &drawn.target_height, &self.target_height, same),
            ("target_width", &drawn.target_width, &self.target_width, same),
            ("target_top", &drawn.target_top, &self.target_top, places),
            ("target_left", &drawn.target_left, &self.target_left, places),
            ("context_target_overlap_patches", &drawn.overlap, &self.context_target_overlap_patches, places),
            ("union_of_targets_size", &drawn.union, &self.union_of_targets_size, unions),
        ] {
            samples.extend(golden.compare(name, found, drawing));
        }
        let tokens = (grid * grid) as f64;
        let [mean, ..] = moments(&drawn.context_size);
        let (found, std) = (mean / tokens, self.context_size.std / tokens);
        samples.extend([
            Sample::moment("context_fraction_mean", found, self.context_fraction_mean, std, steps),
            Sample::counts(
                "target_block_hw_histogram",
                &drawn.shape.iter().map(|([h, w], count)| (format!("{h}x{w}"), *count)).collect(),
                &self.target_block_hw_histogram,
                Values::Same,
                1,
            ),
            self.target_aspect_h_over_w.compare("target_aspect_h_over_w", &drawn.shape),
            drawn.contexts.compare("context_occupancy_per_patch", &self.context_occupancy_per_patch, steps),
            drawn.targets.compare("target_occupancy_per_patch", &self.target_occupancy_per_patch, images),
        ]);
        Ok(samples)
    }

    fn sampler(&self) -> Result<MaskSampler> {
        /// Tokens of all images together: far above every golden value, and a matter of seconds.
        const MOST: u64 = 1 << 27;
        let Params { grid, batch_size, nenc, npred, min_keep, allow_overlap, .. } = self.params;
        let inconsistent = |problem: String| Error::new(Kind::Data, problem);
        let work = (grid as u64).checked_pow(2).and_then(|tokens| tokens.checked_mul(self.n_samples));
        if work.is_none_or(|work| work > MOST) {
            let samples = self.n_samples;
            return Err(inconsistent(format!(
                "{samples} samples of {grid}x{grid} tokens, expected at most {MOST} tokens"
            )));
        }
        if batch_size == 0 || self.n_samples == 0 || !self.n_samples.is_multiple_of(batch_size) {
            return Err(inconsistent(format!("{} samples are no whole batches of {batch_size}", self.n_samples)));
        }
        for (key, [low, high], most) in [
            ("enc_mask_scale", self.params.enc_mask_scale, 1.0),
            ("pred_mask_scale", self.params.pred_mask_scale, 1.0),
            ("aspect_ratio", self.params.aspect_ratio, f64::MAX),
        ] {
            if !(0.0 < low && low <= high && high <= most) {
                return Err(inconsistent(format!(
                    "{key} is [{low}, {high}], expected a range above 0, at most {most}"
                )));
            }
        }
        let blocks = BlockConfig {
            contexts: nenc,
            context_scale: self.params.enc_mask_scale,
            targets: npred,
            target_scale: self.params.pred_mask_scale,
            target_aspect: self.params.aspect_ratio,
            min_keep,
            allow_overlap,
        };
        let config = MaskConfig { mode: MaskMode::Reference, shape: MaskShape::Blocks(blocks) };
        MaskSampler::new(&config, grid).map_err(|error| inconsistent(error.to_string()))
    }
}

impl Summary {
    /// The standard deviation.
    pub fn std(&self) -> f64 {
        self.std
    }

    fn fourth_moment(&self) -> f64 {
        let values = self.histogram.iter().map(|(value, count)| (value.parse().unwrap_or(f64::NAN), *count as f64));
        let count: f64 = values.clone().map(|(_, count)| count).sum();
        values.map(|(value, count): (f64, f64)| (value - self.mean).powi(4) * count).sum::<f64>() / count
    }

    pub fn compare(&self, name: &str, found: &BTreeMap<usize, u64>, drawing: Drawing) -> Vec<Sample> {
        let Drawing { values, together, independent } = drawing;
        let counts = found.iter().map(|(value, count)| (value.to_string(), *count)).collect();
        let [mean, std, ..] = moments(found);
        let moment = |key: &str, found: f64, golden: f64, deviation: f64| {
            let name = format!("{name}.{key}");
            let deviation = if values == Values::Same { 0.0 } else { deviation };
            Sample::new(name, vec![found], vec![golden], vec![deviation])
        };
        let chance = self.std * (2.0 / independent).sqrt();
        // That of a standard deviation hangs on the fourth moment, which a few rare values can make large.
        let fourth = self.fourth_moment() - self.std.powi(4);
        let of_std = (fourth.max(0.0) * 2.0 / independent).sqrt() / (2.0 * self.std).max(f64::MIN_POSITIVE);
        // Rare counts and extremes move with the seed, but the golden values agree with each other.
        let golden = self.histogram.iter().map(|(value, count)| (value.parse().unwrap_or(f64::NAN), *count));
        vec![
            Sample::counts(format!("{name}.histogram"), &counts, &self.histogram, values, together),
            moment("mean", mean, self.mean, chance),
            moment("std", std, self.std, of_std.max(chance)),
            Sample::exact(
                format!("{name}.moments_of_histogram"),
                moments_of(golden).to_vec(),
                vec![self.mean, self.std, self.min, self.max],
            ),
        ]
    }
}

impl Moments {
    pub fn compare(&self, name: &str, shapes: &BTreeMap<[usize; 2], u64>) -> Sample {
        let aspects: Vec<(f64, u64)> = shapes.iter().map(|([h, w], count)| (*h as f64 / *w as f64, *count)).collect();
        let found = moments_of(aspects.into_iter());
        Sample::exact(name, found.to_vec(), vec![self.mean, self.std, self.min, self.max])
    }
}

pub(super) fn moments(counts: &BTreeMap<usize, u64>) -> [f64; 4] {
    moments_of(counts.iter().map(|(value, count)| (*value as f64, *count)))
}

/// Mean, standard deviation, least and largest of values with their counts.
fn moments_of(counts: impl Iterator<Item = (f64, u64)> + Clone) -> [f64; 4] {
    let count: f64 = counts.clone().map(|(_, count)| count as f64).sum();
    let mean = counts.clone().map(|(value, count)| value * count as f64).sum::<f64>() / count;
    let variance = counts.clone().map(|(value, count)| (value - mean).powi(2) * count as f64).sum::<f64>() / count;
    let least = counts.clone().map(|(value, _)| value).fold(f64::INFINITY, f64::min);
    let most = counts.map(|(value, _)| value).fold(f64::NEG_INFINITY, f64::max);
    [mean, variance.sqrt(), least, most]
}

/// How often each token is in a mask, over all masks added.
#[derive(Debug)]
pub(super) struct Occupancy {
    counts: Vec<u64>,
    masks: u64,
}

impl Occupancy {
    pub fn new(grid: impl Into<Grid>) -> Self {
        Self { counts: vec![0; grid.into().tokens()], masks: 0 }
    }

    pub fn add(&mut self, masks: &[IndexMask]) {
        for mask in masks {
            mask.indices.iter().for_each(|&token| self.counts[token as usize] += 1);
            self.masks += mask.batch as u64;
        }
    }

    pub fn shares(&self) -> Vec<f64> {
        self.counts.iter().map(|&count| count as f64 / self.masks as f64).collect()
    }

    /// The shares beside those of another sample, of `independent` masks each.
    pub fn compare(&self, name: &str, expected: &[f64], independent: f64) -> Sample {
        Sample::shares(name, self.shares(), expected.to_vec(), independent)
    }
}

/// Height, width, top and left of a mask that is a block.
pub(super) fn block(row: &[u32], grid: usize) -> [usize; 4] {
    let (Some(&first), Some(&last)) = (row.first(), row.last()) else { return [0; 4] };
    let (first, last) = (first as usize, last as usize);
    let (top, left) = (first / grid, first % grid);
    [last / grid - top + 1, last % grid - left + 1, top, left]
}

/// What is counted of the masks that are drawn; a count of values by value.
struct Drawn {
    contexts: Occupancy,
    targets: Occupancy,
    context_size: BTreeMap<usize, u64>,
    target_size: BTreeMap<usize, u64>,
    target_height: BTreeMap<usize, u64>,
    target_width: BTreeMap<usize, u64>,
    target_top: BTreeMap<usize, u64>,
    target_left: BTreeMap<usize, u64>,
    /// By height and width.
    shape: BTreeMap<[usize; 2], u64>,
    /// Tokens that a context and a target share.
    overlap: BTreeMap<usize, u64>,
    /// Tokens of all targets of an image.
    union: BTreeMap<usize, u64>,
}

impl Drawn {
    fn new(sampler: MaskSampler, samples: u64, batch: u64) -> Self {
        let grid = sampler.grid().side;
        let mut drawn = Self {
            contexts: Occupancy::new(grid),
            targets: Occupancy::new(grid),
            context_size: BTreeMap::new(),
            target_size: BTreeMap::new(),
            target_height: BTreeMap::new(),
            target_width: BTreeMap::new(),
            target_top: BTreeMap::new(),
            target_left: BTreeMap::new(),
            shape: BTreeMap::new(),
            overlap: BTreeMap::new(),
            union: BTreeMap::new(),
        };
        for step in 0..samples / batch {
            let images: Vec<u64> = (step * batch..(step + 1) * batch).collect();
            for masks in sampler.sample(SEED, step, &images) {
                drawn.contexts.add(&masks.context);
                drawn.targets.add(&masks.targets);
                for image in 0..images.len() {
                    drawn.add(&masks, image, grid);
                }
            }
        }
        drawn
    }

    fn add(&mut self, masks: &Masks, image: usize, grid: usize) {
        let mut covered = vec![false; grid * grid];
        for target in &masks.targets {
            let row = target.row(image);
            let [h, w, top, left] = block(row, grid);
            *self.target_size.entry(row.len()).or_default() += 1;
            *self.target_height.entry(h).or_default() += 1;
            *self.target_width.entry(w).or_default() += 1;
            *self.target_top.entry(top).or_default() += 1;
            *self.target_left.entry(left).or_default() += 1;
            *self.shape.entry([h, w]).or_default() += 1;
            row.iter().for_each(|token| covered[*token as usize] = true);
        }
        *self.union.entry(covered.iter().filter(|covered| **covered).count()).or_default() += 1;
        for context in &masks.context {
            let row = context.row(image);
            *self.context_size.entry(row.len()).or_default() += 1;
            let mut seen = vec![false; grid * grid];
            row.iter().for_each(|token| seen[*token as usize] = true);
            for target in &masks.targets {
                let shared = target.row(image).iter().filter(|token| seen[**token as usize]).count();
                *self.overlap.entry(shared).or_default() += 1;
            }
        }
    }
}
