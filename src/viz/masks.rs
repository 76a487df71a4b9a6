//! Masks made visible: drawn over pictures, as a coverage map, and as numbers.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use serde::Serialize;

use super::colour::heat;
use crate::config::Grid;
use crate::device::{Api, Spec, require_memory};
use crate::error::{Error, Result};
use crate::masks::{CutReport, IndexMask, MaskSampler, Masks};

/// Least side of a picture on a sheet, in pixels; smaller pictures are enlarged by a whole number.
const CELL: u32 = 112;
/// Space around pictures, in pixels.
const GAP: u32 = 6;
/// The paper on which pictures lie.
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
/// The grey towards which hidden tokens fade.
const HIDDEN: f32 = 168.0;

/// Height of the bar that says how much a mask keeps of one time, in pixels; it lies in the gap.
const BAR: u32 = 4;
/// What is kept, and what is not.
const BAR_COLOURS: [Rgb<u8>; 2] = [Rgb([40, 120, 80]), Rgb([220, 220, 220])];

/// The pictures with their masks: one row an image, with the picture, what each context mask shows of it, and what each
/// target mask asks for. Clips are film strips: the frames, and under them as many strips, pass by pass, with a bar under
/// each frame that is as long as the share of it that the mask keeps.
///
/// `samples` are those of the batch that `passes` were drawn for, each with one picture for every time of the grid.
///
/// # Errors
/// Where pictures and masks are not of one batch, pictures differ in size, or a mask has a token outside the grid.
pub fn sheet(samples: &[Vec<RgbImage>], passes: &[Masks], grid: Grid) -> Result<RgbImage> {
    let masks: Vec<&IndexMask> = passes.iter().flat_map(|pass| pass.context.iter().chain(&pass.targets)).collect();
    let (width, height) = check(samples, &masks, grid)?;
    let zoom = CELL.div_ceil(width.min(height).max(1));
    let cells = Cells { width: width * zoom, height: height * zoom, strips: 1 + masks.len() as u32, grid };
    // The sheet, and a sample's frames as they are drawn.
    let pixels =
        cells.pixels(samples.len()) + (grid.time as u64 * u64::from(cells.width) * u64::from(cells.height)) as f64;
    require_memory(Spec { api: Api::Cpu, index: None }, 3.0 * pixels, 0.0).map_err(|error| {
        error.with_remedy("take fewer masks (mask.targets) or a smaller picture (model.image_size)")
    })?;
    let mut sheet = cells.paper(samples.len() as u32);
    let mut shown = vec![false; grid.tokens()];
    for (row, frames) in samples.iter().enumerate() {
        let frames: Vec<RgbImage> = frames
            .iter()
            .map(|frame| imageops::resize(frame, cells.width, cells.height, FilterType::Nearest))
            .collect();
        for (time, frame) in frames.iter().enumerate() {
            place(&mut sheet, frame, cells.at(row, 0, time));
        }
        for (strip, mask) in masks.iter().enumerate() {
            shown.fill(false);
            mask.row(row).iter().for_each(|&token| shown[token as usize] = true);
            for ((time, frame), shown) in frames.iter().enumerate().zip(shown.chunks(grid.area())) {
                let at = cells.at(row, 1 + strip, time);
                place(&mut sheet, &veil(frame, shown, grid.side), at);
                cells.bar(&mut sheet, at, shown.iter().filter(|shown| **shown).count() as f64 / grid.area() as f64);
            }
        }
    }
    Ok(sheet)
}

/// Width and height of the pictures, if they and the masks fit each other.
fn check(samples: &[Vec<RgbImage>], masks: &[&IndexMask], grid: Grid) -> Result<(u32, u32)> {
    for mask in masks {
        if mask.batch < samples.len() {
            return Err(Error::usage(format!("masks of {} images cannot be drawn over {}", mask.batch, samples.len())));
        }
        if let Some(token) = mask.indices.iter().find(|&&token| token as usize >= grid.tokens()) {
            return Err(Error::usage(format!("a mask has token {token}, the grid has {grid} tokens")));
        }
    }
    if let Some(frames) = samples.iter().find(|frames| frames.len() != grid.time) {
        let (found, times) = (frames.len(), grid.time);
        return Err(Error::usage(format!("a strip needs a picture for each of {times} times, found {found}")));
    }
    let mut pictures = samples.iter().flatten();
    let (width, height) = pictures.next().map_or((1, 1), RgbImage::dimensions);
    match pictures.find(|picture| picture.dimensions() != (width, height)) {
        None => Ok((width, height)),
        Some(other) => Err(Error::usage(format!(
            "pictures on a sheet have one size, found {width}x{height} and {}x{}",
            other.width(),
            other.height()
        ))),
    }
}

