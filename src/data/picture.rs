//! Decoding: from the bytes of a picture file to grey or RGB pixels, within limits and without a panic.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::resize::{Pixels, Resize, Resizer};
use super::skip::{Fault, SkipReason};
use crate::error::Error;

/// Longest side of a picture that is decoded.
pub const MAX_SIDE: u32 = 16_384;
/// Most memory that the decoder of one picture may take, its result included.
pub const MAX_DECODED_BYTES: u64 = 512 << 20;
/// Largest file that is read as one picture.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// A decoded picture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1 for grey, 3 for red, green, blue.
    pub channels: usize,
    /// `[height, width, channels]`.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// Reads and decodes the file at `path`, which must be a regular file.
    ///
    /// # Errors
    /// A [`Fault`] that says why there is no picture.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        // The metadata come before the opening: opening a named pipe would wait for a writer.
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "a folder" } else { "a pipe, a socket or a device" };
            return Err(Fault::new(SkipReason::NotAFile, format!("the path names {what}, not a file")));
        }
        check_file_size(metadata.len())?;
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        let file = File::open(path).map_err(|error| unreadable(&error))?;
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
        Self::decode(&bytes)
    }

    /// Decodes a picture file's content, whose format its first bytes tell.
    ///
    /// As Pillow's `convert("RGB")` does, transparency is dropped, not blended, and CMYK and palettes become RGB. What
    /// is grey stays grey. The EXIF orientation is applied.
    ///
    /// # Errors
    /// A [`Fault`] that says why there is no picture.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.is_empty() {
            return Err(Fault::new(SkipReason::Empty, "the file has no content"));
        }
        let Ok(format) = image::guess_format(bytes) else {
            let markup = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<');
            let looks = if markup { "; it looks like HTML or XML" } else { "" };
            return Err(Fault::new(
                SkipReason::NotAnImage,
                format!("the first bytes are of no known picture format{looks}"),
            ));
        };
        if format == ImageFormat::Jpeg && jpeg_has_no_end(bytes) {
            return Err(Fault::new(SkipReason::Truncated, "the JPEG ends without its end marker"));
        }
        // Decoders have had bugs that panic; one bad file must not end a run.
        catch_unwind(AssertUnwindSafe(|| decode_as(format, bytes)))
            .unwrap_or_else(|_| Err(Fault::new(SkipReason::Corrupt, "the decoder panicked")))
    }

    /// Part of the picture, resized as Pillow resizes.
    ///
    /// # Errors
    /// A usage error where the part does not lie inside the picture, or the window inside the result.
    pub fn resized(&self, resize: &Resize) -> crate::error::Result<Self> {
        let Resize { source, size, window, .. } = *resize;
        let wanted = size.0.max(size.1) <= MAX_SIDE as usize;
        if !(wanted && source.fits(self.width, self.height) && window.fits(size.0, size.1)) {
            let (width, height) = (self.width, self.height);
            return Err(Error::usage(format!("{resize:?} does not fit a picture of {width}x{height}")));
        }
        let mut pixels = Vec::new();
        let values = Pixels { width: self.width, channels: self.channels, values: &self.pixels };
        Resizer::default().resize(values, resize, &mut pixels);
        Ok(Self { width: window.width, height: window.height, channels: self.channels, pixels })
    }
}

/// Refuses a picture file that is too large to be read whole.
pub(super) fn check_file_size(bytes: u64) -> Result<(), Fault> {
    if bytes <= MAX_FILE_BYTES {
        return Ok(());
    }
    let detail = format!("the file has {bytes} bytes, more than {MAX_FILE_BYTES}");
    Err(Fault::new(SkipReason::TooLarge, detail))
}

pub(super) fn unreadable(error: &io::Error) -> Fault {
    Fault::new(SkipReason::Unreadable, error.to_string())
}

