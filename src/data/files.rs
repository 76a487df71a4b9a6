//! Pictures in files of their own: folder trees, and files given one by one.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use rayon::prelude::*;
use walkdir::WalkDir;

use super::dataset::{Source, hash_label, hash_start, hash_text, stride};
use super::labels;
use super::picture::Decoded;
use super::skip::Fault;
use crate::error::{Error, Result};

/// The endings of files that are taken as pictures in a folder.
pub(super) const EXTENSIONS: [&str; 13] =
    ["bmp", "gif", "jpeg", "jpg", "jfif", "pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp"];

/// Picture files below a common folder.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    /// Relative to `root`.
    paths: Vec<PathBuf>,
    labels: Vec<Option<u32>>,
    classes: Vec<String>,
}

impl Files {
    /// The pictures in `root`/`below` and in all folders in it, sorted by name, folder by folder.
    ///
    /// Where all of them stand in sub-folders, the first-level folders are the classes. Names that begin with a dot are
    /// left alone. Links are followed, but not into a folder that holds them.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn tree(root: &Path, below: &Path) -> Result<Self> {
        let folder = root.join(below);
        let hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
        let walk = WalkDir::new(&folder).follow_links(true).sort_by_file_name().into_iter();
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
                        return Err(Error::io("list", path.unwrap_or(folder), error)
                            .with_remedy("give yourself the right to read it, or leave it out"));
                    }
                },
            };
            if is_picture_name(&path) {
                paths.push(path);
            }
        }

        let class_of = |path: &PathBuf| {
            let mut parts = path.strip_prefix(&folder).ok()?.components();
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
        Ok(Self { root: root.to_path_buf(), paths, labels, classes })
    }

    /// These files of the folder `root`, in this order, each with its label's text.
    pub fn listed(root: &Path, entries: Vec<(PathBuf, Option<String>)>) -> Self {
        let (paths, texts): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        let (labels, classes) = labels::number(&texts);
        Self { root: root.to_path_buf(), paths, labels, classes }
    }
}

impl Source for Files {
    fn len(&self) -> usize {
        self.paths.len()
    }

    fn name(&self, i: usize) -> String {
        readable(self.paths[i].as_os_str())
    }

    fn label(&self, i: usize) -> Option<u32> {
        self.labels[i]
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn picture(&self, i: usize) -> Result<Decoded, Fault> {
        Decoded::read(&self.root.join(&self.paths[i]))
    }

    fn fingerprint(&self, hasher: &mut blake3::Hasher) {
        let paths: Vec<PathBuf> = self.paths.iter().map(|path| self.root.join(path)).collect();
        // On a slow file system the sizes take long one after the other.
        let size = |path: &PathBuf| std::fs::metadata(path).map_or(u64::MAX, |metadata| metadata.len());
        let sizes: Vec<u64> = paths.par_iter().map(size).collect();
        for (i, size) in sizes.iter().enumerate() {
            hash_text(hasher, &self.name(i));
            hash_label(hasher, self.labels[i]);
            hasher.update(&size.to_le_bytes());
        }
        paths.iter().step_by(stride(paths.len())).for_each(|path| hash_start(hasher, path, 0));
    }
}

/// Whether a file's ending says that it is a picture.
pub(super) fn is_picture_name(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
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
