//! The report of the demonstration on clips.

use image::RgbImage;

use super::probes::{Confusion, Features, MotionRow};
use super::{Control, First};
use crate::data::{Batch, DIRECTIONS};
use crate::demo::{Demo, Pair, Part, curves};
use crate::error::Result;
use crate::eval::feature_colours;
use crate::masks::MaskSampler;
use crate::viz::masks::sheet;
use crate::viz::report::{Body, Section, render as render_page};
use crate::viz::seen;
use crate::viz::tiles::{gallery, token_map};

/// Clips in the sheet of masks.
const MASKED: usize = 2;
/// Of so many test clips of a direction the one with most contrast is shown: of a plain sky no motion is seen.
const LOOKED_AT: usize = 8;
/// Side of a small picture on the page, in pixels.
const SIDE: u32 = 64;

/// The report as HTML.
pub(super) fn render(demo: &Demo, first: &First, test: &Part, train: &Part, probes: &[MotionRow]) -> Result<String> {
    let shown = shown(demo, test)?;
    let strip = |clip: &Batch| gallery(&[vec![seen::strip(demo.config, clip)]], SIDE);
    let strips = shown.iter().map(|(direction, clip)| (direction.to_string(), strip(clip))).collect();
    let first_shown = shown.first().map(|(_, clip)| clip);
    let controlled = |control: Control| {
        let clip = first_shown.map(|clip| control.apply(clip, demo.config.model.frames));
        clip.map(|clip| (control.name().to_owned(), strip(&clip)))
    };
    let controls = Control::ALL.into_iter().filter_map(controlled).collect();

    let sections = [
        Section {
            heading: "Probes".into(),
            text: "Shares of the test clips whose direction of motion was found by probes on frozen features: a logistic \
                   regression on the mean of the tokens, and an attentive probe. Chance is 12.5 % for eight directions, \
                   25 % for the axis and 50 % for right or left, which no single frame tells. Probes learn from clips as \
                   they are. One frame repeated should leave all three at chance; shuffled frames right or left, while \
                   the line of motion may still show; backwards, right and left should change places. An attentive \
                   probe reads motion from an untrained encoder as well: what training adds is in the rows of the mean \
                   and of few labels."
                .into(),
            body: vec![Body::Table(
                MotionRow::HEADER.map(str::to_owned).to_vec(),
                probes.iter().map(|row| row.cells().to_vec()).collect(),
            )],
        },
        Section {
            heading: "Which direction is taken for which".into(),
            text: "The trained encoder's attentive probe: a row for each direction of motion, a column for each answer, \
                   in clips."
                .into(),
            body: vec![confusion(&first.confusion)],
        },
        curves(&first.learned.metrics)?,
        Section {
            heading: "Clips".into(),
            text: format!(
                "A test clip of each direction, of the first {LOOKED_AT} the one with most contrast; of each tubelet the \
                 first frame."
            ),
            body: vec![Body::Strips(strips)],
        },
        Section {
            heading: "Controls".into(),
            text: "The first of these clips as the probes are tested on it.".into(),
            body: vec![Body::Strips(controls)],
        },
        Section {
            heading: "Masks".into(),
            text: "Under each clip, for each range of masks, what the context encoder sees (the rest is grey) and what \
                   is to be predicted; the bars say how much of each time is kept."
                .into(),
            body: vec![Body::Strips(masks(demo, &shown)?)],
        },
        Section {
            heading: "Feature maps over time".into(),
            text: "The first three principal components of an encoder's tokens as red, green and blue, under each clip; \
                   the same colour is the same feature in all maps of one encoder."
                .into(),
            body: vec![Body::Strips(maps(demo, &first.learned.pair, &shown)?)],
        },
    ];
    let lead = format!(
        "A vision transformer learned from {} clips of {} without labels: {} epochs of V-JEPA, preset {}.",
        train.data.len(),
        demo.data.display(),
        demo.config.optim.epochs,
        demo.config.name
    );
    render_page("anyjepa: a demonstration of motion", &lead, &sections)
}

/// For each direction its name and a test clip in which there is something to see.
fn shown(demo: &Demo, test: &Part) -> Result<Vec<(&'static str, Batch)>> {
    let mut shown = Vec::new();
    for (direction, number) in DIRECTIONS.into_iter().zip(0..) {
        let rows = (0..test.labels.len()).filter(|row| test.labels[*row] == number).take(LOOKED_AT);
        let clips = seen::batches(demo.config, &test.data, rows)?;
        let clearest = clips.max_by(|one, other| contrast(one).total_cmp(&contrast(other)));
        shown.extend(clearest.map(|clip| (direction, clip)));
    }
    Ok(shown)
}

/// The mean variance of a frame's values, channel by channel.
fn contrast(clip: &Batch) -> f64 {
    let [_, planes, height, width] = clip.shape;
    let pixels = (height * width).max(1);
    let variance = |plane: &[f32]| {
        let mean = plane.iter().sum::<f32>() / plane.len() as f32;
        f64::from(plane.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / plane.len() as f32)
    };
    clip.pixels.chunks_exact(pixels).map(variance).sum::<f64>() / planes.max(1) as f64
}

/// The first clips under the masks of a run's first step.
fn masks(demo: &Demo, shown: &[(&'static str, Batch)]) -> Result<Vec<(String, RgbImage)>> {
    let grid = demo.config.model.grid();
    let sampler = MaskSampler::new(&demo.config.mask, grid)?;
    let under_masks = |(sample, (direction, clip)): (u64, &(&'static str, Batch))| {
        let passes = sampler.sample(demo.config.train.seed, 0, &[sample]);
        Ok((direction.to_string(), sheet(&[seen::strip(demo.config, clip)], &passes, grid)?))
    };
    (0..).zip(shown.iter().take(MASKED)).map(under_masks).collect()
}

fn confusion(counts: &Confusion) -> Body {
    let header = std::iter::once("moves").chain(DIRECTIONS).map(str::to_owned).collect();
    let row = |(name, counts): (&str, &[usize; DIRECTIONS.len()])| {
        std::iter::once(name.to_owned()).chain(counts.iter().map(ToString::to_string)).collect()
    };
    Body::Table(header, DIRECTIONS.into_iter().zip(counts).map(row).collect())
}

/// For each clip its frames, the untrained encoder's maps, the trained one's.
fn maps(demo: &Demo, pair: &Pair, shown: &[(&'static str, Batch)]) -> Result<Vec<(String, RgbImage)>> {
    let grid = demo.config.model.grid();
    let clips: Vec<Batch> = shown.iter().map(|(_, clip)| clip.clone()).collect();
    let strip = |tiles: Vec<RgbImage>| gallery(&[vec![tiles]], SIDE);
    let mut maps: Vec<Vec<RgbImage>> = Vec::new();
    for encoder in [&pair.untrained, &pair.trained] {
        let colours = feature_colours(&demo.tokens(encoder, &clips)?)?;
        maps.push(colours.chunks(grid.area()).map(|colours| token_map(colours, grid.side)).collect());
    }
    let mut rows = Vec::new();
    for (at, (direction, clip)) in shown.iter().enumerate() {
        rows.push((direction.to_string(), strip(seen::strip(demo.config, clip))));
        for (features, maps) in [Features::Untrained, Features::Trained].into_iter().zip(&maps) {
            rows.push((features.name().to_owned(), strip(maps[at * grid.time..][..grid.time].to_vec())));
        }
    }
    Ok(rows)
}
