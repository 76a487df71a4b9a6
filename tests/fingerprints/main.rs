//! The layers of two encoders have the fingerprints that are on file, computed in 64 bits, and every engine has them too.
//!
//! Engines that are compared with each other alone may all drift together; these numbers stand still.

mod exact;
#[path = "../support/gpu.rs"]
mod gpu;

use anyjepa::compile::Dtype;
use anyjepa::config::{ModelConfig, Preset};
use anyjepa::parity::{Found, Permitted, Subject, Way, beside};
use anyjepa::runtime::Engine as _;
use anyjepa::runtime::twin::{self, TwinEngine};

/// A value may be off by so many times what its layer is off on average.
const SINGLE: f64 = 8.0;

/// What is kept of a layer.
struct Fingerprint {
    label: String,
    mean: f64,
    rms: f64,
    /// Values at four places.
    samples: [f64; 4],
}

impl Fingerprint {
    fn new(label: &str, values: &[f64]) -> Self {
        let count = values.len() as f64;
        let samples = [1, 3, 5, 7].map(|eighth| values[(values.len() * eighth + 5) / 8 % values.len()]);
        let rms = (values.iter().map(|value| value * value).sum::<f64>() / count).sqrt();
        Self { label: label.to_owned(), mean: values.iter().sum::<f64>() / count, rms, samples }
    }

    /// How far it is from what is expected, relative to the layer's size.
    fn off(&self, expected: &Self) -> f64 {
        let whole = [self.mean - expected.mean, self.rms - expected.rms].map(f64::abs);
        let single = self.samples.iter().zip(&expected.samples).map(|(a, b)| (a - b).abs() / SINGLE);
        single.chain(whole).fold(0.0, |most: f64, off| if off.is_nan() { f64::INFINITY } else { most.max(off) })
            / expected.rms
    }
}

