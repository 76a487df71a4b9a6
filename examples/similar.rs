//! For each picture of a folder the most similar other one, by the cosine of frozen features.
//!
//!     cargo run --release --example similar -- runs/demo/seed-0 examples/data/photos

use std::path::PathBuf;
use std::sync::Arc;

use anyjepa::compile::Dtype;
use anyjepa::config::Layers;
use anyjepa::data::Dataset;
use anyjepa::error::{Error, Result};
use anyjepa::eval::{KnnConfig, Metric, neighbours};
use anyjepa::extract::{EngineChoice, FeatureDtype, Frozen, ReadOut, Tokens, Views};
use anyjepa::weights::{self, Which};
use burn::tensor::Device;

fn main() -> Result<()> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [weights, pictures] = paths.as_slice() else {
        return Err(Error::usage("two paths are needed: WEIGHTS and PICTURES"));
    };

    // An encoder on a device: a run, a checkpoint, a Hugging Face folder or a published .pth.tar.
    let choice = EngineChoice::Compiled { device: "cpu".parse()?, batch: 8, dtype: Dtype::F32 };
    let loaded = weights::open(weights, Some(Which::Target))?;
    let read_out = ReadOut { layers: Layers::Last, tokens: Tokens::Pooled, views: Views::One };
    let frozen = Frozen::new(loaded, Which::Target, read_out, FeatureDtype::F32, &choice)?;

    // Its features of every picture that can be read; the others are named.
    let data = Arc::new(Dataset::open(pictures)?);
    let (set, skipped) = frozen.features(&data, 8, 1, &mut |_| ())?;
    for skip in skipped {
        eprintln!("{skip}");
    }

    // The nearest to each picture is itself, the next the most similar.
    let config = KnnConfig { k: 2, metric: Metric::Cosine };
    for (row, nearest) in neighbours(&set.features, &set.features, &config, &Device::flex())?.iter().enumerate() {
        if let Some(other) = nearest.iter().find(|other| other.row != row) {
            println!("{} is most like {} (cosine {:.3})", set.names[row], set.names[other.row], other.score);
        }
    }
    Ok(())
}
