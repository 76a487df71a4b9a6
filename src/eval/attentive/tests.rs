//! The sweep against probes trained one at a time, on a problem that only attention solves, and as files.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData, activation};

use super::stack::Stack;
use super::*;
use crate::error::Kind;
use crate::eval::{Accuracy, Labelled, LabelledTokens, LogisticConfig, Matrix, TokenSet, logistic};
use crate::model::{AttentiveProbe, AttentiveShape, Init};
use crate::random::{Purpose, Stream};
use crate::stop::Stop;
use crate::weights::{self, Gradients, Metadata, Tensors, Values, collect};

/// So many tokens of a sample.
const TOKENS: usize = 12;
const DIM: usize = 16;

/// Samples whose class is the sign that one token carries. Another token carries the other sign, so that the mean of all
/// knows nothing; which of the two counts, a mark says.
fn marked(samples: usize, seed: u64) -> (TokenSet, Vec<u32>) {
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for sample in 0..samples {
        let mut stream = Stream::new(seed, 0, sample as u64, Purpose::Scene);
        let label = (sample % 2) as u32;
        let mut places: Vec<usize> = (0..TOKENS).collect();
        stream.shuffle(&mut places);
        let sign = 3.0 * (2.0 * label as f32 - 1.0);
        for token in 0..TOKENS {
            let mut row: Vec<f32> = (0..DIM).map(|_| 0.3 * stream.normal() as f32).collect();
            row[2] += 2.0;
            match token {
                token if token == places[0] => (row[0], row[1]) = (3.0, sign),
                token if token == places[1] => (row[0], row[1]) = (-3.0, -sign),
                _ => {}
            }
            values.extend(row);
        }
        labels.push(label);
    }
    (TokenSet::new([samples, TOKENS, DIM], values).unwrap(), labels)
}

fn fit(sweep: &AttentiveSweep, train: &(TokenSet, Vec<u32>), test: &(TokenSet, Vec<u32>)) -> SweepOutcome {
    sweep.fit(&data(train, test), &Device::flex(), &Stop::default(), &mut |_, _| ()).unwrap()
}

fn data<'a>(train: &'a (TokenSet, Vec<u32>), test: &'a (TokenSet, Vec<u32>)) -> SweepData<'a> {
    let labelled = |(tokens, labels): &'a (TokenSet, Vec<u32>)| LabelledTokens { tokens, labels };
    SweepData { train: labelled(train), test: labelled(test), classes: 2 }
}

/// A probe trained on its own, by the model's own forward pass and by AdamW in f64 on the host.
struct Alone {
    shape: AttentiveShape,
    tensors: Tensors,
    moments: [Tensors; 2],
    steps: i32,
    clipped: usize,
}

impl Alone {
    fn step(&mut self, tokens: Tensor<3>, labels: &[u32], lr: f64, weight_decay: f64) -> f64 {
        let device = Device::flex().autodiff();
        let probe = AttentiveProbe::new(self.shape, Init::Constant, &device);
        let probe = weights::load(probe, "", &self.tensors).unwrap();
        let places = labels.iter().map(|label| *label as i32).collect::<Vec<_>>();
        let places = Tensor::<1, burn::tensor::Int>::from_data(TensorData::new(places, [labels.len()]), &device);
        let logs = activation::log_softmax(probe.forward(tokens.autodiff()), 1);
        let loss = logs.gather(1, places.unsqueeze_dim(1)).mean().neg();
        let mut grads = loss.backward();
        let grads = GradientsParams::from_module(&mut grads, &probe);
        let grads = collect(&probe, "", &Gradients(&grads)).unwrap();

        let squares = grads.values().flat_map(|grad| &grad.values).map(|value| f64::from(*value).powi(2));
        let factor = (1.0 / (squares.sum::<f64>().sqrt() + 1e-6)).min(1.0);
        self.clipped += usize::from(factor < 1.0);
        self.steps += 1;
        let [correction1, correction2] = [0.9, 0.999f64].map(|beta: f64| 1.0 - beta.powi(self.steps));
        for (name, grad) in grads {
            let tensor = self.tensors.get_mut(&name).unwrap();
            let decay = if tensor.shape.len() >= 2 { 1.0 - lr * weight_decay } else { 1.0 };
            let [first, second] = self.moments.each_mut().map(|moments| &mut moments.get_mut(&name).unwrap().values);
            for (at, value) in tensor.values.iter_mut().enumerate() {
                let grad = f64::from(grad.values[at]) * factor;
                first[at] = (0.9 * f64::from(first[at]) + 0.1 * grad) as f32;
                second[at] = (0.999 * f64::from(second[at]) + 0.001 * grad * grad) as f32;
                let root = (f64::from(second[at]) / correction2).sqrt() + 1e-8;
                *value = (f64::from(*value) * decay - lr / correction1 * f64::from(first[at]) / root) as f32;
            }
        }
        f64::from(loss.inner().into_scalar::<f32>())
    }
}

