//! TensorBoard event files: length-prefixed protobuf records with masked CRC32C sums.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use crate::error::{IoContext as _, Result};

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
}

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
    /// Begins a new event file in `folder`, for a run that goes on at `step`.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn create(folder: &Path, step: usize) -> Result<Self> {
        let path = folder.join(format!("events.out.tfevents.{:010}.anyjepa.{step}", now() as u64));
        let file = File::create(&path).at("create", &path)?;
        let mut events = Self { path, file };
        events.record(&Event { wall_time: now(), file_version: Some("brain.Event:2".into()), ..Event::default() })?;
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
        self.file.write_all(&record).at("write", &self.path)
    }
}

fn masked_sum(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
