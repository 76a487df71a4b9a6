//! Pictures that could not be read: the reason, and the log that a run keeps of them.

use std::collections::HashSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::error::{IoContext, Result};
use crate::faults::{self, Point};

/// Why a picture could not be read; its code is what `skipped.jsonl` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// The file could not be opened or read.
    Unreadable,
    /// The path names a folder, a pipe, a socket or a device.
    NotAFile,
    /// The file has no content.
    Empty,
    /// The content is of no known picture format.
    NotAnImage,
    /// The content ends before the picture does.
    Truncated,
    /// The content contradicts its format.
    Corrupt,
    /// The file or the picture in it is larger than this crate agrees to decode.
    TooLarge,
    /// A format, or a variant of one, that cannot be decoded.
    Unsupported,
    /// The file has no video stream, or one without frames.
    NoVideo,
    /// The decoder did not end within its time limit.
    TimedOut,
    /// The decoder crashed, or wrote what was not asked for.
    DecoderFailed,
}

impl SkipReason {
    /// The reason as logs write it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::NotAFile => "not_a_file",
            Self::Empty => "empty",
            Self::NotAnImage => "not_an_image",
            Self::Truncated => "truncated",
            Self::Corrupt => "corrupt",
            Self::TooLarge => "too_large",
            Self::Unsupported => "unsupported",
            Self::NoVideo => "no_video",
            Self::TimedOut => "timed_out",
            Self::DecoderFailed => "decoder_failed",
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What is wrong with a picture's bytes, wherever they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kind of trouble.
    pub reason: SkipReason,
    /// One sentence on it.
    pub detail: String,
}

impl Fault {
    /// A fault of this kind, in one sentence.
    pub fn new(reason: SkipReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// A sample that was left out because its picture could not be read; one line of `skipped.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// The sample's index in its data set.
    pub sample: u64,
    /// The sample's name in its data set.
    pub name: String,
    /// The kind of trouble.
    pub reason: SkipReason,
    /// One sentence on it.
    pub detail: String,
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.name, self.detail, self.reason)
    }
}

/// `skipped.jsonl`: a line for each sample that was left out, once however often the sample comes up.
#[derive(Debug)]
pub struct SkipLog {
    path: PathBuf,
    file: File,
    samples: HashSet<u64>,
}

impl SkipLog {
    /// Opens the log at `path` to add to it; a line that a killed process left half-written is removed.
    ///
    /// # Errors
    /// The file cannot be created, read or cut.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).at("open", path)?;
        let text = std::fs::read(path).at("read", path)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64).at("cut", path)?;
        file.seek(SeekFrom::End(0)).at("seek in", path)?;
        let lines = text[..whole].split(|byte| *byte == b'\n');
        let skips = lines.filter_map(|line| serde_json::from_slice::<Skip>(line).ok());
        Ok(Self { path: path.to_path_buf(), file, samples: skips.map(|skip| skip.sample).collect() })
    }

    /// Adds those of `skips` that are not in the log yet.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, skips: &[Skip]) -> Result<()> {
        let mut lines = String::new();
        for skip in skips {
            if self.samples.insert(skip.sample) {
                lines += &serde_json::to_string(skip).expect("a skip has nothing JSON cannot say");
                lines.push('\n');
            }
        }
        let write = faults::at(Point::SkippedLine).and_then(|()| self.file.write_all(lines.as_bytes()));
        write.writing(&self.path, lines.len())
    }

    /// Syncs the file.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn sync(&self) -> Result<()> {
        atomic::sync_log(&self.file, &self.path)
    }

    /// How many different samples the log names.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether no sample was left out so far.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(sample: u64) -> Skip {
        let (name, detail) = (format!("cats/{sample}.jpg"), "the file has no content".to_owned());
        Skip { sample, name, reason: SkipReason::Empty, detail }
    }

    #[test]
    fn a_sample_is_logged_once_over_epochs_and_resumed_runs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("skipped.jsonl");
        let mut log = SkipLog::open(&path).unwrap();
        assert!(log.is_empty());
        log.add(&[skip(3), skip(5)]).unwrap();
        log.add(&[skip(5)]).unwrap();
        drop(log);

        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"sample\":9,\"na").unwrap();
        let mut log = SkipLog::open(&path).unwrap();
        log.add(&[skip(3), skip(7)]).unwrap();
        assert_eq!(log.len(), 3);
        insta::assert_snapshot!(std::fs::read_to_string(&path).unwrap(), @r#"
        {"sample":3,"name":"cats/3.jpg","reason":"empty","detail":"the file has no content"}
        {"sample":5,"name":"cats/5.jpg","reason":"empty","detail":"the file has no content"}
        {"sample":7,"name":"cats/7.jpg","reason":"empty","detail":"the file has no content"}
        "#);
    }

    #[test]
    fn a_picture_that_is_listed_twice_is_two_samples() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("skipped.jsonl");
        let twice = [skip(3), Skip { sample: 8, ..skip(3) }];
        for _ in 0..2 {
            let mut log = SkipLog::open(&path).unwrap();
            log.add(&twice).unwrap();
            assert_eq!(log.len(), 2);
        }
    }

    #[test]
    fn the_code_of_a_reason_is_what_json_says() {
        for reason in [SkipReason::NotAFile, SkipReason::NotAnImage, SkipReason::TooLarge, SkipReason::DecoderFailed] {
            assert_eq!(serde_json::to_string(&reason).unwrap(), format!("\"{}\"", reason.code()));
        }
    }
}
