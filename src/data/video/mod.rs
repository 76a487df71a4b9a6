//! Films: files that FFmpeg decodes in a process of its own, and folders of frames.
//!
//! A film is looked into once ([`Timeline`]), and of each clip only the frames that are wanted are decoded, from the key
//! frame before them. A process that hangs, crashes or floods its output costs its sample and never the run.

mod child;
mod clip;
mod decode;
pub(super) mod films;
pub(super) mod folder;
pub(super) mod place;
mod ppm;
mod probe;
mod sampling;
mod timeline;
mod tools;

#[cfg(all(test, unix))]
mod tests;

pub use clip::Clip;
pub use folder::FOLDER_RATE;
pub use probe::MAX_FRAMES;
pub use sampling::{random_clip, spread_clips};
pub use timeline::Timeline;
pub use tools::FILM_LIMIT;
