//! `anyjepa masks PRESET`: what the sampler hides, as pictures and numbers.

use std::fs;
use std::path::{Path, PathBuf};

use anyjepa::config::MaskMode;
use anyjepa::data::{Dataset, EvalTransform, Scratch};
use anyjepa::error::{Error, IoContext as _, Kind, Result};
use anyjepa::masks::MaskSampler;
use anyjepa::viz::masks::{MaskStatistics, sheet, survey};
use clap::{Args, ValueEnum};
use image::{Rgb, RgbImage};
use serde::Serialize;

use super::OutputArgs;
use super::output::{Shown, print, print_json, table};
use super::settings::ConfigArgs;

/// Rows of the sheet of examples.
const EXAMPLES: usize = 8;
/// Batches that the statistics and the coverage are taken over.
const BATCHES: usize = 200;

/// `anyjepa masks PRESET`
#[derive(Debug, Args)]
pub struct Command {
    #[command(flatten)]
    config: ConfigArgs,
    /// Images of a batch; the preset's where none is given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: Option<u32>,
    /// The sampler; the preset's where none is given
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Pictures to draw the masks over; plain squares where none are given
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// A folder for masks.png and coverage.png
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    Reference,
    Unbiased,
    Block,
    Rasterised,
    Random,
}

impl From<Mode> for MaskMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Reference => Self::Reference,
            Mode::Unbiased => Self::Unbiased,
            Mode::Block => Self::Block,
            Mode::Rasterised => Self::Rasterised,
            Mode::Random => Self::Random,
        }
    }
}

#[derive(Serialize)]
struct Survey {
    preset: String,
    mode: MaskMode,
    batch: usize,
    grid: usize,
    statistics: MaskStatistics,
    pictures: Vec<Shown>,
}

impl Command {
    pub fn run(self) -> Result<()> {
        let mut config = self.config.resolve()?;
        if let Some(mode) = self.mode {
            config.mask.mode = mode.into();
        }
        let batch = self.batch.map_or(config.train.batch, |batch| batch as usize);
        let (grid, side) = (config.model.grid(), config.model.image_size);
        let sampler = MaskSampler::new(&config.mask, grid)?;
        let (coverage, statistics) = survey(&sampler, config.train.seed, batch, BATCHES);
        let pictures = match &self.data {
            Some(path) => examples(path, &EvalTransform::of(&config)?)?,
            None => vec![RgbImage::from_pixel(side as u32, side as u32, Rgb([200, 200, 200])); EXAMPLES],
        };
        let samples: Vec<u64> = (0..pictures.len() as u64).collect();
        let masks = sampler.sample(config.train.seed, 0, &samples);

        fs::create_dir_all(&self.out).at("create", &self.out)?;
        let pictures = vec![
            save(&self.out, "masks.png", &sheet(&pictures, &masks, grid)?)?,
            save(&self.out, "coverage.png", &coverage.picture())?,
        ];
        let survey = Survey { preset: config.name, mode: config.mask.mode, batch, grid, statistics, pictures };
        if self.output.json {
            return print_json(&survey);
        }
        let mut rows = table(&["tokens of a mask", "mean", "std", "min", "max"]);
        let statistics = &survey.statistics;
        for (what, spread) in [
            ("context, as drawn", &statistics.context_before),
            ("context, as kept", &statistics.context_after),
            ("target, as drawn", &statistics.target_before),
            ("target, as kept", &statistics.target_after),
        ] {
            let number = |value: f64| format!("{value:.1}");
            rows.add_row([
                what.to_owned(),
                number(spread.mean),
                number(spread.std),
                number(spread.min),
                number(spread.max),
            ]);
        }
        let written: Vec<String> = survey.pictures.iter().map(|path| path.display().to_string()).collect();
        print(&format!("{rows}\nmeans of {BATCHES} batches of {batch}, {grid}x{grid} tokens; {}", written.join(", ")))
    }
}

/// The first pictures of `path` that can be read, as the encoder sees them.
fn examples(path: &Path, transform: &EvalTransform) -> Result<Vec<RgbImage>> {
    let data = Dataset::open(path)?;
    let mut scratch = Scratch::default();
    let squares = (0..data.len()).filter_map(|i| data.picture(i).ok()).take(EXAMPLES).map(|picture| {
        let square = transform.square(&picture, &mut scratch);
        let spread = 3 / square.channels.max(1);
        let rgb = square.pixels.iter().flat_map(|value| std::iter::repeat_n(*value, spread)).collect();
        RgbImage::from_raw(square.width as u32, square.height as u32, rgb)
    });
    let squares: Option<Vec<RgbImage>> = squares.collect();
    squares.filter(|squares| !squares.is_empty()).ok_or_else(|| Error::data(path, "no picture can be read"))
}

fn save(folder: &Path, name: &str, picture: &RgbImage) -> Result<Shown> {
    let path = folder.join(name);
    picture
        .save(&path)
        .map_err(|error| Error::new(Kind::Other, format!("cannot write {}: {error}", path.display())))?;
    Ok(path.into())
}
