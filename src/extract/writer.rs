//! Writes features a shard at a time: each whole or not at all, in the order of the input, and continued after a kill.
//!
//! A shard is written aside, synced and renamed, then the index is replaced the same way. The index is the truth: what
//! it does not name is a leftover of a killed process, and goes when the extraction continues.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::formats::encode;
use super::index::{INDEX_FILE, Index, ShardEntry, is_own};
use super::provenance::{FeatureDtype, Format, Provenance, list};
use super::shard::{NO_LABEL, Shape, Shard};
use crate::atomic;
use crate::error::{Error, IoContext, Kind, Result};
use crate::weights::FileEntry;

/// How features are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterOptions {
    /// The container of a shard.
    pub format: Format,
    /// What one row holds.
    pub shape: Shape,
    /// Rows of a shard; a kill loses at most so many. Shards of wide rows hold fewer, see [`MAX_SHARD_BYTES`].
    pub rows_per_shard: usize,
}

/// One image's features.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Its place in the input; inputs that cannot be read leave gaps.
    pub input: u64,
    /// Its name, such as its path.
    pub name: &'a str,
    /// Its class, where it is known.
    pub label: Option<u32>,
    /// Its values, as many as the shape says.
    pub features: &'a [f32],
    /// When what it holds is seen in its film: pairs of seconds, as many in every row; see [`super::Times`].
    pub times: &'a [f64],
}

/// How far an extraction has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Rows in whole shards.
    pub rows: u64,
    /// The first place in the input that is not in a whole shard; inputs before it are done or could not be read.
    pub next_input: u64,
    /// The name of the last row in a whole shard. Compare it with the input: if it is not the name of the input at
    /// `next_input - 1`, the input has changed and the order of the rows would be wrong.
    pub last_name: Option<String>,
}

/// Shards hold no more than this, unless one row does.
pub const MAX_SHARD_BYTES: usize = 256 << 20;

/// An extraction on its way to disk. Rows that are pushed but not yet in a shard are lost with the process.
#[derive(Debug)]
pub struct Writer {
    folder: PathBuf,
    index: Index,
    rows_per_shard: usize,
    pending: Shard,
}

impl Writer {
    /// Begins an extraction into `folder`, which is made if it does not exist.
    ///
    /// # Errors
    /// Of kind [`Kind::Usage`] if the folder holds features already or the options cannot be.
    pub fn create(folder: &Path, provenance: Provenance, options: WriterOptions) -> Result<Self> {
        if folder.join(INDEX_FILE).exists() {
            return Err(Error::usage(format!("{} holds features already", folder.display()))
                .with_remedy("continue with --resume, or choose another folder"));
        }
        Self::resume(folder, provenance, options)
    }

    /// Continues an extraction that was killed, or begins one where there is none; see [`Writer::position`].
    ///
    /// # Errors
    /// Of kind [`Kind::Data`] if the features there are of another provenance, shape or format, or damaged.
    pub fn resume(folder: &Path, provenance: Provenance, options: WriterOptions) -> Result<Self> {
        check(&provenance, &options)?;
        fs::create_dir_all(folder).at("create", folder)?;
        let index = match Index::find(folder)? {
            Some(index) => {
                check_same(&index, &provenance, &options, folder)?;
                check_sizes(&index, folder)?;
                index
            }
            None => {
                // The index comes before the first shard, so shards without one are not a leftover of ours.
                if let Some(shard) =
                    own_files(folder)?.into_iter().find(|path| path.extension() != Some("partial".as_ref()))
                {
                    return Err(Error::data(shard, format!("is a shard without {INDEX_FILE}"))
                        .with_remedy("choose another folder, or remove the shards"));
                }
                let index = Index::new(provenance, options.format, options.shape);
                index.write(folder)?;
                index
            }
        };
        remove_leftovers(&index, folder)?;
        let row_bytes = options.shape.width().saturating_mul(size_of::<f32>()).max(1);
        let rows_per_shard = options.rows_per_shard.min(MAX_SHARD_BYTES / row_bytes).max(1);
        Ok(Self { folder: folder.to_owned(), index, rows_per_shard, pending: Shard::default() })
    }