/// Where pictures lie on a sheet: those of a picture's masks beside each other, the strips of a clip below each other.
struct Cells {
    width: u32,
    height: u32,
    /// Of one sample.
    strips: u32,
    grid: Grid,
}

impl Cells {
    /// Pixels of the paper.
    fn pixels(&self, samples: usize) -> f64 {
        let cells = samples as f64 * f64::from(self.strips) * self.grid.time as f64;
        cells * f64::from(self.width + GAP) * f64::from(self.height + GAP)
    }

    fn paper(&self, samples: u32) -> RgbImage {
        let (columns, rows) = match self.grid.time {
            1 => (self.strips, samples),
            times => (times as u32, samples * self.strips),
        };
        RgbImage::from_pixel(GAP + columns * (self.width + GAP), GAP + rows * (self.height + GAP), PAPER)
    }

    /// The corner of a cell.
    fn at(&self, sample: usize, strip: usize, time: usize) -> [u32; 2] {
        let (column, row) = match self.grid.time {
            1 => (strip as u32, sample as u32),
            _ => (time as u32, sample as u32 * self.strips + strip as u32),
        };
        [GAP + column * (self.width + GAP), GAP + row * (self.height + GAP)]
    }

    /// The bar under a clip's cell.
    fn bar(&self, sheet: &mut RgbImage, [left, top]: [u32; 2], share: f64) {
        if self.grid.time == 1 {
            return;
        }
        let kept = (share * f64::from(self.width)).round() as u32;
        let bar = RgbImage::from_fn(self.width, BAR, |x, _| BAR_COLOURS[usize::from(x >= kept)]);
        place(sheet, &bar, [left, top + self.height + (GAP - BAR) / 2]);
    }
}

/// The picture with all tokens greyed that are not `shown`.
fn veil(picture: &RgbImage, shown: &[bool], grid: usize) -> RgbImage {
    let token = |at: u32, side: u32| at as usize * grid / side as usize;
    let (width, height) = picture.dimensions();
    RgbImage::from_fn(width, height, |x, y| {
        let pixel = picture.get_pixel(x, y);
        if shown[token(y, height) * grid + token(x, width)] {
            return *pixel;
        }
        let luma = 0.299 * f32::from(pixel[0]) + 0.587 * f32::from(pixel[1]) + 0.114 * f32::from(pixel[2]);
        Rgb([(0.8 * HIDDEN + 0.2 * luma).round() as u8; 3])
    })
}

fn place(sheet: &mut RgbImage, picture: &RgbImage, [x, y]: [u32; 2]) {
    imageops::replace(sheet, picture, i64::from(x), i64::from(y));
}

/// How often each token is in a context mask and in a target mask, of one pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Coverage {
    /// Tokens along each axis.
    pub grid: Grid,
    /// Share of the context masks that each token is in, raster order.
    pub context: Vec<f64>,
    /// Share of the target masks that each token is in, raster order.
    pub target: Vec<f64>,
}

impl Coverage {
    /// The mean share of each time's tokens that contexts and targets keep.
    pub fn over_time(&self) -> [Vec<f64>; 2] {
        [&self.context, &self.target].map(|shares| {
            let times = shares.chunks(self.grid.area());
            times.map(|frame| frame.iter().sum::<f64>() / frame.len() as f64).collect()
        })
    }
}

/// Heat maps, contexts and targets of each pass, each from dark violet for never to yellow for its most frequent token; of
/// clips a strip each, with a bar under each time that is as long as the share that is kept.
pub fn heat_maps(passes: &[Coverage]) -> RgbImage {
    let grid = passes.first().map_or(Grid::from(1), |pass| pass.grid);
    let zoom = (2 * CELL).div_ceil(grid.side.max(1) as u32) / if grid.time == 1 { 1 } else { 2 };
    let side = zoom.max(1) * grid.side as u32;
    let cells = Cells { width: side, height: side, strips: 2 * passes.len() as u32, grid };
    let mut sheet = cells.paper(1);
    for (number, pass) in passes.iter().enumerate() {
        for (which, (shares, over_time)) in [&pass.context, &pass.target].into_iter().zip(pass.over_time()).enumerate()
        {
            let most = shares.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
            for (time, frame) in shares.chunks(grid.area()).enumerate() {
                let at = cells.at(0, 2 * number + which, time);
                let token = |x: u32, y: u32| (y / zoom.max(1)) as usize * grid.side + (x / zoom.max(1)) as usize;
                place(&mut sheet, &RgbImage::from_fn(side, side, |x, y| heat(frame[token(x, y)] / most)), at);
                cells.bar(&mut sheet, at, over_time[time]);
            }
        }
    }
    sheet
}

