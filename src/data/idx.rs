//! IDX, the format of MNIST: all pictures in one file, their labels in another, plain or gzipped.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use flate2::read::MultiGzDecoder;

use super::dataset::{Source, hash_label, hash_text};
use super::files::readable;
use super::picture::{Decoded, Picture};
use super::skip::Fault;
use crate::error::{Error, IoContext, Result};

/// Grey pictures of one size, in memory.
#[derive(Debug)]
pub(super) struct Idx {
    file: String,
    height: usize,
    width: usize,
    /// `[pictures, height, width]`.
    pixels: Vec<u8>,
    /// One a picture, or none at all.
    labels: Vec<u8>,
    classes: Vec<String>,
}

impl Idx {
    /// Reads the pictures at `path`, and their labels from the file beside it whose name says `labels` for `images`.
    ///
    /// # Errors
    /// A file that is no IDX file of pictures, that ends early or late, or whose labels do not fit.
    pub fn open(path: &Path) -> Result<Self> {
        let images = Tensor::read(path)?;
        let [count, height, width] = images.sides[..] else {
            let what = if images.sides.len() == 1 { "labels" } else { "no grey pictures" };
            return Err(Error::data(path, format!("this IDX file holds {what}: its shape is {:?}", images.sides))
                .with_remedy("give the file with the pictures, whose shape is [pictures, height, width]"));
        };
        if count * height * width == 0 {
            return Err(Error::data(path, format!("this IDX file holds nothing: its shape is {:?}", images.sides))
                .with_remedy("fetch or write the file again"));
        }
        let mut labels = Vec::new();
        if let Some(beside) = labels_beside(path) {
            let read = Tensor::read(&beside)?;
            if read.sides != [count] {
                let found: Vec<String> = read.sides.iter().map(usize::to_string).collect();
                let pictures = path.display();
                let message =
                    format!("expected {count} labels, one a picture of {pictures}, found {}", found.join(" x "));
                return Err(Error::data(beside, message).with_remedy(
                    "give pictures and labels of the same split, or move the labels elsewhere to do without",
                ));
            }
            labels = read.values;
        }
        let classes = labels.iter().max().map_or(0, |most| u32::from(*most) + 1);
        Ok(Self {
            file: readable(path.file_name().unwrap_or(path.as_os_str())),
            height,
            width,
            pixels: images.values,
            labels,
            classes: (0..classes).map(|class| class.to_string()).collect(),
        })
    }
}

impl Source for Idx {
    fn len(&self) -> usize {
        self.pixels.len() / (self.height * self.width)
    }

    fn name(&self, i: usize) -> String {
        format!("{}#{i}", self.file)
    }

    fn label(&self, i: usize) -> Option<u32> {
        self.labels.get(i).map(|label| u32::from(*label))
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn picture(&self, i: usize, _: &AtomicBool) -> Result<Decoded, Fault> {
        let Self { height, width, .. } = *self;
        let pixels = self.pixels[i * height * width..][..height * width].to_vec();
        Ok(Picture { width, height, channels: 1, pixels }.into())
    }

    fn fingerprint(&self, hasher: &mut blake3::Hasher) {
        hash_text(hasher, &self.file);
        hasher.update(&self.pixels);
        (0..self.labels.len()).for_each(|i| hash_label(hasher, self.label(i)));
    }
}

/// Whether `start`, a file's first bytes, can begin an IDX file.
pub(super) fn is_idx(start: &[u8]) -> bool {
    matches!(start, [0, 0, 8..=14, 1..=4, ..])
}

/// What an IDX file holds.
struct Tensor {
    sides: Vec<usize>,
    values: Vec<u8>,
}

impl Tensor {
    fn read(path: &Path) -> Result<Self> {
        /// More than any known data set of this kind; a header that claims more is wrong.
        const MOST: usize = 16 << 30;
        let mut file = open_plain_or_gzip(path)?;
        let early = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidInput => {
                Error::data(path, "the file ends inside its header").with_remedy("fetch it again")
            }
            _ => Error::data(path, format!("cannot be read: {error}")).with_remedy("fetch it again"),
        };
        let mut magic = [0; 4];
        file.read_exact(&mut magic).map_err(early)?;
        if !is_idx(&magic) {
            return Err(Error::data(path, format!("an IDX file begins with 00 00 08, found {magic:02x?}")));
        }
        if magic[2] != 8 {
            return Err(Error::data(path, format!("IDX values are of the type 08 (u8), found {:02x}", magic[2])));
        }
        let mut sides = Vec::new();
        for _ in 0..magic[3] {
            let mut side = [0; 4];
            file.read_exact(&mut side).map_err(early)?;
            sides.push(u32::from_be_bytes(side) as usize);
        }
        let expected = sides.iter().try_fold(1usize, |product, side| product.checked_mul(*side));
        let Some(expected) = expected.filter(|expected| *expected <= MOST) else {
            return Err(Error::data(path, format!("the shape {sides:?} is more than {} GiB", MOST >> 30)));
        };
        /// No pictures compress so well; small ones may be all alike.
        const EXPANSION: u64 = 256;
        const SMALL: u64 = 64 << 20;
        let length = std::fs::metadata(path).at("read", path)?.len();
        if expected as u64 > length.saturating_mul(EXPANSION).max(SMALL) {
            let problem = format!("the shape {sides:?} is {expected} bytes, the file has {length}");
            return Err(Error::data(path, problem).with_remedy("fetch it again, or unpack it first"));
        }
        // The values are read as they come, not allocated as the header claims.
        let mut values = Vec::new();
        file.take(expected as u64 + 1).read_to_end(&mut values).map_err(early)?;
        if values.len() != expected {
            let found = if values.len() > expected { "more".to_owned() } else { values.len().to_string() };
            return Err(Error::data(path, format!("expected {expected} values of the shape {sides:?}, found {found}"))
                .with_remedy("fetch it again"));
        }
        Ok(Self { sides, values })
    }
}

fn open_plain_or_gzip(path: &Path) -> Result<Box<dyn Read>> {
    let mut start = Vec::new();
    File::open(path).at("open", path)?.take(2).read_to_end(&mut start).at("read", path)?;
    let file = BufReader::new(File::open(path).at("open", path)?);
    Ok(if is_gzip(&start) { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// Whether `start`, a file's first bytes, begin a gzip file.
pub(super) fn is_gzip(start: &[u8]) -> bool {
    start.starts_with(&[0x1f, 0x8b])
}

/// The file with the labels of the pictures at `path`, where there is one: the same name with `labels` for `images` and
/// `idx1` for `idx3`, gzipped or not.
fn labels_beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    if !plain.contains("images") {
        return None;
    }
    let labels = plain.replace("images", "labels").replace("idx3", "idx1");
    [labels.clone(), format!("{labels}.gz")].iter().map(|name| path.with_file_name(name)).find(|path| path.is_file())
}
