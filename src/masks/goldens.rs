//! The published code's draws and masks, bit for bit, from the Mersenne twister that PyTorch uses.

use rand_mt::Mt;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::draft::Draft;
use super::grid::{Draws, Size, TokenSet};
use super::{BlockConfig, IndexMask, MAX_GRID, reference, tubes};
use crate::chance::Sample;
use crate::config::{Grid, RangeConfig, TubeConfig};
use crate::error::{Error, Kind, Result};

/// `rng_goldens.json` of a reference case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Goldens {
    block_sizes: Vec<Step>,
    ijepa_full: Calls,
    vjepa_full: Option<TubeCalls>,
    #[serde(default, rename = "note")]
    _note: IgnoredAny,
}

/// What a generator seeded with an iteration's number gives.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    seed: u64,
    rand4: [f64; 4],
    ijepa14_pred_hw: [usize; 2],
    ijepa14_enc_hw: [usize; 2],
    vjepa_short_thw: Option<[usize; 3]>,
    vjepa_long_thw: Option<[usize; 3]>,
}

/// Batches of masks, one after the other from one global generator.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Calls {
    global_seed: u64,
    batch_size: usize,
    grid: usize,
    calls: Vec<Call>,
}

/// The masks of one batch: for each mask and each sample, its tokens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    masks_enc: Vec<Vec<Vec<u32>>>,
    masks_pred: Vec<Vec<Vec<u32>>>,
}

/// The first batch of V-JEPA's two samplers from one global generator, the short range first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TubeCalls {
    global_seed: u64,
    batch_size: usize,
    #[serde(default, rename = "order")]
    _order: IgnoredAny,
    short: TubeCall,
    long: TubeCall,
}

/// The masks of one batch: the context's tokens of each sample, and how many its target has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TubeCall {
    masks_enc: Vec<Vec<u32>>,
    masks_pred_len: usize,
}

/// The masks of I-JEPA's published configurations.
pub(crate) fn published() -> BlockConfig {
    BlockConfig {
        contexts: 1,
        context_scale: [0.85, 1.0],
        targets: 4,
        target_scale: [0.15, 0.2],
        target_aspect: [0.75, 1.5],
        min_keep: 10,
        allow_overlap: false,
    }
}

impl Draws for Mt {
    fn below(&mut self, n: usize) -> usize {
        self.next_u32() as usize % n
    }
}

impl Goldens {
    /// The draws, block sizes and whole masks of this crate beside the golden ones.
    ///
    /// # Errors
    /// A data error where the golden values ask for masks that cannot be drawn.
    pub fn compare(&self) -> Result<Vec<Sample>> {
        /// The grid of `ijepa14_pred_hw` and `ijepa14_enc_hw`.
        const GRID: usize = 14;
        let config = published();
        let sizes: Vec<_> = self.block_sizes.iter().map(|step| reference::sizes(&config, GRID, step.seed)).collect();
        let both = |size: Size| [size.h, size.w];
        let golden = |of: fn(&Step) -> [usize; 2]| flat(self.block_sizes.iter().map(of));
        let units = self.block_sizes.iter().flat_map(|step| {
            let mut generator = Mt::new(step.seed as u32);
            [(); 4].map(|()| reference::unit(&mut generator))
        });
        let golden_units = self.block_sizes.iter().flat_map(|step| step.rand4);
        let mut samples = vec![
            Sample::exact("block_sizes.rand4", units.collect(), golden_units.collect()),
            Sample::exact(
                "block_sizes.ijepa14_pred_hw",
                flat(sizes.iter().map(|sizes| both(sizes.target))),
                golden(|step| step.ijepa14_pred_hw),
            ),
            Sample::exact(
                "block_sizes.ijepa14_enc_hw",
                flat(sizes.iter().map(|sizes| both(sizes.context))),
                golden(|step| step.ijepa14_enc_hw),
            ),
        ];
        samples.extend(self.ijepa_full.compare(&config)?);
        let clips = published_tubes();
        samples.extend(self.extents("block_sizes.vjepa_short_thw", &clips.short, |step| step.vjepa_short_thw));
        samples.extend(self.extents("block_sizes.vjepa_long_thw", &clips.long, |step| step.vjepa_long_thw));
        if let Some(calls) = &self.vjepa_full {
            samples.extend(calls.compare(&clips)?);
        }
        Ok(samples)
    }
}

/// The grid of V-JEPA's golden values.
const CLIP: Grid = Grid { time: 8, side: 14 };

/// The masks of V-JEPA's published configurations.
pub(crate) fn published_tubes() -> TubeConfig {
    let range = |num_blocks, scale| RangeConfig {
        num_blocks,
        spatial_scale: [scale; 2],
        temporal_scale: [1.0, 1.0],
        aspect_ratio: [0.75, 1.5],
        max_temporal_keep: 1.0,
        max_keep: 0,
    };
    TubeConfig { short: range(8, 0.15), long: range(2, 0.7) }
}