/// Mean, standard deviation and range of a quantity over batches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation of the population.
    pub std: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
}

impl Spread {
    /// The spread of `values`; all zero where there are none.
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let count = values.clone().count();
        if count == 0 {
            return Self { mean: 0.0, std: 0.0, min: 0.0, max: 0.0 };
        }
        let mean = values.clone().sum::<f64>() / count as f64;
        let variance = values.clone().map(|value| (value - mean).powi(2)).sum::<f64>() / count as f64;
        let min = values.clone().fold(f64::INFINITY, f64::min);
        Self { mean, std: variance.sqrt(), min, max: values.fold(f64::NEG_INFINITY, f64::max) }
    }
}

/// Mean tokens of a batch's masks before and after the cut to a common size, over many batches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MaskStatistics {
    /// Number of batches.
    pub batches: usize,
    /// Of a context mask, as drawn.
    pub context_before: Spread,
    /// Of a context mask, as kept.
    pub context_after: Spread,
    /// Of a target mask, as drawn.
    pub target_before: Spread,
    /// Of a target mask, as kept.
    pub target_after: Spread,
}

/// Coverage and statistics of the first `batches` batches of `batch` samples each, pass by pass.
pub fn survey(sampler: &MaskSampler, seed: u64, batch: usize, batches: usize) -> Vec<(Coverage, MaskStatistics)> {
    let mut passes: Vec<Pass> = Vec::new();
    for step in 0..batches as u64 {
        let first = step * batch as u64;
        let samples: Vec<u64> = (first..first + batch as u64).collect();
        for (number, masks) in sampler.sample(seed, step, &samples).into_iter().enumerate() {
            if passes.len() == number {
                passes.push(Pass::new(sampler.grid()));
            }
            passes[number].add(&masks);
        }
    }
    passes.into_iter().map(|pass| pass.finish(sampler.grid())).collect()
}

/// What is counted of one pass.
struct Pass {
    context: Counts,
    target: Counts,
    cuts: Vec<CutReport>,
}

impl Pass {
    fn new(grid: Grid) -> Self {
        Self { context: Counts::new(grid), target: Counts::new(grid), cuts: Vec::new() }
    }

    fn add(&mut self, masks: &Masks) {
        self.context.add(&masks.context);
        self.target.add(&masks.targets);
        self.cuts.push(masks.cut);
    }

    fn finish(self, grid: Grid) -> (Coverage, MaskStatistics) {
        let spread = |value: fn(&CutReport) -> f64| Spread::of(self.cuts.iter().map(value));
        let statistics = MaskStatistics {
            batches: self.cuts.len(),
            context_before: spread(|cut| cut.context_before),
            context_after: spread(|cut| cut.context_after),
            target_before: spread(|cut| cut.target_before),
            target_after: spread(|cut| cut.target_after),
        };
        (Coverage { grid, context: self.context.shares(), target: self.target.shares() }, statistics)
    }
}

/// How many masks each token is in.
struct Counts {
    tokens: Vec<u64>,
    masks: u64,
}

impl Counts {
    fn new(grid: Grid) -> Self {
        Self { tokens: vec![0; grid.tokens()], masks: 0 }
    }

    fn add(&mut self, masks: &[IndexMask]) {
        for mask in masks {
            mask.indices.iter().for_each(|&token| self.tokens[token as usize] += 1);
            self.masks += mask.batch as u64;
        }
    }

