//! CIFAR-10 and CIFAR-100 in their binary version: records of labels and a planar 32x32 RGB picture.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::dataset::{Source, hash_text};
use super::files::readable;
use super::picture::{Decoded, Picture};
use super::skip::Fault;
use crate::error::{Error, IoContext, Result};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// The records of one file, in memory.
#[derive(Debug)]
pub(super) struct Cifar {
    file: String,
    variant: &'static Variant,
    records: Vec<u8>,
    classes: Vec<String>,
}

/// Which of the two data sets.
#[derive(Debug, PartialEq)]
pub(super) struct Variant {
    /// The data set's name.
    pub name: &'static str,
    /// The files of the training part.
    pub train: &'static [&'static str],
    /// The file of the test part.
    pub test: &'static str,
    /// The file that names the classes, one a line.
    names: &'static str,
    classes: usize,
    /// Labels at the start of a record; the last one counts.
    labels: usize,
}

/// The data sets there are.
pub(super) static VARIANTS: [Variant; 2] = [
    Variant {
        name: "CIFAR-10",
        train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
        test: "test_batch.bin",
        names: "batches.meta.txt",
        classes: 10,
        labels: 1,
    },
    Variant {
        name: "CIFAR-100",
        train: &["train.bin"],
        test: "test.bin",
        names: "fine_label_names.txt",
        classes: 100,
        labels: 2,
    },
];

impl Variant {
    fn record(&self) -> usize {
        self.labels + 3 * PLANE
    }

    /// The variant of which `path` is a file, by its name.
    pub fn of(path: &Path) -> Option<&'static Self> {
        let name = path.file_name()?.to_str()?;
        VARIANTS.iter().find(|variant| variant.train.contains(&name) || variant.test == name)
    }
}

impl Cifar {
    /// Reads the records at `path`, and the names of the classes from the file beside it.
    ///
    /// # Errors
    /// A file that is not made of whole records, or a label that is none.
    pub fn open(path: &Path, variant: &'static Variant) -> Result<Self> {
        let records = std::fs::read(path).at("read", path)?;
        let Variant { name, classes, labels, .. } = *variant;
        let size = variant.record();
        if records.is_empty() || records.len() % size != 0 {
            let found = records.len();
            return Err(Error::data(
                path,
                format!("a file of {name} has records of {size} bytes, found {found} bytes"),
            )
            .with_remedy("fetch the binary version again"));
        }
        if let Some(i) = records.chunks_exact(size).position(|record| usize::from(record[labels - 1]) >= classes) {
            let found = records[i * size + labels - 1];
            return Err(Error::data(path, format!("record {i} has the label {found}, {name} has {classes} classes")));
        }
        let names = Some(path.with_file_name(variant.names)).filter(|beside| beside.is_file());
        let names = names.and_then(|beside| std::fs::read_to_string(beside).ok()).unwrap_or_default();
        let names: Vec<String> =
            names.lines().map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect();
        let numbers = || (0..classes).map(|class| class.to_string()).collect();
        Ok(Self {
            file: readable(path.file_name().unwrap_or(path.as_os_str())),
            variant,
            records,
            classes: if names.len() == classes { names } else { numbers() },
        })
    }

    fn record(&self, i: usize) -> (&[u8], &[u8]) {
        let size = self.variant.record();
        self.records[i * size..][..size].split_at(self.variant.labels)
    }
}

impl Source for Cifar {
    fn len(&self) -> usize {
        self.records.len() / self.variant.record()
    }

    fn name(&self, i: usize) -> String {
        format!("{}#{i}", self.file)
    }

    fn label(&self, i: usize) -> Option<u32> {
        self.record(i).0.last().map(|label| u32::from(*label))
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn picture(&self, i: usize, _: &AtomicBool) -> Result<Decoded, Fault> {
        let planes = self.record(i).1;
        let pixels = (0..PLANE).flat_map(|at| [planes[at], planes[PLANE + at], planes[2 * PLANE + at]]).collect();
        Ok(Picture { width: SIDE, height: SIDE, channels: 3, pixels }.into())
    }

    fn fingerprint(&self, hasher: &mut blake3::Hasher) {
        hash_text(hasher, &self.file);
        hasher.update(&self.records);
    }
}