/// The smallest encoder of pictures, whole, and two blocks of the smallest of clips, over four frames.
fn subjects() -> [(&'static str, Subject); 2] {
    let model = |name: &str| Preset::find(name).unwrap().config().model;
    let clips = ModelConfig { frames: 4, depth: 2, ..model("vjepa2-vit-tiny") };
    [("image", model("ijepa-vit-tiny16")), ("video", clips)]
        .map(|(name, model)| (name, Subject::untrained(&model, 1, 7).unwrap()))
}

/// The layers of the plan that stores values as `dtype`, in 64 bits.
fn exact(subject: &Subject, dtype: Dtype, gelu: fn(f64) -> f64) -> Vec<exact::Layer> {
    let constant = |buffer: &_| subject.constant(buffer).unwrap();
    exact::run(&subject.plan(dtype).unwrap(), &constant, &subject.images, gelu)
}

/// Layers as engines show them.
fn shown(layers: &[exact::Layer]) -> Vec<Found> {
    let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect();
    layers.iter().map(|layer| Found { label: layer.label.clone(), values: narrow(&layer.values) }).collect()
}

/// What every engine at hand that stores values as `dtype` shows.
fn engines(subject: &Subject, dtype: Dtype) -> Vec<(String, Vec<Found>)> {
    let mut twins = TwinEngine::new(subject.plan(dtype).unwrap(), &|buffer| subject.constant(buffer)).unwrap();
    let mut seen = Vec::new();
    let see = &mut |dispatch: &anyjepa::compile::Dispatch, values: &[f32]| {
        seen.push(Found { label: dispatch.label.clone(), values: values.to_vec() });
        Ok(())
    };
    twins.trace(&subject.images, see).unwrap();
    let (cpu, vulkan) = ("cpu".parse().unwrap(), "vulkan".parse().unwrap());
    let mut ways = match dtype {
        Dtype::F32 => vec![Way::Burn(cpu), Way::Compiled(cpu, dtype)],
        Dtype::Bf16 => vec![Way::Compiled(cpu, dtype)],
        Dtype::F16 | Dtype::U32 => Vec::new(),
    };
    if dtype != Dtype::Bf16 && gpu::wanted("no Vulkan adapter showed its layers") {
        ways.push(Way::Compiled(vulkan, dtype));
    }
    let mut engines = vec![(format!("twins, {dtype}"), seen)];
    engines.extend(ways.into_iter().map(|way| (way.to_string(), subject.layers(way).unwrap())));
    engines
}

/// -0.0 is written as 0.0.
fn plain(value: f64) -> f64 {
    (value * 1e6).round() / 1e6 + 0.0
}

fn text(layers: &[exact::Layer]) -> String {
    let line = |layer: &exact::Layer| {
        let Fingerprint { label, mean, rms, samples } = Fingerprint::new(&layer.label, &layer.values);
        let samples = samples.map(|sample| format!("{:10.6}", plain(sample))).join(" ");
        format!("{label:20} {:16} {:10.6} {rms:9.6}  {samples}", format!("{:?}", layer.shape), plain(mean))
    };
    let lines: Vec<String> = layers.iter().map(line).collect();
    format!("{:20} {:16} {:>10} {:>9}  values\n{}", "layer", "shape", "mean", "rms", lines.join("\n"))
}

/// That the fingerprints of plans of `dtype` are those on file, and that engines have them within the rule of
/// docs/PARITY.md; prints what part of it they need against what nobody rounded.
fn check(dtype: Dtype) {
    for (name, subject) in subjects() {
        let kept = exact(&subject, dtype, twin::gelu);
        insta::assert_snapshot!(format!("{name}-{dtype}"), text(&kept));
        let unrounded = shown(&exact(&subject, Dtype::F32, twin::gelu));
        let plan = subject.plan(dtype).unwrap();
        for (engine, found) in engines(&subject, dtype) {
            let mut sum = 0;
            for ((depth, kept), dispatch) in kept.iter().enumerate().zip(&plan.dispatches) {
                sum = sum.max(dispatch.kernel.longest_sum());
                let Some(found) = found.iter().find(|found| found.label == kept.label) else { continue };
                let values: Vec<f64> = found.values.iter().copied().map(f64::from).collect();
                let expected = Fingerprint::new(&kept.label, &kept.values);
                let off = Fingerprint::new(&found.label, &values).off(&expected);
                let permitted = Permitted { depth: depth + 1, sum, stored: dtype }.distance();
                assert!(off <= permitted, "{name}, {engine}, {}: {off:e} of {permitted:e}", kept.label);
            }
            let layers = beside(&subject, &unrounded, &found, dtype).unwrap();
            assert!(layers.len() >= subject.model.depth + 3, "{name}, {engine} shows {} layers", layers.len());
            let share = |layer: &anyjepa::parity::Layer| layer.relative_l2 / layer.permitted;
            let worst = layers.iter().max_by(|a, b| share(a).total_cmp(&share(b))).unwrap();
            let far = layers.iter().map(|layer| layer.relative_l2).max_by(f64::total_cmp).unwrap();
            eprintln!("{name}, {engine}: {far:.1e} at most; {:.3} of the rule at {}", share(worst), worst.label);
            assert!(layers.iter().all(|layer| layer.passed), "{name}, {engine}: {worst:?}");
        }
    }
}

#[test]
fn engines_of_f32_have_the_fingerprints_on_file() {
    check(Dtype::F32);
}

#[test]
fn engines_of_f16_have_theirs() {
    check(Dtype::F16);
}

#[test]
fn engines_of_bf16_have_theirs() {
    check(Dtype::Bf16);
}

/// PyTorch's `gelu(approximate="tanh")`.
fn tanh_gelu(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
    0.5 * x * (1.0 + inner.tanh())
}

/// Of burn's operations nothing but the layers is seen.
#[test]
fn the_rule_for_layers_tells_a_gelu_by_tanh_from_the_exact_one() {
    for (name, subject) in subjects() {
        let [right, wrong] = [twin::gelu, tanh_gelu].map(|gelu| shown(&exact(&subject, Dtype::F32, gelu)));
        let layers = beside(&subject, &right, &wrong, Dtype::F32).unwrap();
        let first = layers.iter().find(|layer| !layer.passed).map(|layer| layer.label.as_str());
        assert_eq!(first, Some("blocks.0.mlp.fc1"), "{name}");
        assert!(!layers.last().unwrap().passed, "{name}: the features");
    }
}
