//! Frozen features on disk: what they are, how they are written a shard at a time, and how they are read back.

mod compiled;
mod engine;
mod features;
mod formats;
mod index;
mod mirrored;
mod model;
pub mod package;
mod provenance;
mod run;
mod shard;
mod writer;

#[cfg(test)]
mod tests;

pub use compiled::CompiledEngine;
pub use engine::{BurnEngine, Encoded, FeatureEngine, ReadOut, Views, encode_all};
pub use features::FeatureSet;
pub use index::{FileEntry, INDEX_FILE, Index, ShardEntry};
pub use model::{Frozen, Way};
pub use provenance::{Difference, FeatureDtype, Format, Provenance, Tokens};
pub use run::{Existing, Extracted, Extraction, SKIPPED_FILE, extract};
pub use shard::Shape;
pub use writer::{Position, Row, Writer, WriterOptions};
