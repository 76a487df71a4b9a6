//! The library's error: what failed, where, why, and what to do next, with the exit code of the command line's contract.

use std::fmt;
use std::path::{Path, PathBuf};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by who can mend it; each kind has an exit code (see [`Error::exit_code`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A failure that fits no other kind, such as a disk that refuses a write.
    Other,
    /// The command line or the configuration asks for something that cannot be.
    Usage,
    /// The work was finished, but too many of its inputs could not be read.
    BadInputs,
    /// A file's content is invalid, or does not fit what it is used with.
    Data,
    /// Training diverged or its features collapsed.
    Diverged,
    /// The device is missing, lost or out of memory.
    Device,
    /// Another process owns the run's folder.
    Locked,
    /// A time limit ended the run; it can be resumed.
    TimeLimit,
    /// A signal ended the run; it can be resumed. The number is the signal's.
    Interrupted(usize),
}

/// An error: one sentence of cause, an optional source, and an optional remedy.
///
/// The message is lower case without a final dot, names the thing, and says expected and found.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    kind: Kind,
    message: String,
    remedy: Option<String>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error {
    /// An error of `kind` whose cause is `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), remedy: None, source: None }
    }

    /// A mistake in the command line or the configuration.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// The file or folder `path` is invalid or does not fit: `message` says how.
    pub fn data(path: impl AsRef<Path>, message: impl fmt::Display) -> Self {
        Self::new(Kind::Data, format!("{}: {message}", path.as_ref().display()))
    }

    /// A device that is missing, lost or full.
    pub fn device(message: impl Into<String>) -> Self {
        Self::new(Kind::Device, message)
    }

    /// A failed operation of the file system: `action` reads like "read" or "create".
    ///
    /// A path that leads nowhere, or to the wrong kind of thing, is a mistake of the command line; everything else is
    /// [`Kind::Other`].
    pub fn io(action: &str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;

        let path = path.as_ref().display();
        let (kind, remedy) = match source.kind() {
            Io::NotFound => (Kind::Usage, Some("check the path")),
            Io::NotADirectory | Io::AlreadyExists => {
                (Kind::Usage, Some("a file stands where a folder should; name another path"))
            }
            Io::IsADirectory => (Kind::Usage, Some("a folder stands where a file should; name a file")),
            Io::PermissionDenied => (Kind::Other, Some("change the permissions, or name another path")),
            Io::ReadOnlyFilesystem => (Kind::Other, Some("name a path on a file system that can be written")),
            Io::StorageFull | Io::QuotaExceeded => {
                (Kind::Other, Some("free some space, or name a path on another disk"))
            }
            _ => (Kind::Other, None),
        };
        let error = Self::new(kind, format!("cannot {action} {path}: {source}")).with_source(source);
        match remedy {
            Some(remedy) => error.with_remedy(remedy),
            None => error,
        }
    }

    /// A write of `bytes` bytes to `path`, 0 where it was to be created, that failed; of a full disk it says how much is
    /// free.
    pub fn writing(path: impl AsRef<Path>, bytes: u64, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;

        let path = path.as_ref();
        if !matches!(source.kind(), Io::StorageFull | Io::QuotaExceeded) {
            return Self::io("write", path, source);
        }
        // A folder or a name takes a block, which the file system does not tell.
        let needed = if bytes == 0 { "a block".to_owned() } else { format!("{bytes} bytes") };
        let message = format!("cannot write {}: {source}: {needed} needed, {}", path.display(), free(path));
        Self::new(Kind::Other, message)
            .with_source(source)
            .with_remedy("free some space, or name a path on another disk")
    }

    /// Whether a full disk is beneath it.
    pub fn is_full_disk(&self) -> bool {
        use std::io::ErrorKind as Io;

        let source = self.source.as_deref().and_then(|source| source.downcast_ref::<std::io::Error>());
        source.is_some_and(|source| matches!(source.kind(), Io::StorageFull | Io::QuotaExceeded))
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Adds the error beneath this one.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Who can mend it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the user can do about it, where that is known.
    pub fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// The process's exit code; `docs/GUIDE.md` lists them all.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Other => 1,
            Kind::Usage => 2,
            Kind::BadInputs => 3,
            Kind::Data => 4,
            Kind::Diverged => 5,
            Kind::Device => 6,
            Kind::Locked => 7,
            Kind::TimeLimit => 75,
            Kind::Interrupted(signal) => u8::try_from(128 + signal).unwrap_or(1),
        }
    }
}

/// The bytes that are free on the disk of `path`, which need not exist, as a message says it.
pub fn free(path: &Path) -> String {
    let known = path.ancestors().find_map(|folder| fs4::available_space(folder).ok());
    known.map_or("an unknown number free".to_owned(), |bytes| format!("{bytes} free"))
}

/// Turns an [`std::io::Result`] into ours, naming the action and the path.
pub trait IoContext<T> {
    /// Names what was done (`action`, such as "read") to which `path`.
    fn at(self, action: &str, path: impl AsRef<Path>) -> Result<T>;
    /// Names the path to which so many bytes were to be written.
    fn writing(self, path: impl AsRef<Path>, bytes: usize) -> Result<T>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn at(self, action: &str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::io(action, path, source))
    }

    fn writing(self, path: impl AsRef<Path>, bytes: usize) -> Result<T> {
        self.map_err(|source| Error::writing(path, bytes as u64, source))
    }
}

/// The candidate nearest to `word`, if it is near enough to have been meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// A path that was expected to exist.
pub fn require_exists(path: &Path) -> Result<PathBuf> {
    if path.exists() {
        return Ok(path.to_path_buf());
    }
    Err(Error::usage(format!("{} does not exist", path.display())).with_remedy("check the path for a typing mistake"))
}

/// A path at which a file or a folder stands. To open anything else, such as a pipe, could mean to wait for ever.
///
/// # Errors
/// A usage error where nothing stands there, a data error where it is something else.
pub fn require_plain(path: &Path) -> Result<PathBuf> {
    let path = require_exists(path)?;
    if path.is_file() || path.is_dir() {
        return Ok(path);
    }
    Err(Error::data(&path, "neither a file nor a folder").with_remedy("copy what it gives to a file first"))
}
