//! Tar shards: pictures and films inside tar files, found in one pass and then read in place.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::dataset::{Source, Wanted, hash_label, hash_start, hash_text, stride};
use super::files::{is_sample_name, readable};
use super::labels;
use super::picture::Decoded;
use super::skip::Fault;
use super::video::Timeline;
use super::video::films::{Films, Footage, is_film_name};
use super::video::place::Place;
use crate::error::{Error, IoContext, Result};
use crate::tape;

/// Pictures and films inside tar files, with labels from `.cls` files as WebDataset has them, or from folders.
#[derive(Debug)]
pub(super) struct Shards {
    /// Each with its name.
    files: Vec<(PathBuf, String)>,
    entries: Vec<Entry>,
    labels: Vec<Option<u32>>,
    classes: Vec<String>,
    films: Films,
}

/// Where a picture or a film lies.
#[derive(Debug)]
struct Entry {
    shard: usize,
    name: String,
    offset: u64,
    size: u64,
}

impl Shards {
    /// The pictures and films in the tar files at `paths`, in the order in which they stand there.
    ///
    /// A sample's label is the content of the entry of the same name, up to the first dot, that ends in `.cls`. In tar
    /// files without any such entry it is the folder in which the sample stands, as [`folders`] finds it.
    ///
    /// # Errors
    /// A file that cannot be read, is no tar file, or ends early.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut shards = Self {
            files: Vec::new(),
            entries: Vec::new(),
            labels: Vec::new(),
            classes: Vec::new(),
            films: Films::default(),
        };
        let (mut texts, mut unsaid) = (Vec::new(), Vec::new());
        for path in paths {
            let first = shards.entries.len();
            let classes = shards.index(path)?;
            if classes.is_empty() {
                unsaid.extend(first..shards.entries.len());
            }
            texts.extend(shards.entries[first..].iter().map(|entry| classes.get(key(&entry.name)).cloned()));
        }
        let names: Vec<&str> = unsaid.iter().map(|i| shards.entries[*i].name.as_str()).collect();
        let folders = folders(&names);
        let all_of_folders = folders.len() == texts.len();
        unsaid.iter().zip(folders).for_each(|(i, folder)| texts[*i] = Some(folder));
        (shards.labels, shards.classes) = if all_of_folders { labels::name(&texts) } else { labels::number(&texts) };
        Ok(shards)
    }

    /// These, where the films among them can be read here.
    ///
    /// # Errors
    /// There are films, and FFmpeg is missing.
    pub fn require(self) -> Result<Self> {
        self.films.require(self.names())?;
        Ok(self)
    }

    fn names(&self) -> impl Iterator<Item = &Path> {
        self.entries.iter().map(|entry| Path::new(&entry.name))
    }

    fn footage(&self, i: usize) -> Footage<'_> {
        let Entry { shard, ref name, offset, size } = self.entries[i];
        Footage::called(Path::new(name), Place::Within { tar: &self.files[shard].0, offset, size })
    }

    /// Adds the samples of the tar file at `path`; gives the content of its `.cls` entries by [`key`].
    fn index(&mut self, path: &Path) -> Result<HashMap<String, String>> {
        /// A label is a number or a word.
        const LONGEST_LABEL: u64 = 4096;
        let damaged = |error: std::io::Error| {
            Error::data(path, format!("the tar file is damaged or ends early: {error}")).with_remedy("fetch it again")
        };
        let length = std::fs::metadata(path).at("read", path)?.len();
        let (file, ration) = tape::rationed(BufReader::new(File::open(path).at("open", path)?));
        let mut archive = tar::Archive::new(file);
        let mut classes = HashMap::new();
        let mut entries = archive.entries_with_seek().map_err(damaged)?;
        let entries = std::iter::from_fn(|| {
            ration.renew();
            entries.next()
        });
        for (number, entry) in entries.enumerate() {
            let mut entry = entry.map_err(|error| match number {
                _ if ration.is_spent() => {
                    let most = tape::MAX_NAME_BYTES >> 20;
                    Error::data(path, format!("the name or the attributes of an entry take more than {most} MiB"))
                        .with_remedy("pack the shard again, with names of a usual length and no extended attributes")
                }
                // The archive's own message would quote whatever bytes stand where a header should.
                0 => Error::data(path, "this is no tar file").with_remedy("pack the shard as plain tar, uncompressed"),
                _ => damaged(error),
            })?;
            let name = entry.path().map_err(damaged)?.into_owned();
            let (offset, size) = (entry.raw_file_position(), entry.size());
            if !entry.header().entry_type().is_file() {
                continue;
            }
            if offset.saturating_add(size) > length {
                return Err(damaged(std::io::Error::other(format!("{} is cut", name.display()))));
            }
            if name.extension().is_some_and(|extension| extension == "cls") {
                let mut text = String::new();
                entry.by_ref().take(LONGEST_LABEL).read_to_string(&mut text).map_err(damaged)?;
                classes.insert(key(&readable(name.as_os_str())).to_owned(), text.trim().to_owned());
            } else if is_sample_name(&name) {
                let name = readable(name.as_os_str());
                self.entries.push(Entry { shard: self.files.len(), name, offset, size });
            }
        }
        self.files.push((path.to_path_buf(), readable(path.file_name().unwrap_or(path.as_os_str()))));
        Ok(classes)
    }
}

