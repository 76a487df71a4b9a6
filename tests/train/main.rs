//! `anyjepa train`, as its users run it: continued, interrupted, diverging, with files that cannot be read.

mod ablations;
mod continued;
mod ended;
mod inputs;
mod runs;
