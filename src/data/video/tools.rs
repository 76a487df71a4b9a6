//! The programs ffmpeg and ffprobe: how they are called, and what is said where they are missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::child::Patience;
use super::place::Place;
use crate::error::{Error, Kind, Result};

/// The longest time that the decoding of one sample's frames, or one look into a small film, may take.
///
/// A 4K film's clip takes seconds of a slow processor; what takes a minute hangs.
pub const FILM_LIMIT: Duration = Duration::from_secs(60);

/// A look reads a film from end to end: for each so many bytes, which a slow disk reads in it, it has a second more.
const BYTES_A_SECOND: u64 = 10_000_000;

/// Containers that are opened. Others, such as a playlist under a film's name, could name any file or host.
const CONTAINERS: &str = "mov,matroska,webm,avi,gif";

/// The programs, and how long each call may take.
#[derive(Debug, Clone)]
pub(in crate::data) struct Tools {
    pub ffmpeg: PathBuf,
    pub ffprobe: PathBuf,
    pub limit: Duration,
}

impl Tools {
    /// Those on the system's path.
    pub fn installed() -> &'static Self {
        static INSTALLED: OnceLock<Tools> = OnceLock::new();
        INSTALLED.get_or_init(|| Self { ffmpeg: "ffmpeg".into(), ffprobe: "ffprobe".into(), limit: FILM_LIMIT })
    }

    /// Starts both programs once.
    ///
    /// # Errors
    /// One of them cannot be started; the remedy says how to get them.
    pub fn require(&self) -> Result<()> {
        for program in [&self.ffmpeg, &self.ffprobe] {
            let mut command = apart(program);
            command.arg("-version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let failed = match command.status() {
                Ok(status) if status.success() => continue,
                Ok(status) => format!("it ended with {status}"),
                Err(error) => error.to_string(),
            };
            let message = format!("films are read by FFmpeg, and {} cannot be run: {failed}", program.display());
            return Err(Error::new(Kind::Other, message).with_remedy(REMEDY));
        }
        Ok(())
    }

    /// How long a call that begins now, and reads `bytes` from end to end, is waited for: until `stop` comes on, or its
    /// time is over.
    pub fn patience<'a>(&self, bytes: u64, stop: &'a AtomicBool) -> Patience<'a> {
        Patience { until: Instant::now() + self.limit + Duration::from_secs(bytes / BYTES_A_SECOND), stop }
    }

    /// ffprobe on the film at `place`.
    pub fn probe(&self, place: Place<'_>) -> Command {
        let mut command = apart(&self.ffprobe);
        command.args(["-v", "error"]);
        open(&mut command, place);
        command
    }

    /// ffmpeg on the film at `place`, from `start` seconds after its first timestamp on.
    ///
    /// One thread decodes: samples are what is decoded side by side.
    pub fn decode(&self, place: Place<'_>, start: Option<f64>) -> Command {
        let mut command = apart(&self.ffmpeg);
        command.args(["-nostdin", "-hide_banner", "-v", "error", "-copyts", "-threads", "1", "-filter_threads", "1"]);
        if let Some(start) = start {
            command.args(["-ss", &format!("{start:.6}")]);
        }
        open(&mut command, place);
        command
    }
}

/// A program in a process group of its own: Ctrl-C is meant for us, and a decoder that dies of it would blame its film.
fn apart(program: &Path) -> Command {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "groups are Unix's"))]
    let mut command = Command::new(program);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

/// How FFmpeg is had.
pub(super) const REMEDY: &str = "install FFmpeg, both ffmpeg and ffprobe: `apt install ffmpeg`, `dnf install ffmpeg-free`, \
                                 `brew install ffmpeg` or `winget install ffmpeg`";

/// The film as input, which must be of a known container.
fn open(command: &mut Command, place: Place<'_>) {
    command
        .args(["-protocol_whitelist", place.protocols(), "-format_whitelist", CONTAINERS, "-i"])
        .arg(place.address());
}
