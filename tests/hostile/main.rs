//! Files that lie, break off or mean harm, from outside: the process never panics, hangs, grows or changes them.

mod archives;
mod child;
mod films;
mod gallery;
#[path = "../support/gpu.rs"]
mod gpu;
mod pictures;
mod plans;
mod sizes;
#[path = "../cpu_engine/plans.rs"]
mod vit;
mod weights;
