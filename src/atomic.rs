//! Files and folders that appear whole or not at all: written aside, synced, renamed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{IoContext, Result};

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
/// If the file system refuses; the old file is then untouched.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let partial = partial_path(path);
    let mut file = File::create(&partial).at("create", &partial)?;
    file.write_all(content).at("write", &partial)?;
    file.sync_all().at("write", &partial)?;
    drop(file);
    rename(&partial, path)
}

/// Gives the file or folder `aside`, which is whole, its own name.
///
/// # Errors
/// If the file system refuses.
pub fn rename(aside: &Path, path: &Path) -> Result<()> {
    fs::rename(aside, path).at("create", path)?;
    sync_folder(path)
}

/// Makes the rename itself durable; only Unix lets a folder be synced.
#[cfg(unix)]
fn sync_folder(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).at("sync", folder)
}

#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> Result<()> {
    Ok(())
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
