//! The tensors of a file by name, type and shape; their bytes are read one tensor at a time.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
pub use safetensors::Dtype;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{HostTensor, Metadata, pth};
use crate::error::{Error, IoContext as _, Kind, Result, require_plain};

/// What wraps the tensors of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Container {
    /// A JSON header and plain bytes.
    Safetensors,
    /// PyTorch's archive since 1.6.
    PytorchZip,
    /// PyTorch's stream of pickles before 1.6.
    PytorchLegacy,
    /// PyTorch's archive before 0.1.10.
    PytorchTar,
    /// A pickle on its own, which can hold no tensors.
    Pickle,
}

/// The tensors of one file, or of several that belong together.
#[derive(Debug)]
pub struct Store {
    /// What wraps the tensors.
    pub container: Container,
    /// The tensors by their stored names.
    pub entries: BTreeMap<String, Entry>,
    /// Free text of a safetensors header.
    pub metadata: Metadata,
    /// What a PyTorch file holds beside tensors, by dotted path.
    pub values: BTreeMap<String, serde_json::Value>,
}

/// One stored tensor, its bytes not yet read.
#[derive(Debug)]
pub struct Entry {
    /// Type of an element.
    pub dtype: Dtype,
    /// Length of each axis, the slowest first.
    pub shape: Vec<usize>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    File { path: PathBuf, offset: u64, bytes: usize },
    Pytorch { path: PathBuf, tensor: pytorch_reader::Tensor },
}

impl Store {
    /// Lists the tensors of the safetensors or PyTorch file at `path`; pickles are parsed, never run.
    ///
    /// # Errors
    /// A data error that says what the file looks like where it is neither or damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let mut head = Vec::new();
        let file = File::open(require_plain(path)?).at("open", path)?;
        file.take(512).read_to_end(&mut head).at("read", path)?;
        match looks_like(path, &head) {
            Look::Safetensors => Self::safetensors(path),
            Look::Pytorch => pth::open(path),
            Look::Other(what) => Err(Error::data(path, format!("no weights: this looks like {what}"))
                .with_remedy("give a .pth.tar, .safetensors, a Hugging Face folder or a run's folder")),
        }
    }

    /// Lists the tensors of a safetensors file, reading its header alone.
    ///
    /// # Errors
    /// A data error where the header is invalid, tensors overlap, or the file is shorter or longer than it says.
    pub fn safetensors(path: &Path) -> Result<Self> {
        /// The format allows 100 MB, which take a gigabyte once they are parsed; a thousand blocks need one.
        const MAX_HEADER: u64 = 16 << 20;
        let broken = |problem: String| {
            Error::data(path, format!("not a valid safetensors file: {problem}"))
                .with_remedy("fetch or export the file again; it may have been cut short")
        };
        let mut file = File::open(require_plain(path)?).at("open", path)?;
        let length = file.metadata().at("read", path)?.len();
        let mut word = [0; 8];
        file.read_exact(&mut word).map_err(|_| broken(format!("it has {length} bytes")))?;
        let header = u64::from_le_bytes(word);
        if header > length.saturating_sub(8) {
            return Err(broken(format!("its header claims {header} bytes, the file has {length}")));
        }
        if header > MAX_HEADER {
            return Err(broken(format!("its header has {header} bytes, more than {MAX_HEADER}")));
        }
        let mut text = vec![0; header as usize];
        file.read_exact(&mut text).map_err(|error| shrunk("read", path, error))?;
        /// Tensors of networks have five dimensions at most; each number of a shape takes eight bytes once it is parsed.
        const MAX_COMMAS: usize = 1 << 21;
        if text.iter().filter(|byte| **byte == b',').count() > MAX_COMMAS {
            return Err(broken(format!("its header lists more than {MAX_COMMAS} values")));
        }
        let Unique = serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
        let parsed: safetensors::tensor::Metadata =
            serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
        let (start, expected) = (8 + header, parsed.data_len() as u64);
        if length - start != expected {
            return Err(broken(format!("its tensors take {expected} bytes, the file holds {}", length - start)));
        }
        let entry = |info: &safetensors::tensor::TensorInfo| {
            let (from, to) = info.data_offsets;
            let place = Place::File { path: path.to_path_buf(), offset: start + from as u64, bytes: to - from };
            Entry { dtype: info.dtype, shape: info.shape.clone(), place }
        };
        Ok(Self {
            container: Container::Safetensors,
            entries: parsed.tensors().into_iter().map(|(name, info)| (name, entry(info))).collect(),
            metadata: parsed.metadata().clone().unwrap_or_default(),
            values: BTreeMap::new(),
        })
    }
}

