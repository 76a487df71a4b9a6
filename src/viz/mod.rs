//! Pictures of what a run does.

pub mod colour;
pub mod masks;
