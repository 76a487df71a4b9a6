//! `anyjepa plan PRESET`: what a run will cost.

use anyjepa::config::Preset;
use anyjepa::error::{Error, Result};
use anyjepa::train::{Machine, Plan, Rates};
use clap::Args;

use super::OutputArgs;
use super::arguments::count;
use super::output::{print, print_json, table};
use super::settings::ConfigArgs;

/// More than any data set has; their number is multiplied by that of epochs.
const MOST_IMAGES: u64 = 1_000_000_000_000;

/// `anyjepa plan PRESET`
#[derive(Debug, Args)]
pub struct Command {
    #[command(flatten)]
    config: ConfigArgs,
    /// GPUs that share a step
    #[arg(long, default_value_t = 1, value_parser = count::<u16>(1..))]
    gpus: u16,
    /// Memory of one GPU, such as 80GB, to check the run against
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    memory: Option<f64>,
    /// Pictures of the data set; those that the preset is meant for where none is given
    #[arg(long, value_name = "N", value_parser = count::<usize>(1..=MOST_IMAGES))]
    images: Option<usize>,
    #[command(flatten)]
    output: OutputArgs,
}

fn parse_bytes(text: &str) -> Result<f64> {
    let upper = text.trim().to_uppercase();
    let units = [
        ("TIB", 1u64 << 40),
        ("TB", 1_000_000_000_000),
        ("GIB", 1 << 30),
        ("GB", 1_000_000_000),
        ("G", 1_000_000_000),
        ("MIB", 1 << 20),
        ("MB", 1_000_000),
        ("B", 1),
    ];
    let parsed = units.iter().find_map(|(unit, factor)| {
        let number: f64 = upper.strip_suffix(unit)?.trim().parse().ok()?;
        (number > 0.0 && number.is_finite()).then_some(number * *factor as f64)
    });
    parsed.ok_or_else(|| Error::usage("this is no size with its unit").with_remedy("write it as 80GB or 24GiB"))
}

impl Command {
    pub fn run(self) -> Result<()> {
        let config = self.config.resolve()?;
        let images = match self.images {
            Some(images) => images,
            None => Preset::find(&config.name)?.pictures(),
        };
        let machine = Machine { gpus: self.gpus.into(), memory: self.memory, images };
        let plan = Plan::new(&config, machine)?;
        if self.output.json {
            return print_json(&plan);
        }
        let mut rows = table(&["", ""]);
        let millions = |count: usize| format!("{:.1} M", count as f64 / 1e6);
        let giga = |value: f64| format!("{:.2} GFLOP", value / 1e9);
        let bytes = |value: f64| format!("{:.2} GB", value / 1e9);
        let rates = |rates: Rates| {
            format!("lr {:.2e}, weight decay {:.3}, momentum {:.5}", rates.lr, rates.weight_decay, rates.momentum)
        };
        for (what, value) in [
            ("encoder", millions(plan.encoder_parameters) + " parameters"),
            ("predictor", millions(plan.predictor_parameters) + " parameters"),
            (
                "tokens",
                format!(
                    "{}; context {:.1}, target {:.1} on average",
                    plan.tokens, plan.context_tokens, plan.target_tokens
                ),
            ),
            ("encoder forward", giga(plan.encoder_flops) + " an image"),
            ("training step", giga(plan.step_flops_per_image) + " an image"),
            ("parameters and gradients", bytes(plan.state_bytes - plan.optimizer_bytes) + " a GPU"),
            ("optimizer", bytes(plan.optimizer_bytes) + " a GPU"),
            ("activations", bytes(plan.activation_bytes) + " a GPU, estimated"),
            (
                "batch",
                format!("{} images a step, {} a GPU", plan.global_batch, plan.global_batch / usize::from(self.gpus)),
            ),
            ("steps", format!("{} ({} an epoch), {:.3e} images", plan.steps, plan.steps_per_epoch, plan.images)),
            ("first step", rates(plan.schedule.first)),
            ("peak", format!("{} at step {}", rates(plan.schedule.peak), plan.schedule.warmup_steps)),
            ("last step", format!("{} of {} scheduled", rates(plan.schedule.last), plan.schedule.end)),
        ] {
            rows.add_row([what.to_owned(), value]);
        }
        let warnings: String = plan.warnings.iter().map(|warning| format!("\nwarning: {warning}")).collect();
        print(&format!("{}\n{}{warnings}", plan.name, rows))
    }
}