impl Entry {
    pub(super) fn pytorch(path: &Path, dtype: Dtype, tensor: pytorch_reader::Tensor) -> Self {
        let shape = tensor.shape().to_vec();
        Self { dtype, shape, place: Place::Pytorch { path: path.to_path_buf(), tensor } }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The elements, little-endian and row-major.
    ///
    /// # Errors
    /// A data error where the file is damaged or has changed since it was opened.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        match &self.place {
            Place::File { path, offset, bytes } => {
                let mut file = File::open(path).at("open", path)?;
                file.seek(SeekFrom::Start(*offset)).at("read", path)?;
                let mut buffer = vec![0; *bytes];
                file.read_exact(&mut buffer).map_err(|error| shrunk("read", path, error))?;
                Ok(buffer)
            }
            Place::Pytorch { path, tensor } => {
                tensor.read().map_err(|error| Error::data(path, error).with_remedy("fetch the file again"))
            }
        }
    }

    /// The tensor as f32, where it holds floating-point numbers.
    ///
    /// # Errors
    /// A data error where it holds anything else or cannot be read.
    pub fn floats(&self) -> Result<HostTensor> {
        if matches!(self.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64) {
            return self.numbers();
        }
        Err(Error::new(Kind::Data, format!("the type is {:?}, expected a float", self.dtype)))
    }

    /// The tensor as f32, where it holds numbers of any kind; large integers and f64 are rounded.
    ///
    /// # Errors
    /// A data error where its type is none of the usual ones or it cannot be read.
    pub fn numbers(&self) -> Result<HostTensor> {
        let data = self.bytes()?;
        let values: Vec<f32> = match self.dtype {
            Dtype::F32 => bytemuck::pod_collect_to_vec(&data),
            Dtype::F16 => each(&data, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => each(&data, |b| bf16::from_le_bytes(b).to_f32()),
            Dtype::F64 => each(&data, |b| f64::from_le_bytes(b) as f32),
            Dtype::I64 => each(&data, |b| i64::from_le_bytes(b) as f32),
            Dtype::I32 => each(&data, |b| i32::from_le_bytes(b) as f32),
            Dtype::I16 => each(&data, |b| f32::from(i16::from_le_bytes(b))),
            Dtype::I8 => each(&data, |b: [u8; 1]| f32::from(i8::from_le_bytes(b))),
            Dtype::U8 | Dtype::BOOL => data.into_iter().map(f32::from).collect(),
            other => return Err(Error::new(Kind::Data, format!("the type {other:?} is none that can be read"))),
        };
        HostTensor::new(self.shape.clone(), values)
    }
}

/// The failure to read what was in the file when it was opened.
fn shrunk(action: &str, path: &Path, error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return Error::data(path, "the file has become shorter while it was read").with_remedy("fetch the file again");
    }
    Error::io(action, path, error)
}

/// A header in which no name stands twice: of two tensors with one name, the parser would keep the last in silence.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(header: D) -> Result<Self, D::Error> {
        header.deserialize_map(Self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
            if names.contains(&name) {
                return Err(A::Error::custom(format_args!("two tensors have the name {name:?}")));
            }
            names.insert(name);
        }
        Ok(self)
    }
}

fn each<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    data.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
}

enum Look {
    Safetensors,
    Pytorch,
    Other(&'static str),
}

/// What a file is, by its first bytes and its name.
fn looks_like(path: &Path, head: &[u8]) -> Look {
    const MAGIC: &[(&[u8], &str)] = &[
        (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
        (b"\x89PNG", "a PNG picture"),
        (b"\xff\xd8\xff", "a JPEG picture"),
        (b"\x1f\x8b", "a gzip archive; unpack it first"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"PAR1", "a Parquet file"),
        (b"\x89HDF", "an HDF5 file"),
        (b"GGUF", "a GGUF file"),
        (b"<", "an HTML or XML page, such as an error page in place of a download"),
        (b"{", "a JSON file"),
        (b"[", "a TOML or JSON file"),
    ];
    /// Headers of safetensors are far shorter; the first eight bytes of a pickle read as a longer one.
    const LONG: u64 = 1 << 40;
    if head.is_empty() {
        return Look::Other("an empty file");
    }
    let header = head.first_chunk().map_or(u64::MAX, |word| u64::from_le_bytes(*word));
    // The length of a header can begin like any magic number.
    if head.get(8) == Some(&b'{') && header < LONG {
        return Look::Safetensors;
    }
    if let Some((_, what)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Look::Other(what);
    }
    if path.extension().is_some_and(|ending| ending == "toml") {
        return Look::Other("a configuration");
    }
    if path.extension().is_some_and(|ending| ending == "safetensors") { Look::Safetensors } else { Look::Pytorch }
}
