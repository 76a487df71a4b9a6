//! `anyjepa probe attentive --train PATH --test PATH`: a sweep of attentive probes, or one from a file.

use std::path::{Path, PathBuf};

use anyjepa::data::{Split, renumber};
use anyjepa::device;
use anyjepa::error::{Error, IoContext as _, Kind, Result};
use anyjepa::eval::{
    Accuracy, AttentiveSweep, FittedAttentive, LabelledTokens, ProbeCard, Rates, SweepData, SweepOutcome, SweptProbe,
    TokenSet, few_labels, held_out,
};
use anyjepa::extract::{FeatureDtype, FeatureSet, Provenance};
use anyjepa::stop::Stop;
use clap::Args;
use serde::Serialize;

use super::arguments::count;
use super::output::{print, print_json, table};
use super::progress::CountProgress;
use super::sources::{Classes, SourceArgs, warn_of_known};
use super::{OutputArgs, TokensArg, signals};

/// `anyjepa probe attentive --train PATH --test PATH`
#[derive(Debug, Args)]
pub struct AttentiveArgs {
    /// What to learn from: features of every token, or with --weights pictures or films, of which the training part
    #[arg(long, value_name = "PATH", required_unless_present = "probe")]
    train: Option<PathBuf>,
    /// What to be tested on: features, or with --weights pictures or films, of which the test part
    #[arg(long, value_name = "PATH")]
    test: PathBuf,
    /// A probe to be tested, instead of learning: of --out, or a published one of V-JEPA
    #[arg(long, value_name = "FILE", conflicts_with_all = ["train", "depth", "lr", "weight_decay", "epochs", "probe_batch", "held_out", "labels_per_class", "seed", "out"])]
    probe: Option<PathBuf>,
    /// Where the chosen probe is kept, as safetensors with the published names
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Heads of the attention; one for each 64 values of a token and at most 16 where nothing is said
    #[arg(long, value_name = "N", value_parser = count::<u16>(1..))]
    heads: Option<u16>,
    /// Blocks: the cross-attention, and those that work on what it found
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count::<u8>(1..=64))]
    depth: u8,
    /// Learning rates, each tried with every weight decay; each falls to 0 along half a cosine
    #[arg(long, value_name = "X,..", value_delimiter = ',', value_parser = parse_rate, default_values_t = Rates::PUBLISHED_LR)]
    lr: Vec<f64>,
    /// Weight decays
    #[arg(long, value_name = "X,..", value_delimiter = ',', value_parser = parse_rate, default_values_t = Rates::PUBLISHED_WEIGHT_DECAY)]
    weight_decay: Vec<f64>,
    /// Passes over the features
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = count::<u32>(1..=100_000))]
    epochs: u32,
    /// Samples of a step
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = count::<u32>(1..))]
    probe_batch: u32,
    /// The share of each class on which the best probe is chosen, and from which none learns
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = parse_share)]
    held_out: f64,
    /// Labels of each class to learn from; all where none are given
    #[arg(long, value_name = "N", value_parser = count::<u32>(1..))]
    labels_per_class: Option<u32>,
    /// Decides first values, order, what is held out, and which few labels are learnt from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Serialize)]
struct Outcome {
    probe: &'static str,
    heads: usize,
    depth: usize,
    labels_per_class: Option<u32>,
    probes: Vec<Swept>,
    chosen: Chosen,
    chosen_on_test: Option<Chosen>,
}

#[derive(Serialize)]
struct Swept {
    lr: f64,
    weight_decay: f64,
    /// Of the last epoch.
    loss: f64,
    held_out_accuracy: f64,
    held_out_loss: f64,
    accuracy: f64,
}

#[derive(Serialize)]
struct Chosen {
    lr: Option<f64>,
    weight_decay: Option<f64>,
    accuracy: f64,
}

impl AttentiveArgs {
    pub fn run(mut self) -> Result<()> {
        if let Some(out) = self.out.as_deref().filter(|out| out.exists()) {
            return Err(
                Error::usage(format!("{} exists already", out.display())).with_remedy("name a new file, or remove it")
            );
        }
        self.source.frozen.tokens.get_or_insert(TokensArg::Patch);
        let (outcome, bad) = match (&self.probe, &self.train) {
            (Some(probe), _) => self.judge(probe)?,
            (None, Some(train)) => self.fit(train)?,
            (None, None) => return Err(Error::usage("there is nothing to learn from").with_remedy("give --train")),
        };
        match self.output.json {
            true => print_json(&outcome)?,
            false => print(&outcome.to_text())?,
        }
        bad
    }

