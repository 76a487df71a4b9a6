//! Pre-training: the step, its schedules, and the loop around it.

mod answer;
mod aside;
mod batch;
mod collapse;
mod cost;
mod events;
mod health;
mod metrics;
mod norm;
mod objective;
mod optimizer;
mod plan;
mod preflight;
mod resume;
mod run;
mod schedule;
mod step;
mod tally;

pub use collapse::{Signs, collapse};
pub use cost::{Flops, PassTokens};
pub use metrics::{Metrics, read_series};
pub use objective::{distance, normalise_targets, spread};
pub use optimizer::{AdamW, moving_average};
pub use plan::{Corners, Machine, Plan};
pub use resume::{ConfigChange, Resume};
pub use run::{Observer, Outcome, Run, train};
pub use schedule::{Rates, Schedule};
pub use step::{Forward, Networks, Pass, StepGradients, upload};
