//! Text lists: a picture, a film or a folder of frames a line, with or without its label.

use std::path::{Path, PathBuf};

use super::files::{Files, is_sample_name};
use super::open::{self, endings};
use crate::error::{Error, IoContext, Result};

/// So many entries are looked up, to notice a list that is no list or whose paths start elsewhere.
const LOOKED_UP: usize = 100;

/// A path, and the text of its label.
pub(super) type Entry = (PathBuf, Option<String>);

/// How the entries of a list that is piped in end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListEnd {
    /// With a line feed, as those of a list in a file.
    LineFeed,
    /// With NUL: each is a path, whatever characters it has, and no label.
    Nul,
}

/// The pictures, films and folders of frames that the list at `path` names, relative to the list's folder.
///
/// # Errors
/// A list that cannot be read, is no text, or of whose first entries none exists.
pub(super) fn open(path: &Path) -> Result<Files> {
    let text = String::from_utf8(std::fs::read(path).at("read", path)?)
        .map_err(|_| Error::data(path, "a list is UTF-8 text, and this is not").with_remedy(remedy()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let entries: Vec<Entry> = text.lines().filter_map(|line| entry(folder, line)).collect();
    require_some(&entries, path, folder)?;
    Ok(Files::listed(folder, entries))
}

/// What the list `bytes` from standard input names, relative to the working folder.
///
/// # Errors
/// A usage error where it is empty, or where its entries do not end as `end` says; a data error where none of its first
/// entries exists.
pub(super) fn piped(bytes: &[u8], end: ListEnd) -> Result<Vec<Entry>> {
    let here = Path::new("");
    let entries: Vec<Entry> = match end {
        ListEnd::LineFeed if bytes.contains(&0) => {
            return Err(Error::usage("the paths on standard input end with NUL, which no path holds")
                .with_remedy("add -0, or write one path a line"));
        }
        ListEnd::LineFeed => {
            let line = |line: &[u8]| match std::str::from_utf8(line) {
                Ok(line) => Ok(entry(here, line)),
                Err(_) => path_of(line.strip_suffix(b"\r").unwrap_or(line)).map(|path| Some((path, None))),
            };
            bytes.split(|byte| *byte == b'\n').filter_map(|bytes| line(bytes).transpose()).collect::<Result<_>>()?
        }
        ListEnd::Nul => {
            let paths = bytes.split(|byte| *byte == 0).filter(|path| !path.is_empty());
            paths.map(|path| Ok((path_of(path)?, None))).collect::<Result<_>>()?
        }
    };
    if entries.is_empty() {
        return Err(Error::usage("standard input names no path")
            .with_remedy("pipe in a list, such as `find pictures -name '*.jpg' -print0 | anyjepa extract -0 ...`"));
    }
    let several = |(path, _): &&Entry| path.as_os_str().as_encoded_bytes().contains(&b'\n') && !path.exists();
    if end == ListEnd::Nul && entries.iter().any(|entry| several(&entry)) {
        return Err(Error::usage("the paths on standard input end with line feeds, and -0 wants NUL")
            .with_remedy("give - instead of -0, or make the list with `find ... -print0`"));
    }
    require_some(&entries, Path::new("standard input"), here)?;
    Ok(entries)
}

/// Refuses a list from `origin` of whose first entries, relative to `folder`, none exists.
fn require_some(entries: &[Entry], origin: &Path, folder: &Path) -> Result<()> {
    let exists = |path: &Path| folder.join(path).exists() || open::is_named(path);
    match entries.first() {
        None => Err(Error::data(origin, "the list is empty").with_remedy(remedy())),
        Some((missing, _)) if !entries.iter().take(LOOKED_UP).any(|(path, _)| exists(path)) => Err(Error::data(
            origin,
            format!("no picture that the list names exists, such as {}", folder.join(missing).display()),
        )
        .with_remedy(remedy())),
        Some(_) => Ok(()),
    }
}

#[cfg(unix)]
fn path_of(bytes: &[u8]) -> Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    Ok(std::ffi::OsStr::from_bytes(bytes).into())
}

#[cfg(not(unix))]
fn path_of(bytes: &[u8]) -> Result<PathBuf> {
    let text = std::str::from_utf8(bytes);
    text.map(Into::into).map_err(|_| Error::data("standard input", "is not UTF-8").with_remedy("write paths as UTF-8"))
}

fn remedy() -> String {
    format!(
        "a list has a line `path`, `path label` or `path,label` for each picture, film or folder of frames, relative to the list's own \
         folder, or to the working folder where it comes from standard input; {}",
        endings()
    )
}

/// What a line says, `path` or `path label`; none where it is empty.
///
/// A tab, the last blank or the last comma stands between them. After a blank or a comma only what follows the name of a
/// picture, of a film or of a folder is a label, so that blanks and commas in a path do no harm.
fn entry(folder: &Path, line: &str) -> Option<Entry> {
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    let of_two = |(path, label): (&str, &str)| Some((path.trim().into(), Some(label.trim().to_owned())));
    if let Some(both) = line.rsplit_once('\t') {
        return of_two(both);
    }
    // A folder of frames has no ending, and `take 7` may be one beside another that is called `take`.
    let is_folder = |path: &str| folder.join(path).is_dir() && !folder.join(line).exists();
    let is_path = |path: &str| is_sample_name(Path::new(path)) || is_folder(path);
    let whole = || Some((line.into(), None));
    if is_sample_name(Path::new(line)) {
        return whole();
    }
    let labelled = [' ', ','].into_iter().filter_map(|mark| line.rsplit_once(mark)).find(|both| is_path(both.0.trim()));
    labelled.map_or_else(whole, of_two)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_in_paths_and_missing_labels_are_understood() {
        let parsed = |line| {
            let (path, label) = entry(Path::new("/nowhere"), line).unwrap();
            (path.display().to_string(), label)
        };
        let label = |text: &str| Some(text.to_owned());
        assert_eq!(parsed("cats/a.jpg 3"), ("cats/a.jpg".into(), label("3")));
        assert_eq!(parsed("cats/a.jpg"), ("cats/a.jpg".into(), None));
        assert_eq!(parsed("my cats/a b.PNG"), ("my cats/a b.PNG".into(), None));
        assert_eq!(parsed("my cats/a b.PNG  black"), ("my cats/a b.PNG".into(), label("black")));
        assert_eq!(parsed("cats/a.jpg,3"), ("cats/a.jpg".into(), label("3")));
        assert_eq!(parsed("my cats/a, b.jpg, black cat"), ("my cats/a, b.jpg".into(), label("black cat")));
        assert_eq!(parsed("cats/a,b.jpg"), ("cats/a,b.jpg".into(), None));
        assert_eq!(parsed("films/a b.mp4 3"), ("films/a b.mp4".into(), label("3")));
        assert_eq!(parsed("no ending\tcat"), ("no ending".into(), label("cat")));

        let folder = tempfile::tempdir().unwrap();
        for name in ["take", "take 7", "clip"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let parsed = |line| entry(folder.path(), line).unwrap();
        assert_eq!(parsed("take 7"), ("take 7".into(), None));
        assert_eq!(parsed("clip,8"), ("clip".into(), label("8")));
        assert_eq!(parsed("take 8"), ("take".into(), label("8")));
        assert_eq!(parsed("take 7 8"), ("take 7".into(), label("8")));
        assert_eq!(parsed("clip 1.mp4"), ("clip 1.mp4".into(), None));
    }
}
