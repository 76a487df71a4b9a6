//! Pictures of what a run does.

pub mod chart;
pub mod colour;
pub mod masks;
pub mod report;
pub mod seen;
pub mod tiles;
