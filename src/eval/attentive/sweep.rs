//! The sweep: every probe learns from each batch of features, the best is chosen on what was held out of training.

use std::f64::consts::PI;

use burn::tensor::{Device, Tensor, TensorData};

use super::stack::Stack;
use super::{FittedAttentive, Rates};
use crate::device::read;
use crate::error::{Error, Kind, Result};
use crate::eval::probe::largest;
use crate::eval::{Accuracy, LabelledTokens, TokenSet, held_out};
use crate::model::AttentiveShape;
use crate::random::{Purpose, Stream};
use crate::stop::Stop;

/// Width of an MLP's hidden layer by that of a token.
const MLP_RATIO: usize = 4;
/// Values of the largest tensor of probes that take their steps together: 128 MiB, what WebGPU promises of a buffer.
const MOST_VALUES: usize = 32 << 20;

/// Attentive probes that differ in their rates alone.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentiveSweep {
    /// Heads of the attention; they divide the width of a token.
    pub heads: usize,
    /// Blocks, at least one: the cross-attention and those that work on what it found.
    pub depth: usize,
    /// One probe for each.
    pub rates: Vec<Rates>,
    /// Passes over the features.
    pub epochs: usize,
    /// Samples of a step; the last one of an epoch takes what is left.
    pub batch: usize,
    /// The share of each class of the training set on which the best probe is chosen, and from which none learns.
    pub held_out: f64,
    /// Decides the first values, the order of the samples and what is held out.
    pub seed: u64,
}

/// What a sweep learns from and is tested on.
#[derive(Debug, Clone, Copy)]
pub struct SweepData<'a> {
    /// To learn from and to choose on.
    pub train: LabelledTokens<'a>,
    /// To be tested on.
    pub test: LabelledTokens<'a>,
    /// What is told apart; labels are below it.
    pub classes: usize,
}

/// What one probe of a sweep came to.
#[derive(Debug, Clone, PartialEq)]
pub struct SweptProbe {
    /// Its rates.
    pub rates: Rates,
    /// Its cross-entropy in each epoch, the mean over the samples as they were met; not finite where it diverged.
    pub losses: Vec<f64>,
    /// Its accuracy on the held-out samples.
    pub held_out: Accuracy,
    /// Its cross-entropy there, by which probes of the same accuracy are told apart.
    pub held_out_loss: f64,
    /// Its accuracy on the test set.
    pub test: Accuracy,
}

/// What a sweep came to.
#[derive(Debug, Clone)]
pub struct SweepOutcome {
    /// The probes, in the order of their rates.
    pub probes: Vec<SweptProbe>,
    /// The one that is best on the held-out samples: the result.
    pub chosen: usize,
    /// The one that is best on the test set, which is better than can be known before.
    pub chosen_on_test: usize,
    /// The chosen one, to be kept and used on other features.
    pub probe: FittedAttentive,
    /// What the chosen one takes each sample of the test set for.
    pub predictions: Vec<u32>,
}

impl AttentiveSweep {
    /// V-JEPA 2's published grid of probes, of one block with `heads` heads each, over 20 epochs.
    pub fn published(heads: usize) -> Self {
        let rates = Rates::grid(&Rates::PUBLISHED_LR, &Rates::PUBLISHED_WEIGHT_DECAY);
        Self { heads, depth: 1, rates, epochs: 20, batch: 64, held_out: 0.2, seed: 0 }
    }

    /// Whether probes of `heads` heads can look at samples of so many tokens of so many values.
    ///
    /// # Errors
    /// Of kind `Usage` where the heads do not divide the values, of kind `Data` where a sample has one token alone.
    pub fn takes(heads: usize, [tokens, dim]: [usize; 2]) -> Result<()> {
        if heads == 0 || !dim.is_multiple_of(heads) {
            return Err(Error::usage(format!("{heads} heads do not divide the {dim} values of a token"))
                .with_remedy("choose a number of heads that does"));
        }
        if tokens == 1 {
            return Err(Error::new(Kind::Data, "one token a sample leaves attention nothing to choose from")
                .with_remedy("extract with --tokens patch, or probe pooled features with `anyjepa probe linear`"));
        }
        Ok(())
    }

