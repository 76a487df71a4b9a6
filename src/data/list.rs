//! Text lists: a picture, a film or a folder of frames a line, with or without its label.

use std::path::{Path, PathBuf};

use super::files::{Files, is_sample_name};
use super::open::endings;
use crate::error::{Error, IoContext, Result};

/// The pictures, films and folders of frames that the list at `path` names, relative to the list's folder.
///
/// A line is `path` or `path label`; a tab or the last blank stands between them. After a blank only what follows the
/// name of a picture, of a film or of a folder is a label, so that blanks in a path do no harm.
///
/// # Errors
/// A list that cannot be read, is no text, or of whose first entries none exists.
pub(super) fn open(path: &Path) -> Result<Files> {
    /// So many entries are looked up, to notice a list that is no list or whose paths start elsewhere.
    const LOOKED_UP: usize = 100;
    let text = String::from_utf8(std::fs::read(path).at("read", path)?)
        .map_err(|_| Error::data(path, "a list is UTF-8 text, and this is not").with_remedy(remedy()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let entries: Vec<_> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| entry(folder, line)).collect();
    let mut first = entries.iter().take(LOOKED_UP);
    match entries.first() {
        None => Err(Error::data(path, "the list is empty").with_remedy(remedy())),
        Some((missing, _)) if !first.any(|(entry, _)| folder.join(entry).exists()) => Err(Error::data(
            path,
            format!("no picture that the list names exists, such as {}", folder.join(missing).display()),
        )
        .with_remedy(remedy())),
        Some(_) => Ok(Files::listed(folder, entries)),
    }
}

fn remedy() -> String {
    format!(
        "a list has a line `path` or `path label` for each picture, video or folder of frames, relative to the list's own \
         folder; {}",
        endings()
    )
}

fn entry(folder: &Path, line: &str) -> (PathBuf, Option<String>) {
    if let Some((path, label)) = line.rsplit_once('\t') {
        return (path.trim().into(), Some(label.trim().to_owned()));
    }
    let of_two = |(path, label): (&str, &str)| (path.trim().into(), Some(label.to_owned()));
    match line.rsplit_once(' ') {
        Some(both) if is_sample_name(Path::new(both.0.trim())) => of_two(both),
        // A folder of frames has no ending, and `take 7` may be one beside another that is called `take`.
        Some(both)
            if !is_sample_name(Path::new(line))
                && folder.join(both.0.trim()).is_dir()
                && !folder.join(line).exists() =>
        {
            of_two(both)
        }
        _ => (line.into(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_in_paths_and_missing_labels_are_understood() {
        let parsed = |line| {
            let (path, label) = entry(Path::new("/nowhere"), line);
            (path.display().to_string(), label)
        };
        let label = |text: &str| Some(text.to_owned());
        assert_eq!(parsed("cats/a.jpg 3"), ("cats/a.jpg".into(), label("3")));
        assert_eq!(parsed("cats/a.jpg"), ("cats/a.jpg".into(), None));
        assert_eq!(parsed("my cats/a b.PNG"), ("my cats/a b.PNG".into(), None));
        assert_eq!(parsed("my cats/a b.PNG  black"), ("my cats/a b.PNG".into(), label("black")));
        assert_eq!(parsed("films/a b.mp4 3"), ("films/a b.mp4".into(), label("3")));
        assert_eq!(parsed("no ending\tcat"), ("no ending".into(), label("cat")));

        let folder = tempfile::tempdir().unwrap();
        for name in ["take", "take 7", "clip"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let parsed = |line| entry(folder.path(), line);
        assert_eq!(parsed("take 7"), ("take 7".into(), None));
        assert_eq!(parsed("take 8"), ("take".into(), label("8")));
        assert_eq!(parsed("take 7 8"), ("take 7".into(), label("8")));
        assert_eq!(parsed("clip 1.mp4"), ("clip 1.mp4".into(), None));
    }
}
