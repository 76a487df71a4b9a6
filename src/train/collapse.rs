//! When features have collapsed: a rule of two signs at once, each of which says what it saw.

use super::metrics::Metrics;

// Between healthy runs on animals28, three seeds of two widths, which come as low as the first number before they rise,
// and the planted failures of tests/fixtures/health.

/// RankMe of the probe images' features below which they use hardly more than one direction; healthy from 4.2.
const LEAST_RANK: f64 = 4.0;
/// Mean cosine between the features of two probe images above which all images look the same; healthy to 0.997.
const MOST_COSINE: f64 = 0.998;
/// Mean standard deviation of the pooled features below which they do not vary; healthy from 0.055.
const LEAST_FEATURE_STD: f64 = 0.03;
/// The same of the targets, which are normalised token by token; healthy from 0.2.
const LEAST_TARGET_STD: f64 = 0.1;
/// Share of a constant predictor's loss above which the predictor knows nothing of an image; healthy to 0.86 once the
/// warm-up is over.
const MOST_LOSS: f64 = 0.98;
/// Share of a constant predictor's loss below which the predictor has little left to guess, which at the begin of a run
/// means that it sees what it is to predict; healthy from 0.74.
const LEAST_LOSS: f64 = 0.5;
/// Share of the targets' tokens in the context above which it does see them; the samplers allow a few.
const MOST_SHOWN: f64 = 0.5;
/// Cosine between prediction and target above which there is nothing left to learn.
const MOST_PREDICTION: f64 = 0.98;

/// Steps before a collapse is looked for: those of the warm-up, but no fewer and no more than these.
const SETTLED: [usize; 2] = [50, 400];

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signs {
    /// The features, the targets and the predictions, but not how the loss stands beside that of a constant: during the
    /// warm-up a predictor is no better.
    OfFeatures,
    /// The loss as well.
    All,
}

impl Signs {
    /// Those that are judged after `step` steps of a run whose warm-up takes `warmup_steps`; none at first.
    pub fn at(step: usize, warmup_steps: usize) -> Option<Self> {
        let settled = warmup_steps.clamp(SETTLED[0], SETTLED[1]);
        match step {
            _ if step <= settled => None,
            _ if step <= warmup_steps => Some(Self::OfFeatures),
            _ => Some(Self::All),
        }
    }
}

/// The signs of a collapse in a line of metrics, where there are two or more.
pub fn collapse(metrics: &Metrics, of: Signs) -> Option<String> {
    let signs = signs(metrics, of);
    (signs.len() >= 2).then(|| signs.join(", and "))
}

fn signs(metrics: &Metrics, of: Signs) -> Vec<String> {
    let constant = metrics.constant_loss.filter(|loss| of == Signs::All && *loss > 0.0);
    let share = constant.map(|loss| metrics.loss / loss);
    let rows = [
        (
            "feature_rank",
            metrics.feature_rank,
            Bound::Least(LEAST_RANK),
            "the features use hardly more than one direction",
        ),
        ("feature_cosine", metrics.feature_cosine, Bound::Most(MOST_COSINE), "all images look alike"),
        ("feature_std", metrics.feature_std, Bound::Least(LEAST_FEATURE_STD), "the features do not vary"),
        ("target_std", metrics.target_std, Bound::Least(LEAST_TARGET_STD), "the targets do not vary"),
        ("loss / constant_loss", share, Bound::Most(MOST_LOSS), "the predictor does no better than a constant"),
        ("loss / constant_loss", share, Bound::Least(LEAST_LOSS), "the predictor has little to guess"),
        ("shown_targets", metrics.shown_targets, Bound::Most(MOST_SHOWN), "the context shows the targets"),
        ("prediction_cosine", metrics.prediction_cosine, Bound::Most(MOST_PREDICTION), "predictions are the targets"),
    ];
    let seen = rows.into_iter().filter_map(|(key, value, bound, says)| {
        let value = value?;
        bound.is_crossed_by(value).then(|| format!("{key} {value:.3} is {bound} ({says})"))
    });
    seen.collect()
}

/// The last healthy value.
#[derive(Clone, Copy)]
enum Bound {
    Least(f64),
    Most(f64),
}

impl Bound {
    fn is_crossed_by(self, value: f64) -> bool {
        match self {
            Self::Least(bound) => value < bound,
            Self::Most(bound) => value > bound,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Least(bound) => write!(f, "below {bound}"),
            Self::Most(bound) => write!(f, "above {bound}"),
        }
    }
}
