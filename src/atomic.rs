//! Files and folders that appear whole or not at all: written aside, synced, renamed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{IoContext, Result};
use crate::faults::{self, Point};

/// What the name of an unfinished file ends with.
pub const PARTIAL: &str = ".partial";

/// Where a file stands while it is being written: its own name with [`PARTIAL`] behind it, in the same folder.
pub fn partial_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(PARTIAL);
    PathBuf::from(name)
}

/// Writes `content` to `path`, replacing what is there.
///
/// Whoever looks sees the old file or the new one, also after a power cut. A process that is killed here leaves at most
/// the file at [`partial_path`].
///
/// # Errors
/// If the file system refuses; the old file is then untouched, and nothing is left beside it.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let partial = partial_path(path);
    fill(&partial, content)
        .and_then(|()| place(&partial, path))
        // What is half written is of no use, and the disk may be full.
        .inspect_err(|_| drop(fs::remove_file(&partial)))
        .writing(path, content.len())
}

fn fill(partial: &Path, content: &[u8]) -> io::Result<()> {
    faults::at(Point::FileCreate)?;
    let mut file = File::create(partial)?;
    faults::at(Point::FileWrite)?;
    file.write_all(content)?;
    sync(&file, Point::FileSync)
}

/// Makes what was written to `file` outlive a power cut; `point` is what tests call this place.
///
/// # Errors
/// If the file system refuses.
pub fn sync(file: &File, point: Point) -> io::Result<()> {
    faults::at(point)?;
    file.sync_all()
}

/// Makes the lines or records that were added to `file`, which stands at `path`, outlive a power cut.
///
/// # Errors
/// If the file system refuses.
pub fn sync_log(file: &File, path: &Path) -> Result<()> {
    let length = file.metadata().map_or(0, |metadata| metadata.len() as usize);
    sync(file, Point::LogsSync).writing(path, length)
}

/// Gives the file or folder `aside`, which is whole, its own name.
///
/// # Errors
/// If the file system refuses.
pub fn rename(aside: &Path, path: &Path) -> Result<()> {
    place(aside, path).at("create", path)
}

fn place(aside: &Path, path: &Path) -> io::Result<()> {
    faults::at(Point::Rename)?;
    fs::rename(aside, path)?;
    sync_folder(path)
}

/// Makes the rename itself durable; only Unix lets a folder be synced.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    sync(&File::open(folder)?, Point::FolderSync)
}

#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    faults::at(Point::FolderSync)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(partial_path(&path), "left by a killed process").unwrap();
        for content in ["one", "two"] {
            write(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(&path, "old").unwrap();
        fs::create_dir(partial_path(&path)).unwrap();
        assert!(write(&path, b"new").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    }
}
