//! Reads features back: a folder of shards or a single file, verified, with their provenance.

use std::fs;
use std::path::Path;

use super::formats::{Decoded, decode, is_shard};
use super::index::{INDEX_FILE, Index, ShardEntry, missing};
use super::provenance::{Format, Provenance, list};
use super::shard::Shape;
use crate::data::{renumber, unlabelled};
use crate::error::{Error, IoContext, Kind, Result, require_plain};
use crate::matrix::Matrix;

/// Features in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureSet {
    /// One row an image, of `shape.width()` values.
    pub features: Matrix,
    /// What a row holds.
    pub shape: Shape,
    /// Each row's place in the input.
    pub inputs: Vec<u64>,
    /// Each row's name, such as its path.
    pub names: Vec<String>,
    /// Each row's class, where it is known.
    pub labels: Vec<Option<u32>>,
    /// `[rows, times, 2]`: when the first and the last frame of each time of a row are shown, in seconds from its film's
    /// start; see [`super::Times`]. None of pictures, and of features that were never written.
    pub times: Vec<f64>,
    /// The names of the labels 0, 1, ...; none where they are not known.
    pub classes: Vec<String>,
    /// Where the features come from.
    pub provenance: Provenance,
}

impl FeatureSet {
    /// The features in a folder that `anyjepa extract` wrote, or in one of its files.
    ///
    /// The BLAKE3 of each file is verified where it is known: in a folder, beside an `index.json`, and for npy.
    ///
    /// # Errors
    /// Of kind [`Kind::Data`] if a file is damaged, a shard is missing, or the extraction was not finished.
    pub fn open(path: &Path) -> Result<Self> {
        require_plain(path)?;
        if path.is_dir() { open_folder(path) } else { open_file(path) }
    }

    /// Whether features stand at `path`, whole or not, and not something else, such as weights.
    pub fn stand_at(path: &Path) -> bool {
        match path.is_dir() {
            true => path.join(INDEX_FILE).is_file(),
            false => Format::of(path).is_ok_and(|format| is_shard(format, path)),
        }
    }

    /// The class of every row.
    ///
    /// # Errors
    /// Of kind [`Kind::Data`], naming the first row that has none.
    pub fn labels(&self) -> Result<Vec<u32>> {
        let known: Option<Vec<u32>> = self.labels.iter().copied().collect();
        known.ok_or_else(|| {
            let row = self.labels.iter().position(Option::is_none).unwrap_or_default();
            unlabelled(&self.names[row])
        })
    }

    /// The class of every row, numbered as in `other`: by its name, or by its number where neither knows names.
    ///
    /// # Errors
    /// As [`FeatureSet::labels`]; of kind [`Kind::Data`] too if a class of these rows is none of the other's, or only one
    /// of both knows the names of its classes.
    pub fn labels_as_in(&self, other: &Self) -> Result<Vec<u32>> {
        self.labels_among(&other.classes)
    }

    /// The class of every row, numbered as in `classes`, which are none where their names are not known.
    ///
    /// # Errors
    /// As [`FeatureSet::labels_as_in`].
    pub fn labels_among(&self, classes: &[String]) -> Result<Vec<u32>> {
        renumber(self.labels()?, &self.classes, classes)
    }

    /// The vectors of all rows, `[rows * tokens, dim]`: for patch features, one row a patch.
    pub fn into_vectors(self) -> Matrix {
        let rows = self.features.rows * self.shape.tokens;
        Matrix { rows, cols: self.shape.dim, values: self.features.values }
    }

    /// Refuses to use these features together with `other`, unless both come from the same encoder and options.
    ///
    /// The version of anyjepa may differ: that features stay the same across versions is tested.
    ///
    /// # Errors
    /// Of kind [`Kind::Data`], naming each field of the provenance that differs.
    pub fn compatible(&self, other: &Self) -> Result<()> {
        let refused = |message: String| {
            Error::new(Kind::Data, message).with_remedy("extract both sets with the same weights and the same options")
        };
        let mut differences = self.provenance.differences(&other.provenance);
        differences.retain(|difference| difference.field != "version");
        if !differences.is_empty() {
            let list = list(&differences);
            return Err(refused(format!("features of different provenance cannot be used together: {list}")));
        }
        if self.shape == other.shape {
            return Ok(());
        }
        Err(refused(format!("rows of {} and of {} cannot be used together", self.shape, other.shape)))
    }

    fn empty(provenance: Provenance, shape: Shape) -> Self {
        let features = Matrix { rows: 0, cols: shape.width(), values: Vec::new() };
        Self {
            features,
            shape,
            inputs: Vec::new(),
            names: Vec::new(),
            labels: Vec::new(),
            times: Vec::new(),
            classes: Vec::new(),
            provenance,
        }
    }

