//! `anyjepa probe linear|knn|attentive --train PATH --test PATH`: what frozen features are worth.

use std::path::PathBuf;

use anyjepa::data::Split;
use anyjepa::device;
use anyjepa::error::{Error, Result};
use anyjepa::eval::{KnnConfig, Labelled, Metric, Probe, score};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::OutputArgs;
use super::arguments::count;
use super::attentive::AttentiveArgs;
use super::output::{print, print_json, table};
use super::sources::{Classes, SourceArgs, warn_of_known};

/// `anyjepa probe linear|knn|attentive --train PATH --test PATH`
#[derive(Debug, Args)]
pub struct Command {
    #[command(subcommand)]
    kind: KindArgs,
}

#[derive(Debug, Subcommand)]
enum KindArgs {
    /// Logistic regression on standardised features
    Linear {
        /// Weight of the penalty on squared weights, 1 / C of scikit-learn; without it the best on held-out training rows
        #[arg(long, value_name = "X", value_parser = parse_l2, allow_negative_numbers = true)]
        l2: Option<f64>,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// The vote of the nearest neighbours among standardised features
    Knn {
        /// How many neighbours vote
        #[arg(long, value_name = "N", default_value_t = KnnConfig::default().k)]
        k: usize,
        /// What near means
        #[arg(long, value_enum, default_value_t)]
        metric: MetricArg,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// One learned query over all tokens of a sample: many probes at once, the best chosen on held-out training samples
    Attentive(Box<AttentiveArgs>),
}

#[derive(Debug, Args)]
struct CommonArgs {
    /// What to learn from: features that `anyjepa extract` wrote, or with --weights pictures or films, of which the training part
    #[arg(long, value_name = "PATH")]
    train: PathBuf,
    /// What to be tested on: features, or with --weights pictures or films, of which the test part
    #[arg(long, value_name = "PATH")]
    test: PathBuf,
    /// Labels of each class to learn from; all where none are given
    #[arg(long, value_name = "N", value_parser = count::<u32>(1..))]
    labels_per_class: Option<u32>,
    /// Choices of these labels, with the seeds 0, 1, ...
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count::<u64>(1..=1000))]
    seeds: u64,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum MetricArg {
    #[default]
    Cosine,
    Euclidean,
}

#[derive(Serialize)]
struct Outcome {
    probe: &'static str,
    labels_per_class: Option<u32>,
    results: Vec<Scored>,
    mean: f64,
}

#[derive(Serialize)]
struct Scored {
    seed: u64,
    accuracy: f64,
    /// The penalty of a logistic probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    l2: Option<f64>,
}

impl Command {
    pub fn run(self) -> Result<()> {
        match self.kind {
            KindArgs::Linear { l2, common } => common.run("linear", &Probe::Linear { l2 }),
            KindArgs::Knn { k, metric, common } => {
                let metric = match metric {
                    MetricArg::Cosine => Metric::Cosine,
                    MetricArg::Euclidean => Metric::Euclidean,
                };
                common.run("knn", &Probe::Knn(KnnConfig { k, metric }))
            }
            KindArgs::Attentive(arguments) => arguments.run(),
        }
    }
}

impl CommonArgs {
    fn run(self, name: &'static str, probe: &Probe) -> Result<()> {
        let device = device::open(self.source.probe_device()?)?;
        let parts = [(&*self.train, Split::Train), (&*self.test, Split::Test)];
        let few = self.labels_per_class.map(|count| count as usize);
        let learns = |labels: &[u32]| probe.learns(labels, few);
        let ([train, test], bad) = self.source.sets(parts, |classes| Classes::fit(classes, learns), |_| Ok(()))?;
        train.compatible(&test)?;
        warn_of_known(&train, &test);
        let (train_labels, test_labels) = (train.labels()?, test.labels_as_in(&train)?);
        let train = Labelled { features: &train.features, labels: &train_labels };
        let test = Labelled { features: &test.features, labels: &test_labels };

        let mut results: Vec<Scored> = Vec::new();
        for seed in 0..self.seeds {
            let (accuracy, l2) = match results.first() {
                // All labels leave nothing to choose, so every seed finds the same.
                Some(first) if few.is_none() => (first.accuracy, first.l2),
                _ => {
                    let score = score(probe, train, test, (few, seed), &device)?;
                    (score.accuracy.fraction(), score.l2)
                }
            };
            results.push(Scored { seed, accuracy, l2 });
        }
        let mean = results.iter().map(|scored| scored.accuracy).sum::<f64>() / results.len() as f64;
        let outcome = Outcome { probe: name, labels_per_class: self.labels_per_class, results, mean };
        match self.output.json {
            true => print_json(&outcome)?,
            false => print(&outcome.to_text())?,
        }
        bad
    }
}

fn parse_l2(text: &str) -> Result<f64> {
    let l2 = text.parse().ok().filter(|l2: &f64| l2.is_finite() && *l2 >= 0.0);
    l2.ok_or_else(|| Error::usage("this is no penalty").with_remedy("write a number from 0 on"))
}

impl Outcome {
    fn to_text(&self) -> String {
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        let mut rows = table(&["probe", "labels", "seed", "accuracy"]);
        let labels = self.labels_per_class.map_or("all".to_owned(), |count| format!("{count} a class"));
        for Scored { seed, accuracy, .. } in &self.results {
            rows.add_row([self.probe.to_owned(), labels.clone(), seed.to_string(), percent(*accuracy)]);
        }
        rows.add_row([self.probe.to_owned(), labels, "mean".to_owned(), percent(self.mean)]);
        rows.to_string()
    }
}
