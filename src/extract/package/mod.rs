//! A package: a folder that holds all that a compiled encoder needs, without the model's code and without burn.
//!
//! | file | what |
//! |---|---|
//! | `plan.json` | the [`Plan`](crate::compile::Plan) |
//! | `launches.json` | for each dispatch its shader, constants, workgroups and operands: enough for a browser |
//! | `shaders/*.wgsl` | the shaders, with nothing left to expand |
//! | `weights-*.safetensors` | the weights and other constants in the plan's layout, by the labels of their buffers, at most 64 MiB a file |
//! | `preprocess.json` | how a picture or a film becomes an input |
//! | `provenance.json` | where the features come from |
//! | `manifest.json` | size and BLAKE3 sum of every other file; a folder without it is no package |

mod read;
mod write;

pub use read::Package;
pub use write::{Contents, write};

const PLAN: &str = "plan.json";
const LAUNCHES: &str = "launches.json";
const SHADERS: &str = "shaders";
const PREPROCESS: &str = "preprocess.json";
const PROVENANCE: &str = "provenance.json";

/// The name of the `number`th file of weights.
fn shard(number: usize) -> String {
    format!("weights-{number:05}.safetensors")
}

#[cfg(all(test, feature = "train"))]
mod tests;
