//! TensorBoard event files: length-prefixed protobuf records with masked CRC32C sums.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use crate::atomic::{self, PARTIAL};
use crate::error::{IoContext as _, Result};
use crate::faults::{self, Point};

/// What the name of every event file begins with: TensorBoard looks for it.
const PREFIX: &str = "events.out.tfevents.";
/// What stands in the name of one of ours.
const OURS: &str = ".anyjepa.";

/// `tensorboard.Event`, the fields in use.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

/// Its status `START` tells a TensorBoard that is looking on to forget what it has read of this step and later ones.
#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

const START: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, tag = "2")]
    simple_value: f32,
}

/// An event file that is being written.
pub struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// Begins a new event file in `folder`, for a run that goes on after `step`; events of later steps are dropped from
    /// the files that are there.
    ///
    /// # Errors
    /// Where a file cannot be read or written.
    pub fn create(folder: &Path, step: usize) -> Result<Self> {
        // TensorBoard reads files in the order of their names, so that a clock that was set back must not show.
        let mut second = now() as u64;
        for entry in std::fs::read_dir(folder).at("list", folder)? {
            let path = entry.at("list", folder)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some((began, _)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once(OURS)) else { continue };
            if !name.ends_with(PARTIAL) {
                trim(&path, step)?;
                second = second.max(began.parse().unwrap_or(0));
            }
        }
        // Two starts in one second keep a file each.
        let mut start = 0;
        let path = loop {
            let path = folder.join(format!("{PREFIX}{second:010}{OURS}{step}.{start}"));
            if !path.exists() {
                break path;
            }
            start += 1;
        };
        let file = faults::at(Point::EventsCreate).and_then(|()| File::create(&path)).writing(&path, 0)?;
        let mut events = Self { path, file };
        events.record(&Event { wall_time: now(), file_version: Some("brain.Event:2".into()), ..Event::default() })?;
        let session_log = Some(SessionLog { status: START });
        events.record(&Event { wall_time: now(), step: step as i64 + 1, session_log, ..Event::default() })?;
        Ok(events)
    }

    /// Writes scalars of one step.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn scalars<'a>(&mut self, step: usize, values: impl Iterator<Item = (&'a str, f64)>) -> Result<()> {
        let value = values.map(|(tag, value)| Value { tag: tag.to_owned(), simple_value: value as f32 }).collect();
        let summary = Some(Summary { value });
        self.record(&Event { wall_time: now(), step: step as i64, summary, ..Event::default() })
    }

    fn record(&mut self, event: &Event) -> Result<()> {
        let data = event.encode_to_vec();
        let length = (data.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(data.len() + 16);
        record.extend(length);
        record.extend(masked_sum(&length).to_le_bytes());
        record.extend(&data);
        record.extend(masked_sum(&data).to_le_bytes());
        faults::at(Point::EventsRecord).and_then(|()| self.file.write_all(&record)).writing(&self.path, record.len())
    }

    /// Syncs the file.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn sync(&self) -> Result<()> {
        atomic::sync_log(&self.file, &self.path)
    }
}

/// Drops the events after `step`, and a record that a killed process left half-written.
fn trim(path: &Path, step: usize) -> Result<()> {
    let old = std::fs::read(path).at("read", path)?;
    let kept = records(&old).filter(|(_, event)| event.step as usize <= step).map(|(bytes, _)| bytes);
    let kept = kept.collect::<Vec<_>>().concat();
    if kept == old { Ok(()) } else { atomic::write(path, &kept) }
}

/// The whole records at the begin of a file, as they stand there and as events.
fn records(file: &[u8]) -> impl Iterator<Item = (&[u8], Event)> {
    /// Length and its sum before the event, the event's sum behind it.
    const FRAME: usize = 16;
    let mut rest = file;
    std::iter::from_fn(move || {
        let length = u64::from_le_bytes(*rest.first_chunk()?);
        let end = usize::try_from(length).ok()?.checked_add(FRAME)?;
        let (record, after) = rest.split_at_checked(end)?;
        let event = Event::decode(&record[FRAME - 4..end - 4]).ok()?;
        rest = after;
        Some((record, event))
    })
}

fn masked_sum(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps of all events of all files in `folder`, in order.
    fn steps(folder: &Path) -> Vec<i64> {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        let mut steps: Vec<i64> = files
            .flat_map(|file| {
                records(&file).filter(|(_, event)| event.summary.is_some()).map(|(_, e)| e.step).collect::<Vec<_>>()
            })
            .collect();
        steps.sort_unstable();
        steps
    }

    #[test]
    fn a_later_file_comes_later_by_name_and_says_from_which_step_it_counts() {
        let folder = tempfile::tempdir().unwrap();
        let ahead = folder.path().join(format!("{PREFIX}9999999999{OURS}0.0"));
        std::fs::write(&ahead, "").unwrap();
        let events = Events::create(folder.path(), 7).unwrap();
        assert!(events.path > ahead, "{}", events.path.display());
        let file = std::fs::read(&events.path).unwrap();
        let start = records(&file).find_map(|(_, event)| event.session_log.map(|log| (event.step, log.status)));
        assert_eq!(start, Some((8, START)));
    }

    #[test]
    fn a_file_cut_anywhere_is_continued_with_every_step_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = Events::create(folder.path(), 0).unwrap();
        (1..=3).for_each(|step| events.scalars(step, [("loss", 0.5)].into_iter()).unwrap());
        let whole = std::fs::read(&events.path).unwrap();
        for length in 0..=whole.len() {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(events.path.file_name().unwrap()), &whole[..length]).unwrap();
            // A checkpoint is never newer than the events that are on the disk.
            let step = steps(folder.path()).into_iter().max().unwrap_or(0).min(2);
            let mut events = Events::create(folder.path(), step as usize).unwrap();
            (step as usize + 1..=4).for_each(|step| events.scalars(step, [("loss", 0.5)].into_iter()).unwrap());
            assert_eq!(steps(folder.path()), [1, 2, 3, 4], "cut at {length}");
        }
    }
}
