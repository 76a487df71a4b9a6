//! Frozen features on disk: what they are, how they are written a shard at a time, and how they are read back.

#[cfg(feature = "train")]
mod choice;
mod compiled;
mod engine;
mod features;
mod formats;
mod frozen;
mod index;
#[cfg(feature = "train")]
mod mirrored;
#[cfg(feature = "train")]
mod operations;
pub mod package;
#[cfg(feature = "train")]
mod per_time;
mod provenance;
mod run;
mod shard;
mod times;
mod writer;

#[cfg(test)]
mod tests;

#[cfg(feature = "train")]
pub use choice::EngineChoice;
pub use compiled::{CompiledEngine, Timed};
pub use engine::{Encoded, FeatureEngine, ReadOut, Views, encode_all};
pub use features::FeatureSet;
pub use frozen::Frozen;
pub use index::{INDEX_FILE, Index, ShardEntry};
#[cfg(feature = "train")]
pub use operations::BurnEngine;
pub use provenance::{Difference, FeatureDtype, Format, Provenance, Tokens};
pub use run::{Existing, Extracted, Extraction, SKIPPED_FILE, extract};
pub use shard::Shape;
pub use times::Times;
pub use writer::{Position, Row, Writer, WriterOptions};
