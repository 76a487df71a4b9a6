//! The demonstration's report.

use image::RgbImage;

use super::{Demo, First, Pair, Part, ProbeRow};
use crate::data::{EvalLoader, EvalPlan, EvalTransform, Scratch};
use crate::error::Result;
use crate::eval::{KnnConfig, Neighbour, Standardiser, feature_colours, neighbours};
use crate::masks::MaskSampler;
use crate::matrix::Matrix;
use crate::model::Encoder;
use crate::train::read_series;
use crate::viz::chart::{Line, line_chart};
use crate::viz::masks::sheet;
use crate::viz::report::{Body, Section, render as render_page};
use crate::viz::tiles::{gallery, token_map};

/// Test pictures in the maps and as queries.
const SHOWN: usize = 10;
/// Neighbours of each query.
const NEIGHBOURS: usize = 6;
/// Side of a small picture on the page, in pixels.
const SIDE: u32 = 56;

/// The report as HTML.
pub(super) fn render(demo: &Demo, first: &First, test: &Part, train: &Part, probes: &[ProbeRow]) -> Result<String> {
    let First { pair, metrics, .. } = first;
    let shown = spread(test);
    let pictures = squares(demo, test, &shown)?;
    let loss = read_series(metrics, "loss")?;
    let rank = read_series(metrics, "feature_rank")?;
    let curves = [("loss", &loss), ("feature rank (RankMe)", &rank)];
    let curves = curves.iter().map(|(name, points)| line_chart("step", name, &[Line { name, points }]).map(Body::Svg));

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
        Section {
            heading: "Training".into(),
            text:
                "The loss is measured against targets that move as the target encoder learns, so it need not fall; the \
                   rank of the features says how many directions they use."
                    .into(),
            body: curves.collect::<Result<_>>()?,
        },
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
            body: vec![Body::Picture(maps(demo, pair, test, &shown, &pictures)?, "feature maps".into())],
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

fn squares(demo: &Demo, part: &Part, rows: &[usize]) -> Result<Vec<RgbImage>> {
    let transform = EvalTransform::of(demo.config)?;
    let mut scratch = Scratch::default();
    let square = |row: &usize| {
        let picture = part.data.picture(*row).ok()?;
        let square = transform.square(&picture, &mut scratch);
        let spread = 3 / square.channels.max(1);
        let rgb = square.pixels.iter().flat_map(|value| std::iter::repeat_n(*value, spread)).collect();
        RgbImage::from_raw(square.width as u32, square.height as u32, rgb)
    };
    Ok(rows.iter().filter_map(square).collect())
}

/// Rows of: the pictures, the untrained encoder's maps, the trained one's.
fn maps(demo: &Demo, pair: &Pair, test: &Part, shown: &[usize], pictures: &[RgbImage]) -> Result<RgbImage> {
    let mut rows = vec![vec![pictures.to_vec()]];
    for encoder in [&pair.untrained, &pair.trained] {
        let tokens = token_features(demo, encoder, test, shown)?;
        let colours = feature_colours(&tokens)?;
        let columns = demo.config.model.grid().side;
        let of_one = colours.chunks(demo.config.model.tokens()).map(|colours| token_map(colours, columns));
        rows.push(vec![of_one.collect()]);
    }
    Ok(gallery(&rows, SIDE))
}

/// The last layer's tokens of the pictures `rows`, one matrix row a token.
fn token_features(demo: &Demo, encoder: &Encoder, part: &Part, rows: &[usize]) -> Result<Matrix> {
    let mut values = Vec::new();
    for row in rows {
        let transform = EvalTransform::of(demo.config)?;
        let plan = EvalPlan { batch: 1, workers: 0, transform, samples: *row..*row + 1 };
        for batch in EvalLoader::new(part.data.clone(), plan)? {
            if batch.samples.is_empty() {
                continue;
            }
            let images = crate::train::upload(batch.pixels, batch.shape, demo.device);
            let tokens = encoder.forward(images, None);
            values.extend(crate::device::read::values(tokens)?);
        }
    }
    Matrix::new(values.len() / encoder.dim(), encoder.dim(), values)
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
