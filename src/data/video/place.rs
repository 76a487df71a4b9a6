//! Where a sample's bytes lie: in a file of its own, or within a tar file, where FFmpeg too reads them in place.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::data::picture::{Decoded, plain_file, unreadable};
use crate::data::skip::{Fault, SkipReason};

/// The place of a picture or a film.
#[derive(Debug, Clone, Copy)]
pub(in crate::data) enum Place<'a> {
    /// A file, or whatever else the path leads to.
    File(&'a Path),
    /// `size` bytes of the tar file at `tar`, from `offset` on.
    Within { tar: &'a Path, offset: u64, size: u64 },
}

impl Place<'_> {
    /// Reads and decodes the picture that lies here.
    ///
    /// # Errors
    /// A [`Fault`] that says why there is no picture.
    pub fn picture(self) -> Result<Decoded, Fault> {
        let (tar, offset, size) = match self {
            Self::File(path) => return Decoded::read(path),
            Self::Within { tar, offset, size } => (tar, offset, size),
        };
        // Opened anew for each picture: threads share no position, and thousands of shards hold no descriptors.
        let mut file = File::open(tar).map_err(|error| unreadable(&error))?;
        file.seek(SeekFrom::Start(offset)).map_err(|error| unreadable(&error))?;
        self.require_whole(file.metadata().map_err(|error| unreadable(&error))?.len())?;
        Decoded::within(file, size)
    }

    /// How many bytes there are to read.
    ///
    /// # Errors
    /// A [`Fault`] where the path leads to no regular file, or to no bytes.
    pub fn content(self) -> Result<u64, Fault> {
        let length = plain_file(self.path())?.len();
        self.require_whole(length)?;
        let size = match self {
            Self::File(_) => length,
            Self::Within { size, .. } => size,
        };
        if size == 0 { Err(Fault::new(SkipReason::Empty, "the file has no content")) } else { Ok(size) }
    }

    /// The address by which FFmpeg reads it: of a file, whatever its name looks like.
    pub fn address(self) -> OsString {
        let mut address = match self {
            Self::File(_) => OsString::new(),
            Self::Within { offset, size, .. } => format!("subfile,,start,{offset},end,{},,:", offset + size).into(),
        };
        address.push("file:");
        address.push(self.path());
        address
    }

    /// The protocols of FFmpeg that the address needs.
    pub fn protocols(self) -> &'static str {
        match self {
            Self::File(_) => "file,pipe",
            Self::Within { .. } => "file,pipe,subfile",
        }
    }

    /// The file, and where in it: what tells one place from another.
    pub fn key(self) -> (PathBuf, u64) {
        match self {
            Self::File(path) => (path.to_path_buf(), 0),
            Self::Within { tar, offset, .. } => (tar.to_path_buf(), offset),
        }
    }

    /// The file in which it lies.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Within { tar, .. } => tar,
        }
    }

    /// Whether the tar file, now of `length` bytes, still has all of it.
    fn require_whole(self, length: u64) -> Result<(), Fault> {
        match self {
            Self::Within { offset, size, .. } if offset.saturating_add(size) > length => {
                Err(Fault::new(SkipReason::Truncated, "the tar file has become shorter"))
            }
            _ => Ok(()),
        }
    }
}
