//! Extraction and the training step on the CPU: images a second, GFLOP/s, and the share of the measured peak.
//!
//! `cargo bench` measures the standard set; `cargo test --benches` only shows that it runs. `anyjepa bench` measures
//! other models, batches and devices, and prints JSON.

use anyjepa::bench::{Bench, Engine, QUICK, Repetitions, STANDARD, Workload};
use anyjepa::config::Precision;
use anyjepa::error::Result;

fn main() -> Result<()> {
    // Cargo says `--bench` to `cargo bench` alone.
    let measuring = std::env::args().any(|word| word == "--bench");
    let (set, warm_up, counted) = if measuring { (STANDARD, 2, 5) } else { (QUICK, 0, 1) };
    let repetitions = Repetitions { warm_up, counted, by_dispatch: 0 };
    let workload =
        |(work, model, batch): &(_, &str, usize)| Workload::new(*work, model, *batch, Precision::F32, Engine::Compiled);
    let workloads: Vec<Workload> = set.iter().map(workload).collect::<Result<_>>()?;
    let bench = Bench::open("cpu".parse()?, Precision::F32, &workloads)?;
    let peak = bench.peak(Precision::F32, repetitions)?;
    println!("measured peak: {peak}");
    for ((work, model, batch), workload) in set.iter().zip(&workloads) {
        let case = workload.measure(repetitions, &peak, &bench)?;
        let timing = &case.timing;
        println!(
            "{:8} {model} x {batch}: {:.3} images/s, {:.1} GFLOP/s, {:.0} % of the peak; {:.3} s ({:.3} to {:.3})",
            format!("{work:?}").to_lowercase(),
            case.images_per_second,
            case.gflops,
            100.0 * case.share_of_peak,
            timing.median_s,
            timing.min_s,
            timing.max_s,
        );
    }
    Ok(())
}