    fn fit(&self, train: &Path) -> Result<(Outcome, Result<()>)> {
        // A place that cannot be written to is found before the work.
        if let Some(folder) = self.out.as_deref().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder).at("create", folder)?;
        }
        let device = device::open(self.source.probe_device()?)?;
        let heads_for = |dim| self.heads.map_or_else(|| usual_heads(dim), usize::from);
        let few = self.labels_per_class.map(|count| count as usize);
        let chosen = |labels: &[u32]| few.map(|count| few_labels(labels, count, self.seed)).transpose();
        let learns = |labels: &[u32]| {
            let few = chosen(labels)?.map(|rows| rows.iter().map(|row| labels[*row]).collect::<Vec<_>>());
            held_out(few.as_deref().unwrap_or(labels), self.held_out, self.seed).map(drop)
        };
        let ([train, test], bad) = self.source.sets(
            [(train, Split::Train), (&self.test, Split::Test)],
            |classes| Classes::fit(classes, learns),
            |frozen| {
                let shape = frozen.engine.shape();
                AttentiveSweep::takes(heads_for(shape.dim), [shape.tokens, shape.dim])
            },
        )?;
        train.compatible(&test)?;
        warn_of_known(&train, &test);
        let (mut train_labels, test_labels) = (train.labels()?, test.labels_as_in(&train)?);
        let most = train_labels.iter().chain(&test_labels).max().map_or(0, |label| *label as usize + 1);
        let classes = train.classes.len().max(most);
        let heads = heads_for(train.shape.dim);
        let (names, provenance) = (train.classes.clone(), train.provenance.clone());
        let (mut train, test) = (token_set(train)?, token_set(test)?);
        if let Some(rows) = chosen(&train_labels)? {
            train = train.select(&rows)?;
            train_labels = rows.iter().map(|row| train_labels[*row]).collect();
        }
        let data = SweepData {
            train: LabelledTokens { tokens: &train, labels: &train_labels },
            test: LabelledTokens { tokens: &test, labels: &test_labels },
            classes,
        };
        let sweep = AttentiveSweep {
            heads,
            depth: usize::from(self.depth),
            rates: Rates::grid(&self.lr, &self.weight_decay),
            epochs: self.epochs as usize,
            batch: self.probe_batch as usize,
            held_out: self.held_out,
            seed: self.seed,
        };
        let stop = Stop::new(signals::listen()?, None);
        let mut progress: Option<CountProgress> = None;
        let outcome = sweep.fit(&data, &device, &stop, &mut |done, of| {
            progress.get_or_insert_with(|| CountProgress::new(of, "steps")).at(done as u64);
        })?;
        drop(progress);
        let mut saved = Ok(());
        if let Some(out) = &self.out {
            let Rates { lr, weight_decay } = outcome.probes[outcome.chosen].rates;
            let features =
                serde_json::to_value(&provenance).map_err(|error| Error::new(Kind::Other, error.to_string()))?;
            let card = ProbeCard { heads, classes: names, features, lr, weight_decay, seed: self.seed };
            saved = outcome.probe.save(out, &card);
        }
        // What was found is shown, also where it could not be kept.
        Ok((Outcome::of(&sweep, self.labels_per_class, &outcome), saved.and(bad)))
    }

    /// Tests the probe in the file `file`.
    fn judge(&self, file: &Path) -> Result<(Outcome, Result<()>)> {
        let (probe, card) = FittedAttentive::load(file, self.heads.map(usize::from))?;
        let device = device::open(self.source.probe_device()?)?;
        let learnt_from_these = |features: &Provenance| {
            let problem = card.as_ref().map_or(Ok(()), |card| check_features(card, features));
            problem.map_err(|problem| {
                Error::data(file, problem)
                    .with_remedy("extract with the weights and the options of the features that it learnt from")
            })
        };
        let told_apart = |labels: Vec<u32>, names: &[String]| {
            let labels = match &card {
                None => labels,
                Some(card) => renumber(labels, names, &card.classes)?,
            };
            let classes = probe.shape.classes;
            let Some(label) = labels.iter().find(|label| **label as usize >= classes) else { return Ok(labels) };
            let message = format!(
                "{}: the probe tells {classes} classes apart, and the test set has class {label}",
                file.display()
            );
            Err(Error::data(&self.test, message).with_remedy("give samples whose classes are numbered as the probe's"))
        };
        let ([test], bad) = self.source.sets(
            [(&self.test, Split::Test)],
            |[test]| told_apart(test.labels.clone(), test.names).map(drop),
            |frozen| {
                probe.takes(frozen.engine.shape().dim)?;
                learnt_from_these(&frozen.provenance)
            },
        )?;
        learnt_from_these(&test.provenance)?;
        let labels = told_apart(test.labels()?, &test.classes)?;
        let predictions = probe.predict(&token_set(test)?, &device)?;
        let accuracy = Accuracy::count(&predictions, &labels).fraction();
        let (lr, weight_decay) = (card.as_ref().map(|card| card.lr), card.as_ref().map(|card| card.weight_decay));
        let outcome = Outcome {
            probe: "attentive",
            heads: probe.shape.heads,
            depth: probe.shape.depth,
            labels_per_class: None,
            probes: Vec::new(),
            chosen: Chosen { lr, weight_decay, accuracy },
            chosen_on_test: None,
        };
        Ok((outcome, bad))
    }
}

