//! Recognising what stands at a path: which store of pictures it is, and which part of it is wanted.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::cifar::{Cifar, VARIANTS, Variant};
use super::dataset::{Named, Source};
use super::files::{EXTENSIONS, Files, is_sample_name, readable};
use super::idx::{self, Idx};
use super::list::{self, Entry};
use super::shard::Shards;
use super::synthetic;
use super::video::films::EXTENSIONS as FILMS;
use crate::error::{Error, IoContext, Result, require_exists};

/// Which part of data that come in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// What to learn from.
    Train,
    /// What was held out: `val` where there is one, otherwise `test` (MNIST's `t10k`).
    Test,
    /// Everything.
    All,
}

/// What stands before the path of a folder whose sub-folders are films, a picture a frame.
const FRAMES: &str = "frames:";

/// What the part `split` of each of `inputs`, a path or a glob, stands for, in this order.
pub(super) fn many(inputs: &[impl AsRef<Path>], split: Split) -> Result<Vec<Named>> {
    let mut entries = Vec::new();
    for input in inputs {
        entries.extend(expand(input.as_ref())?.into_iter().map(|path| (path, None)));
    }
    joined(entries, split, |path| path.is_dir() || !is_sample_name(path))
}

/// What the part `split` of each of the `entries` of a list stands for, in this order. What is no store, or not there at
/// all, is taken for a picture.
pub(super) fn listed(entries: Vec<Entry>, split: Split) -> Result<Vec<Named>> {
    let is_store = |path: &Path| match kind(path) {
        _ if is_named(path) => true,
        Ok(kind) => path.is_dir() || !matches!(kind, None | Some(Kind::Sample)),
        Err(_) => path.is_dir(),
    };
    joined(entries, split, is_store)
}

/// Files in sequence become one store, and what has no label and `is_store` one of its own.
fn joined(entries: Vec<Entry>, split: Split, is_store: impl Fn(&Path) -> bool) -> Result<Vec<Named>> {
    let mut found = Vec::new();
    let mut files = Vec::new();
    let several = entries.len() > 1;
    for (path, label) in entries {
        if label.is_some() || !is_store(&path) {
            files.push((path, label));
            continue;
        }
        found.extend(given(std::mem::take(&mut files))?);
        let before = if path.is_dir() { Some(path.as_path()) } else { path.parent() };
        let before = readable(before.unwrap_or(Path::new("")).as_os_str());
        for mut named in sources(&path, split)? {
            if several && !before.is_empty() && named.prefix.is_empty() {
                named.prefix = format!("{}/", before.trim_end_matches('/'));
            }
            found.push(named);
        }
    }
    found.extend(given(std::mem::take(&mut files))?);
    Ok(found)
}

/// The stores at `path`.
pub(super) fn sources(path: &Path, split: Split) -> Result<Vec<Named>> {
    if let Some(films) = synthetic::named(path, split) {
        return films;
    }
    if let Some(folder) = frames_in(path) {
        return folder_of_films(&require_exists(folder)?, split);
    }
    require_exists(path)?;
    if path.is_dir() {
        return folder(path, split);
    }
    let source: Box<dyn Source> = match kind(path)? {
        Some(Kind::Sample) => return given(vec![(path.to_path_buf(), None)]),
        Some(Kind::List) => Box::new(list::open(path)?.require()?),
        Some(Kind::Idx) => Box::new(Idx::open(path)?),
        Some(Kind::Cifar(variant)) => Box::new(Cifar::open(path, variant)?),
        Some(Kind::Tar) => Box::new(Shards::open(&[path.to_path_buf()])?.require()?),
        None => {
            return Err(Error::data(
                path,
                "neither a picture, a film, a text list, an IDX file, CIFAR's nor a tar file",
            )
            .with_remedy(format!("{}; lists in {}", endings(), LISTS.join(", "))));
        }
    };
    Ok(vec![Named { prefix: String::new(), source }])
}

/// Files that were given one by one as a single store, none where there are none; an error where FFmpeg is wanted and
/// missing.
fn given(files: Vec<Entry>) -> Result<Vec<Named>> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![Named { prefix: String::new(), source: Box::new(Files::listed(Path::new(""), files).require()?) }])
}

/// Whether `path` is no path but the name of generated films, or of a folder of films.
pub(super) fn is_named(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with(synthetic::SCHEME) || text.starts_with(FRAMES))
}

/// The folder of films that `path` means, where it means one.
fn frames_in(path: &Path) -> Option<&Path> {
    path.to_str()?.strip_prefix(FRAMES).map(Path::new)
}

