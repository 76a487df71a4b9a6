//! `anyjepa bench`: how fast a device extracts and trains.

use anyjepa::bench::{Bench, Engine, Measurement, QUICK, Repetitions, STANDARD, Summary, Work, Workload};
use anyjepa::config::Precision;
use anyjepa::device::{self, Api};
use anyjepa::error::{Error, Result};
use clap::{Args, ValueEnum};

use super::arguments::count;
use super::frozen::EngineArg;
use super::output::{print, print_json, say, table};
use super::{DeviceArgs, OutputArgs};

/// Repetitions where `--quick` is not given: enough for a median.
const REPETITIONS: Repetitions = Repetitions { warm_up: 2, counted: 5, by_dispatch: 0 };
/// Repetitions of `--quick`.
const QUICK_REPETITIONS: Repetitions = Repetitions { warm_up: 1, counted: 2, by_dispatch: 0 };
/// Repetitions of the matrix product, which is short.
const PEAK_REPETITIONS: Repetitions = Repetitions { warm_up: 3, counted: 10, by_dispatch: 0 };

/// `anyjepa bench [extract|train]`
#[derive(Debug, Args)]
pub struct Command {
    /// What to time; both where nothing is named
    work: Option<WorkArg>,
    /// A preset; without one, ViT-B/16 and L/16 extract and ViT-S/16 trains
    #[arg(long, value_name = "PRESET")]
    model: Option<String>,
    /// Images at once, such as 1,8; without it 1 and 8 where features are extracted, 16 where a step is trained
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = count::<u32>(1..))]
    batch: Vec<u32>,
    /// Repetitions that count
    #[arg(long, value_name = "N", value_parser = count::<u32>(1..))]
    reps: Option<u32>,
    /// Repetitions before them
    #[arg(long, value_name = "N")]
    warm_up: Option<u32>,
    /// The arithmetic of matrix products
    #[arg(long, value_enum, default_value_t)]
    precision: PrecisionArg,
    /// What extracts: our own kernels, or burn's; without it ours, but on cuda and with bf16 on a GPU burn's
    #[arg(long, value_enum)]
    engine: Option<EngineArg>,
    /// Of compiled encoders also each kind of dispatch, by the device's own clock
    #[arg(long)]
    kernels: bool,
    /// A tiny model and few repetitions
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WorkArg {
    /// From pixels to pooled features
    Extract,
    /// One optimizer step
    Train,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum PrecisionArg {
    /// 32 bits
    #[default]
    F32,
    /// bfloat16, accumulated in 32 bits where the device does
    Bf16,
    /// Values of 16-bit floats, of our own kernels on a GPU
    F16,
}

impl Command {
    pub fn run(self) -> Result<()> {
        let precision = match self.precision {
            PrecisionArg::F32 | PrecisionArg::F16 => Precision::F32,
            PrecisionArg::Bf16 => Precision::Bf16,
        };
        let engine = self.engine()?;
        if self.kernels && (engine == Engine::Burn || self.work == Some(WorkArg::Train)) {
            return Err(Error::usage("--kernels times the dispatches of compiled encoders, and none is asked for")
                .with_remedy("write `bench extract --kernels`, without --engine burn, or leave --kernels out"));
        }
        let workloads: Vec<Workload> = self
            .cases()
            .into_iter()
            .map(|(work, model, batch)| Workload::new(work, &model, batch, precision, engine))
            .collect::<Result<_>>()?;
        for [held, computed] in workloads.iter().map(Workload::memory) {
            device::require_memory(self.device.device, held, computed)?;
        }
        let bench = Bench::open(self.device.device, precision, &workloads)?;
        let default = if self.quick { QUICK_REPETITIONS } else { REPETITIONS };
        let counted = self.reps.map_or(default.counted, |count| count as usize);
        let repetitions = Repetitions {
            warm_up: self.warm_up.map_or(default.warm_up, |count| count as usize),
            counted,
            by_dispatch: if self.kernels { counted } else { 0 },
        };

        let peak = bench.peak(precision, if self.quick { QUICK_REPETITIONS } else { PEAK_REPETITIONS })?;
        say(&format!("measured peak: {peak}"));
        let mut cases = Vec::new();
        for workload in &workloads {
            let case = workload.measure(repetitions, &peak, &bench)?;
            say(&format!("{}: {:.3} images/s", name(&case), case.images_per_second));
            cases.push(case);
        }
        let summary = Summary::new(self.device.device.to_string(), peak, cases);
        if self.output.json { print_json(&summary) } else { print_table(&summary) }
    }

    /// What runs encoders that do not learn.
    fn engine(&self) -> Result<Engine> {
        if self.precision == PrecisionArg::F16 {
            let gpu = !matches!(self.device.device.api, Api::Cpu | Api::Cuda);
            return match (self.engine, self.work) {
                (None | Some(EngineArg::Compiled), Some(WorkArg::Extract)) if gpu => Ok(Engine::CompiledF16),
                _ => Err(Error::usage("f16 is for our own kernels on a GPU")
                    .with_remedy("write `bench extract --precision f16 --device vulkan`")),
            };
        }
        let gpu_bf16 = self.precision == PrecisionArg::Bf16 && self.device.device.api != Api::Cpu;
        match (self.engine, self.work) {
            (Some(EngineArg::Compiled), Some(WorkArg::Train)) => {
                Err(Error::usage("compiled encoders do not learn").with_remedy("leave out --engine"))
            }
            (Some(EngineArg::Compiled), _) if gpu_bf16 => {
                Err(Error::usage("compiled encoders have bf16 on the CPU alone")
                    .with_remedy("take --engine burn, or leave out --precision"))
            }
            (Some(EngineArg::Compiled), _) => Ok(Engine::Compiled),
            (Some(EngineArg::Burn), _) => Ok(Engine::Burn),
            (None, _) if self.device.device.api == Api::Cuda || gpu_bf16 => Ok(Engine::Burn),
            (None, _) => Ok(Engine::Compiled),
        }
    }

    /// Work, preset and batch of each measurement.
    fn cases(&self) -> Vec<(Work, String, usize)> {
        let wanted = |work: Work| match self.work {
            None => true,
            Some(WorkArg::Extract) => work == Work::Extract,
            Some(WorkArg::Train) => work == Work::Train,
        };
        let mut cases: Vec<(Work, String, usize)> = Vec::new();
        let set = if self.quick { QUICK } else { STANDARD };
        for (work, model, batch) in set.iter().filter(|(work, ..)| wanted(*work)) {
            let model = self.model.as_deref().unwrap_or(model);
            let batches = if self.batch.is_empty() { vec![*batch as u32] } else { self.batch.clone() };
            for batch in batches {
                let case = (*work, model.to_owned(), batch as usize);
                // One model in the place of two, or one batch, gives the same case twice.
                if !cases.contains(&case) {
                    cases.push(case);
                }
            }
        }
        cases
    }
}

fn name(case: &Measurement) -> String {
    let (work, by) = match (case.work, case.engine) {
        (Work::Extract, Engine::Compiled) => ("extract", ", compiled"),
        (Work::Extract, Engine::CompiledF16) => ("extract", ", compiled in f16"),
        (Work::Extract, Engine::Burn) => ("extract", ", burn"),
        (Work::Train, _) => ("train", ""),
    };
    format!("{work} {} x {}{by}", case.model, case.batch)
}

fn print_table(summary: &Summary) -> Result<()> {
    let mut rows = table(&["", "images/s", "GFLOP/s", "of peak", "median s", "from", "to", "CPU s"]);
    for case in &summary.cases {
        let timing = &case.timing;
        rows.add_row([
            name(case),
            format!("{:.3}", case.images_per_second),
            format!("{:.1}", case.gflops),
            format!("{:.0} %", 100.0 * case.share_of_peak),
            format!("{:.4}", timing.median_s),
            format!("{:.4}", timing.min_s),
            format!("{:.4}", timing.max_s),
            timing.cpu_median_s.map_or("-".into(), |seconds| format!("{seconds:.2}")),
        ]);
    }
    let kernels = summary.cases.iter().filter(|case| !case.kernels.is_empty()).map(kernel_table);
    let tables: Vec<String> = std::iter::once(rows.to_string()).chain(kernels).collect();
    print(&format!("{}, measured peak: {}\n{}", summary.device, summary.peak, tables.join("\n\n")))
}

/// What each kind of dispatch takes, and its share of all.
fn kernel_table(case: &Measurement) -> String {
    let all: f64 = case.kernels.iter().map(|kernel| kernel.seconds).sum();
    let rate = |rate: Option<f64>| rate.map_or("-".into(), |rate| format!("{rate:.1}"));
    let mut rows = table(&["", "shader", "dispatches", "s", "of all", "GFLOP/s", "GB/s"]);
    for kernel in &case.kernels {
        rows.add_row([
            kernel.kernel.clone(),
            kernel.shader.clone().unwrap_or_else(|| "-".into()),
            kernel.dispatches.to_string(),
            format!("{:.5}", kernel.seconds),
            format!("{:.0} %", 100.0 * kernel.seconds / all),
            rate(kernel.gflops),
            rate(kernel.gigabytes_per_second),
        ]);
    }
    format!("{}\n{rows}", name(case))
}
