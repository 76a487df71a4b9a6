//! Masks made visible: drawn over pictures, as a coverage map, and as numbers.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use serde::Serialize;

use super::colour::heat;
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

/// One row an image: the picture, what each context mask shows of it, and what each target mask asks for.
///
/// `pictures` are the images of the batch that `masks` were drawn for, all of one size; `grid` is the number of tokens
/// along a side.
///
/// # Errors
/// Where pictures and masks are not of one batch, pictures differ in size, or a mask has a token outside the grid.
pub fn sheet(pictures: &[RgbImage], masks: &Masks, grid: usize) -> Result<RgbImage> {
    let columns: Vec<&IndexMask> = masks.context.iter().chain(&masks.targets).collect();
    for mask in &columns {
        if mask.batch != pictures.len() {
            return Err(Error::usage(format!(
                "masks of {} images cannot be drawn over {}",
                mask.batch,
                pictures.len()
            )));
        }
        if let Some(token) = mask.indices.iter().find(|&&token| token as usize >= grid * grid) {
            return Err(Error::usage(format!("a mask has token {token}, the grid has {grid}x{grid} tokens")));
        }
    }
    let (width, height) = pictures.first().map_or((1, 1), RgbImage::dimensions);
    if let Some(other) = pictures.iter().find(|picture| picture.dimensions() != (width, height)) {
        return Err(Error::usage(format!(
            "pictures on a sheet have one size, found {width}x{height} and {}x{}",
            other.width(),
            other.height()
        )));
    }
    let zoom = CELL.div_ceil(width.min(height).max(1));
    let (width, height) = (width * zoom, height * zoom);
    let mut sheet = RgbImage::from_pixel(
        GAP + (1 + columns.len() as u32) * (width + GAP),
        GAP + pictures.len() as u32 * (height + GAP),
        PAPER,
    );
    let mut shown = vec![false; grid * grid];
    for (row, picture) in pictures.iter().enumerate() {
        let picture = imageops::resize(picture, width, height, FilterType::Nearest);
        let y = GAP + row as u32 * (height + GAP);
        place(&mut sheet, &picture, GAP, y);
        for (column, mask) in columns.iter().enumerate() {
            shown.fill(false);
            mask.row(row).iter().for_each(|&token| shown[token as usize] = true);
            let x = GAP + (1 + column as u32) * (width + GAP);
            place(&mut sheet, &veil(&picture, &shown, grid), x, y);
        }
    }
    Ok(sheet)
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

fn place(sheet: &mut RgbImage, picture: &RgbImage, x: u32, y: u32) {
    imageops::replace(sheet, picture, i64::from(x), i64::from(y));
}

/// How often each token is in a context mask and in a target mask.
#[derive(Debug, Clone, PartialEq)]
pub struct Coverage {
    /// Tokens along a side of the grid.
    pub grid: usize,
    /// Share of the context masks that each token is in, raster order.
    pub context: Vec<f64>,
    /// Share of the target masks that each token is in, raster order.
    pub target: Vec<f64>,
}

impl Coverage {
    /// Two heat maps, context and targets, each from dark violet for never to yellow for its most frequent token.
    pub fn picture(&self) -> RgbImage {
        let zoom = (2 * CELL).div_ceil(self.grid.max(1) as u32);
        let side = zoom * self.grid as u32;
        let mut picture = RgbImage::from_pixel(3 * GAP + 2 * side, 2 * GAP + side, PAPER);
        for (column, shares) in [&self.context, &self.target].into_iter().enumerate() {
            let most = shares.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
            let map = RgbImage::from_fn(side, side, |x, y| {
                heat(shares[(y / zoom) as usize * self.grid + (x / zoom) as usize] / most)
            });
            place(&mut picture, &map, GAP + column as u32 * (side + GAP), GAP);
        }
        picture
    }
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

/// Coverage and statistics of the first `batches` batches of `batch` images each.
pub fn survey(sampler: &MaskSampler, seed: u64, batch: usize, batches: usize) -> (Coverage, MaskStatistics) {
    let grid = sampler.grid();
    let (mut context, mut target) = (Counts::new(grid), Counts::new(grid));
    let mut cuts: Vec<CutReport> = Vec::with_capacity(batches);
    for step in 0..batches as u64 {
        let first = step * batch as u64;
        let samples: Vec<u64> = (first..first + batch as u64).collect();
        let masks = sampler.sample(seed, step, &samples);
        context.add(&masks.context);
        target.add(&masks.targets);
        cuts.push(masks.cut);
    }
    let spread = |value: fn(&CutReport) -> f64| Spread::of(cuts.iter().map(value));
    let statistics = MaskStatistics {
        batches,
        context_before: spread(|cut| cut.context_before),
        context_after: spread(|cut| cut.context_after),
        target_before: spread(|cut| cut.target_before),
        target_after: spread(|cut| cut.target_after),
    };
    (Coverage { grid, context: context.shares(), target: target.shares() }, statistics)
}

/// How many masks each token is in.
struct Counts {
    tokens: Vec<u64>,
    masks: u64,
}

impl Counts {
    fn new(grid: usize) -> Self {
        Self { tokens: vec![0; grid * grid], masks: 0 }
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
    use crate::config::{MaskConfig, MaskMode};

    fn sampler(mode: MaskMode, grid: usize) -> MaskSampler {
        let config = MaskConfig {
            mode,
            contexts: 1,
            context_scale: [0.85, 1.0],
            targets: 4,
            target_scale: [0.15, 0.2],
            target_aspect: [0.75, 1.5],
            min_keep: 4,
            allow_overlap: false,
        };
        MaskSampler::new(&config, grid).unwrap()
    }

    fn pictures(count: usize) -> Vec<RgbImage> {
        vec![RgbImage::from_fn(28, 28, |x, y| Rgb([(x * 9) as u8, (y * 9) as u8, 200])); count]
    }

    #[test]
    fn a_sheet_shows_the_tokens_of_each_mask_and_greys_the_others() {
        let masks = sampler(MaskMode::Rasterised, 4).sample(0, 0, &[0, 1]);
        let pictures = pictures(2);
        let sheet = sheet(&pictures, &masks, 4).unwrap();
        // A picture, one context and three targets, 112 pixels each, with gaps of 6.
        assert_eq!(sheet.dimensions(), (6 + 5 * 118, 6 + 2 * 118));
        let cell = |column: u32, x: u32, y: u32| *sheet.get_pixel(6 + column * 118 + 4 * x, 6 + 118 + 4 * y);
        let original = |x, y| *pictures[1].get_pixel(x, y);
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
        let error = |pictures: &[RgbImage], grid| sheet(pictures, &masks, grid).unwrap_err().to_string();
        insta::assert_snapshot!(error(&pictures(3), 7), @"masks of 2 images cannot be drawn over 3");
        insta::assert_snapshot!(error(&[RgbImage::new(8, 8), RgbImage::new(8, 9)], 7), @"pictures on a sheet have one size, found 8x8 and 8x9");
        assert!(error(&pictures(2), 2).contains("the grid has 2x2 tokens"));
        assert!(sheet(&[RgbImage::new(0, 0), RgbImage::new(0, 0)], &masks, 7).is_ok());
    }

    #[test]
    fn a_survey_counts_tokens_and_cuts() {
        let (coverage, statistics) = survey(&sampler(MaskMode::Unbiased, 7), 0, 8, 50);
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
        let (coverage, _) = survey(&sampler(MaskMode::Reference, 7), 0, 8, 50);
        let picture = coverage.picture();
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
        let (coverage, statistics) = survey(&sampler(MaskMode::Reference, 7), 0, 8, 0);
        assert_eq!((coverage.context.iter().sum::<f64>(), statistics.context_after.max), (0.0, 0.0));
    }
}