/// What the files of one sample have in common: the name up to the first dot after the folders.
fn key(name: &str) -> &str {
    let folders = name.rfind('/').map_or(0, |slash| slash + 1);
    name[folders..].find('.').map_or(name, |dot| &name[..folders + dot])
}

/// The class of each of `names` by its folders: the first one below those that all have in common, or where all stand in
/// the same one, that; none at all where one stands in no such folder.
fn folders(names: &[&str]) -> Vec<String> {
    let parts = |name: &'_ str| -> Vec<String> {
        let folder = name.rfind('/').map_or("", |slash| &name[..slash]);
        folder.split('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect()
    };
    let Some(first) = names.first() else { return Vec::new() };
    let mut common = parts(first);
    let mut deeper = false;
    for name in names {
        let parts = parts(name);
        let shared = common.iter().zip(&parts).take_while(|(one, other)| one == other).count();
        deeper |= shared < common.len() || parts.len() > shared;
        common.truncate(shared);
    }
    let class = if deeper { Some(common.len()) } else { common.len().checked_sub(1) };
    let class = |name: &&str| parts(name).into_iter().nth(class?);
    names.iter().map(class).collect::<Option<_>>().unwrap_or_default()
}

impl Source for Shards {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn name(&self, i: usize) -> String {
        let entry = &self.entries[i];
        format!("{}/{}", self.files[entry.shard].1, entry.name)
    }

    fn label(&self, i: usize) -> Option<u32> {
        self.labels[i]
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn picture(&self, i: usize, stop: &AtomicBool) -> Result<Decoded, Fault> {
        self.films.picture(i, self.footage(i), stop)
    }

    fn timeline(&self, i: usize, stop: &AtomicBool) -> Result<Timeline, Fault> {
        self.films.timeline(i, self.footage(i), stop)
    }

    fn frames(&self, i: usize, wanted: Wanted<'_>) -> Result<Vec<f64>, Fault> {
        self.films.frames(i, self.footage(i), wanted)
    }

    fn require_clips(&self) -> Result<()> {
        self.films.require_clips(self.names())
    }

    fn films(&self) -> usize {
        self.names().filter(|name| is_film_name(name)).count()
    }

    fn fingerprint(&self, hasher: &mut blake3::Hasher) {
        for (i, entry) in self.entries.iter().enumerate() {
            hash_text(hasher, &self.name(i));
            hasher.update(&entry.size.to_le_bytes());
            hash_label(hasher, self.labels[i]);
        }
        for entry in self.entries.iter().step_by(stride(self.entries.len())) {
            hash_start(hasher, &self.files[entry.shard].0, entry.offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_the_first_folder_that_not_all_have_in_common() {
        assert_eq!(folders(&["./all/bee/1.png", "all/ant/x/2.png"]), ["bee", "ant"]);
        assert_eq!(folders(&["all/ant/1.png", "./all/ant/2.png"]), ["ant", "ant"]);
        assert!(folders(&["all/ant/1.png", "all/2.png"]).is_empty() && folders(&["1.png"]).is_empty());
    }
}