#[test]
fn the_probes_of_a_sweep_learn_as_each_would_alone() {
    /// Sums of f32 in another order, and AdamW in f32 beside f64, over a few steps.
    const LOSS: f64 = 1e-4;
    /// The same at a rate at which the loss rises and gradients are clipped, over three steps; another clipping is another
    /// loss.
    const WILD_LOSS: f64 = 1e-3;
    /// Of a weight that has moved by the learning rate in each step.
    const WEIGHT: f64 = 2e-3;
    let (tokens, labels) = marked(24, 3);
    let all: Vec<usize> = (0..24).collect();
    let tokens = super::sweep::upload(&tokens, &all, &Device::flex());
    let rates = [(0.15, 0.05), (1e-3, 0.8), (5e-3, 0.0)].map(|(lr, weight_decay)| Rates { lr, weight_decay });
    for depth in [1, 3] {
        let shape = AttentiveShape { dim: DIM, heads: 4, mlp: 40, depth, classes: 2 };
        let mut stack = Stack::new(shape, 7, &rates, &Device::flex()).unwrap();
        let first = collect(&AttentiveProbe::new(shape, Init::Seed(7), &Device::flex()), "", &Values).unwrap();
        let mut zeros = first.clone();
        zeros.values_mut().for_each(|tensor| tensor.values.fill(0.0));
        let alone =
            || Alone { shape, tensors: first.clone(), moments: [zeros.clone(), zeros.clone()], steps: 0, clipped: 0 };
        let mut alone = rates.map(|_| alone());
        for (step, share) in [1.0, 0.8, 0.5, 0.3, 0.0].into_iter().enumerate() {
            let losses = crate::device::read::values(stack.step(tokens.clone(), &labels, share)).unwrap();
            for ((alone, Rates { lr, weight_decay }), loss) in alone.iter_mut().zip(rates).zip(losses) {
                let expected = alone.step(tokens.clone(), &labels, share * lr, weight_decay);
                let difference = (f64::from(loss) - expected).abs() / expected.max(1.0);
                let near = if lr < 0.1 { difference <= LOSS } else { step > 2 || difference <= WILD_LOSS };
                assert!(near, "depth {depth}, lr {lr}, step {step}: {loss}, alone {expected}");
            }
        }
        assert!(alone[0].clipped > 0 && alone[1].clipped == 0, "clipped and not clipped are both compared");
        // The rate of the first is far too high, so that it is clipped; what differs in the last digits grows there.
        for (at, (alone, Rates { lr, .. })) in alone.iter().zip(rates).enumerate().skip(1) {
            let found = stack.tensors(at).unwrap();
            assert_eq!(found.keys().collect::<Vec<_>>(), first.keys().collect::<Vec<_>>());
            for (name, tensor) in &found {
                let (expected, start) = (&alone.tensors[name].values, &first[name].values);
                assert!(name.contains("xattn.proj") == (tensor.values == *start), "{name} moves unless it is unused");
                // The true gradient of a key's bias is zero: alone its rounding noise becomes steps.
                let skipped = if name.ends_with("xattn.kv.bias") { DIM } else { 0 };
                for (found, expected) in tensor.values.iter().zip(expected).skip(skipped) {
                    assert!(
                        f64::from((found - expected).abs()) <= WEIGHT * lr * 5.0,
                        "{name}: {found}, alone {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn attention_tells_classes_whose_means_are_the_same() {
    let (train, test) = (marked(600, 0), marked(200, 1));
    let sweep = AttentiveSweep {
        rates: Rates::grid(&[1e-2, 3e-3, 1e-4], &[0.01, 0.4]),
        epochs: 30,
        ..AttentiveSweep::published(2)
    };
    let outcome = fit(&sweep, &train, &test);
    let chosen = &outcome.probes[outcome.chosen];
    assert_eq!(Accuracy::count(&outcome.predictions, &test.1), chosen.test);
    assert!(chosen.test.fraction() > 0.95, "{:?}", outcome.probes);
    assert!(chosen.losses[0] > 0.6 && chosen.losses[29] < 0.2, "{:?}", chosen.losses);
    assert!(outcome.probes[outcome.chosen_on_test].test.correct >= chosen.test.correct);
    assert!(outcome.probes.iter().all(|probe| probe.held_out.correct <= chosen.held_out.correct));
    assert_eq!((chosen.held_out.total, chosen.test.total), (120, 200));
    // Other samples, by the model's own forward pass, in 16 bits.
    let more = marked(200, 2);
    let found = outcome.probe.predict(&more.0.clone().halved().unwrap(), &Device::flex()).unwrap();
    assert!(Accuracy::count(&found, &more.1).fraction() > 0.95);

    let mean = |(tokens, labels): &(TokenSet, Vec<u32>)| {
        let all: Vec<usize> = (0..labels.len()).collect();
        let values = tokens.gather(&all);
        let sample = |sample: &[f32]| -> Vec<f32> {
            (0..DIM).map(|d| sample.iter().skip(d).step_by(DIM).sum::<f32>() / TOKENS as f32).collect()
        };
        Matrix::new(labels.len(), DIM, values.chunks(TOKENS * DIM).flat_map(sample).collect()).unwrap()
    };
    let (features, tested) = (mean(&train), mean(&test));
    let train = Labelled { features: &features, labels: &train.1 };
    let test = Labelled { features: &tested, labels: &test.1 };
    let pooled = logistic(train, test, 2, &LogisticConfig::default(), &Device::flex()).unwrap();
    assert!(pooled.fraction() < 0.65, "{pooled:?}");
}

#[test]
fn a_sweep_is_a_function_of_its_seed() {
    let (train, test) = (marked(60, 0), marked(20, 1));
    let sweep = |seed| {
        let rates = Rates::grid(&[3e-3, 1e-3], &[0.01]);
        fit(&AttentiveSweep { rates, epochs: 2, batch: 16, seed, ..AttentiveSweep::published(2) }, &train, &test)
    };
    let (one, same, other) = (sweep(0), sweep(0), sweep(1));
    assert_eq!((&one.probes, &one.probe, &one.predictions), (&same.probes, &same.probe, &same.predictions));
    assert_ne!(one.probes[0].losses, other.probes[0].losses);
}

#[test]
fn probes_in_several_stacks_become_what_they_are_in_one() {
    let (train, test) = (marked(60, 0), marked(20, 1));
    let rates = Rates::grid(&[1e-4, 1e-2, 1e-3], &[0.01]);
    let sweep = AttentiveSweep { rates, epochs: 2, batch: 16, ..AttentiveSweep::published(2) };
    let within = |most: usize| {
        sweep.fit_within(most, &data(&train, &test), &Device::flex(), &Stop::default(), &mut |_, _| ()).unwrap()
    };
    let (one, several) = (within(usize::MAX), within(1));
    assert_eq!((&one.probes, &one.probe, &one.predictions), (&several.probes, &several.probe, &several.predictions));
    assert_eq!((one.chosen, one.chosen_on_test), (several.chosen, several.chosen_on_test));
    assert_ne!(one.probes[0].losses, one.probes[1].losses);
}

#[test]
fn a_probe_that_diverges_is_not_chosen_and_does_not_touch_the_others() {
    let (train, test) = (marked(60, 0), marked(20, 1));
    let sweep = |lr: &[f64]| AttentiveSweep {
        rates: Rates::grid(lr, &[0.0]),
        epochs: 2,
        batch: 16,
        ..AttentiveSweep::published(2)
    };
    let (both, alone) = (fit(&sweep(&[1e38, 1e-3]), &train, &test), fit(&sweep(&[1e-3]), &train, &test));
    assert!(!both.probes[0].held_out_loss.is_finite(), "{:?}", both.probes[0]);
    assert_eq!((both.chosen, both.chosen_on_test), (1, 1));
    assert_eq!((&both.probes[1], &both.predictions), (&alone.probes[0], &alone.predictions));
    let error =
        sweep(&[1e38]).fit(&data(&train, &test), &Device::flex(), &Stop::default(), &mut |_, _| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::Diverged);
}

#[test]
fn what_cannot_be_swept_is_refused_with_a_remedy() {
    let (train, test) = (marked(8, 0), marked(4, 1));
    let single = (TokenSet::new([8, 1, DIM], vec![0.0; 8 * DIM]).unwrap(), train.1.clone());
    let narrow = (TokenSet::new([4, TOKENS, 4], vec![0.0; 16 * TOKENS]).unwrap(), test.1.clone());
    let lonely = (marked(2, 0).0, vec![0, 1]);
    let sweep = AttentiveSweep::published(2);
    let refused = |sweep: &AttentiveSweep, train: &(TokenSet, Vec<u32>), test: &(TokenSet, Vec<u32>)| {
        let fitted = sweep.fit(&data(train, test), &Device::flex(), &Stop::default(), &mut |_, _| ());
        let error = fitted.unwrap_err();
        format!("{error} ({})", error.remedy().unwrap_or("no remedy"))
    };
    let rates = vec![Rates { lr: f64::NAN, weight_decay: 0.0 }];
    let said = [
        refused(&AttentiveSweep { heads: 3, ..sweep.clone() }, &train, &test),
        refused(&AttentiveSweep { epochs: 0, ..sweep.clone() }, &train, &test),
        refused(&AttentiveSweep { rates, ..sweep.clone() }, &train, &test),
        refused(&AttentiveSweep { held_out: 1.0, ..sweep.clone() }, &train, &test),
        refused(&sweep, &single, &single),
        refused(&sweep, &train, &narrow),
        refused(&sweep, &lonely, &test),
        refused(&sweep, &(train.0.clone(), vec![0; 7]), &test),
        refused(&sweep, &(train.0.clone(), vec![2; 8]), &test),
    ];
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_stop_ends_a_sweep_between_two_steps() {
    let (train, test) = (marked(40, 0), marked(4, 1));
    let sweep = AttentiveSweep { batch: 16, ..AttentiveSweep::published(2) };
    let signal = Arc::new(AtomicUsize::new(0));
    let stop = Stop::new(Arc::clone(&signal), None);
    let mut steps = Vec::new();
    let fitted = sweep.fit(&data(&train, &test), &Device::flex(), &stop, &mut |done, of| {
        steps.push((done, of));
        if done == 3 {
            signal.store(15, Ordering::Relaxed);
        }
    });
    let error = fitted.unwrap_err();
    insta::assert_snapshot!(error, @"stopped by SIGTERM after 3 of 40 steps of the attentive probes");
    assert_eq!((error.kind(), steps), (Kind::Interrupted(15), vec![(1, 40), (2, 40), (3, 40)]));
}

fn card(heads: usize) -> ProbeCard {
    ProbeCard {
        heads,
        classes: vec!["left".into(), "right".into()],
        features: serde_json::json!({"weights_blake3": "0123"}),
        lr: 1e-3,
        weight_decay: 0.1,
        seed: 5,
    }
}

#[test]
fn a_probe_comes_back_from_its_file_bit_for_bit() {
    let (train, test) = (marked(40, 0), marked(16, 1));
    let sweep = AttentiveSweep { depth: 2, epochs: 1, batch: 16, ..AttentiveSweep::published(4) };
    let SweepOutcome { probe, .. } = fit(&sweep, &train, &test);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probe.safetensors");
    probe.save(&path, &card(4)).unwrap();
    let (found, said) = FittedAttentive::load(&path, None).unwrap();
    assert_eq!((&found, said), (&probe, Some(card(4))));
    let device = Device::flex();
    assert_eq!(found.predict(&test.0, &device).unwrap(), probe.predict(&test.0, &device).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    insta::assert_snapshot!(FittedAttentive::load(&path, Some(2)).unwrap_err().to_string().replace(&path.display().to_string(), "FILE"), @"FILE: the probe has 4 heads, not 2");
}

/// The published layout of one variant of the reference's case, under `prefix`.
fn published(variant: &str, prefix: &str, folder: &Path) -> std::path::PathBuf {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference/attentive");
    let (tensors, _) = weights::read(&fixture.join("weights.safetensors")).unwrap();
    let variant = format!("{variant}.");
    let named =
        tensors.into_iter().filter_map(|(name, tensor)| Some((name.strip_prefix(&variant)?.to_owned(), tensor)));
    let named: Tensors = named.map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect();
    let path = folder.join(format!("{prefix}{variant}.safetensors"));
    weights::write(&path, &named, &Metadata::new()).unwrap();
    path
}

#[test]
fn the_published_probes_are_read_and_predict_as_the_reference_does() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference/attentive");
    let inputs = weights::Store::safetensors(&fixture.join("inputs.safetensors")).unwrap();
    let tokens = inputs.entries["tokens"].floats().unwrap();
    let (expected, _) = weights::read(&fixture.join("expected.safetensors")).unwrap();
    let shape = [tokens.shape[0], tokens.shape[1], tokens.shape[2]];
    let tokens = TokenSet::new(shape, tokens.values).unwrap();
    let archive = fixture.join("../../probe/published.pth.tar");
    for (variant, depth) in [("depth1", 1), ("depth3", 3)] {
        let named = ["", "module."].map(|prefix| published(variant, prefix, folder.path()));
        for path in named.iter().chain((depth == 1).then_some(&archive)) {
            let (probe, card) = FittedAttentive::load(path, Some(3)).unwrap();
            assert_eq!((probe.shape.depth, probe.shape.classes, card), (depth, 7, None));
            let logits = &expected[&format!("{variant}.logits")];
            let best = |row: &[f32]| (0..7).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as u32;
            let best: Vec<u32> = logits.values.chunks_exact(7).map(best).collect();
            assert_eq!(probe.predict(&tokens, &Device::flex()).unwrap(), best, "{}", path.display());
        }
    }
}

#[test]
fn files_that_hold_no_such_probe_are_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path, heads: Option<usize>| {
        let error = FittedAttentive::load(path, heads).unwrap_err();
        let said = format!("{error} ({})", error.remedy().unwrap_or("no remedy"));
        said.replace(&path.display().to_string(), "FILE")
    };
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference");
    let mut said = vec![
        refused(&fixture.join("attentive/weights.safetensors"), Some(3)),
        refused(&fixture.join("hf_ijepa/model.safetensors"), Some(3)),
        refused(&published("depth1", "", folder.path()), None),
        refused(&published("depth1", "", folder.path()), Some(5)),
        refused(&published("nocomplete", "", folder.path()), Some(3)),
    ];
    let path = published("depth1", "", folder.path());
    let (whole, _) = weights::read(&path).unwrap();
    let changed = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = whole.clone();
        change(&mut tensors);
        weights::write(&path, &tensors, &Metadata::new()).unwrap();
        refused(&path, Some(3))
    };
    said.push(changed(&|tensors| drop(tensors.remove("pooler.cross_attention_block.xattn.proj.bias"))));
    said.push(changed(&|tensors| drop(tensors.remove("linear.weight"))));
    said.push(changed(&|tensors| tensors.get_mut("linear.bias").unwrap().values[1] = f32::NAN));
    insta::assert_snapshot!(said.join("\n"));
}
