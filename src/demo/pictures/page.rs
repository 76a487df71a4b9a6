//! The demonstration's report.

use image::RgbImage;

use super::{Demo, First, Part, ProbeRow};
use crate::demo::{Pair, curves};
use crate::error::Result;
use crate::eval::{KnnConfig, Neighbour, Standardiser, feature_colours, neighbours};
use crate::masks::MaskSampler;
use crate::viz::masks::sheet;
use crate::viz::report::{Body, Section, render as render_page};
use crate::viz::seen;
use crate::viz::tiles::{gallery, token_map};

/// Test pictures in the maps and as queries.
const SHOWN: usize = 10;
/// Neighbours of each query.
const NEIGHBOURS: usize = 6;
/// Side of a small picture on the page, in pixels.
const SIDE: u32 = 56;

/// The report as HTML.
pub(super) fn render(demo: &Demo, first: &First, test: &Part, train: &Part, probes: &[ProbeRow]) -> Result<String> {
    let shown = spread(test);
    let pictures = squares(demo, test, &shown)?;

    let sampler = MaskSampler::new(&demo.config.mask, demo.config.model.grid())?;
    let samples: Vec<u64> = (0..6.min(pictures.len()) as u64).collect();
    let masks = sampler.sample(demo.config.train.seed, 0, &samples);
    let enlarge = |picture: &RgbImage| vec![gallery(&[vec![vec![picture.clone()]]], 112)];
    let enlarged: Vec<Vec<RgbImage>> = pictures.iter().take(samples.len()).map(enlarge).collect();
    let masks = sheet(&enlarged, &masks, demo.config.model.grid())?;

    let sections = [
        Section {
            heading: "Probes".into(),
            text:
                "Accuracy on the test pictures of probes on frozen features: logistic regression, and the vote of ten \
                   nearest neighbours."
                    .into(),
            body: vec![table(probes)],
        },
        curves(&first.learned.metrics)?,
        Section {
            heading: "Masks".into(),
            text: "What the context encoder sees (the rest is grey), and the blocks whose features it predicts.".into(),
            body: vec![Body::Picture(masks, "masks over pictures".into())],
        },
        Section {
            heading: "Feature maps".into(),
            text:
                "The first three principal components of the tokens as red, green and blue: the picture, the untrained \
                   encoder, the trained one."
                    .into(),
            body: vec![Body::Picture(maps(demo, &first.learned.pair, test, &shown, &pictures)?, "feature maps".into())],
        },
        Section {
            heading: "Nearest neighbours".into(),
            text:
                "Test pictures, and their nearest training pictures by raw pixels, by the untrained and by the trained \
                   encoder."
                    .into(),
            body: vec![Body::Picture(nearest(demo, first, train, &shown, &pictures)?, "nearest neighbours".into())],
        },
    ];
    let lead = format!(
        "A vision transformer learned from {} pictures of {} without labels: {} epochs of I-JEPA, preset {}.",
        train.data.len(),
        demo.data.file_name().unwrap_or(demo.data.as_os_str()).to_string_lossy(),
        demo.config.optim.epochs,
        demo.config.name
    );
    render_page("anyjepa: a demonstration", &lead, &sections)
}

fn table(probes: &[ProbeRow]) -> Body {
    let header = ProbeRow::HEADER.map(str::to_owned).to_vec();
    Body::Table(header, probes.iter().map(|row| row.cells().to_vec()).collect())
}

/// Test pictures from all over the data set, so that all classes appear.
fn spread(test: &Part) -> Vec<usize> {
    let classes = test.labels.iter().max().map_or(1, |label| *label as usize + 1);
    let of_class = |class: usize| test.labels.iter().position(|label| *label as usize == class);
    (0..classes).filter_map(of_class).take(SHOWN).collect()
}

/// What the encoder sees of pictures.
fn squares(demo: &Demo, part: &Part, rows: &[usize]) -> Result<Vec<RgbImage>> {
    let batches = seen::batches(demo.config, &part.data, rows.iter().copied())?;
    Ok(batches.flat_map(|batch| seen::frames(demo.config, &batch)).collect())
}

/// Rows of: the pictures, the untrained encoder's maps, the trained one's.
fn maps(demo: &Demo, pair: &Pair, test: &Part, shown: &[usize], pictures: &[RgbImage]) -> Result<RgbImage> {
    let mut rows = vec![vec![pictures.to_vec()]];
    let batches: Vec<_> = seen::batches(demo.config, &test.data, shown.iter().copied())?.collect();
    for encoder in [&pair.untrained, &pair.trained] {
        let tokens = demo.tokens(encoder, &batches)?;
        let colours = feature_colours(&tokens)?;
        let columns = demo.config.model.grid().side;
        let of_one = colours.chunks(demo.config.model.tokens()).map(|colours| token_map(colours, columns));
        rows.push(vec![of_one.collect()]);
    }
    Ok(gallery(&rows, SIDE))
}

/// Rows of: a query, then its neighbours by raw pixels, untrained and trained encoder.
fn nearest(demo: &Demo, first: &First, train: &Part, shown: &[usize], pictures: &[RgbImage]) -> Result<RgbImage> {
    let mut rows: Vec<Vec<Vec<RgbImage>>> = pictures.iter().map(|picture| vec![vec![picture.clone()]]).collect();
    for (_, [known, queries]) in &first.sets {
        let standardiser = Standardiser::fit(known);
        let (known, queries) = (standardiser.apply(known)?, standardiser.apply(&queries.select(shown))?);
        let config = KnnConfig { k: NEIGHBOURS, ..KnnConfig::default() };
        let found: Vec<Vec<Neighbour>> = neighbours(&known, &queries, &config, demo.device)?;
        for (row, found) in rows.iter_mut().zip(found) {
            let nearest: Vec<usize> = found.iter().map(|neighbour| neighbour.row).collect();
            row.push(squares(demo, train, &nearest)?);
        }
    }
    Ok(gallery(&rows, SIDE))
}
