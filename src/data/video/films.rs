//! Whatever stands at a place as a film: a file for FFmpeg, a folder of frames, or a picture, which is a film of one frame.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::place::Place;
use super::probe::Film;
use super::timeline::Timeline;
use super::tools::Tools;
use super::{FOLDER_RATE, decode, folder};
use crate::data::dataset::Wanted;
use crate::data::files::ends_in;
use crate::data::picture::{Decoded, Picture};
use crate::data::skip::{Fault, SkipReason};
use crate::error::Result;

/// The endings of files that are taken as films. Those of GIFs are pictures' as well, and films where clips are wanted.
pub(in crate::data) const EXTENSIONS: [&str; 6] = ["avi", "m4v", "mkv", "mov", "mp4", "webm"];

/// Whether a file's ending says that it is a film, and nothing else.
pub(in crate::data) fn is_film_name(path: &Path) -> bool {
    ends_in(path, &EXTENSIONS)
}

fn is_gif_name(path: &Path) -> bool {
    ends_in(path, &["gif"])
}

/// What a sample is to a model of clips.
#[derive(Debug, Clone, Copy)]
pub(in crate::data) enum Footage<'a> {
    /// A picture, which stands still.
    Picture(Place<'a>),
    /// A film to a model of clips, and its first frame to a model of pictures.
    Gif(Place<'a>),
    /// A film that FFmpeg decodes.
    Film(Place<'a>),
    /// A folder of frames.
    Folder(&'a Path),
}

impl<'a> Footage<'a> {
    /// What stands at `path`.
    pub fn at(path: &'a Path) -> Self {
        match Self::called(path, Place::File(path)) {
            Self::Picture(_) if path.is_dir() => Self::Folder(path),
            footage => footage,
        }
    }

    /// What the file called `name` is, which lies at `place`.
    pub fn called(name: &Path, place: Place<'a>) -> Self {
        match () {
            () if is_film_name(name) => Self::Film(place),
            () if is_gif_name(name) => Self::Gif(place),
            () => Self::Picture(place),
        }
    }
}

/// Reads films; what was seen in each is kept.
#[derive(Debug)]
pub(in crate::data) struct Films {
    tools: Tools,
    looks: Mutex<HashMap<usize, Arc<Film>>>,
    /// Films that have run into their time limit, by [`Place::key`], with what is said of them.
    overdue: Mutex<HashMap<(PathBuf, u64), Fault>>,
}

impl Default for Films {
    fn default() -> Self {
        Self::with(Tools::installed().clone())
    }
}

impl Films {
    /// Reads with these programs.
    pub fn with(tools: Tools) -> Self {
        Self { tools, looks: Mutex::default(), overdue: Mutex::default() }
    }

    /// Whether those files of these `names` that are films can be read here.
    ///
    /// # Errors
    /// FFmpeg is wanted and missing; the remedy says how to get it.
    pub fn require<'a>(&self, names: impl IntoIterator<Item = &'a Path>) -> Result<()> {
        if names.into_iter().any(is_film_name) { self.tools.require() } else { Ok(()) }
    }

    /// Whether those that FFmpeg decodes where clips are wanted can be read here: films, and GIFs too.
    ///
    /// # Errors
    /// As [`Films::require`].
    pub fn require_clips<'a>(&self, names: impl IntoIterator<Item = &'a Path>) -> Result<()> {
        let is_decoded = |name: &Path| is_film_name(name) || is_gif_name(name);
        if names.into_iter().any(is_decoded) { self.tools.require() } else { Ok(()) }
    }

    /// When the frames of sample `i` are shown.
    ///
    /// # Errors
    /// A [`Fault`] that says why there is no film. What is in a picture file is not looked at.
    pub fn timeline(&self, i: usize, footage: Footage<'_>, stop: &AtomicBool) -> Result<Timeline, Fault> {
        Ok(match footage {
            Footage::Picture(_) => Timeline::even(1, FOLDER_RATE),
            Footage::Folder(path) => Timeline::even(folder::pictures(path)?.len(), FOLDER_RATE),
            Footage::Film(place) | Footage::Gif(place) => self.look(i, place, stop)?.timeline.clone(),
        })
    }

    /// Hands over what is `wanted` of sample `i`; gives the frames' times.
    ///
    /// # Errors
    /// A [`Fault`] that says why one of them cannot be had.
    pub fn frames(&self, i: usize, footage: Footage<'_>, wanted: Wanted<'_>) -> Result<Vec<f64>, Fault> {
        let Wanted { frames, stop, .. } = wanted;
        match footage {
            Footage::Picture(place) => {
                let decoded = place.picture()?;
                (0..frames.len()).for_each(|at| (wanted.each)(at, &decoded.picture));
                Ok(vec![0.0; frames.len()])
            }
            Footage::Folder(path) => {
                folder::frames(&folder::pictures(path)?, wanted)?;
                Ok(frames.iter().map(|frame| *frame as f64 / FOLDER_RATE).collect())
            }
            Footage::Film(place) | Footage::Gif(place) => {
                let film = self.look(i, place, stop)?;
                let decode = || decode::frames(&self.tools, place, &film, wanted);
                let times = self.unless_overdue(place, stop, decode)?;
                // A container counts from where it likes; one that tells when frames are decoded tells of the time between.
                let shown = frames
                    .iter()
                    .zip(times)
                    .map(|(frame, time)| if film.exact { time } else { film.timeline.time(*frame) });
                Ok(shown.map(|time| time - film.timeline.time(0)).collect())
            }
        }
    }

    /// The picture that stands for sample `i`: the frame in the middle.
    ///
    /// # Errors
    /// As [`Films::frames`].
    pub fn picture(&self, i: usize, footage: Footage<'_>, stop: &AtomicBool) -> Result<Decoded, Fault> {
        if let Footage::Picture(place) | Footage::Gif(place) = footage {
            return place.picture();
        }
        let middle = self.timeline(i, footage, stop)?.len() / 2;
        let mut picture = Picture::default();
        let mut each = |_, frame: &Picture| picture.clone_from(frame);
        self.frames(i, footage, Wanted { frames: &[middle], stop, each: &mut each })?;
        Ok(picture.into())
    }

    fn look(&self, i: usize, place: Place<'_>, stop: &AtomicBool) -> Result<Arc<Film>, Fault> {
        if let Some(film) = locked(&self.looks).get(&i) {
            return Ok(Arc::clone(film));
        }
        let film = Arc::new(self.unless_overdue(place, stop, || Film::open(&self.tools, place, stop))?);
        locked(&self.looks).insert(i, Arc::clone(&film));
        Ok(film)
    }

    /// What `read` gives of the film at `place`, unless a program has run into its time limit with it before: it would take
    /// as long again, in every epoch.
    fn unless_overdue<T>(
        &self,
        place: Place<'_>,
        stop: &AtomicBool,
        read: impl FnOnce() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if let Some(fault) = locked(&self.overdue).get(&place.key()) {
            return Err(fault.clone());
        }
        let read = read();
        if let Err(fault) = &read
            && fault.reason == SkipReason::TimedOut
            // What nobody waited for any more has not had its time.
            && !stop.load(Ordering::Relaxed)
        {
            locked(&self.overdue).insert(place.key(), fault.clone());
        }
        read
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