    /// Fits all probes; `progress` hears after each step how many are done, and of how many.
    ///
    /// # Errors
    /// Of kind `Usage` where the sweep cannot be, of kind `Data` where features and labels do not fit each other or are too
    /// few, of kind `Diverged` where no probe's values stayed finite, of kind `Interrupted` or `TimeLimit` where `stop`
    /// came first, of kind `Device` where the device fails.
    pub fn fit(
        &self,
        data: &SweepData,
        device: &Device,
        stop: &Stop,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<SweepOutcome> {
        self.fit_within(MOST_VALUES, data, device, stop, progress)
    }

    /// Fits all probes, in stacks whose largest tensor has no more than `most` values, or of one probe.
    pub(super) fn fit_within(
        &self,
        most: usize,
        data: &SweepData,
        device: &Device,
        stop: &Stop,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<SweepOutcome> {
        let shape = self.check(data)?;
        let [mut learnt, held] = held_out(data.train.labels, self.held_out, self.seed)?;
        let together = Stack::fitting(shape, self.batch.saturating_mul(data.train.tokens.tokens()), most);
        let stacks = self.rates.chunks(together).map(|rates| Stack::new(shape, self.seed, rates, device));
        let mut stacks: Vec<Stack> = stacks.collect::<Result<_>>()?;

        let steps = self.epochs * learnt.len().div_ceil(self.batch);
        let mut losses = vec![Vec::new(); self.rates.len()];
        let mut step = 0;
        for epoch in 0..self.epochs {
            Stream::new(self.seed, epoch as u64, 0, Purpose::Order).shuffle(&mut learnt);
            let mut sums: Vec<Option<Tensor<1>>> = vec![None; stacks.len()];
            for rows in learnt.chunks(self.batch) {
                let done = format!("{step} of {steps} steps of the attentive probes");
                if let Some(error) = stop.error(&done, "nothing of it is kept: the same command begins again") {
                    return Err(error);
                }
                step += 1;
                // Reference: the schedule advances before the step, so that the last one is made with 0.
                let share = 0.5 * (1.0 + (PI * step as f64 / steps as f64).cos());
                let labels: Vec<u32> = rows.iter().map(|row| data.train.labels[*row]).collect();
                let tokens = upload(data.train.tokens, rows, device);
                for (stack, sum) in stacks.iter_mut().zip(&mut sums) {
                    let losses = stack.step(tokens.clone(), &labels, share) * rows.len() as f64;
                    *sum = Some(match sum.take() {
                        Some(sum) => sum + losses,
                        None => losses,
                    });
                }
                progress(step, steps);
            }
            let sums = sums.into_iter().flatten().map(read::values).collect::<Result<Vec<_>>>()?;
            let means = sums.into_iter().flatten().map(|sum| f64::from(sum) / learnt.len() as f64);
            losses.iter_mut().zip(means).for_each(|(losses, mean)| losses.push(mean));
        }
        let held_labels: Vec<u32> = held.iter().map(|row| data.train.labels[*row]).collect();
        let on_held = self.judge(&stacks, data.train.tokens, &held, &held_labels, device)?;
        let all: Vec<usize> = (0..data.test.tokens.len()).collect();
        let on_test = self.judge(&stacks, data.test.tokens, &all, data.test.labels, device)?;
        let judged = self.rates.iter().zip(losses).zip(on_held.iter().zip(&on_test));
        let probes = judged.map(|((rates, losses), (held, test))| SweptProbe {
            rates: *rates,
            losses,
            held_out: Accuracy::count(&held.predictions, &held_labels),
            held_out_loss: held.loss,
            test: Accuracy::count(&test.predictions, data.test.labels),
        });
        let probes: Vec<SweptProbe> = probes.collect();
        let [chosen, chosen_on_test] = best(&probes)?;
        let tensors = stacks[chosen / together].tensors(chosen % together)?;
        Ok(SweepOutcome {
            probe: FittedAttentive { shape, tensors },
            predictions: on_test[chosen].predictions.clone(),
            probes,
            chosen,
            chosen_on_test,
        })
    }

    /// The shape of a probe, where the sweep and its data can be.
    fn check(&self, data: &SweepData) -> Result<AttentiveShape> {
        let Self { heads, depth, rates, epochs, batch, .. } = self;
        if [*heads, *depth, *epochs, *batch, rates.len()].contains(&0) {
            return Err(Error::usage("a sweep has no heads, blocks, epochs, samples of a step or rates")
                .with_remedy("give at least one of each"));
        }
        let fine = |value: f64| value.is_finite() && value >= 0.0;
        if let Some(Rates { lr, weight_decay }) =
            rates.iter().find(|rates| !fine(rates.lr) || !fine(rates.weight_decay))
        {
            return Err(Error::usage(format!("no probe learns with a rate of {lr} and a decay of {weight_decay}"))
                .with_remedy("both are finite numbers from 0 on"));
        }
        let [tokens, dim] = [data.train.tokens.tokens(), data.train.tokens.dim()];
        Self::takes(*heads, [tokens, dim])?;
        data.train.check(data.classes)?;
        data.test.check(data.classes)?;
        same_tokens(data.train.tokens, data.test.tokens)?;
        if data.test.tokens.is_empty() {
            return Err(Error::new(Kind::Data, "there is nothing to be tested on")
                .with_remedy("give at least one sample with its label"));
        }
        Ok(AttentiveShape { dim, heads: *heads, mlp: MLP_RATIO * dim, depth: *depth, classes: data.classes })
    }

    /// What every probe takes the samples `rows` for.
    fn judge(
        &self,
        stacks: &[Stack],
        tokens: &TokenSet,
        rows: &[usize],
        labels: &[u32],
        device: &Device,
    ) -> Result<Vec<Judged>> {
        let mut judged = vec![Judged::default(); self.rates.len()];
        for (rows, labels) in rows.chunks(self.batch).zip(labels.chunks(self.batch)) {
            let tokens = upload(tokens, rows, device);
            let mut probes = judged.iter_mut();
            for stack in stacks {
                let scores = stack.forward(tokens.clone()).inner(); // [P, B, C]
                let [_, batch, classes] = scores.dims();
                let scores = read::values(scores)?;
                for (scores, judged) in scores.chunks_exact(batch * classes).zip(&mut probes) {
                    let samples = scores.chunks_exact(classes).zip(labels);
                    samples.for_each(|(scores, label)| judged.add(scores, *label));
                }
            }
        }
        judged.iter_mut().for_each(|judged| judged.loss /= rows.len() as f64);
        Ok(judged)
    }
}

/// What a probe takes samples for, and the sum of its cross-entropies.
#[derive(Debug, Clone, Default)]
struct Judged {
    predictions: Vec<u32>,
    loss: f64,
}

impl Judged {
    fn add(&mut self, scores: &[f32], label: u32) {
        let highest = largest(scores);
        let top = f64::from(scores[highest as usize]);
        let total: f64 = scores.iter().map(|score| (f64::from(*score) - top).exp()).sum();
        self.loss += total.ln() - (f64::from(scores[label as usize]) - top);
        self.predictions.push(highest);
    }
}

/// The best on what was held out and the best on the test set, among those whose values stayed finite.
fn best(probes: &[SweptProbe]) -> Result<[usize; 2]> {
    let finite = || {
        let is_finite =
            |probe: &SweptProbe| probe.held_out_loss.is_finite() && probe.losses.iter().all(|l| l.is_finite());
        probes.iter().enumerate().filter(move |(_, probe)| is_finite(probe))
    };
    // Of equals the first: `min_by` keeps it, `max_by` would not.
    let chosen = finite().min_by(|(_, a), (_, b)| {
        let by_loss = a.held_out_loss.total_cmp(&b.held_out_loss);
        b.held_out.correct.cmp(&a.held_out.correct).then(by_loss)
    });
    let on_test = finite().min_by_key(|(_, probe)| std::cmp::Reverse(probe.test.correct));
    match (chosen, on_test) {
        (Some((chosen, _)), Some((on_test, _))) => Ok([chosen, on_test]),
        _ => Err(Error::new(Kind::Diverged, "no attentive probe's values stayed finite")
            .with_remedy("lower the learning rates, and check the features with `anyjepa inspect --verify`")),
    }
}

/// Refuses features that are not of the same kind as those learnt from.
pub(super) fn same_tokens(train: &TokenSet, test: &TokenSet) -> Result<()> {
    let [expected, found] = [train, test].map(|set| (set.tokens(), set.dim()));
    if expected == found {
        return Ok(());
    }
    let message = format!(
        "expected {} tokens of {} values as in training, found {} of {}",
        expected.0, expected.1, found.0, found.1
    );
    Err(Error::new(Kind::Data, message).with_remedy("extract both sets with the same encoder and the same options"))
}

/// Samples on the device, `[B, N, D]`.
pub(super) fn upload(tokens: &TokenSet, rows: &[usize], device: &Device) -> Tensor<3> {
    let data = TensorData::new(tokens.gather(rows), [rows.len(), tokens.tokens(), tokens.dim()]);
    Tensor::from_data(data, device)
}
