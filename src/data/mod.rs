//! Pictures and films: from files of many kinds to batches of normalised inputs.
//!
//! [`Dataset`] numbers the pictures and films of folders, lists, IDX, CIFAR and tar files; a picture is a film of one frame. [`TrainLoader`] and [`EvalLoader`] make
//! batches of them. Nothing here depends on the number of threads, and no file can end a run: what cannot be read is
//! skipped with its reason.

mod bad;
mod budget;
mod cifar;
mod crop;
#[cfg(feature = "train")]
pub(crate) mod crop_statistics;
mod dataset;
mod files;
mod header;
mod idx;
mod labels;
mod list;
mod loader;
mod open;
mod order;
mod picture;
mod pipeline;
mod resize;
mod shard;
mod skip;
mod synthetic;
mod transform;
mod video;

#[cfg(test)]
mod tests;

pub use bad::{MAX_BAD, check_bad};
pub use crop::RandomCrop;
pub use dataset::Dataset;
pub use labels::{renumber, unlabelled};
pub use list::ListEnd;
pub use loader::{Batch, EvalLoader, EvalPlan, TrainLoader, TrainPlan, steps_per_epoch};
pub use open::Split;
pub use order::EpochOrder;
pub use picture::{MAX_DECODED_BYTES, MAX_FILE_BYTES, MAX_SIDE, Picture};
pub use resize::{Interpolation, Region, Resize};
pub use skip::{Fault, Skip, SkipLog, SkipReason};
pub use synthetic::{DIRECTIONS, SYNTHETIC_FRAMES, SYNTHETIC_SIDE};
pub use transform::{EvalTransform, Geometry, InputFormat, Scratch, TrainTransform};
pub use video::{Clip, FILM_LIMIT, FOLDER_RATE, MAX_FRAMES, Timeline, random_clip, spread_clips};
