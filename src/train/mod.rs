//! Pre-training: the step, its schedules, and the loop around it.

pub mod checkpoint;
mod events;
mod metrics;
mod norm;
mod objective;
mod optimizer;
mod plan;
mod resume;
mod run;
mod schedule;
mod step;
mod tally;

pub use metrics::{Metrics, read_series};
pub use objective::{distance, normalise_targets, spread};
pub use optimizer::{AdamW, moving_average};
pub use plan::{Corners, Flops, Machine, Plan};
pub use resume::Resume;
pub use run::{Observer, Outcome, Run, train};
pub use schedule::{Rates, Schedule};
pub use step::{Forward, Networks, StepGradients, upload};
