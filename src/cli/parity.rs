//! `anyjepa parity PRESET|WEIGHTS`: every way to run an encoder, beside the plain twins, layer by layer.

use anyjepa::compile::Dtype;
use anyjepa::config::{ModelConfig, Sources, resolve};
use anyjepa::device::{self, Api, Spec};
use anyjepa::error::{Error, Result};
use anyjepa::parity::{Alone, Outcome, Subject, Way, compare, verdict};
use clap::Args;
use serde::Serialize;

use super::arguments::count;
use super::output::{print, print_json, say, table};
use super::weights::of_weights;
use super::{EncoderArg, OutputArgs};

/// `anyjepa parity PRESET|WEIGHTS`
#[derive(Debug, Args)]
pub struct Command {
    /// A preset, whose weights are drawn, or weights of any form
    #[arg(value_name = "PRESET|WEIGHTS")]
    encoder: String,
    /// The preset whose weights these are, where they do not say it themselves
    #[arg(long, value_name = "PRESET")]
    model: Option<String>,
    /// Which of a checkpoint's encoders
    #[arg(long = "encoder", value_enum)]
    which: Option<EncoderArg>,
    /// One key of the preset's configuration, such as model.depth=2
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Devices to compare, separated by commas, or all
    #[arg(long, value_name = "all|DEVICE,..", default_value = "all")]
    devices: String,
    /// Images or clips of the batch, of normal noise
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count::<u16>(1..=64))]
    batch: u16,
    /// Seed of the images, and of a preset's weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Parity {
    encoder: String,
    ways: Vec<Outcome>,
    passed: bool,
}

impl Command {
    pub fn run(self) -> Result<()> {
        let batch = usize::from(self.batch);
        let subject = match of_weights(&self.encoder, self.which, self.model.as_deref())? {
            Some(_) if !self.set.is_empty() => {
                let message = format!("{} is a path, and --set is for presets", self.encoder);
                return Err(Error::usage(message).with_remedy("leave out --set"));
            }
            Some(loaded) => {
                require_memory(&loaded.model, batch, 1.0)?;
                Subject::new(&loaded.model, loaded.tensors, batch, self.seed)
            }
            None => {
                let preset = Some(self.encoder.as_str());
                let config = resolve(&Sources { preset, file: None, environment: Vec::new(), set: &self.set })?;
                require_memory(&config.model, batch, 2.0)?;
                Subject::untrained(&config.model, batch, self.seed)?
            }
        };
        let ways = ways(&self.devices)?;
        say("the plain twins come first: a second and core for every two billion operations or so");
        let measure = subject.measure()?;
        let (mut outcomes, mut failed) = (Vec::new(), None);
        for way in &ways {
            say(&format!("{way}"));
            let outcome = compare(&subject, &measure, *way).unwrap_or_else(|error| {
                let outcome = Outcome::failed(*way, &error);
                failed.get_or_insert(error);
                outcome
            });
            outcomes.push(outcome);
        }
        let verdict = failed.map_or_else(|| verdict(&outcomes), Err);
        let result = Parity { encoder: self.encoder, ways: outcomes, passed: verdict.is_ok() };
        if self.output.json {
            print_json(&result)?;
        } else {
            print_table(&result)?;
        }
        verdict
    }
}

/// Refuses an encoder of which memory cannot hold `weights` copies more, and what every layer gives of a batch.
fn require_memory(model: &ModelConfig, batch: usize, weights: f64) -> Result<()> {
    /// The twins' own and what they show; later that, and what another way shows.
    const LAYERS: f64 = 2.0;
    let ModelConfig { dim, depth, mlp, .. } = *model;
    let [encoder, _] = model.parameter_bytes();
    // Queries, keys and values, the MLP's hidden layer, and five more: two norms, attention, two linear layers.
    let block = (model.tokens() * (8 * dim + mlp) * size_of::<f32>()) as f64;
    let of_an_image = model.input_bytes() + depth as f64 * block;
    let cpu = Spec { api: Api::Cpu, index: None };
    device::require_memory(cpu, weights * encoder, LAYERS * batch as f64 * of_an_image)
}

/// Every way to run an encoder on the devices that `text` lists.
fn ways(text: &str) -> Result<Vec<Way>> {
    let specs: Vec<Spec> = match text {
        "all" => device::list().iter().map(|adapter| adapter.device.parse()).collect::<Result<_>>()?,
        names => names.split(',').map(|name| name.trim().parse()).collect::<Result<_>>()?,
    };
    let mut ways = Vec::new();
    for spec in specs {
        if spec.api == Api::Cuda || spec.trains() {
            ways.push(Way::Burn(spec));
        }
        if spec.api != Api::Cuda {
            ways.push(Way::Compiled(spec, Dtype::F32));
        }
        if spec.api == Api::Cpu {
            ways.push(Way::Compiled(spec, Dtype::Bf16));
        }
        // A device that is missing fails with f32 already.
        if !matches!(spec.api, Api::Cpu | Api::Cuda) && device::gpu(spec).is_ok_and(|gpu| gpu.f16) {
            ways.push(Way::Compiled(spec, Dtype::F16));
        }
    }
    Ok(ways)
}

fn alone(alone: Option<Alone>, number: fn(Alone) -> f64) -> String {
    alone.map_or_else(String::new, |alone| format!("{:.1e}", number(alone)))
}

fn print_table(result: &Parity) -> Result<()> {
    for outcome in &result.ways {
        let heads = ["layer", "max abs", "relative", "permitted", "alone", "permitted", "worst cosine", "median", ""];
        let mut rows = table(&heads);
        for layer in &outcome.layers {
            rows.add_row([
                layer.label.clone(),
                format!("{:.1e}", layer.max_abs),
                format!("{:.1e}", layer.relative_l2),
                format!("{:.1e}", layer.permitted),
                alone(layer.alone, |alone| alone.relative_l2),
                alone(layer.alone, |alone| alone.permitted),
                format!("{:.9}", layer.worst_cosine),
                format!("{:.9}", layer.median_cosine),
                if layer.passed { "pass".into() } else { "FAIL".to_owned() },
            ]);
        }
        match &outcome.error {
            Some(error) => print(&format!("{}: {error}", outcome.way))?,
            None => print(&format!("{}\n{rows}", outcome.way))?,
        }
        if let Some(fault) = &outcome.fault {
            print(&format!(
                "first wrong: {}, {}, operands {:?}: value {} is {}, expected {} (relative distance {:.1e})",
                fault.label, fault.kernel, fault.shapes, fault.index, fault.found, fault.expected, fault.relative_l2
            ))?;
        }
    }
    let passed = result.ways.iter().filter(|outcome| outcome.passed()).count();
    print(&format!("{passed} of {} ways agree with the plain twins", result.ways.len()))
}
