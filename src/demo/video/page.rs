//! The report of the demonstration on clips.

use image::RgbImage;

use super::probes::{Confusion, MotionRow};
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
/// Side of a small picture on the page, in pixels.
const SIDE: u32 = 64;

/// The report as HTML.
pub(super) fn render(demo: &Demo, first: &First, test: &Part, train: &Part, probes: &[MotionRow]) -> Result<String> {
    let clips: Vec<Batch> = seen::batches(demo.config, &test.data, each_direction(test))?.collect();
    let strips = clips.iter().map(|clip| vec![seen::strip(demo.config, clip)]).collect::<Vec<_>>();
    let controls = Control::ALL.map(|control| {
        let clip = clips.first().map(|clip| control.apply(clip, demo.config.model.frames));
        vec![clip.map_or(Vec::new(), |clip| seen::strip(demo.config, &clip))]
    });

    let grid = demo.config.model.grid();
    let sampler = MaskSampler::new(&demo.config.mask, grid)?;
    let masked: Vec<Vec<RgbImage>> = strips.iter().take(MASKED).map(|rows| rows.concat()).collect();
    let samples: Vec<u64> = (0..masked.len() as u64).collect();
    let masks = sheet(&masked, &sampler.sample(demo.config.train.seed, 0, &samples), grid)?;

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
            text: "A test clip of each direction, counter-clockwise from the right; of each tubelet the first frame.".into(),
            body: vec![Body::Picture(gallery(&strips, SIDE), "test clips".into())],
        },
        Section {
            heading: "Controls".into(),
            text: "The first of them as it is, as one frame repeated, shuffled and backwards.".into(),
            body: vec![Body::Picture(gallery(&controls, SIDE), "controls".into())],
        },
        Section {
            heading: "Masks".into(),
            text: "Under each clip, for each range of masks, what the context encoder sees (the rest is grey) and what \
                   is to be predicted; the bars say how much of each time is kept."
                .into(),
            body: vec![Body::Picture(masks, "masks over clips".into())],
        },
        Section {
            heading: "Feature maps over time".into(),
            text: "The first three principal components of the tokens as red, green and blue: for each clip its frames, \
                   the untrained encoder, the trained one."
                .into(),
            body: vec![Body::Picture(maps(demo, &first.learned.pair, &clips)?, "feature maps".into())],
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

/// The first test clip of each direction.
fn each_direction(test: &Part) -> Vec<usize> {
    let of_class = |class: usize| test.labels.iter().position(|label| *label as usize == class);
    (0..DIRECTIONS.len()).filter_map(of_class).collect()
}

fn confusion(counts: &Confusion) -> Body {
    let header = std::iter::once("moves").chain(DIRECTIONS).map(str::to_owned).collect();
    let row = |(name, counts): (&str, &[usize; DIRECTIONS.len()])| {
        std::iter::once(name.to_owned()).chain(counts.iter().map(ToString::to_string)).collect()
    };
    Body::Table(header, DIRECTIONS.into_iter().zip(counts).map(row).collect())
}

/// For each clip rows of: its frames, the untrained encoder's maps, the trained one's.
fn maps(demo: &Demo, pair: &Pair, clips: &[Batch]) -> Result<RgbImage> {
    let grid = demo.config.model.grid();
    let mut maps: Vec<Vec<RgbImage>> = Vec::new();
    for encoder in [&pair.untrained, &pair.trained] {
        let colours = feature_colours(&demo.tokens(encoder, clips)?)?;
        maps.push(colours.chunks(grid.area()).map(|colours| token_map(colours, grid.side)).collect());
    }
    let mut rows = Vec::new();
    for (at, clip) in clips.iter().enumerate() {
        rows.push(vec![seen::strip(demo.config, clip)]);
        rows.extend(maps.iter().map(|maps| vec![maps[at * grid.time..][..grid.time].to_vec()]));
    }
    Ok(gallery(&rows, SIDE))
}
