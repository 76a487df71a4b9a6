//! The extraction: every picture of a data set in order, through an engine, to shards on disk.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::engine::encode_samples;
use super::{FeatureEngine, Format, Index, Position, Provenance, Row, Times, Writer, WriterOptions};
use crate::atomic::PARTIAL;
use crate::data::{Batch, Dataset, EvalLoader, EvalPlan, EvalTransform, SkipLog};
use crate::error::{Error, IoContext as _, Kind, Result};
use crate::lock::{FolderLock, LOCK_FILE};
use crate::stop::Stop;

/// The file beside the shards that names what could not be read.
pub const SKIPPED_FILE: &str = "skipped.jsonl";

/// What is done where features are in the folder already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// They are left alone, and nothing is extracted.
    Refuse,
    /// The extraction goes on behind them; it begins where there are none.
    Continue,
}

/// An extraction to be done.
pub struct Extraction<'a> {
    /// The pictures.
    pub data: Arc<Dataset>,
    /// What computes the features.
    pub engine: &'a dyn FeatureEngine,
    /// How a picture becomes an input.
    pub transform: EvalTransform,
    /// Where the features come from.
    pub provenance: Provenance,
    /// When what a row holds is seen.
    pub times: Times,
    /// The folder of the features.
    pub out: &'a Path,
    /// What is done where features are in it already.
    pub existing: Existing,
    /// The container of a shard.
    pub format: Format,
    /// Rows of a shard; a kill loses at most so many.
    pub rows_per_shard: usize,
    /// Pictures of a forward pass. The last digits of features depend on it, so a continued extraction that keeps it
    /// gives what an uninterrupted one would have given.
    pub batch: usize,
    /// Threads that read and decode pictures.
    pub workers: usize,
    /// What ends it early.
    pub stop: Stop,
}

/// What an extraction did.
#[derive(Debug)]
pub struct Extracted {
    /// What the folder holds now.
    pub index: Index,
    /// Rows that were there before.
    pub rows_before: u64,
    /// Pictures that could not be read, now or before.
    pub skipped: usize,
}

/// Extracts; `progress` hears, once at the start and after each batch, how many inputs are behind.
///
/// # Errors
/// A usage error where the folder is not new and [`Existing::Refuse`] was asked for; a data error where it holds features
/// of other weights or inputs, or where there is no picture; [`Kind::Locked`] while another process writes there;
/// [`Kind::Interrupted`] after a
/// signal and [`Kind::TimeLimit`] where its time is over: what was computed is then on disk, and the extraction can be
/// continued.
pub fn extract(extraction: &Extraction, progress: &mut dyn FnMut(u64)) -> Result<Extracted> {
    let Extraction { data, out, batch, stop, .. } = extraction;
    if data.is_empty() {
        return Err(Error::new(Kind::Data, "there is nothing to extract from"));
    }
    let (mut writer, _lock) = open(extraction)?;
    let mut skips = SkipLog::open(&out.join(SKIPPED_FILE))?;
    let Position { rows: rows_before, next_input, .. } = writer.position();

    // Batches lie as they would have lain without an interruption; rows that are on disk already are dropped.
    let batch = (*batch).max(1);
    let first = next_input as usize / batch * batch;
    let plan = EvalPlan {
        batch,
        workers: extraction.workers,
        transform: extraction.transform.clone(),
        samples: if next_input as usize == data.len() { 0..0 } else { first..data.len() },
    };
    progress(next_input);
    for batch in EvalLoader::new(Arc::clone(data), plan)? {
        if stop.is_due() {
            writer.flush()?;
            let rows = writer.position().rows;
            let remedy = "the same command with --resume continues the extraction";
            if let Some(error) = stop.error(&format!("{rows} rows, which {} holds", out.display()), remedy) {
                return Err(error);
            }
        }
        skips.add(&batch.skipped)?;
        push(&mut writer, extraction, &batch, next_input)?;
        let behind = batch.samples.iter().chain(batch.skipped.iter().map(|skip| &skip.sample)).max();
        progress(behind.map_or(next_input, |last| last + 1));
    }
    Ok(Extracted { index: writer.finish()?, rows_before, skipped: skips.len() })
}

/// The writer, where the features in the folder are those of the same inputs, and the folder's lock.
fn open(extraction: &Extraction) -> Result<(Writer, FolderLock)> {
    let Extraction { data, engine, provenance, out, existing, format, rows_per_shard, .. } = extraction;
    let options = WriterOptions { format: *format, shape: engine.shape(), rows_per_shard: *rows_per_shard };
    let begun = Index::find(out)?.is_some();
    if !begun {
        require_new(out)?;
    }
    fs::create_dir_all(out).at("create", out)?;
    let lock = FolderLock::take(out)?;
    let writer = match existing {
        Existing::Refuse => Writer::create(out, provenance.clone(), options)?,
        Existing::Continue => Writer::resume(out, provenance.clone(), options)?,
    };
    let Position { next_input, last_name, .. } = writer.position();
    if let Some(last_name) = last_name {
        let found = (next_input as usize <= data.len()).then(|| data.name(next_input as usize - 1));
        if found.as_ref() != Some(&last_name) {
            let found = found.map_or(format!("there are only {}", data.len()), |found| format!("it is {found} now"));
            let message = format!("the inputs have changed: number {next_input} was {last_name}, and {found}");
            return Err(Error::data(out, message).with_remedy("give the inputs with which the extraction began"));
        }
    }
    Ok((writer.with_classes(data.classes())?.with_data(&data.fingerprint())?, lock))
}

/// Refuses a folder in which something else stands; what a killed process left half-written is nothing.
fn require_new(out: &Path) -> Result<()> {
    if !out.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(out).at("list", out)? {
        let name = entry.at("list", out)?.file_name();
        if !name.to_string_lossy().ends_with(PARTIAL) && name != LOCK_FILE {
            let message = format!("{} is not empty: it holds {}", out.display(), name.display());
            return Err(Error::usage(message).with_remedy("choose a new folder with --out"));
        }
    }
    Ok(())
}

fn push(writer: &mut Writer, extraction: &Extraction, batch: &Batch, next_input: u64) -> Result<()> {
    let Extraction { engine, data, times, .. } = extraction;
    // Of a batch of nothing but pictures that are done or cannot be read, nothing is computed.
    if batch.samples.last().is_none_or(|last| *last < next_input) {
        return Ok(());
    }
    let (samples, features) = encode_samples(*engine, batch)?;
    let mut inputs = 0;
    for (&input, features) in samples.iter().zip(features.iter_rows()) {
        let first = inputs;
        inputs += batch.samples[first..].iter().take_while(|sample| **sample == input).count();
        if input >= next_input {
            let at = input as usize;
            let times = times.pairs(batch, first..inputs);
            writer.push(&Row { input, name: &data.name(at), label: data.label(at), features, times: &times })?;
        }
    }
    Ok(())
}
