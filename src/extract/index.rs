//! `index.json` of a feature folder: which shards there are, which rows they hold, and their sums.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::provenance::{Format, Provenance};
use super::shard::Shape;
use crate::atomic;
use crate::error::{Error, IoContext, Kind, Result};
use crate::weights::FileEntry;

/// The name of the index in its folder.
pub const INDEX_FILE: &str = "index.json";

/// The layout of the folder; another number is another layout.
const LAYOUT: u32 = 1;

/// What a feature folder holds; rewritten after each shard, so that it never names one that is not whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// The layout of the folder: 1.
    pub layout: u32,
    /// Where the features come from.
    pub provenance: Provenance,
    /// The container of the shards.
    pub format: Format,
    /// What one row holds.
    pub shape: Shape,
    /// Rows in all shards.
    pub rows: u64,
    /// Whether every input has been extracted.
    pub complete: bool,
    /// The names of the labels 0, 1, ...; none where they are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// The fingerprint of the inputs; none where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The shards, in the order of the input.
    pub shards: Vec<ShardEntry>,
}

/// One shard of a feature folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// Its first row, and the one behind its last, among the rows of the folder.
    pub rows: [u64; 2],
    /// The place in the input of its first row, and the one behind that of its last.
    pub inputs: [u64; 2],
    /// The name of its last row, by which a continued extraction can tell that the input is the same.
    pub last_name: String,
    /// The shard itself.
    pub file: FileEntry,
    /// The JSON file beside it, for npy.
    pub sidecar: Option<FileEntry>,
}

/// What every shard's name begins with.
const STEM: &str = "features-";

/// The name of a shard without its ending.
pub(super) fn shard_stem(number: usize) -> String {
    format!("{STEM}{number:05}")
}

impl Index {
    pub(super) fn new(provenance: Provenance, format: Format, shape: Shape) -> Self {
        Self {
            layout: LAYOUT,
            provenance,
            format,
            shape,
            rows: 0,
            complete: false,
            classes: Vec::new(),
            data: None,
            shards: Vec::new(),
        }
    }

    /// The index of a feature folder, or nothing where there is none.
    ///
    /// # Errors
    /// Of kind [`Kind::Data`] if it is damaged or of another version of this crate.
    pub fn find(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(INDEX_FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.at("read", &path)?,
        };
        let index: Self = serde_json::from_slice(&text)
            .map_err(|error| Error::data(&path, format!("not the index of a feature folder: {error}")))?;
        index.check(&path)?;
        Ok(Some(index))
    }

    /// The index of a feature folder.
    ///
    /// # Errors
    /// As [`Index::find`], and if there is none.
    pub fn read(folder: &Path) -> Result<Self> {
        Self::find(folder)?.ok_or_else(|| {
            Error::new(Kind::Data, format!("{}: holds no features: it has no {INDEX_FILE}", folder.display()))
                .with_remedy("give a folder that `anyjepa extract` wrote")
        })
    }

    /// Refuses a folder that lacks a file of the index; their content is [`Index::verify`]'s.
    ///
    /// # Errors
    /// Of kind [`Kind::Data`] naming the first file that is missing.
    pub fn require_files(&self, folder: &Path) -> Result<()> {
        let mut paths = self.shards.iter().flat_map(ShardEntry::files).map(|file| folder.join(&file.name));
        paths.find(|path| !path.is_file()).map_or(Ok(()), |path| Err(missing(&path)))
    }

