//! Tests of the module as a whole, and the files they need.

mod hostile;
mod loading;
mod pillow;
mod stores;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Picture;

/// A path below the repository's root.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The committed silhouettes, as IDX.
fn animals() -> PathBuf {
    repository("examples/data/animals28")
}

/// The bytes of the u8 and f32 tensors of a safetensors file, with their shapes.
fn tensors(path: &str) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(repository(path)).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    tensors.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), view.data().to_vec()))).collect()
}

/// A picture of `[height, width, channels]`.
fn picture((shape, pixels): &(Vec<usize>, Vec<u8>)) -> Picture {
    let [height, width, channels] = shape[..] else { panic!("a picture has three sides, found {shape:?}") };
    Picture { width, height, channels, pixels: pixels.clone() }
}

/// A PNG file of one colour.
pub(super) fn png(width: u32, height: u32, level: u8) -> Vec<u8> {
    encoded(&image::DynamicImage::ImageRgb8(image::RgbImage::from_pixel(width, height, image::Rgb([level; 3]))), "png")
}

/// `image` as a file of the format that ends in `extension`.
fn encoded(image: &image::DynamicImage, extension: &str) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::from_extension(extension).unwrap()).unwrap();
    bytes.into_inner()
}

/// Writes `content` to `folder`/`path`, making the folders between.
pub(super) fn put(folder: &Path, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path
}

/// A tar file of these.
pub(super) fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}
