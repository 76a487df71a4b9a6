//! anyjepa: JEPA training and feature extraction on any GPU.
//!
//! docs/ARCHITECTURE.md maps the modules; dependencies point from the later ones here to the earlier ones.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod error;
pub mod faults;
pub mod random;

pub mod atomic;
pub mod chance;
pub mod lock;
pub mod matrix;
pub mod stop;

pub mod config;

pub mod data;
pub mod masks;

pub(crate) mod kernels;

pub mod fused;

pub mod device;
pub mod model;

pub mod compile;
pub mod runtime;
pub mod weights;

pub mod eval;
pub mod viz;

pub mod extract;
pub mod train;

pub mod bench;
pub mod demo;
pub mod parity;
pub mod verify;
