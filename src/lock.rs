//! A folder's lock: one process at a time writes there.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, IoContext as _, Kind, Result};
use crate::faults::{self, Point};

/// The file in a folder that carries its lock.
pub const LOCK_FILE: &str = ".lock";

/// Holds a folder until it is dropped, or its process ends in whatever way.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock of `folder`, which exists. The file `.lock` in it says who holds it, and stays when they let go: what
    /// counts is the operating system's lock on it.
    ///
    /// # Errors
    /// Of kind [`Kind::Locked`] while another holds it, with its process and host.
    pub fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(LOCK_FILE);
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(&path).at("open", &path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut file).unwrap_or_else(|| "another process".to_owned());
                let message = format!("{} is in use by {holder}", folder.display());
                return Err(Error::new(Kind::Locked, message).with_remedy("wait for it to end, or name another folder"));
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path, error)),
        }
        let holder = format!("process {} on {}\n", std::process::id(), gethostname::gethostname().display());
        faults::at(Point::Sign)
            .and_then(|()| file.set_len(0))
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()))
            .writing(&path, holder.len())?;
        Ok(Self { _file: file })
    }
}

/// Who holds the lock of `file`. Who has taken it a moment ago may not have signed it yet, and an earlier holder's name
/// may still stand there: so this waits before it reads, and reads again while there is nothing.
fn holder(file: &mut File) -> Option<String> {
    /// Far longer than it takes to sign, and short enough to wait for.
    const MOMENT: Duration = Duration::from_millis(100);
    (0..20).find_map(|_| {
        std::thread::sleep(MOMENT);
        let mut text = String::new();
        file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
        text.strip_suffix('\n').map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_a_folder_and_the_next_is_told_who() {
        let folder = tempfile::tempdir().unwrap();
        let held = FolderLock::take(folder.path()).unwrap();
        let error = FolderLock::take(folder.path()).unwrap_err();
        assert_eq!(error.kind(), Kind::Locked);
        assert!(error.to_string().contains(&format!("process {} on ", std::process::id())), "{error}");
        drop(held);
        FolderLock::take(folder.path()).unwrap();
    }
}
