//! Pictures and films in files of their own: folder trees, files given one by one, and folders of frames.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rayon::prelude::*;
use walkdir::WalkDir;

use super::dataset::{Source, Wanted, hash_label, hash_start, hash_text, stride};
use super::labels;
use super::picture::Decoded;
use super::skip::Fault;
use super::video::Timeline;
use super::video::films::{Films, Footage, is_film_name};
use super::video::folder;
use crate::error::{Error, Result};

/// The endings of files that are taken as pictures in a folder.
pub(super) const EXTENSIONS: [&str; 13] =
    ["bmp", "gif", "jpeg", "jpg", "jfif", "pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp"];

/// Picture and film files, or folders of frames, below a common folder.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    /// Relative to `root`.
    paths: Vec<PathBuf>,
    labels: Vec<Option<u32>>,
    classes: Vec<String>,
    films: Films,
}

impl Files {
    /// The pictures and films in `root`/`below` and in all folders in it, sorted by name, folder by folder.
    ///
    /// Where all of them stand in sub-folders, the first-level folders are the classes. Names that begin with a dot are
    /// left alone. Links are followed, but not into a folder that holds them.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn tree(root: &Path, below: &Path) -> Result<Self> {
        Ok(Self::classed(root, &root.join(below), walk(&root.join(below))?))
    }

    /// The folders in `root`/`below` that hold pictures, each a film of its own; labels are as in [`Files::tree`].
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn frames(root: &Path, below: &Path) -> Result<Self> {
        let mut paths = walk(&root.join(below))?;
        paths.retain(|path| is_picture_name(path));
        paths.iter_mut().for_each(|path| {
            path.pop();
        });
        paths.dedup();
        paths.sort_unstable();
        paths.dedup();
        Ok(Self::classed(root, &root.join(below), paths))
    }

    /// These files of the folder `root`; where all of them stand in sub-folders of `folder`, those are the classes.
    fn classed(root: &Path, folder: &Path, paths: Vec<PathBuf>) -> Self {
        let class_of = |path: &PathBuf| {
            let mut parts = path.strip_prefix(folder).ok()?.components();
            match (parts.next(), parts.next()) {
                (Some(Component::Normal(first)), Some(_)) => Some(readable(first)),
                _ => None,
            }
        };
        let mut labels = vec![None; paths.len()];
        let mut classes = Vec::new();
        if let Some(names) = paths.iter().map(class_of).collect::<Option<Vec<String>>>() {
            classes = names.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
            labels = names.iter().map(|name| classes.binary_search(name).ok().map(|place| place as u32)).collect();
        }
        let relative = |path: PathBuf| path.strip_prefix(root).map_or_else(|_| path.clone(), Path::to_path_buf);
        let paths = paths.into_iter().map(relative).collect();
        Self { root: root.to_path_buf(), paths, labels, classes, films: Films::default() }
    }

    /// These files of the folder `root`, in this order, each with its label's text.
    pub fn listed(root: &Path, entries: Vec<(PathBuf, Option<String>)>) -> Self {
        let (paths, texts): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        let (labels, classes) = labels::number(&texts);
        Self { root: root.to_path_buf(), paths, labels, classes, films: Films::default() }
    }

    /// Whether all of them can be read here.
    ///
    /// # Errors
    /// There are films, and FFmpeg is missing.
    pub fn require(self) -> Result<Self> {
        self.films.require(self.paths.iter().map(PathBuf::as_path))?;
        Ok(self)
    }

    fn path(&self, i: usize) -> PathBuf {
        self.root.join(&self.paths[i])
    }
}

impl Source for Files {
    fn len(&self) -> usize {
        self.paths.len()
    }

    fn name(&self, i: usize) -> String {
        // The folder itself, where its own pictures are the frames of a film.
        let own = self.root.file_name().filter(|_| self.paths[i].as_os_str().is_empty());
        readable(own.unwrap_or(self.paths[i].as_os_str()))
    }

