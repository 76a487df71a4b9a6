//! `anyjepa masks PRESET`: what the sampler hides, as pictures and numbers.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyjepa::atomic;
use anyjepa::config::{Grid, MaskMode, MaskShape, RunConfig};
use anyjepa::data::Dataset;
use anyjepa::error::{Error, IoContext as _, Kind, Result};
use anyjepa::masks::MaskSampler;
use anyjepa::viz::masks::{Coverage, MaskStatistics, heat_maps, sheet, survey};
use anyjepa::viz::seen;
use clap::{Args, ValueEnum};
use image::{ImageFormat, Rgb, RgbImage};
use serde::Serialize;

use super::OutputArgs;
use super::arguments::count;
use super::output::{Shown, print, print_json, table};
use super::settings::ConfigArgs;

/// Rows of the sheet of examples.
const EXAMPLES: usize = 8;
/// Clips of it, which are strips.
const CLIPS: usize = 2;
/// Batches that the statistics and the coverage are taken over.
const BATCHES: usize = 200;

/// `anyjepa masks PRESET`
#[derive(Debug, Args)]
pub struct Command {
    #[command(flatten)]
    config: ConfigArgs,
    /// Images of a batch; the preset's where none is given
    #[arg(long, value_name = "N", value_parser = count::<u32>(1..=65_536))]
    batch: Option<u32>,
    /// The sampler; the preset's where none is given
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Pictures or films to draw the masks over; plain squares where none are given
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
    /// Tokens along time, height and width.
    grid: [usize; 3],
    passes: Vec<Pass>,
    pictures: Vec<Shown>,
}

/// The masks of one pass over a batch.
#[derive(Serialize)]
struct Pass {
    /// What they are of: `blocks` of a picture, the `short` or the `long` range of a clip, or its `random` tubes.
    range: &'static str,
    #[serde(flatten)]
    statistics: MaskStatistics,
    /// Share of each time's tokens that contexts keep.
    context_over_time: Vec<f64>,
    /// The same of targets.
    target_over_time: Vec<f64>,
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
        let surveys = survey(&sampler, config.train.seed, batch, BATCHES);
        // A strip takes as much place as a row of pictures for each of its masks.
        let examples = batch.min(if grid.time == 1 { EXAMPLES } else { CLIPS });
        let strips = match &self.data {
            Some(path) => strips(path, &config, examples)?,
            None => {
                let grey = RgbImage::from_pixel(side as u32, side as u32, Rgb([200, 200, 200]));
                vec![vec![grey; grid.time]; examples]
            }
        };
        // The cut to a common size depends on the whole batch, though only its first samples are drawn.
        let samples: Vec<u64> = (0..batch as u64).collect();
        let masks = sampler.sample(config.train.seed, 0, &samples);

        fs::create_dir_all(&self.out).at("create", &self.out)?;
        let coverages: Vec<Coverage> = surveys.iter().map(|(coverage, _)| coverage.clone()).collect();
        let pictures = vec![
            save(&self.out, "masks.png", &sheet(&strips, &masks, grid)?)?,
            save(&self.out, "coverage.png", &heat_maps(&coverages))?,
        ];
        let ranges = masks.iter().map(|pass| match &config.mask.shape {
            MaskShape::Blocks(_) => "blocks",
            MaskShape::Tubes(_) if config.mask.mode == MaskMode::Random => "random",
            MaskShape::Tubes(tubes) => tubes.ranges()[pass.range].0,
        });
        let pass = |(range, (coverage, statistics)): (&'static str, (Coverage, MaskStatistics))| {
            let [context_over_time, target_over_time] = coverage.over_time();
            Pass { range, statistics, context_over_time, target_over_time }
        };
        let survey = Survey {
            preset: config.name,
            mode: config.mask.mode,
            batch,
            grid: [grid.time, grid.side, grid.side],
            passes: ranges.zip(surveys).map(pass).collect(),
            pictures,
        };
        if self.output.json {
            return print_json(&survey);
        }
        print_tables(&survey, grid)
    }
}

/// A table of each pass's tokens, and of a clip what is kept of each time.
fn print_tables(survey: &Survey, grid: Grid) -> Result<()> {
    let mut text = String::new();
    for pass in &survey.passes {
        let statistics = &pass.statistics;
        let of = match pass.range {
            "blocks" => String::new(),
            "random" => ", random tubes".to_owned(),
            range => format!(", {range} range"),
        };
        let mut rows = table(&[&format!("tokens of a mask{of}"), "mean", "std", "min", "max"]);
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
        text.push_str(&format!("{rows}\n"));
        if grid.time > 1 {
            let shares = |shares: &[f64]| {
                shares.iter().map(|share| format!("{:.0}", 100.0 * share)).collect::<Vec<_>>().join(" ")
            };
            text.push_str(&format!(
                "kept of each time, in %: context {}; target {}\n",
                shares(&pass.context_over_time),
                shares(&pass.target_over_time)
            ));
        }
    }
    let written: Vec<String> = survey.pictures.iter().map(|path| path.display().to_string()).collect();
    print(&format!("{text}means of {BATCHES} batches of {}, {grid} tokens; {}", survey.batch, written.join(", ")))
}

/// The first samples of `path` that can be read, as the encoder sees them: a frame for each time of the grid.
fn strips(path: &Path, config: &RunConfig, count: usize) -> Result<Vec<Vec<RgbImage>>> {
    let data = Arc::new(Dataset::open(path)?);
    let batches = seen::batches(config, &data, 0..data.len())?;
    let strips: Vec<_> = batches.take(count).map(|batch| seen::strip(config, &batch)).collect();
    if strips.is_empty() {
        let cause = data.picture(0).err().map_or(String::new(), |skip| format!(": {skip}"));
        return Err(Error::data(path, format!("no picture can be read{cause}"))
            .with_remedy("give pictures or films as training takes them, or leave out --data"));
    }
    Ok(strips)
}

fn save(folder: &Path, name: &str, picture: &RgbImage) -> Result<Shown> {
    let path = folder.join(name);
    let mut png = Vec::new();
    picture
        .write_to(&mut Cursor::new(&mut png), ImageFormat::Png)
        .map_err(|error| Error::new(Kind::Other, format!("cannot draw {}: {error}", path.display())))?;
    atomic::write(&path, &png)?;
    Ok(path.into())
}
