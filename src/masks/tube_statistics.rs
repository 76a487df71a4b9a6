//! Statistics of V-JEPA's published masks over thousands of clips, beside those of the `reference` mode.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::statistics::{Drawing, Moments, Occupancy, SEED, Summary, moments};
use super::{MaskConfig, MaskMode, MaskSampler, MaskShape, Masks, tubes};
use crate::chance::{Counts, Sample, Values};
use crate::config::{Grid, RangeConfig, TubeConfig};
use crate::error::{Error, Kind, Result};

/// One sampler of clips of `mask_stats.json` of a reference case, and the statistics of its masks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TubeStatistics {
    params: Params,
    grid_thw: [usize; 3],
    batch_size: u64,
    n_samples: u64,
    /// Of the reference's generator, which is another.
    #[serde(default, rename = "seed")]
    _seed: IgnoredAny,
    #[serde(default, rename = "name")]
    _name: IgnoredAny,
    context_size: Summary,
    target_size: Summary,
    masked_ratio_mean: f64,
    context_ratio_mean: f64,
    context_target_overlap: Summary,
    share_of_samples_whose_target_is_identical_in_all_time_steps: f64,
    context_plus_target: Summary,
    context_occupancy_t0_hw: Vec<Vec<f64>>,
    context_occupancy_per_t: Vec<f64>,
    block_thw_histogram_over_iterations: Counts,
    block_aspect_h_over_w: Moments,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    aspect_ratio: [f64; 2],
    num_blocks: usize,
    spatial_scale: [f64; 2],
    temporal_scale: [f64; 2],
    max_temporal_keep: f64,
    max_keep: Option<usize>,
}

impl TubeStatistics {
    /// The statistics of as many masks of this crate beside the golden ones.
    ///
    /// # Errors
    /// A data error where the golden values ask for masks that cannot be drawn.
    pub fn compare(&self) -> Result<Vec<Sample>> {
        let (range, grid) = (self.range(), self.grid()?);
        let config = TubeConfig { short: range.clone(), long: RangeConfig { num_blocks: 0, ..range.clone() } };
        let config = MaskConfig { mode: MaskMode::Reference, shape: MaskShape::Tubes(config) };
        let sampler = MaskSampler::new(&config, grid).map_err(|error| inconsistent(error.to_string()))?;
        let steps = self.n_samples / self.batch_size;
        let mut drawn = Drawn::new(grid);
        for step in 0..steps {
            let clips: Vec<u64> = (step * self.batch_size..(step + 1) * self.batch_size).collect();
            let masks = sampler.sample(SEED, step, &clips);
            masks.iter().for_each(|masks| drawn.add(masks));
        }
        // Masks of one batch share its cut and the size of its blocks, so only batches count as independent.
        let any = Drawing { values: Values::Any, together: self.batch_size, independent: steps as f64 };
        let mut samples = Vec::new();
        for (name, found, golden, drawing) in [
            ("context_size", &drawn.context_size, &self.context_size, any),
            ("target_size", &drawn.target_size, &self.target_size, any),
            ("context_plus_target", &drawn.both, &self.context_plus_target, any),
            (
                "context_target_overlap",
                &drawn.overlap,
                &self.context_target_overlap,
                Drawing { values: Values::Same, ..any },
            ),
        ] {
            samples.extend(golden.compare(name, found, drawing));
        }
        let (tokens, clips, steps) = (grid.tokens() as f64, self.n_samples as f64, steps as f64);
        let ratio = |name: &str, found: &BTreeMap<usize, u64>, golden: f64, std: f64| {
            let [mean, ..] = moments(found);
            Sample::moment(name, mean / tokens, golden, std / tokens, steps)
        };
        let shares = drawn.contexts.shares();
        let (times, frames) = (shares.chunks(grid.area()), self.context_occupancy_t0_hw.concat());
        let by_time: Vec<f64> = times.map(|frame| frame.iter().sum::<f64>() / frame.len() as f64).collect();
        let (extents, shapes) = self.extents(&range, grid);
        samples.extend([
            ratio("masked_ratio_mean", &drawn.target_size, self.masked_ratio_mean, self.target_size.std()),
            ratio("context_ratio_mean", &drawn.context_size, self.context_ratio_mean, self.context_size.std()),
            Sample::shares(
                "share_of_samples_whose_target_is_identical_in_all_time_steps",
                vec![drawn.lasting as f64 / clips],
                vec![self.share_of_samples_whose_target_is_identical_in_all_time_steps],
                steps,
            ),
            Sample::shares("context_occupancy_t0_hw", shares[..grid.area()].to_vec(), frames, steps),
            Sample::shares("context_occupancy_per_t", by_time, self.context_occupancy_per_t.clone(), steps),
            Sample::counts(
                "block_thw_histogram_over_iterations",
                &extents,
                &self.block_thw_histogram_over_iterations,
                Values::Same,
                1,
            ),
            self.block_aspect_h_over_w.compare("block_aspect_h_over_w", &shapes),
        ]);
        Ok(samples)
    }