    /// Names the labels 0, 1, ... of all rows.
    ///
    /// # Errors
    /// Of kind [`Kind::Data`] if rows are there already whose labels have other names.
    pub fn with_classes(mut self, classes: &[String]) -> Result<Self> {
        if self.index.rows > 0 && self.index.classes != classes {
            let message = "the classes are not those of the features that are there already";
            return Err(Error::data(&self.folder, message)
                .with_remedy("give the inputs with which the extraction began, or choose another folder"));
        }
        self.index.classes = classes.to_vec();
        Ok(self)
    }

    /// Notes the fingerprint of the inputs, so that the extraction is not continued with others.
    ///
    /// # Errors
    /// Of kind [`Kind::Data`] if the extraction began with other inputs.
    pub fn with_data(mut self, fingerprint: &str) -> Result<Self> {
        match &self.index.data {
            Some(known) if known == fingerprint => {}
            None if self.index.rows == 0 => {
                self.index.data = Some(fingerprint.to_owned());
                self.index.write(&self.folder)?;
            }
            _ => {
                let message = "the inputs are not those with which the extraction began: names, sizes or labels differ";
                return Err(Error::data(&self.folder, message)
                    .with_remedy("give the inputs with which the extraction began, or choose another folder"));
            }
        }
        Ok(self)
    }

    /// How far whole shards reach.
    pub fn position(&self) -> Position {
        Position {
            rows: self.index.rows,
            next_input: self.index.next_input(),
            last_name: self.index.shards.last().map(|shard| shard.last_name.clone()),
        }
    }

    /// Adds a row, and writes a shard when there are enough.
    ///
    /// # Errors
    /// Of kind [`Kind::Data`] if a value is not finite or does not fit the stored type; if the row has another width or
    /// stands before the last one in the input; if the file system refuses.
    pub fn push(&mut self, row: &Row) -> Result<()> {
        self.check_row(row)?;
        self.pending.index.push(row.input as i64);
        self.pending.labels.push(row.label.map_or(NO_LABEL, i64::from));
        self.pending.names.push(row.name.to_owned());
        self.pending.features.extend_from_slice(row.features);
        self.pending.times.extend_from_slice(row.times);
        if self.pending.rows() >= self.rows_per_shard { self.flush() } else { Ok(()) }
    }

    /// Writes the rows pushed so far as a shard of their own, for a run that is about to stop.
    ///
    /// # Errors
    /// If the file system refuses; the extraction can then be continued from the last whole shard.
    pub fn flush(&mut self) -> Result<()> {
        let (Some(&first), Some(&last), Some(last_name)) =
            (self.pending.index.first(), self.pending.index.last(), self.pending.names.last().cloned())
        else {
            return Ok(());
        };
        self.pending.classes.clone_from(&self.index.classes);
        let encoded = encode(self.index.format, &self.pending, self.index.shape, &self.index.provenance)?;
        let names = self.index.file_names(self.index.shards.len());
        let mut files = Vec::with_capacity(names.len());
        for (name, content) in names.into_iter().zip([Some(encoded.main), encoded.sidecar].into_iter().flatten()) {
            atomic::write(&self.folder.join(&name), &content)?;
            files.push(FileEntry::of(&name, &content));
        }
        let mut files = files.into_iter();
        let Some(file) = files.next() else { return Ok(()) };
        let rows = [self.index.rows, self.index.rows + self.pending.rows() as u64];
        let inputs = [first as u64, last as u64 + 1];
        let mut index = self.index.clone();
        index.shards.push(ShardEntry { rows, inputs, last_name, file, sidecar: files.next() });
        index.rows = rows[1];
        index.complete = false;
        index.write(&self.folder)?;
        tracing::info!("rows {} to {} are on disk", rows[0], rows[1]);
        self.index = index;
        self.pending = Shard::default();
        Ok(())
    }

    /// Writes the last shard and marks the features as complete.
    ///
    /// # Errors
    /// As [`Writer::flush`].
    pub fn finish(mut self) -> Result<Index> {
        self.flush()?;
        if !self.index.complete {
            self.index.complete = true;
            self.index.write(&self.folder)?;
        }
        Ok(self.index)
    }

