//! What probes of frozen tokens find of a clip's direction: the mean of the tokens beside attention over them.

use burn::tensor::Device;
use serde::Serialize;

use super::controls::Control;
use crate::data::DIRECTIONS;
use crate::demo::{Demo, percent};
use crate::error::Result;
use crate::eval::{
    AttentiveSweep, FittedAttentive, Labelled, LabelledTokens, Logistic, LogisticConfig, Rates, SweepData, TokenSet,
    chosen_penalty, few_labels, largest,
};
use crate::extract::Shape;
use crate::matrix::Matrix;
use crate::stop::Stop;

/// Of the attentive probe.
const HEADS: usize = 4;
/// Steps of the sweep at least, however few the clips are.
const STEPS: usize = 512;
/// The sweep's learning rates and weight decays.
const LEARNING_RATES: [f64; 3] = [3e-3, 1e-3, 3e-4];
const WEIGHT_DECAYS: [f64; 2] = [0.01, 0.4];
/// Directions of the generators' films, counter-clockwise from the right.
const COUNT: usize = DIRECTIONS.len();
/// The number of the opposite direction is so many further.
const OPPOSITE: usize = COUNT / 2;
/// How often each direction, a row each, was taken for each.
pub(super) type Confusion = [[usize; COUNT]; COUNT];

/// Whose features are probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Features {
    /// The encoder before training.
    Untrained,
    /// The target encoder after training.
    Trained,
}

impl Features {
    /// As it stands in tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Untrained => "untrained",
            Self::Trained => "trained",
        }
    }
}

/// How the tokens of a clip become one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Their mean, under a logistic regression.
    Mean,
    /// What an attentive probe makes of them.
    Attentive,
}

/// How well scores tell directions, each share from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Motion {
    /// Clips whose direction of the eight scores highest; chance is 0.125.
    pub directions: f64,
    /// Clips of whose direction and its opposite one scores highest; chance is 0.25.
    pub axis: f64,
    /// Of the clips that move right or left, those whose side scores higher than the other; chance is 0.5. Nothing but the
    /// order of the frames tells them apart.
    pub right_left: f64,
}

/// What one probe found under one control.
#[derive(Debug, Clone, Serialize)]
pub struct MotionRow {
    /// Whose features.
    pub features: Features,
    /// How they were pooled.
    pub pooling: Pooling,
    /// Labelled clips of each direction that the probe learnt from; all where there is none.
    pub labels_per_class: Option<usize>,
    /// What was done to the test clips' frames.
    pub control: Control,
    /// Seed of the training run and of the attentive probes.
    pub seed: u64,
    /// The shares.
    #[serde(flatten)]
    pub motion: Motion,
}

impl Motion {
    /// Of `scores`, `[N, 8]`, for clips with the directions `labels`.
    pub(super) fn of(scores: &Matrix, labels: &[u32]) -> Self {
        let (mut directions, mut axes, mut sides, mut lateral) = (0, 0, 0, 0);
        for (row, &label) in scores.iter_rows().zip(labels) {
            let (found, label) = (largest(row) as usize, label as usize);
            directions += usize::from(found == label);
            axes += usize::from(found % OPPOSITE == label % OPPOSITE);
            // Right is the first direction, left its opposite.
            if label % OPPOSITE == 0 {
                lateral += 1;
                sides += usize::from(row[label] > row[(label + OPPOSITE) % COUNT]);
            }
        }
        let share = |count: usize, of: usize| count as f64 / of.max(1) as f64;
        let clips = labels.len();
        Self { directions: share(directions, clips), axis: share(axes, clips), right_left: share(sides, lateral) }
    }
}

impl MotionRow {
    /// What [`Self::cells`] shows.
    pub const HEADER: [&str; 8] =
        ["encoder", "pooling", "labels", "test clips", "seed", "8 directions", "axis", "right or left"];

    /// A line of a table.
    pub fn cells(&self) -> [String; 8] {
        let pooling = match self.pooling {
            Pooling::Mean => "mean",
            Pooling::Attentive => "attentive",
        };
        let Motion { directions, axis, right_left } = self.motion;
        [
            self.features.name().to_owned(),
            pooling.to_owned(),
            self.labels_per_class.map_or("all".to_owned(), |count| format!("{count} a class")),
            self.control.name().to_owned(),
            self.seed.to_string(),
            percent(directions),
            percent(axis),
            percent(right_left),
        ]
    }
}

/// Counts what `scores`, `[N, 8]`, take clips for.
pub(super) fn confusion(scores: &Matrix, labels: &[u32]) -> Confusion {
    let mut counts = Confusion::default();
    for (row, &label) in scores.iter_rows().zip(labels) {
        counts[label as usize][largest(row) as usize] += 1;
    }
    counts
}

/// Clips' frozen features with their directions.
pub(super) struct Clips {
    pub labels: Vec<u32>,
    /// The mean of the tokens, `[N, D]`.
    mean: Matrix,
    tokens: TokenSet,
}

