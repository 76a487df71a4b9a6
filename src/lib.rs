//! anyjepa: JEPA training and feature extraction on any GPU.
//!
//! docs/ARCHITECTURE.md maps the modules; dependencies point from the later ones here to the earlier ones.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod error;
pub mod random;

pub mod config;

pub mod data;