    fn check_row(&self, row: &Row) -> Result<()> {
        let invalid = |message: String| Error::new(Kind::Data, format!("features of {}: {message}", row.name));
        let width = self.index.shape.width();
        if row.features.len() != width {
            return Err(invalid(format!("expected {width} values, found {}", row.features.len())));
        }
        let next = self.pending.index.last().map_or(self.index.next_input(), |&last| last as u64 + 1);
        if row.input < next || i64::try_from(row.input).is_err() {
            return Err(invalid(format!("its place in the input is {}, expected {next} or later", row.input)));
        }
        let (rows, times) = (self.pending.rows(), self.pending.times.len());
        if !row.times.len().is_multiple_of(2) || rows > 0 && row.times.len() * rows != times {
            return Err(invalid(format!("{} times beside {times} of the {rows} rows before", row.times.len())));
        }
        if let Some(at) = row.features.iter().position(|value| !value.is_finite()) {
            return Err(invalid(format!("value {at} is {}", row.features[at])).with_remedy(
                "check the weights with `anyjepa inspect --verify`, and the device with `anyjepa verify`",
            ));
        }
        let largest = row.features.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        if self.index.provenance.dtype == FeatureDtype::F16 && half::f16::from_f32(largest).is_infinite() {
            return Err(invalid(format!("{largest} is too large for 16 bits")).with_remedy("use --dtype f32"));
        }
        Ok(())
    }
}

fn check(provenance: &Provenance, options: &WriterOptions) -> Result<()> {
    if options.rows_per_shard == 0 || options.shape.width() == 0 {
        return Err(Error::usage("a shard of 0 rows or a row of 0 values cannot be written"));
    }
    // An empty shard shows before the first image is encoded whether the format can hold the type.
    encode(options.format, &Shard::default(), options.shape, provenance).map(|_| ())
}

fn check_same(index: &Index, provenance: &Provenance, options: &WriterOptions, folder: &Path) -> Result<()> {
    let refused = |message: String| {
        Error::data(folder, message)
            .with_remedy("choose another folder, or the options with which the extraction began")
    };
    let differences = index.provenance.differences(provenance);
    if !differences.is_empty() {
        return Err(refused(format!("holds features of another provenance: {}", list(&differences))));
    }
    if (index.format, index.shape) == (options.format, options.shape) {
        return Ok(());
    }
    let (found, asked) = ((index.format, index.shape), (options.format, options.shape));
    Err(refused(format!("holds rows of {} as {}, not rows of {} as {}", found.1, found.0, asked.1, asked.0)))
}

/// Sizes only: sums are verified when the features are read.
fn check_sizes(index: &Index, folder: &Path) -> Result<()> {
    for FileEntry { name, bytes, .. } in index.shards.iter().flat_map(ShardEntry::files) {
        let path = folder.join(name);
        let found = fs::metadata(&path).map(|metadata| metadata.len());
        if found.as_ref().ok() != Some(bytes) {
            let found = found.map_or("is missing".to_owned(), |found| format!("has {found} bytes"));
            return Err(Error::data(&path, format!("{found}, {INDEX_FILE} says it has {bytes} bytes"))
                .with_remedy("extract into another folder"));
        }
    }
    Ok(())
}

fn remove_leftovers(index: &Index, folder: &Path) -> Result<()> {
    let known: BTreeSet<String> = (0..index.shards.len()).flat_map(|number| index.file_names(number)).collect();
    for path in own_files(folder)? {
        if !path.file_name().and_then(|name| name.to_str()).is_some_and(|name| known.contains(name)) {
            tracing::info!(path = %path.display(), "removing what a killed extraction left");
            fs::remove_file(&path).at("remove", &path)?;
        }
    }
    Ok(())
}

/// The files in the folder that a writer made, but for the index.
fn own_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut own = Vec::new();
    for entry in fs::read_dir(folder).at("read", folder)? {
        let path = entry.at("read", folder)?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(is_own) {
            own.push(path);
        }
    }
    own.sort();
    Ok(own)
}

#[cfg(test)]
mod tests;
