//! A data set: numbered pictures with names and labels, whatever they are stored in.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::list::{self, ListEnd};
use super::open::{self, Split};
use super::picture::{Decoded, Picture};
use super::skip::{Fault, Skip};
use super::video::{Clip, FOLDER_RATE, Timeline};
use crate::error::Result;

/// Frames that are wanted of a sample.
pub(super) struct Wanted<'a> {
    /// Ascending, each once.
    pub frames: &'a [usize],
    /// Nobody waits for them any more where it comes on.
    pub stop: &'a AtomicBool,
    /// Takes a frame and its place in `frames`; one may come more than once, and the last time counts. All are of one size.
    pub each: &'a mut dyn FnMut(usize, &Picture),
}

/// One store of pictures, such as a folder or a file that holds many.
pub(super) trait Source: Send + Sync + std::fmt::Debug {
    /// How many pictures.
    fn len(&self) -> usize;
    /// The name of picture `i`, unique in this source.
    fn name(&self, i: usize) -> String;
    /// The label of picture `i`: an index into [`Source::classes`].
    fn label(&self, i: usize) -> Option<u32>;
    /// The labels' names.
    fn classes(&self) -> &[String];
    /// Reads and decodes picture `i`; of a film, the frame in the middle, which nobody waits for any more where `stop` comes
    /// on.
    fn picture(&self, i: usize, stop: &AtomicBool) -> Result<Decoded, Fault>;
    /// When the frames of sample `i` are shown, which nobody waits for any more where `stop` comes on.
    fn timeline(&self, _i: usize, _stop: &AtomicBool) -> Result<Timeline, Fault> {
        Ok(Timeline::even(1, FOLDER_RATE))
    }
    /// Hands over what is `wanted` of sample `i`; gives the frames' times in seconds.
    fn frames(&self, i: usize, wanted: Wanted<'_>) -> Result<Vec<f64>, Fault> {
        let decoded = self.picture(i, wanted.stop)?;
        (0..wanted.frames.len()).for_each(|at| (wanted.each)(at, &decoded.picture));
        Ok(vec![0.0; wanted.frames.len()])
    }
    /// Whether what decodes its clips is at hand.
    fn require_clips(&self) -> Result<()> {
        Ok(())
    }
    /// How many of its samples are films, as their names say; a GIF counts as a picture.
    fn films(&self) -> usize {
        0
    }
    /// Adds what tells this source's content from another's.
    fn fingerprint(&self, hasher: &mut blake3::Hasher);
}

/// Numbered pictures with names and labels; their order depends on nothing but their names.
#[derive(Debug)]
pub struct Dataset {
    parts: Vec<Part>,
    len: usize,
    classes: Vec<String>,
}

/// A source, and what its names begin with.
#[derive(Debug)]
pub(super) struct Named {
    pub prefix: String,
    pub source: Box<dyn Source>,
}

#[derive(Debug)]
struct Part {
    prefix: String,
    source: Box<dyn Source>,
    /// The number of its first picture in the data set.
    start: usize,
    /// For each label of the source, the data set's.
    labels: Vec<u32>,
}

