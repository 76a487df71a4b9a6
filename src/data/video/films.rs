//! Whatever stands at a path as a film: a file for FFmpeg, a folder of frames, or a picture, which is a film of one frame.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::child::Patience;
use super::probe::Film;
use super::timeline::Timeline;
use super::tools::Tools;
use super::{FOLDER_RATE, decode, folder};
use crate::data::files::ends_in;
use crate::data::picture::{Decoded, Picture};
use crate::data::skip::Fault;
use crate::error::Result;

/// The endings of files that are taken as films. Those of GIFs are pictures' as well, and films where clips are wanted.
pub(in crate::data) const EXTENSIONS: [&str; 6] = ["avi", "m4v", "mkv", "mov", "mp4", "webm"];

/// Whether a file's ending says that it is a film, and nothing else.
pub(in crate::data) fn is_film_name(path: &Path) -> bool {
    ends_in(path, &EXTENSIONS)
}

/// Whether a file's ending says that FFmpeg reads it where clips are wanted.
fn is_film_file(path: &Path) -> bool {
    is_film_name(path) || ends_in(path, &["gif"])
}

/// Reads films; what was seen in each is kept.
#[derive(Debug)]
pub(in crate::data) struct Films {
    tools: Tools,
    looks: Mutex<HashMap<usize, Arc<Film>>>,
}

impl Default for Films {
    fn default() -> Self {
        Self::with(Tools::installed().clone())
    }
}

impl Films {
    /// Reads with these programs.
    pub fn with(tools: Tools) -> Self {
        Self { tools, looks: Mutex::default() }
    }

    /// Whether those of `paths` that are film files can be read here.
    ///
    /// # Errors
    /// FFmpeg is wanted and missing; the remedy says how to get it.
    pub fn require<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) -> Result<()> {
        if paths.into_iter().any(is_film_name) { self.tools.require() } else { Ok(()) }
    }

    /// Whether those of `paths` that FFmpeg decodes where clips are wanted can be read here: films, and GIFs too.
    ///
    /// # Errors
    /// As [`Films::require`].
    pub fn require_clips<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) -> Result<()> {
        if paths.into_iter().any(is_film_file) { self.tools.require() } else { Ok(()) }
    }

    /// When the frames of sample `i`, which stands at `path`, are shown.
    ///
    /// # Errors
    /// A [`Fault`] that says why there is no film. What is in a picture file is not looked at.
    pub fn timeline(&self, i: usize, path: &Path, stop: &AtomicBool) -> Result<Timeline, Fault> {
        Ok(match Footage::at(path) {
            Footage::Picture => Timeline::even(1, FOLDER_RATE),
            Footage::Folder => Timeline::even(folder::pictures(path)?.len(), FOLDER_RATE),
            Footage::Film => self.look(i, path, stop)?.timeline.clone(),
        })
    }

    /// Hands the frames `wanted`, ascending and each once, to `each` with their places in `wanted`; gives their times.
    ///
    /// A frame may be handed over more than once; the last time counts.
    ///
    /// # Errors
    /// A [`Fault`] that says why one of them cannot be had.
    pub fn frames(
        &self,
        i: usize,
        path: &Path,
        wanted: &[usize],
        stop: &AtomicBool,
        each: &mut dyn FnMut(usize, &Picture),
    ) -> Result<Vec<f64>, Fault> {
        match Footage::at(path) {
            Footage::Picture => {
                let decoded = Decoded::read(path)?;
                (0..wanted.len()).for_each(|at| each(at, &decoded.picture));
                Ok(vec![0.0; wanted.len()])
            }
            Footage::Folder => {
                folder::frames(&folder::pictures(path)?, wanted, each)?;
                Ok(wanted.iter().map(|frame| *frame as f64 / FOLDER_RATE).collect())
            }
            Footage::Film => {
                let film = self.look(i, path, stop)?;
                let times = decode::frames(&self.tools, path, &film, wanted, self.patience(stop), each)?;
                // A container counts from where it likes.
                Ok(times.into_iter().map(|time| time - film.timeline.time(0)).collect())
            }
        }
    }

    /// The picture that stands for sample `i`: the frame in the middle.
    ///
    /// # Errors
    /// As [`Films::frames`].
    pub fn picture(&self, i: usize, path: &Path, stop: &AtomicBool) -> Result<Decoded, Fault> {
        // A GIF's first frame, as before films were read.
        if !is_film_name(path) && !path.is_dir() {
            return Decoded::read(path);
        }
        let middle = self.timeline(i, path, stop)?.len() / 2;
        let mut picture = Picture::default();
        self.frames(i, path, &[middle], stop, &mut |_, frame| picture.clone_from(frame))?;
        Ok(picture.into())
    }

    fn look(&self, i: usize, path: &Path, stop: &AtomicBool) -> Result<Arc<Film>, Fault> {
        if let Some(film) = self.looks.lock().unwrap_or_else(PoisonError::into_inner).get(&i) {
            return Ok(Arc::clone(film));
        }
        let film = Arc::new(Film::open(&self.tools, path, self.patience(stop))?);
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).insert(i, Arc::clone(&film));
        Ok(film)
    }

    fn patience<'a>(&self, stop: &'a AtomicBool) -> Patience<'a> {
        Patience { until: Instant::now() + self.tools.limit, stop }
    }
}

enum Footage {
    Picture,
    Folder,
    Film,
}

impl Footage {
    fn at(path: &Path) -> Self {
        match () {
            () if is_film_file(path) => Self::Film,
            () if path.is_dir() => Self::Folder,
            () => Self::Picture,
        }
    }
}