    fn label(&self, i: usize) -> Option<u32> {
        self.labels[i]
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn picture(&self, i: usize, stop: &AtomicBool) -> Result<Decoded, Fault> {
        self.films.picture(i, Footage::at(&self.path(i)), stop)
    }

    fn timeline(&self, i: usize, stop: &AtomicBool) -> Result<Timeline, Fault> {
        self.films.timeline(i, Footage::at(&self.path(i)), stop)
    }

    fn require_clips(&self) -> Result<()> {
        self.films.require_clips(self.paths.iter().map(PathBuf::as_path))
    }

    fn films(&self) -> usize {
        // A folder of frames is a film too; the system is not asked of what has the name of a picture.
        let is_film = |path: &PathBuf| is_film_name(path) || !is_picture_name(path) && self.root.join(path).is_dir();
        self.paths.iter().filter(|path| is_film(path)).count()
    }

    fn frames(&self, i: usize, wanted: Wanted<'_>) -> Result<Vec<f64>, Fault> {
        self.films.frames(i, Footage::at(&self.path(i)), wanted)
    }

    fn fingerprint(&self, hasher: &mut blake3::Hasher) {
        let paths: Vec<PathBuf> = (0..self.paths.len()).map(|i| self.path(i)).collect();
        // On a slow file system the sizes take long one after the other.
        let of_file = |path: &Path| std::fs::metadata(path).map_or(u64::MAX, |metadata| metadata.len());
        let size = |path: &PathBuf| match path.is_dir() {
            true => {
                folder::pictures(path).unwrap_or_default().iter().map(|frame| of_file(frame)).fold(0, u64::wrapping_add)
            }
            false => of_file(path),
        };
        let sizes: Vec<u64> = paths.par_iter().map(size).collect();
        for (i, size) in sizes.iter().enumerate() {
            hash_text(hasher, &self.name(i));
            hash_label(hasher, self.labels[i]);
            hasher.update(&size.to_le_bytes());
        }
        paths.iter().step_by(stride(paths.len())).for_each(|path| hash_start(hasher, path, 0));
    }
}

/// The pictures and films in `folder` and in all folders in it, sorted by name, folder by folder.
fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter();
    let mut paths = Vec::new();
    for entry in walk.filter_entry(|entry| entry.depth() == 0 || !hidden(entry.file_name())) {
        let path = match entry {
            // Pipes and devices stay in, so that their being skipped is seen.
            Ok(entry) if !entry.file_type().is_dir() => entry.into_path(),
            Ok(_) => continue,
            Err(error) if error.loop_ancestor().is_some() => {
                tracing::warn!("{error}; it is not followed");
                continue;
            }
            Err(error) => match (error.path().map(Path::to_path_buf), error.into_io_error()) {
                // A link that leads nowhere, or around, stays in as well.
                (Some(path), Some(_)) if path.is_symlink() && path.metadata().is_err() => path,
                (Some(path), Some(error)) if error.kind() == std::io::ErrorKind::NotFound => path,
                (path, error) => {
                    let error = error.unwrap_or_else(|| std::io::Error::other("unknown"));
                    return Err(Error::io("list", path.unwrap_or(folder.to_path_buf()), error)
                        .with_remedy("give yourself the right to read it, or leave it out"));
                }
            },
        };
        if is_sample_name(&path) {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Whether a file's ending says that it is a picture or a film.
pub(super) fn is_sample_name(path: &Path) -> bool {
    is_picture_name(path) || is_film_name(path)
}

/// Whether a file's ending says that it is a picture.
pub(super) fn is_picture_name(path: &Path) -> bool {
    ends_in(path, &EXTENSIONS)
}

/// Whether a file's ending is one of `endings`, in whatever case.
pub(super) fn ends_in(path: &Path, endings: &[&str]) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    extension.is_some_and(|extension| endings.contains(&extension.as_str()))
}

/// A path as text: slashes on every system, and bytes that are not UTF-8 as `\xNN`, so that names stay unique.
pub(super) fn readable(path: &OsStr) -> String {
    let mut text = String::new();
    for chunk in path.as_encoded_bytes().utf8_chunks() {
        text += chunk.valid();
        for byte in chunk.invalid() {
            text += &format!("\\x{byte:02x}");
        }
    }
    if std::path::MAIN_SEPARATOR == '/' { text } else { text.replace(std::path::MAIN_SEPARATOR, "/") }
}