impl Dataset {
    /// Opens what stands at `path`; of a training and a test part, the training part.
    ///
    /// It may be a folder of pictures and films (in sub-folders, which are classes, or not), a folder with parts `train`
    /// and `val` or `test`, a picture, a film, a text list, IDX files, CIFAR's binary files, a tar shard or a folder of
    /// them; `frames:` and a folder whose sub-folders with pictures are films.
    ///
    /// # Errors
    /// A usage error where there is nothing at `path`; a data error that says what was looked for where nothing was
    /// found, or what is wrong with what was found; where there are films, that FFmpeg is missing.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_split(path, Split::Train)
    }

    /// Opens one part, or all, of what stands at `path`; data without parts are opened whole.
    ///
    /// # Errors
    /// As [`Dataset::open`]; a data error as well where there are parts, but not this one.
    pub fn open_split(path: &Path, split: Split) -> Result<Self> {
        Ok(Self::of(open::sources(path, split)?))
    }

    /// Opens the same part of each of `inputs`, a path as for [`Dataset::open`] or a glob, one after the other.
    ///
    /// Classes of the same name become one. Where there are several inputs, names begin with the input's.
    ///
    /// # Errors
    /// As [`Dataset::open_split`].
    pub fn open_many(inputs: &[impl AsRef<Path>], split: Split) -> Result<Self> {
        Ok(Self::of(open::many(inputs, split)?))
    }

    /// Opens what the list `text` from standard input names: a line is `path` or `path label`, as in a list in a file, and
    /// a path without a label may be all that [`Dataset::open`] takes.
    ///
    /// Files are named as they are given. A missing one is a [`Skip`], not an error.
    ///
    /// # Errors
    /// A usage error where it is empty or does not end its entries as `end` says; a data error where none of its first
    /// entries exists; otherwise as [`Dataset::open_split`].
    pub fn open_list(text: &[u8], end: ListEnd, split: Split) -> Result<Self> {
        Ok(Self::of(open::listed(list::piped(text, end)?, split)?))
    }

    /// The samples of `sources`, one after the other.
    pub(super) fn of(sources: Vec<Named>) -> Self {
        let classes = merged(&sources);
        // A list of one line can name the label 65,535, and so as many classes.
        let places: HashMap<&String, u32> = classes.iter().zip(0..).collect();
        let mut len = 0;
        let mut parts = Vec::with_capacity(sources.len());
        for Named { prefix, source } in sources {
            let place = |class| places.get(class).copied().unwrap_or(0);
            let labels = source.classes().iter().map(place).collect();
            let start = len;
            len += source.len();
            parts.push(Part { prefix, source, start, labels });
        }
        Self { parts, len, classes }
    }

    /// How many pictures there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no picture.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What there is, in words: "3 pictures", "1 film" or "2 pictures and 3 films".
    pub fn contents(&self) -> String {
        let films = self.parts.iter().map(|part| part.source.films()).sum();
        let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        match (self.len - films, films) {
            (pictures, 0) => counted(pictures, "picture"),
            (0, films) => counted(films, "film"),
            (pictures, films) => format!("{} and {}", counted(pictures, "picture"), counted(films, "film")),
        }
    }

    /// The names of the labels 0, 1, ...; none where no picture has a label.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The label of picture `i`, which is below [`Dataset::len`].
    pub fn label(&self, i: usize) -> Option<u32> {
        let (part, i) = self.part(i);
        part.source.label(i).map(|label| part.labels[label as usize])
    }

    /// A name for picture `i`, which stays the same as long as the data do: a relative path, or a file and a number.
    pub fn name(&self, i: usize) -> String {
        let (part, i) = self.part(i);
        format!("{}{}", part.prefix, part.source.name(i))
    }

    /// Reads and decodes picture `i`, which is below [`Dataset::len`].
    ///
    /// # Errors
    /// A [`Skip`] that says why the picture cannot be had.
    pub fn picture(&self, i: usize) -> Result<Picture, Skip> {
        self.decoded_while(i, &AtomicBool::new(false)).map(|decoded| decoded.picture)
    }

    /// As [`Dataset::picture`], with the picture's share of memory, which nobody waits for any more where `stop` comes on.
    pub(super) fn decoded_while(&self, i: usize, stop: &AtomicBool) -> Result<Decoded, Skip> {
        let (part, within) = self.part(i);
        part.source.picture(within, stop).map_err(|fault| self.skip(i, fault))
    }

    /// When the frames of sample `i`, which is below [`Dataset::len`], are shown; a picture is one frame.
    ///
    /// # Errors
    /// A [`Skip`] that says why there is no film.
    pub fn timeline(&self, i: usize) -> Result<Timeline, Skip> {
        self.timeline_while(i, &AtomicBool::new(false))
    }

    /// As [`Dataset::timeline`], which nobody waits for any more where `stop` comes on.
    pub(super) fn timeline_while(&self, i: usize, stop: &AtomicBool) -> Result<Timeline, Skip> {
        let (part, within) = self.part(i);
        part.source.timeline(within, stop).map_err(|fault| self.skip(i, fault))
    }

    /// Hands over what is `wanted` of sample `i`, as [`Source::frames`] says.
    pub(super) fn frames(&self, i: usize, wanted: Wanted<'_>) -> Result<Vec<f64>, Skip> {
        let (part, within) = self.part(i);
        part.source.frames(within, wanted).map_err(|fault| self.skip(i, fault))
    }

    /// The frames `frames` of sample `i`, in this order; those beyond the film's end are its last.
    ///
    /// # Errors
    /// A [`Skip`] that says why one of them cannot be had.
    pub fn clip(&self, i: usize, frames: &[usize]) -> Result<Clip, Skip> {
        let last = self.timeline(i)?.len().saturating_sub(1);
        let frames: Vec<usize> = frames.iter().map(|frame| (*frame).min(last)).collect();
        let mut wanted = frames.clone();
        wanted.sort_unstable();
        wanted.dedup();
        let mut clip = Clip { frames: frames.len(), ..Clip::default() };
        let mut put = |at: usize, picture: &Picture| {
            clip.put(picture, (0..frames.len()).filter(|t| frames[*t] == wanted[at]));
        };
        let times = self.frames(i, Wanted { frames: &wanted, stop: &AtomicBool::new(false), each: &mut put })?;
        let place = |frame: &usize| wanted.binary_search(frame).unwrap_or_default();
        clip.times = frames.iter().map(|frame| times[place(frame)]).collect();
        Ok(clip)
    }

    fn skip(&self, i: usize, Fault { reason, detail }: Fault) -> Skip {
        Skip { sample: i as u64, name: self.name(i), reason, detail }
    }

    /// BLAKE3 of names, labels and sizes, as hexadecimal digits: whether two runs saw the same data.
    ///
    /// It does not depend on where the data stand, and it is cheap: of many files only some are opened, so that another
    /// picture of the same name and size may go unnoticed.
    pub fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for class in &self.classes {
            hash_text(&mut hasher, class);
        }
        for part in &self.parts {
            hash_text(&mut hasher, &part.prefix);
            part.source.fingerprint(&mut hasher);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Whether what decodes its clips is at hand.
    ///
    /// # Errors
    /// There are films, or GIFs, and FFmpeg is missing.
    pub(super) fn require_clips(&self) -> Result<()> {
        self.parts.iter().try_for_each(|part| part.source.require_clips())
    }

    fn part(&self, i: usize) -> (&Part, usize) {
        let part = &self.parts[self.parts.partition_point(|part| part.start <= i) - 1];
        (part, i - part.start)
    }
}

