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
pub(crate) mod tape;

pub mod config;

pub mod data;
#[cfg(feature = "train")]
pub mod masks;

#[cfg_attr(not(feature = "train"), expect(dead_code, reason = "gradients belong to training"))]
pub(crate) mod kernels;

#[cfg(feature = "train")]
pub mod fused;

pub mod device;
#[cfg(feature = "train")]
pub mod model;

pub mod compile;
pub mod runtime;
pub mod weights;

pub mod checkpoint;
#[cfg(feature = "train")]
pub mod eval;
#[cfg(feature = "train")]
pub mod viz;

pub mod extract;
#[cfg(feature = "train")]
pub mod train;

#[cfg(feature = "train")]
pub mod bench;
#[cfg(feature = "train")]
pub mod demo;
#[cfg(feature = "train")]
pub mod parity;
#[cfg(feature = "train")]
pub mod verify;
