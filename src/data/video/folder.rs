//! A film as a folder of pictures, one a frame.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use crate::data::dataset::Wanted;
use crate::data::files::is_picture_name;
use crate::data::picture::{Decoded, Picture, unreadable};
use crate::data::skip::{Fault, SkipReason};

/// Frames a second of a folder, which says nothing of time.
pub const FOLDER_RATE: f64 = 25.0;

/// The pictures in the folder at `path`, in the order of their names, numbers in them counted as numbers.
///
/// # Errors
/// A [`Fault`] where the folder cannot be listed or holds no picture.
pub(in crate::data) fn pictures(path: &Path) -> Result<Vec<PathBuf>, Fault> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| unreadable(&error))? {
        let entry = entry.map_err(|error| unreadable(&error))?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && is_picture_name(&entry.path()) {
            paths.push(entry.path());
        }
    }
    if paths.is_empty() {
        return Err(Fault::new(SkipReason::NoVideo, "the folder holds no pictures"));
    }
    let name = |path: &PathBuf| path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
    paths.sort_by_cached_key(|path| Natural(name(path)));
    Ok(paths)
}

/// Hands over those of the pictures at `paths` that are `wanted`.
///
/// # Errors
/// The [`Fault`] of a picture, or one of another size than the first.
pub(in crate::data) fn frames(paths: &[PathBuf], wanted: Wanted<'_>) -> Result<(), Fault> {
    let mut size = None;
    for (at, frame) in wanted.frames.iter().enumerate() {
        let Some(path) = paths.get(*frame) else {
            return Err(Fault::new(SkipReason::Truncated, format!("the folder has lost its frame {frame}")));
        };
        let name = || path.file_name().unwrap_or_default().display().to_string();
        let decoded =
            Decoded::read(path).map_err(|fault| Fault { detail: format!("{}: {}", name(), fault.detail), ..fault })?;
        let Picture { width, height, channels, .. } = decoded.picture;
        let expected = *size.get_or_insert((width, height, channels));
        if expected != (width, height, channels) {
            let detail = format!("{} is of {width}x{height}x{channels}, other frames of {expected:?}", name());
            return Err(Fault::new(SkipReason::Unsupported, detail));
        }
        (wanted.each)(at, &decoded.picture);
    }
    Ok(())
}

/// A name in which runs of digits are compared as numbers: `frame9` comes before `frame10`.
#[derive(PartialEq, Eq)]
struct Natural(Vec<u8>);

impl Natural {
    /// Runs of digits without leading zeros, by length and digits, and after them other bytes one by one.
    fn parts(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (part, behind) = rest.split_at_checked(digits.max(1))?;
            rest = behind;
            let zeros = part.iter().take_while(|byte| **byte == b'0').count().min(part.len() - 1);
            Some((if digits > 0 { part.len() - zeros } else { usize::MAX }, &part[zeros..]))
        })
    }
}

impl Ord for Natural {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(other.parts()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count_as_numbers() {
        let mut names = ["f10.png", "f9.png", "f010.png", "f1.png", "g0.png", "f.png", "f1a.png", "10", "9"];
        names.sort_by_key(|name| Natural(name.as_bytes().to_vec()));
        assert_eq!(names, ["9", "10", "f1.png", "f1a.png", "f9.png", "f010.png", "f10.png", "f.png", "g0.png"]);
    }
}