/// Adds `text` with its length, so that texts in sequence cannot be confused.
pub(super) fn hash_text(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

/// Of so many samples every how many-th is opened for a fingerprint.
pub(super) fn stride(samples: usize) -> usize {
    const OPENED: usize = 256;
    samples.div_ceil(OPENED).max(1)
}

/// Adds the first bytes at `offset` of the regular file at `path`, as far as they can be read.
pub(super) fn hash_start(hasher: &mut blake3::Hasher, path: &Path, offset: u64) {
    const START: u64 = 4096;
    let mut start = Vec::new();
    // A pipe would be waited for.
    if path.is_file()
        && let Ok(mut file) = File::open(path)
        && file.seek(SeekFrom::Start(offset)).is_ok()
    {
        // What cannot be read is as good as not there.
        let _ = file.take(START).read_to_end(&mut start);
    }
    hasher.update(&(start.len() as u64).to_le_bytes());
    hasher.update(&start);
}

/// Adds a label, or that there is none.
pub(super) fn hash_label(hasher: &mut blake3::Hasher, label: Option<u32>) {
    hasher.update(&label.map_or(u64::MAX, u64::from).to_le_bytes());
}

/// The classes of all sources, each once; in the order of numbers where all are numbers.
fn merged(sources: &[Named]) -> Vec<String> {
    let of_each = || sources.iter().map(|named| named.source.classes());
    let first = of_each().next().unwrap_or_default();
    if of_each().all(|classes| classes == first) {
        return first.to_vec();
    }
    let all: BTreeSet<&String> = of_each().flatten().collect();
    let mut classes: Vec<String> = all.into_iter().cloned().collect();
    if let Some(numbers) = classes.iter().map(|class| class.parse::<u32>().ok()).collect::<Option<BTreeSet<u32>>>() {
        classes = numbers.into_iter().map(|number| number.to_string()).collect();
    }
    classes
}