    fn shares(&self) -> Vec<f64> {
        self.tokens.iter().map(|&count| count as f64 / self.masks.max(1) as f64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BlockConfig, MaskConfig, MaskMode, MaskShape};

    fn sampler(mode: MaskMode, grid: usize) -> MaskSampler {
        let blocks = BlockConfig {
            contexts: 1,
            context_scale: [0.85, 1.0],
            targets: 4,
            target_scale: [0.15, 0.2],
            target_aspect: [0.75, 1.5],
            min_keep: 4,
            allow_overlap: false,
        };
        MaskSampler::new(&MaskConfig { mode, shape: MaskShape::Blocks(blocks) }, grid).unwrap()
    }

    fn pictures(count: usize) -> Vec<Vec<RgbImage>> {
        vec![vec![RgbImage::from_fn(28, 28, |x, y| Rgb([(x * 9) as u8, (y * 9) as u8, 200]))]; count]
    }

    #[test]
    fn a_sheet_shows_the_tokens_of_each_mask_and_greys_the_others() {
        let masks = sampler(MaskMode::Rasterised, 4).sample(0, 0, &[0, 1]);
        let pictures = pictures(2);
        let sheet = sheet(&pictures, &masks, 4.into()).unwrap();
        // A picture, one context and three targets, 112 pixels each, with gaps of 6.
        assert_eq!(sheet.dimensions(), (6 + 5 * 118, 6 + 2 * 118));
        let cell = |column: u32, x: u32, y: u32| *sheet.get_pixel(6 + column * 118 + 4 * x, 6 + 118 + 4 * y);
        let original = |x, y| *pictures[1][0].get_pixel(x, y);
        let grey = |Rgb([red, green, blue]): Rgb<u8>| red == green && green == blue;
        assert_eq!(cell(0, 20, 20), original(20, 20));
        assert_eq!(cell(1, 3, 13), original(3, 13));
        assert!(grey(cell(1, 14, 3)) && grey(cell(1, 3, 14)));
        assert_eq!(cell(2, 14, 3), original(14, 3));
        assert_eq!(cell(4, 14, 14), original(14, 14));
        assert!(grey(cell(4, 13, 14)));
    }

    #[test]
    fn a_sheet_needs_pictures_and_masks_of_one_batch() {
        let masks = sampler(MaskMode::Unbiased, 7).sample(0, 0, &[0, 1]);
        let error =
            |pictures: &[Vec<RgbImage>], grid: usize| sheet(pictures, &masks, grid.into()).unwrap_err().to_string();
        insta::assert_snapshot!(error(&pictures(3), 7), @"masks of 2 images cannot be drawn over 3");
        insta::assert_snapshot!(error(&[vec![RgbImage::new(8, 8)], vec![RgbImage::new(8, 9)]], 7), @"pictures on a sheet have one size, found 8x8 and 8x9");
        assert!(error(&pictures(2), 2).contains("the grid has 2x2 tokens"));
        assert!(sheet(&[vec![RgbImage::new(0, 0)], vec![RgbImage::new(0, 0)]], &masks, 7.into()).is_ok());
    }

    #[test]
    fn a_survey_counts_tokens_and_cuts() {
        let [(coverage, statistics)] = &survey(&sampler(MaskMode::Unbiased, 7), 0, 8, 50)[..] else { panic!() };
        // The shares of all tokens add up to the tokens of a mask.
        let sum = |shares: &[f64]| shares.iter().sum::<f64>();
        assert!((sum(&coverage.target) - statistics.target_after.mean).abs() < 1e-9);
        assert!((sum(&coverage.context) - statistics.context_after.mean).abs() < 1e-9);
        assert!(statistics.context_before.mean > statistics.context_after.mean);
        assert_eq!(statistics.target_before, statistics.target_after);
        assert_eq!(statistics.batches, 50);
        let Spread { mean, std, min, max } = statistics.context_after;
        assert!(min < mean && mean < max && std > 0.0);
    }

    #[test]
    fn the_coverage_of_the_published_sampler_is_dark_in_the_last_row_and_column() {
        let [(coverage, _)] = &survey(&sampler(MaskMode::Reference, 7), 0, 8, 50)[..] else { panic!() };
        let picture = heat_maps(std::slice::from_ref(coverage));
        let zoom = 32;
        for map in 0..2 {
            let token = |row: u32, column: u32| {
                *picture.get_pixel(GAP + map * (7 * zoom + GAP) + column * zoom + 1, GAP + row * zoom + 1)
            };
            for at in 0..7 {
                assert_eq!((token(6, at), token(at, 6)), (heat(0.0), heat(0.0)));
                assert_ne!(token(3, at.min(5)), heat(0.0));
            }
        }
    }

    #[test]
    fn nothing_surveyed_is_nothing() {
        assert!(survey(&sampler(MaskMode::Reference, 7), 0, 8, 0).is_empty());
    }
}