    fn append(&mut self, decoded: Decoded, path: &Path) -> Result<()> {
        let Decoded { mut shard, shape, provenance } = decoded;
        if shape != self.shape || provenance != self.provenance {
            return Err(Error::data(path, format!("its shape or provenance is not that of {INDEX_FILE}")));
        }
        let (rows, times) = (self.features.rows, self.times.len());
        if rows > 0 && times * shard.rows() != shard.times.len() * rows {
            return Err(Error::data(path, "its rows do not have as many times as those before"));
        }
        self.times.append(&mut shard.times);
        self.features.rows += shard.rows();
        self.features.values.append(&mut shard.features);
        self.inputs.extend(shard.index.iter().map(|&place| place.cast_unsigned()));
        self.labels.extend(shard.labels.iter().map(|&label| u32::try_from(label).ok()));
        self.names.append(&mut shard.names);
        Ok(())
    }
}

fn open_folder(folder: &Path) -> Result<FeatureSet> {
    let index = Index::read(folder)?;
    if !index.complete {
        return Err(Error::data(folder, format!("the extraction was not finished; it has {} rows so far", index.rows))
            .with_remedy("continue it with `anyjepa extract --resume`"));
    }
    let mut set = FeatureSet::empty(index.provenance.clone(), index.shape);
    set.classes = index.classes.clone();
    for shard in &index.shards {
        append_shard(&mut set, shard, &index, folder)?;
    }
    Ok(set)
}

impl Index {
    /// Reads every shard of `folder`, finished or not, and verifies it; no more than one is in memory at a time.
    ///
    /// # Errors
    /// Of kind [`Kind::Data`] if a file is missing or damaged, or does not hold what the index says.
    pub fn verify(&self, folder: &Path) -> Result<()> {
        for shard in &self.shards {
            append_shard(&mut FeatureSet::empty(self.provenance.clone(), self.shape), shard, self, folder)?;
        }
        Ok(())
    }
}

fn append_shard(set: &mut FeatureSet, shard: &ShardEntry, index: &Index, folder: &Path) -> Result<()> {
    let path = folder.join(&shard.file.name);
    let rows = set.features.rows as u64;
    let decoded = read_shard(shard, index.format, folder)?;
    if decoded.shard.classes != index.classes {
        return Err(Error::data(&path, format!("does not have the classes that {INDEX_FILE} names")));
    }
    set.append(decoded, &path)?;
    if set.features.rows as u64 - rows != shard.rows[1] - shard.rows[0] {
        return Err(Error::data(&path, format!("does not have the rows that {INDEX_FILE} says")));
    }
    Ok(())
}

/// A shard of an index, its sums verified.
fn read_shard(shard: &ShardEntry, format: Format, folder: &Path) -> Result<Decoded> {
    let mut contents = Vec::with_capacity(2);
    for file in shard.files() {
        let path = folder.join(&file.name);
        let content = fs::read(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => missing(&path),
            _ => Error::io("read", &path, error),
        })?;
        if blake3::hash(&content).to_hex().as_str() != file.blake3 {
            let message = format!("was changed or damaged: it does not have the BLAKE3 that {INDEX_FILE} names");
            return Err(Error::data(&path, message).with_remedy("extract the features again"));
        }
        contents.push(content);
    }
    let mut contents = contents.into_iter();
    let (main, sidecar) = (contents.next().unwrap_or_default(), contents.next());
    decode(format, main, sidecar.as_deref(), &folder.join(&shard.file.name))
}

fn open_file(path: &Path) -> Result<FeatureSet> {
    let format = Format::of(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let index = Index::find(folder)?;
    let name = path.file_name().unwrap_or_default();
    let entry = index.as_ref().and_then(|index| index.shards.iter().find(|shard| name == shard.file.name.as_str()));
    let decoded = match (entry, format) {
        (Some(entry), _) => read_shard(entry, format, folder)?,
        (None, Format::Safetensors) => decode(format, fs::read(path).at("read", path)?, None, path)?,
        (None, Format::Npy) => {
            let sidecar = path.with_extension("json");
            let sidecar = fs::read(&sidecar).map_err(|error| {
                Error::data(
                    path,
                    format!("its names, labels and provenance cannot be read: {}: {error}", sidecar.display()),
                )
                .with_remedy("keep the JSON file that `anyjepa extract` wrote beside it")
            })?;
            decode(format, fs::read(path).at("read", path)?, Some(&sidecar), path)?
        }
        (None, Format::Parquet) => {
            return Err(Error::data(
                path,
                format!("no {INDEX_FILE} beside it names its BLAKE3, so it cannot be verified"),
            )
            .with_remedy("give the whole folder that `anyjepa extract` wrote"));
        }
    };
    let mut set = FeatureSet::empty(decoded.provenance.clone(), decoded.shape);
    set.classes = match (entry, &index) {
        (Some(_), Some(index)) => index.classes.clone(),
        _ => decoded.shard.classes.clone(),
    };
    set.append(decoded, path)?;
    Ok(set)
}

#[cfg(test)]
mod tests;
