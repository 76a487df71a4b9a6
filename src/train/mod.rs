//! Pre-training: the step, its schedules, and the loop around it.

pub mod checkpoint;
mod events;
mod metrics;
mod norm;
mod objective;
mod optimizer;
mod plan;
mod run;
mod schedule;
mod step;

pub use metrics::{Metrics, read_series};
pub use objective::{distance, normalise_targets, spread};
pub use optimizer::{AdamW, moving_average};
pub use plan::{Corners, Flops, Machine, Plan};
pub use run::{Observer, Outcome, Resume, Run, train};
pub use schedule::{Rates, Schedule};
pub use step::{Forward, Networks, StepGradients, upload};