    fn range(&self) -> RangeConfig {
        let Params { aspect_ratio, num_blocks, spatial_scale, temporal_scale, max_temporal_keep, max_keep } =
            self.params;
        let max_keep = max_keep.unwrap_or(0);
        RangeConfig { num_blocks, spatial_scale, temporal_scale, aspect_ratio, max_temporal_keep, max_keep }
    }

    /// The grid, where as many masks over it can be drawn.
    fn grid(&self) -> Result<Grid> {
        /// Tokens of all clips together: far above every golden value, and a matter of seconds.
        const MOST: u64 = 1 << 27;
        let [time, side, columns] = self.grid_thw;
        let tokens = (time as u64).checked_mul(side as u64).and_then(|tokens| tokens.checked_mul(columns as u64));
        let work = tokens.and_then(|tokens| tokens.checked_mul(self.n_samples));
        if side != columns || work.is_none_or(|work| work == 0 || work > MOST) {
            let (grid, clips) = (self.grid_thw, self.n_samples);
            return Err(inconsistent(format!(
                "{clips} clips of {grid:?} tokens, expected square frames and at most {MOST} tokens"
            )));
        }
        if self.batch_size == 0 || !self.n_samples.is_multiple_of(self.batch_size) {
            return Err(inconsistent(format!("{} clips are no whole batches of {}", self.n_samples, self.batch_size)));
        }
        let Params { aspect_ratio, spatial_scale, temporal_scale, max_temporal_keep, .. } = self.params;
        for (key, [low, high], most) in [
            ("aspect_ratio", aspect_ratio, f64::MAX),
            ("spatial_scale", spatial_scale, 1.0),
            ("temporal_scale", temporal_scale, 1.0),
            ("max_temporal_keep", [max_temporal_keep; 2], 1.0),
        ] {
            if !(0.0 < low && low <= high && high <= most) {
                return Err(inconsistent(format!(
                    "{key} is [{low}, {high}], expected a range above 0, at most {most}"
                )));
            }
        }
        Ok(Grid { time, side })
    }

    /// How often a block has each extent, over the iterations, by its name and by height and width.
    fn extents(&self, range: &RangeConfig, grid: Grid) -> (Counts, BTreeMap<[usize; 2], u64>) {
        let (mut names, mut shapes) = (Counts::new(), BTreeMap::new());
        for step in 0..self.n_samples / self.batch_size {
            let tubes::Extent { time, size } = tubes::reference_extent(range, grid, step);
            *names.entry(format!("{time}x{}x{}", size.h, size.w)).or_default() += 1;
            *shapes.entry([size.h, size.w]).or_default() += 1;
        }
        (names, shapes)
    }
}

fn inconsistent(problem: String) -> Error {
    Error::new(Kind::Data, problem)
}

/// What is counted of the masks that are drawn; a count of values by value.
struct Drawn {
    grid: Grid,
    contexts: Occupancy,
    context_size: BTreeMap<usize, u64>,
    target_size: BTreeMap<usize, u64>,
    both: BTreeMap<usize, u64>,
    /// Tokens that a context and its target share.
    overlap: BTreeMap<usize, u64>,
    /// Clips whose target is the same at every time.
    lasting: u64,
}

impl Drawn {
    fn new(grid: Grid) -> Self {
        Self {
            grid,
            contexts: Occupancy::new(grid),
            context_size: BTreeMap::new(),
            target_size: BTreeMap::new(),
            both: BTreeMap::new(),
            overlap: BTreeMap::new(),
            lasting: 0,
        }
    }

    fn add(&mut self, masks: &Masks) {
        self.contexts.add(&masks.context);
        for (context, target) in masks.context.iter().zip(&masks.targets) {
            for row in 0..context.batch {
                let (shown, hidden) = (context.row(row).len(), target.row(row).len());
                *self.context_size.entry(shown).or_default() += 1;
                *self.target_size.entry(hidden).or_default() += 1;
                *self.both.entry(shown + hidden).or_default() += 1;
                *self.overlap.entry(masks.shown_targets(row)[0]).or_default() += 1;
                self.lasting += u64::from(self.lasts(target.row(row)));
            }
        }
    }

    /// Whether `tokens`, in raster order, are the same at every time.
    fn lasts(&self, tokens: &[u32]) -> bool {
        let area = self.grid.area() as u32;
        let first: Vec<u32> = tokens.iter().copied().take_while(|token| *token < area).collect();
        let at = |time: u32| first.iter().map(move |token| token + time * area);
        tokens.iter().copied().eq((0..self.grid.time as u32).flat_map(at))
    }
}