fn decode_as(format: ImageFormat, bytes: &[u8]) -> Result<Picture, Fault> {
    let past_end = Cell::new(false);
    let reader = Watched { inner: Cursor::new(bytes), past_end: &past_end };
    let image = decode_watched(format, reader).map_err(|error| {
        let reason = match &error {
            ImageError::Limits(_) => SkipReason::TooLarge,
            ImageError::Unsupported(_) => SkipReason::Unsupported,
            // The JPEG decoder always reads to the end; its files are checked beforehand.
            _ if past_end.get() && format != ImageFormat::Jpeg => SkipReason::Truncated,
            _ => SkipReason::Corrupt,
        };
        let detail = match reason {
            SkipReason::TooLarge => format!(
                "{error} (at most {MAX_SIDE} pixels a side and {} MiB decoded are read)",
                MAX_DECODED_BYTES >> 20
            ),
            _ => error.to_string(),
        };
        Fault::new(reason, detail)
    })?;
    eight_bits(image)
}

fn decode_watched(format: ImageFormat, reader: Watched<'_>) -> Result<DynamicImage, ImageError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    let mut reader = ImageReader::with_format(reader, format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    limits.check_dimensions(width, height)?;
    limits.reserve(decoder.total_bytes())?;
    decoder.set_limits(limits)?;
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

fn eight_bits(image: DynamicImage) -> Result<Picture, Fault> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    // Of 16 bits the upper 8 stay, as Pillow reads RGB; its grey of 16 bits, which it clips at 255, is not followed.
    let upper = |value: u16| (value >> 8) as u8;
    let (channels, pixels) = match image {
        DynamicImage::ImageLuma8(image) => (1, image.into_raw()),
        DynamicImage::ImageLumaA8(image) => (1, image.pixels().map(|pixel| pixel.0[0]).collect()),
        DynamicImage::ImageLuma16(image) => (1, image.pixels().map(|pixel| upper(pixel.0[0])).collect()),
        DynamicImage::ImageLumaA16(image) => (1, image.pixels().map(|pixel| upper(pixel.0[0])).collect()),
        DynamicImage::ImageRgb8(image) => (3, image.into_raw()),
        DynamicImage::ImageRgba8(image) => (3, rgb(image.pixels().map(|pixel| pixel.0))),
        DynamicImage::ImageRgb16(image) => (3, image.into_raw().into_iter().map(upper).collect()),
        DynamicImage::ImageRgba16(image) => (3, rgb(image.pixels().map(|pixel| pixel.0.map(upper)))),
        other => {
            let detail = format!("pixels of the type {:?} have no agreed range", other.color());
            return Err(Fault::new(SkipReason::Unsupported, detail));
        }
    };
    Ok(Picture { width, height, channels, pixels })
}

fn rgb(pixels: impl Iterator<Item = [u8; 4]>) -> Vec<u8> {
    pixels.flat_map(|[red, green, blue, _]| [red, green, blue]).collect()
}

/// Whether a JPEG's scans are never ended by the end marker, as happens to a download that broke off.
///
/// The decoder fills what is missing with grey and says nothing; Pillow refuses such a file, and so do we.
fn jpeg_has_no_end(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];
    // Segments are walked up to the first scan, because a thumbnail inside one of them has an end marker of its own.
    let mut at = 2;
    loop {
        let Some(&[0xff, marker]) = bytes.get(at..at + 2) else {
            // Past the end of a file cut between segments; anything else is for the decoder to judge.
            return at + 2 > bytes.len();
        };
        match marker {
            0xff => at += 1,
            START_OF_SCAN => return !bytes[at..].windows(2).rev().any(|pair| pair == END_OF_IMAGE),
            0x01 | 0xd0..=0xd8 => at += 2,
            _ => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return true };
                at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
            }
        }
    }
}

/// A reader over bytes that notes when more was asked for than there is.
struct Watched<'a> {
    inner: Cursor<&'a [u8]>,
    past_end: &'a Cell<bool>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.past_end.set(true);
        }
        Ok(count)
    }
}

impl BufRead for Watched<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let buffer = self.inner.fill_buf()?;
        if buffer.is_empty() {
            self.past_end.set(true);
        }
        Ok(buffer)
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.inner.seek(position)
    }
}