fn folder_of_films(folder: &Path, split: Split) -> Result<Vec<Named>> {
    let mut folders = contents(folder)?;
    folders.retain(|path| path.is_dir());
    let mut films = Vec::new();
    for below in parts(folder, &folders, split)? {
        films.push(Files::frames(folder, below)?);
    }
    if films.iter().all(|films| films.len() == 0) {
        return Err(Error::data(folder, "no folder with pictures found")
            .with_remedy("after `frames:` stands a folder in which each folder with pictures is a film"));
    }
    Ok(films.into_iter().map(|films| Named { prefix: String::new(), source: Box::new(films) }).collect())
}

/// Which endings are those of pictures and films.
pub(super) fn endings() -> String {
    format!("pictures end in {}; films in {}", EXTENSIONS.join(", "), FILMS.join(", "))
}

/// The endings of text lists.
const LISTS: [&str; 5] = ["txt", "tsv", "csv", "lst", "list"];

/// What a single file is.
#[derive(Debug, PartialEq)]
enum Kind {
    /// A picture or a film.
    Sample,
    List,
    Idx,
    Cifar(&'static Variant),
    Tar,
}

/// What the file at `path` is, by its name where that says it, otherwise by its first bytes.
fn kind(path: &Path) -> Result<Option<Kind>> {
    const TAR_MAGIC_AT: usize = 257;
    let extension = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase).unwrap_or_default();
    if is_sample_name(path) {
        return Ok(Some(Kind::Sample));
    }
    if !std::fs::metadata(path).at("read", path)?.is_file() {
        return Err(Error::usage(format!("{} is a pipe, a socket or a device", path.display()))
            .with_remedy("give a file or a folder"));
    }
    if LISTS.contains(&extension.as_str()) {
        return Ok(Some(Kind::List));
    }
    if extension == "tar" {
        return Ok(Some(Kind::Tar));
    }
    if let Some(variant) = Variant::of(path) {
        return Ok(Some(Kind::Cifar(variant)));
    }
    let mut start = Vec::new();
    File::open(path).at("open", path)?.take(512).read_to_end(&mut start).at("read", path)?;
    if idx::is_gzip(&start) {
        let mut inner = [0; 4];
        let read = flate2::read::GzDecoder::new(start.as_slice()).read_exact(&mut inner);
        if read.is_ok() && idx::is_idx(&inner) {
            return Ok(Some(Kind::Idx));
        }
        return Err(Error::data(path, "a gzip file, but not of an IDX file").with_remedy("unpack it first"));
    }
    Ok(if idx::is_idx(&start) {
        Some(Kind::Idx)
    } else if image::guess_format(&start).is_ok() {
        Some(Kind::Sample)
    } else if start.get(TAR_MAGIC_AT..).is_some_and(|rest| rest.starts_with(b"ustar")) {
        Some(Kind::Tar)
    } else {
        None
    })
}

/// What is in the folder at `path`, sorted.
fn contents(path: &Path) -> Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).at("list", path)? {
        names.push(entry.at("list", path)?.file_name());
    }
    names.sort_unstable();
    Ok(names.iter().map(|name| path.join(name)).collect())
}

/// Those of the `folders` in `path` that are the part `split`, by their names; `path` itself, with no name, where it has
/// no parts.
fn parts<'a>(path: &Path, folders: &'a [PathBuf], split: Split) -> Result<Vec<&'a Path>> {
    let parts: Vec<_> =
        folders.iter().filter_map(|folder| exact_part(folder).map(|part| (Some(part), folder))).collect();
    if parts.len() < 2 || parts.iter().all(|(part, _)| *part != Some(Part::Train)) {
        return Ok(vec![Path::new("")]);
    }
    let picked = pick(path, parts, split)?;
    Ok(picked.into_iter().map(|folder| Path::new(folder.file_name().unwrap_or_default())).collect())
}

