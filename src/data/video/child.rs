//! A child process that cannot hang a run: its output is read within a time limit, and it is killed and reaped.

use std::io::{self, BufRead, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::place::Place;
use super::tools::REMEDY;
use crate::data::skip::{Fault, SkipReason};

/// Until when, and whether still.
#[derive(Debug, Clone, Copy)]
pub(in crate::data) struct Patience<'a> {
    pub until: Instant,
    /// Comes on where nobody wants the result any more.
    pub stop: &'a AtomicBool,
}

/// A started process; its standard output is what is read from it. Dropping it ends it.
pub(super) struct Running<'a> {
    child: Option<Child>,
    program: String,
    patience: Patience<'a>,
    blocks: Receiver<io::Result<Vec<u8>>>,
    spare: Sender<Vec<u8>>,
    block: Vec<u8>,
    /// How much of `block` is consumed.
    at: usize,
    said: Option<JoinHandle<Said>>,
}

/// What a process wrote to standard error: its beginning, and whether there was more.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub text: Vec<u8>,
    pub cut: bool,
}

/// What ffmpeg adds to a frame, because it prints the time of those alone that something is added to.
pub(super) const MARK: &str = "anyjepa=";
/// Blocks on their way from the process.
const BLOCKS: usize = 4;
/// What a pipe holds.
const BLOCK_BYTES: usize = 64 << 10;
/// Far more than messages on every frame of a long clip.
const MOST_SAID: usize = 1 << 20;
/// How often it is asked whether the result is still wanted.
const LOOK: Duration = Duration::from_millis(50);

impl<'a> Running<'a> {
    /// Starts `command`, with nothing on its standard input.
    ///
    /// # Errors
    /// A [`Fault`] where it cannot be started.
    pub fn start(command: &mut Command, patience: Patience<'a>) -> Result<Self, Fault> {
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            Fault::new(SkipReason::Unreadable, format!("{program} cannot be run: {error}; {REMEDY}"))
        })?;
        let (sender, blocks) = bounded(BLOCKS);
        let (spare, spares) = bounded(BLOCKS);
        // Threads, which need no waiting for: a grandchild that outlives the child could keep a pipe open for ever.
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || forward(stdout, &sender, &spares));
        }
        let said = child.stderr.take().map(|stderr| thread::spawn(move || listen(stderr)));
        Ok(Self { child: Some(child), program, patience, blocks, spare, block: Vec::new(), at: 0, said })
    }

    /// Waits for the end; gives how it ended and what it said.
    ///
    /// # Errors
    /// A [`Fault`] where it does not end in time, or says more than anyone would.
    pub fn finish(mut self) -> Result<(ExitStatus, Said), Fault> {
        let mut pause = Duration::from_micros(200);
        let status = loop {
            match self.child.as_mut().map(Child::try_wait) {
                Some(Ok(None)) if self.over() => return Err(self.timed_out()),
                Some(Ok(None)) => thread::sleep(pause),
                Some(Ok(Some(status))) => break status,
                Some(Err(error)) => return Err(Fault::new(SkipReason::DecoderFailed, error.to_string())),
                None => return Err(Fault::new(SkipReason::DecoderFailed, "it has ended before")),
            }
            pause = (pause * 2).min(LOOK);
        };
        self.child = None;
        while self.said.as_ref().is_some_and(|said| !said.is_finished()) {
            if self.over() {
                return Err(self.timed_out());
            }
            thread::sleep(Duration::from_micros(200));
        }
        let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
        if said.cut {
            let detail = format!("{} wrote more than {MOST_SAID} bytes of messages", self.program);
            return Err(Fault::new(SkipReason::DecoderFailed, detail));
        }
        Ok((status, said))
    }

    /// The fault that an error while reading means.
    pub fn fault(&self, error: &io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::TimedOut => self.timed_out(),
            _ => Fault::new(SkipReason::DecoderFailed, format!("reading from {}: {error}", self.program)),
        }
    }

    fn timed_out(&self) -> Fault {
        Fault::new(SkipReason::TimedOut, format!("{} did not end within its time limit", self.program))
    }

    fn over(&self) -> bool {
        Instant::now() >= self.patience.until || self.patience.stop.load(Ordering::Relaxed)
    }
}

impl Said {
    /// The fault that the end with `status` of a process that reads the film at `place` means.
    pub fn fault(&self, status: ExitStatus, place: Place<'_>) -> Fault {
        let text = String::from_utf8_lossy(&self.text);
        let told = text.lines().find(|line| !Self::is_time(line)).unwrap_or_default();
        // `[mov,mp4 @ 0x55d0]` names a place in memory.
        let told = told.split_once(" @ 0x").and_then(|(_, rest)| rest.split_once("] ")).map_or(told, |(_, rest)| rest);
        // The film has its name beside this.
        let address = place.address().to_string_lossy().into_owned();
        let told = told.strip_prefix(address.as_str()).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(told);
        // A shell that was asked to start the decoder tells of its signal so.
        let killed = status.code().is_none_or(|code| code > 128);
        let reason = if killed { SkipReason::DecoderFailed } else { SkipReason::Corrupt };
        Fault::new(reason, format!("{told} ({status})").trim_start())
    }

    /// The times in microseconds that a film's decoding prints between messages.
    pub fn times(&self) -> Vec<i64> {
        let text = String::from_utf8_lossy(&self.text);
        let times = text.lines().filter(|line| line.starts_with("frame:"));
        times.filter_map(|line| line.split_once("pts:")?.1.split_ascii_whitespace().next()?.parse().ok()).collect()
    }

    fn is_time(line: &str) -> bool {
        line.starts_with("frame:") || line.starts_with(MARK)
    }
}

impl BufRead for Running<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.block.len() {
            let left = self.patience.until.saturating_duration_since(Instant::now());
            match self.blocks.recv_timeout(left.min(LOOK)) {
                Ok(block) => {
                    // The thread makes a new one where this one does not come back.
                    let _ = self.spare.try_send(std::mem::replace(&mut self.block, block?));
                    self.at = 0;
                }
                Err(RecvTimeoutError::Timeout) if self.over() => return Err(io::ErrorKind::TimedOut.into()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // A process that never ceases to write is over as well.
        match self.over() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(&self.block[self.at..]),
        }
    }

    fn consume(&mut self, amount: usize) {
        self.at = (self.at + amount).min(self.block.len());
    }
}

impl Read for Running<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // It may have ended already.
        let _ = child.kill();
        for _ in 0..20 {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        // A process that waits for a dead disk cannot be killed; another thread waits with it.
        thread::spawn(move || child.wait());
    }
}

fn forward(mut from: impl Read, to: &Sender<io::Result<Vec<u8>>>, spares: &Receiver<Vec<u8>>) {
    loop {
        let mut block = spares.try_recv().unwrap_or_default();
        block.resize(BLOCK_BYTES, 0);
        let read = match from.read(&mut block) {
            Ok(0) => return,
            Ok(read) => {
                block.truncate(read);
                Ok(block)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = read.is_err();
        if to.send(read).is_err() || failed {
            return;
        }
    }
}

fn listen(mut from: impl Read) -> Said {
    let mut said = Said::default();
    let mut block = vec![0; 8 << 10];
    loop {
        match from.read(&mut block) {
            Ok(0) => return said,
            Ok(read) => {
                let room = MOST_SAID - said.text.len();
                said.text.extend(&block[..read.min(room)]);
                said.cut |= read > room;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return said,
        }
    }
}
