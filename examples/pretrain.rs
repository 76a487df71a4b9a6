//! Pre-trains a small I-JEPA from code: a preset, one key changed, and an observer of one's own.
//!
//!     cargo run --release --example pretrain -- examples/data/animals28 runs/pretrain

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyjepa::config::Preset;
use anyjepa::data::Dataset;
use anyjepa::device;
use anyjepa::error::{Error, Result};
use anyjepa::stop::Stop;
use anyjepa::train::{ConfigChange, Metrics, Observer, Resume, Run, train};

struct Lines;

impl Observer for Lines {
    fn begin(&mut self, step: usize, steps: usize) {
        println!("from step {step} to {steps}");
    }

    fn metrics(&mut self, metrics: &Metrics) {
        let rank = metrics.feature_rank.map_or(String::new(), |rank| format!(", rank of the features {rank:.1}"));
        println!("step {}: loss {:.4}{rank}", metrics.step, metrics.loss);
    }

    fn checkpoint(&mut self, path: &Path) {
        println!("saved {}", path.display());
    }

    fn warning(&mut self, message: &str) {
        eprintln!("{message}");
    }
}

fn main() -> Result<()> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [data, out] = paths.as_slice() else {
        return Err(Error::usage("two paths are needed: PICTURES and RUN"));
    };
    let mut config = Preset::find("animals28")?.config();
    config.optim.epochs = 1;
    config.validate()?;

    let run = Run {
        config: &config,
        data: Arc::new(Dataset::open(data)?),
        out,
        device: &device::open("cpu".parse()?)?,
        resume: Resume::Auto,
        config_change: ConfigChange::Refuse,
        stop: Stop::default(),
    };
    let outcome = train(&run, &mut Lines)?;
    println!("{} steps; the encoder is in {}", outcome.steps, outcome.checkpoint.display());
    Ok(())
}