/// The stores in the folder at `path`.
fn folder(path: &Path, split: Split) -> Result<Vec<Named>> {
    let (folders, mut files): (Vec<PathBuf>, Vec<PathBuf>) =
        contents(path)?.into_iter().partition(|path| path.is_dir());
    // To open a pipe that is called as a store is could mean to wait for ever.
    files.retain(|file| file.is_file());

    let mut found: Vec<Box<dyn Source>> = Vec::new();
    let idx = files.iter().filter(|file| {
        let name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.contains("images") && name.contains("idx3")
    });
    let idx: Vec<_> = idx.map(|file| (part_of(file), file)).collect();
    for file in pick(path, idx, split)? {
        found.push(Box::new(Idx::open(file)?));
    }
    for variant in &VARIANTS {
        let of_variant = files.iter().filter(|file| Variant::of(file) == Some(variant));
        let test = path.join(variant.test);
        let parts = of_variant.map(|file| (Some(if *file == test { Part::Test } else { Part::Train }), file));
        for file in pick(path, parts.collect(), split)? {
            found.push(Box::new(Cifar::open(file, variant)?));
        }
    }
    let shards = files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "tar"));
    let shards: Vec<PathBuf> = pick(path, shards.map(|file| (part_of(file), file.clone())).collect(), split)?;
    if !shards.is_empty() {
        found.push(Box::new(Shards::open(&shards)?.require()?));
    }
    if found.is_empty() {
        for below in parts(path, &folders, split)? {
            found.push(Box::new(Files::tree(path, below)?.require()?));
        }
    }
    if found.iter().all(|source| source.len() == 0) {
        return Err(Error::data(path, "no pictures found").with_remedy(format!(
            "looked for pictures ({}) and films ({}) in it and its sub-folders, for IDX files (*images*idx3*), \
             CIFAR's binary files ({}) and tar shards (*.tar)",
            EXTENSIONS.join(", "),
            FILMS.join(", "),
            VARIANTS.each_ref().map(|variant| variant.test).join(", "),
        )));
    }
    Ok(found.into_iter().map(|source| Named { prefix: String::new(), source }).collect())
}

/// Which part a name says. Where there are several held-out parts, the first of these is the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Train,
    Validation,
    Test,
}

/// The part that a whole word of a file's name says, such as `train-images-idx3-ubyte` or `val-0001.tar`.
fn part_of(path: &Path) -> Option<Part> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    name.split(|letter: char| !letter.is_ascii_alphanumeric()).find_map(part_named)
}

/// The part that a folder's whole name says.
fn exact_part(path: &Path) -> Option<Part> {
    part_named(&path.file_name()?.to_str()?.to_ascii_lowercase())
}

fn part_named(word: &str) -> Option<Part> {
    match word {
        "train" | "training" => Some(Part::Train),
        "val" | "valid" | "validation" => Some(Part::Validation),
        "test" | "testing" | "t10k" => Some(Part::Test),
        _ => None,
    }
}

/// Those of `found` that belong to `split`, or to no part at all.
fn pick<T>(path: &Path, found: Vec<(Option<Part>, T)>, split: Split) -> Result<Vec<T>> {
    let held_out = found.iter().filter_map(|(part, _)| *part).filter(|part| *part != Part::Train).min();
    let (wanted, name) = match split {
        Split::All => return Ok(found.into_iter().map(|(_, item)| item).collect()),
        Split::Train => (Some(Part::Train), "training"),
        Split::Test => (held_out, "test"),
    };
    let any = !found.is_empty();
    let picked: Vec<T> =
        found.into_iter().filter(|(part, _)| part.is_none() || *part == wanted).map(|(_, item)| item).collect();
    if any && picked.is_empty() {
        return Err(Error::data(path, format!("the data come in parts, but there is no {name} part"))
            .with_remedy("give the path of the part itself"));
    }
    Ok(picked)
}

/// The paths that `input` means: itself where it exists, otherwise the matches of it as a glob.
///
/// Of the matches, folders and files of pictures and films are taken; whatever else lies there is left.
fn expand(input: &Path) -> Result<Vec<PathBuf>> {
    if is_named(input) {
        return Ok(vec![input.to_path_buf()]);
    }
    let pattern = input.to_str().filter(|text| text.contains(['*', '?', '[']));
    let (false, Some(pattern)) = (input.symlink_metadata().is_ok(), pattern) else {
        return Ok(vec![require_exists(input)?]);
    };
    let matches = glob::glob(pattern).map_err(|error| {
        Error::usage(format!("{pattern} is no glob: {error}"))
            .with_remedy("check the path; in a glob [ and ] stand around the characters that one may be")
    })?;
    let mut paths: Vec<PathBuf> = matches.filter_map(Result::ok).collect();
    paths.sort_unstable();
    paths.retain(|path| path.is_dir() || matches!(kind(path), Ok(Some(kind)) if kind != Kind::List));
    if paths.is_empty() {
        return Err(Error::usage(format!("no folder and no file of pictures matches {pattern}"))
            .with_remedy("check the pattern; quote it if the shell should leave it alone"));
    }
    Ok(paths)
}