/// As many heads as the published encoders of this width have, or the next fewer that divide it.
fn usual_heads(dim: usize) -> usize {
    let usual = (dim / 64).clamp(1, 16);
    (1..=usual).rev().find(|heads| dim.is_multiple_of(*heads)).unwrap_or(1)
}

/// What was stored in 16 bits is held in 16 bits.
fn token_set(set: FeatureSet) -> Result<TokenSet> {
    let tokens = TokenSet::new([set.features.rows, set.shape.tokens, set.shape.dim], set.features.values)?;
    if set.provenance.dtype == FeatureDtype::F16 { tokens.halved() } else { Ok(tokens) }
}

/// Refuses features of another encoder or other options than a probe learnt from; how they were stored may differ.
fn check_features(card: &ProbeCard, features: &Provenance) -> Result<(), String> {
    let differences = learnt_from(card)?.differences(features).into_iter();
    let differences = differences.filter(|difference| !["version", "dtype"].contains(&difference.field.as_str()));
    let told: Vec<String> = differences.map(|difference| difference.to_string()).collect();
    if told.is_empty() { Ok(()) } else { Err(format!("the probe learnt from other features: {}", told.join("; "))) }
}

/// What a probe says of the features that it learnt from.
pub fn learnt_from(card: &ProbeCard) -> Result<Provenance, String> {
    serde_json::from_value(card.features.clone())
        .map_err(|error| format!("where its features come from cannot be read: {error}"))
}

fn parse_rate(text: &str) -> Result<f64> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate >= 0.0);
    rate.ok_or_else(|| Error::usage("this is no rate; write numbers from 0 on, such as 1e-3,3e-4"))
}

fn parse_share(text: &str) -> Result<f64> {
    let share = text.parse().ok().filter(|share| *share > 0.0 && *share < 1.0);
    share.ok_or_else(|| Error::usage("this is no share; write a number between 0 and 1, such as 0.2"))
}

impl Outcome {
    fn of(sweep: &AttentiveSweep, labels_per_class: Option<u32>, outcome: &SweepOutcome) -> Self {
        let swept = |probe: &SweptProbe| Swept {
            lr: probe.rates.lr,
            weight_decay: probe.rates.weight_decay,
            loss: probe.losses.last().copied().unwrap_or(f64::NAN),
            held_out_accuracy: probe.held_out.fraction(),
            held_out_loss: probe.held_out_loss,
            accuracy: probe.test.fraction(),
        };
        let chosen = |at: usize| {
            let probe = &outcome.probes[at];
            let Rates { lr, weight_decay } = probe.rates;
            Chosen { lr: Some(lr), weight_decay: Some(weight_decay), accuracy: probe.test.fraction() }
        };
        Self {
            probe: "attentive",
            heads: sweep.heads,
            depth: sweep.depth,
            labels_per_class,
            probes: outcome.probes.iter().map(swept).collect(),
            chosen: chosen(outcome.chosen),
            chosen_on_test: Some(chosen(outcome.chosen_on_test)),
        }
    }

    fn to_text(&self) -> String {
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| rate.to_string());
        let mut rows = table(&["probe", "lr", "weight decay", "loss", "held out", "accuracy"]);
        for Swept { lr, weight_decay, loss, held_out_accuracy, accuracy, .. } in &self.probes {
            let shares = [percent(*held_out_accuracy), percent(*accuracy)];
            let [held_out, accuracy] = shares;
            let rates = [lr.to_string(), weight_decay.to_string(), format!("{loss:.4}")];
            rows.add_row([vec!["attentive".to_owned()], rates.to_vec(), vec![held_out, accuracy]].concat());
        }
        let mut last = |name: &str, chosen: &Chosen| {
            let (lr, weight_decay) = (rate(chosen.lr), rate(chosen.weight_decay));
            rows.add_row([name.to_owned(), lr, weight_decay, String::new(), String::new(), percent(chosen.accuracy)]);
        };
        last("chosen", &self.chosen);
        self.chosen_on_test.iter().for_each(|chosen| last("chosen on test", chosen));
        rows.to_string()
    }
}