    /// Writes the index into its folder, whole or not at all.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(INDEX_FILE);
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::new(Kind::Other, format!("cannot encode {}: {error}", path.display())))?;
        text.push(b'\n');
        atomic::write(&path, &text)
    }

    /// The place in the input behind that of the last row.
    pub fn next_input(&self) -> u64 {
        self.shards.last().map_or(0, |shard| shard.inputs[1])
    }

    /// The names of the files of shard `number`.
    pub(super) fn file_names(&self, number: usize) -> Vec<String> {
        let stem = shard_stem(number);
        let sidecar = (self.format == Format::Npy).then(|| format!("{stem}.json"));
        std::iter::once(format!("{stem}.{}", self.format.extension())).chain(sidecar).collect()
    }

    /// Refuses an index that contradicts itself, so that no name leads out of the folder and no row is counted twice.
    fn check(&self, path: &Path) -> Result<()> {
        if self.layout != LAYOUT {
            let message = format!("has layout {}, expected {LAYOUT}", self.layout);
            return Err(Error::data(path, message).with_remedy("use the version of anyjepa that wrote it"));
        }
        let (mut row, mut input) = (0, 0);
        for (number, shard) in self.shards.iter().enumerate() {
            if !shard.files().map(|file| &file.name).eq(&self.file_names(number)) {
                return Err(Error::data(path, format!("shard {number} has the file {}", shard.file.name)));
            }
            let ([from, to], [first, end]) = (shard.rows, shard.inputs);
            if from != row || to <= from || first < input || end < first || end - first < to - from {
                return Err(Error::data(path, format!("the rows or inputs of shard {number} do not follow the last")));
            }
            (row, input) = (to, end);
        }
        if row != self.rows {
            return Err(Error::data(path, format!("names {} rows, its shards hold {row}", self.rows)));
        }
        Ok(())
    }
}

impl ShardEntry {
    /// The shard's file, and the one beside it.
    pub fn files(&self) -> impl Iterator<Item = &FileEntry> {
        std::iter::once(&self.file).chain(&self.sidecar)
    }
}

/// A file that an index names and that is not there.
pub(super) fn missing(path: &Path) -> Error {
    Error::data(path, format!("is missing, but {INDEX_FILE} names it"))
        .with_remedy("put it back, or extract the features again to another folder")
}

/// Whether a file name is that of a shard, a sidecar, or one of them or the index unfinished.
pub(super) fn is_own(name: &str) -> bool {
    let whole = name.strip_suffix(atomic::PARTIAL).unwrap_or(name);
    if whole == INDEX_FILE {
        return whole != name;
    }
    let Some((number, extension)) = whole.strip_prefix(STEM).and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    number.len() >= 5
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && ["safetensors", "npy", "parquet", "json"].contains(&extension)
}

#[cfg(test)]
mod tests {
    use super::super::provenance::example;
    use super::*;

    type Change = fn(&mut Index);

    fn index() -> Index {
        let file = |name| FileEntry { name, bytes: 10, blake3: "00".into() };
        let entry = |number: u64, rows| ShardEntry {
            rows,
            inputs: rows,
            last_name: "z.png".into(),
            file: file(format!("features-0000{number}.npy")),
            sidecar: Some(file(format!("features-0000{number}.json"))),
        };
        let shape = Shape { tokens: 1, dim: 2 };
        let shards = vec![entry(0, [0, 4]), entry(1, [4, 6])];
        Index { rows: 6, shards, ..Index::new(example(), Format::Npy, shape) }
    }

    #[test]
    fn an_index_that_contradicts_itself_is_refused() {
        let changes: [(&str, Change); 7] = [
            ("layout", |index| index.layout = 2),
            ("path", |index| index.shards[0].file.name = "../../secret".into()),
            ("sidecar path", |index| index.shards[0].sidecar.as_mut().unwrap().name = "/etc/passwd".into()),
            ("missing sidecar", |index| index.shards[1].sidecar = None),
            ("gap", |index| index.shards[1].rows = [5, 7]),
            ("empty shard", |index| index.shards[1].rows = [4, 4]),
            ("sum", |index| index.rows = 7),
        ];
        assert!(index().check(Path::new("index.json")).is_ok());
        for (name, change) in changes {
            let mut index = index();
            change(&mut index);
            assert_eq!(index.check(Path::new("index.json")).map_err(|error| error.kind()), Err(Kind::Data), "{name}");
        }
    }

    #[test]
    fn an_index_cut_anywhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        index().write(folder.path()).unwrap();
        let path = folder.path().join(INDEX_FILE);
        let whole = fs::read(&path).unwrap();
        // Behind the last brace stands a line feed, without which the index is whole.
        for cut in 0..whole.len() - 1 {
            fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(Index::read(folder.path()).unwrap_err().kind(), Kind::Data, "cut at {cut}");
        }
    }

    #[test]
    fn only_what_a_writer_leaves_is_its_own() {
        for own in ["features-00000.npy", "features-123456.json.partial", "index.json.partial"] {
            assert!(is_own(own), "{own}");
        }
        for foreign in ["index.json", "features-1.npy", "features-00000.txt", "features-00000", "notes.partial"] {
            assert!(!is_own(foreign), "{foreign}");
        }
    }
}
