//! Training that can be trusted: killed, interrupted, on a full disk, with damaged checkpoints. `docs/RELIABILITY.md` says
//! which test holds which promise.

mod checkpoints;
mod collapse;
mod disk;
#[path = "../support/gpu.rs"]
mod gpu;
mod kill;
mod lost;
mod nonfinite;
#[cfg(target_os = "linux")]
mod order;
mod prompt;
mod recipes;
mod runs;
mod signals;
mod starts;