impl Goldens {
    /// The extents of V-JEPA's blocks of each iteration, of one range.
    fn extents(&self, name: &str, range: &RangeConfig, of: fn(&Step) -> Option<[usize; 3]>) -> Option<Sample> {
        let goldens = self.block_sizes.iter().filter_map(|step| Some((step.seed, of(step)?)));
        let extent = |seed| {
            let tubes::Extent { time, size } = tubes::reference_extent(range, CLIP, seed);
            [time, size.h, size.w]
        };
        let pairs = goldens.map(|(seed, golden)| (extent(seed), golden));
        let (found, golden): (Vec<_>, Vec<_>) = pairs.unzip();
        let flat = |extents: Vec<[usize; 3]>| extents.concat().into_iter().map(|side| side as f64).collect();
        (!golden.is_empty()).then(|| Sample::exact(name, flat(found), flat(golden)))
    }
}

impl TubeCalls {
    fn compare(&self, config: &TubeConfig) -> Result<Vec<Sample>> {
        let Self { global_seed, batch_size, short, long, .. } = self;
        if [short, long].iter().any(|call| call.masks_enc.len() != *batch_size || *batch_size == 0) {
            return Err(Error::new(
                Kind::Data,
                format!("vjepa_full: expected masks_enc with a row for each of batch_size {batch_size} samples"),
            ));
        }
        let mut global = Mt::new(*global_seed as u32);
        let mut set = TokenSet::new(CLIP);
        let mut samples = Vec::new();
        for ((name, range), call) in config.ranges().into_iter().zip([short, long]) {
            let extent = tubes::reference_extent(range, CLIP, 0);
            let mut draft = Draft::new(1, 1);
            for _ in 0..*batch_size {
                tubes::reference_place(range, CLIP, extent, &mut global, &mut set, &mut draft);
            }
            let masks = draft.finish();
            let rows = masks.context.iter().flat_map(|mask| (0..mask.batch).map(|row| mask.row(row)));
            let golden = call.masks_enc.iter().map(Vec::as_slice);
            samples.push(Sample::exact(format!("vjepa_full.{name}.masks_enc"), ruled(rows), ruled(golden)));
            let (found, golden) = (masks.targets[0].keep as f64, call.masks_pred_len as f64);
            samples.push(Sample::exact(format!("vjepa_full.{name}.masks_pred_len"), vec![found], vec![golden]));
        }
        Ok(samples)
    }
}

impl Calls {
    fn compare(&self, config: &BlockConfig) -> Result<Vec<Sample>> {
        let Self { global_seed, batch_size, grid, calls } = self;
        let rows = |masks: &[Vec<Vec<u32>>], count: usize| {
            masks.len() == count && masks.iter().all(|mask| mask.len() == *batch_size)
        };
        let whole = |call: &Call| rows(&call.masks_enc, config.contexts) && rows(&call.masks_pred, config.targets);
        if !(2..=MAX_GRID).contains(grid) || *batch_size == 0 || calls.is_empty() || !calls.iter().all(whole) {
            return Err(Error::new(
                Kind::Data,
                format!(
                    "ijepa_full: found {} calls with grid {grid} and batch_size {batch_size}, expected a grid of 2 to \
                     {MAX_GRID} and calls of {} context and {} target masks with a row for each sample of the batch",
                    calls.len(),
                    config.contexts,
                    config.targets
                ),
            ));
        }
        let mut global = Mt::new(*global_seed as u32);
        let mut set = TokenSet::new(*grid);
        let mut samples = Vec::new();
        for (step, call) in calls.iter().enumerate() {
            let sizes = reference::sizes(config, *grid, step as u64);
            let mut draft = Draft::new(config.contexts, config.targets);
            for _ in 0..*batch_size {
                reference::place(config, sizes, &mut global, &mut set, &mut draft);
            }
            let masks = draft.finish();
            for (key, found, golden) in
                [("masks_enc", &masks.context, &call.masks_enc), ("masks_pred", &masks.targets, &call.masks_pred)]
            {
                let found = found.iter().flat_map(|mask: &IndexMask| (0..mask.batch).map(|row| mask.row(row)));
                let golden = golden.iter().flatten().map(Vec::as_slice);
                let name = format!("ijepa_full.calls.{step}.{key}");
                samples.push(Sample::exact(name, ruled(found), ruled(golden)));
            }
        }
        Ok(samples)
    }
}

fn flat(pairs: impl Iterator<Item = [usize; 2]>) -> Vec<f64> {
    pairs.flatten().map(|side| side as f64).collect()
}

/// The tokens of all rows, each row behind its length.
fn ruled<'a>(rows: impl Iterator<Item = &'a [u32]>) -> Vec<f64> {
    rows.flat_map(|row| std::iter::once(row.len() as f64).chain(row.iter().map(|token| f64::from(*token)))).collect()
}