impl Clips {
    /// Of `features`, whose rows hold `shape`.
    pub fn new(shape: Shape, features: Matrix, labels: Vec<u32>) -> Result<Self> {
        let mut means = Vec::with_capacity(features.rows * shape.dim);
        for row in features.iter_rows() {
            let sum = |at: usize| row.iter().skip(at).step_by(shape.dim).sum::<f32>();
            means.extend((0..shape.dim).map(|at| sum(at) / shape.tokens as f32));
        }
        let mean = Matrix::new(features.rows, shape.dim, means)?;
        let tokens = TokenSet::new([features.rows, shape.tokens, shape.dim], features.values)?;
        Ok(Self { labels, mean, tokens })
    }

    /// `count` clips of each direction, which `seed` chooses.
    pub fn few(&self, count: usize, seed: u64) -> Result<Self> {
        let rows = few_labels(&self.labels, count, seed)?;
        Ok(Self {
            labels: rows.iter().map(|row| self.labels[*row]).collect(),
            mean: self.mean.select(&rows),
            tokens: self.tokens.select(&rows)?,
        })
    }
}

/// A fitted probe of a clip's direction.
pub(super) enum Fitted {
    Mean(Logistic),
    Attentive(FittedAttentive),
}

impl Fitted {
    /// A probe of each kind that learns from `known`.
    pub fn both(known: &Clips, test: &Clips, seed: u64, demo: &Demo) -> Result<[Self; 2]> {
        Ok([Self::mean(known, demo.device)?, Self::attentive([known, test], seed, demo.device, &demo.stop)?])
    }

    /// Logistic regression on the mean of the tokens; its penalty is the best on held-out training clips.
    fn mean(known: &Clips, device: &Device) -> Result<Self> {
        let train = Labelled { features: &known.mean, labels: &known.labels };
        let config = LogisticConfig { l2: chosen_penalty(train, COUNT, device)?, ..LogisticConfig::default() };
        Ok(Self::Mean(Logistic::fit(train, COUNT, &config, device)?))
    }

    /// The attentive probe that is best on held-out training clips, of a small sweep.
    fn attentive([known, test]: [&Clips; 2], seed: u64, device: &Device, stop: &Stop) -> Result<Self> {
        let [train, test] = [known, test].map(|clips| LabelledTokens { tokens: &clips.tokens, labels: &clips.labels });
        let rates = Rates::grid(&LEARNING_RATES, &WEIGHT_DECAYS);
        let published = AttentiveSweep::published(HEADS);
        let learnt = ((1.0 - published.held_out) * known.labels.len() as f64) as usize;
        let epochs = STEPS.div_ceil(learnt.div_ceil(published.batch).max(1));
        let sweep = AttentiveSweep { rates, seed, epochs, ..published };
        let data = SweepData { train, test, classes: COUNT };
        Ok(Self::Attentive(sweep.fit(&data, device, stop, &mut |_, _| ())?.probe))
    }

    /// How it pools tokens.
    pub fn pooling(&self) -> Pooling {
        match self {
            Self::Mean(_) => Pooling::Mean,
            Self::Attentive(_) => Pooling::Attentive,
        }
    }

    /// What it makes of each clip, `[N, 8]`.
    pub fn scores(&self, clips: &Clips, device: &Device) -> Result<Matrix> {
        match self {
            Self::Mean(probe) => probe.scores(&clips.mean, device),
            Self::Attentive(probe) => probe.scores(&clips.tokens, device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores that are 1 for `found` and 0.5 for `second`.
    fn scores(answers: &[(usize, usize)]) -> Matrix {
        let mut values = vec![0.0; answers.len() * COUNT];
        for (row, (found, second)) in values.chunks_exact_mut(COUNT).zip(answers) {
            row[*second] = 0.5;
            row[*found] = 1.0;
        }
        Matrix::new(answers.len(), COUNT, values).unwrap()
    }

    #[test]
    fn the_three_shares_ask_three_questions() {
        // Right as right, right as left, left as up but rather left than right, up as down.
        let scores = scores(&[(0, 1), (4, 0), (2, 4), (6, 2)]);
        let labels = [0, 0, 4, 2];
        let motion = Motion::of(&scores, &labels);
        assert_eq!(motion, Motion { directions: 0.25, axis: 0.75, right_left: 2.0 / 3.0 });
        let counts = confusion(&scores, &labels);
        assert_eq!((counts[0][0], counts[0][4], counts[4][2], counts[2][6]), (1, 1, 1, 1));
        assert_eq!(counts.concat().iter().sum::<usize>(), 4);
    }

    #[test]
    fn the_mean_is_over_the_tokens_of_each_clip() {
        let features = Matrix::new(2, 4, vec![1.0, 10.0, 3.0, 30.0, 5.0, 50.0, 5.0, 50.0]).unwrap();
        let clips = Clips::new(Shape { tokens: 2, dim: 2 }, features, vec![0, 1]).unwrap();
        assert_eq!(clips.mean.values, [2.0, 20.0, 5.0, 50.0]);
        assert_eq!((clips.tokens.len(), clips.tokens.tokens(), clips.tokens.dim()), (2, 2, 2));
    }
}
