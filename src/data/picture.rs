//! Decoding: from the bytes of a picture file to grey or RGB pixels, within limits and without a panic.

use std::cell::Cell;
use std::fs::{File, Metadata};
use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::budget::{Budget, Share};
use super::header::{self, MAX_HEADER_BYTES};
use super::resize::{Pixels, Resize, Resizer};
use super::skip::{Fault, SkipReason};
use crate::error::Error;

/// Longest side of a picture that is decoded.
pub const MAX_SIDE: u32 = 16_384;
/// Most memory that decoding may take at once, over all threads: 58 million pixels of a usual JPEG, 19 million of a
/// progressive one. What needs more is skipped; with the files it stays below 256 MiB.
pub const MAX_DECODED_BYTES: u64 = 176 << 20;
/// Largest file that is read as one picture, and the most that all threads hold of such files.
pub const MAX_FILE_BYTES: u64 = 48 << 20;

static DECODING: Budget = Budget::new(MAX_DECODED_BYTES);
static FILES: Budget = Budget::new(MAX_FILE_BYTES);

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

/// A picture, and its share of the memory for pictures for as long as it is in use.
#[derive(Debug)]
pub(super) struct Decoded {
    pub picture: Picture,
    _share: Option<Share>,
}

impl From<Picture> for Decoded {
    /// A picture out of a store that is in memory as a whole.
    fn from(picture: Picture) -> Self {
        Self { picture, _share: None }
    }
}

impl Picture {
    /// Reads and decodes the file at `path`, which must be a regular file.
    ///
    /// # Errors
    /// A [`Fault`] that says why there is no picture.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        Decoded::read(path).map(|decoded| decoded.picture)
    }

    /// Decodes a picture file's content, whose format its first bytes tell.
    ///
    /// As Pillow's `convert("RGB")` does, transparency is dropped, not blended, and CMYK and palettes become RGB. What
    /// is grey stays grey. The EXIF orientation is applied.
    ///
    /// # Errors
    /// A [`Fault`] that says why there is no picture.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        Decoded::of(bytes).map(|decoded| decoded.picture)
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
        let Self { width, channels, .. } = *self;
        let values = Pixels { width, channels, wanted: channels, values: &self.pixels };
        Resizer::default().resize(values, resize, &mut pixels);
        Ok(Self { width: window.width, height: window.height, channels: self.channels, pixels })
    }
}

impl Decoded {
    /// As [`Picture::read`].
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let metadata = plain_file(path)?;
        Self::within(File::open(path).map_err(|error| unreadable(&error))?, metadata.len())
    }

    /// Reads and decodes the next `length` bytes of `file`, or as many as there are.
    ///
    /// # Errors
    /// A [`Fault`] that says why there is no picture.
    pub fn within(file: File, length: u64) -> Result<Self, Fault> {
        if length > MAX_FILE_BYTES {
            let detail = format!("the file has {length} bytes, more than {MAX_FILE_BYTES}");
            return Err(Fault::new(SkipReason::TooLarge, detail));
        }
        // Held until the file's content is dropped. Who waits for memory to decode holds one of these, and nobody the
        // other way round.
        let _share = FILES.take(length);
        let mut bytes = Vec::with_capacity(length as usize);
        file.take(length).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
        Self::of(&bytes)
    }

    /// As [`Picture::decode`].
    fn of(bytes: &[u8]) -> Result<Self, Fault> {
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
}

/// The metadata of the regular file at `path`, without opening it: opening a named pipe would wait for a writer.
pub(super) fn plain_file(path: &Path) -> Result<Metadata, Fault> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
    if metadata.is_file() {
        return Ok(metadata);
    }
    let what = if metadata.is_dir() { "a folder" } else { "a pipe, a socket or a device" };
    Err(Fault::new(SkipReason::NotAFile, format!("the path names {what}, not a file")))
}

/// A share of the memory for pictures, for what decodes elsewhere.
pub(super) fn hold(bytes: u64) -> Share {
    DECODING.take(bytes.min(MAX_DECODED_BYTES))
}

pub(super) fn unreadable(error: &io::Error) -> Fault {
    Fault::new(SkipReason::Unreadable, error.to_string())
}

fn decode_as(format: ImageFormat, bytes: &[u8]) -> Result<Decoded, Fault> {
    let past_end = Cell::new(false);
    let reader = || Watched { inner: Cursor::new(bytes), past_end: &past_end };
    let fault = |error: ImageError| {
        let reason = match &error {
            ImageError::Limits(_) => SkipReason::TooLarge,
            ImageError::Unsupported(_) => SkipReason::Unsupported,
            // The JPEG decoder always reads to the end; its files are checked beforehand.
            _ if past_end.get() && format != ImageFormat::Jpeg => SkipReason::Truncated,
            _ => SkipReason::Corrupt,
        };
        let detail = match reason {
            SkipReason::TooLarge => format!("{error} (at most {MAX_SIDE} pixels a side are read)"),
            _ => error.to_string(),
        };
        Fault::new(reason, detail)
    };
    let header = header::memory(format, bytes)?;
    let mut share = DECODING.take(header.min(MAX_DECODED_BYTES));
    let mut decoder = open(format, reader()).map_err(fault)?;
    let orientation = decoder.orientation().map_err(fault)?;
    let need = header.saturating_add(memory(format, bytes, &decoder, orientation));
    if need > MAX_DECODED_BYTES {
        let ((width, height), most) = (decoder.dimensions(), MAX_DECODED_BYTES >> 20);
        let detail = format!("to decode {width}x{height} pixels takes {} MiB, more than {most}", need >> 20);
        return Err(Fault::new(SkipReason::TooLarge, detail));
    }
    if !share.grow(need) {
        // Who holds a share waits for no other: the header is read once more as soon as there is enough for all.
        drop((decoder, share));
        share = DECODING.take(need);
        decoder = open(format, reader()).map_err(fault)?;
    }
    let mut image = DynamicImage::from_decoder(decoder).map_err(fault)?;
    image.apply_orientation(orientation);
    let picture = eight_bits(image)?;
    share.keep(picture.pixels.len() as u64);
    Ok(Decoded { picture, _share: Some(share) })
}

/// The decoder, which has read the header.
fn open<'a>(format: ImageFormat, reader: Watched<'a>) -> Result<impl ImageDecoder + 'a, ImageError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_HEADER_BYTES);
    let mut reader = ImageReader::with_format(reader, format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    decoder.set_limits(limits)?;
    Ok(decoder)
}

/// The most memory that decoding takes until the picture stands with 8 bits a channel, as far as it grows with the picture;
/// what the header takes comes beside it.
fn memory(format: ImageFormat, bytes: &[u8], decoder: &impl ImageDecoder, orientation: Orientation) -> u64 {
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    let (color, decoded) = (decoder.color_type(), decoder.total_bytes());
    let beside = match format {
        // Of one with several scans all coefficients, of 16 bits and padded to blocks.
        ImageFormat::Jpeg => {
            let padded = u64::from(width.next_multiple_of(32)) * u64::from(height.next_multiple_of(32));
            jpeg_frame(bytes).map_or(0, |frame| u64::from(frame.stored) * padded * 2)
        }
        // The canvas beside the frame, or planes of chroma and light.
        ImageFormat::Gif | ImageFormat::WebP => 8 * pixels,
        // A second copy while samples are put in order.
        ImageFormat::Tiff | ImageFormat::Pnm => decoded,
        _ => 0,
    };
    let turned = match orientation {
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH => {
            decoded
        }
        _ => 0,
    };
    let narrowed = match color {
        ColorType::L8 | ColorType::Rgb8 => 0,
        color if color.has_color() => 3 * pixels,
        _ => pixels,
    };
    decoded.saturating_add(beside.max(turned).max(narrowed))
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

/// What the header of a JPEG says of its scans.
struct JpegFrame {
    /// Where the first scan begins.
    scans: usize,
    /// Components whose coefficients are all kept until the last scan: none where the first scan is the only one.
    stored: u8,
}

/// The header of a JPEG up to its first scan; nothing where the file ends before.
fn jpeg_frame(bytes: &[u8]) -> Option<JpegFrame> {
    const START_OF_SCAN: u8 = 0xda;
    /// The start of a progressive frame, and of the two others that are decoded.
    const PROGRESSIVE: u8 = 0xc2;
    const SEQUENTIAL: [u8; 2] = [0xc0, 0xc1];
    /// From the marker of a frame, and of a scan, to the number of its components.
    const OF_FRAME: usize = 9;
    const OF_SCAN: usize = 4;
    const MOST: u8 = 4;
    // Segments are walked one by one, because a thumbnail inside one of them has markers of its own.
    let (mut at, mut components, mut progressive) = (2, 0, false);
    loop {
        let Some(&[0xff, marker]) = bytes.get(at..at + 2) else {
            // What stands between segments and is none is for the decoder to judge, which may find anything behind it.
            return (at + 2 <= bytes.len()).then_some(JpegFrame { scans: bytes.len(), stored: MOST });
        };
        match marker {
            0xff => at += 1,
            START_OF_SCAN => {
                let whole = !progressive && bytes.get(at + OF_SCAN) == Some(&components);
                return Some(JpegFrame { scans: at, stored: if whole { 0 } else { components.min(MOST) } });
            }
            0x01 | 0xd0..=0xd8 => at += 2,
            _ => {
                let &[high, low] = bytes.get(at + 2..at + 4)? else { return None };
                if marker == PROGRESSIVE || SEQUENTIAL.contains(&marker) {
                    components = bytes.get(at + OF_FRAME).copied().unwrap_or(MOST);
                    progressive = marker == PROGRESSIVE;
                }
                at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
            }
        }
    }
}

/// Whether a JPEG's scans are never ended by the end marker, as happens to a download that broke off.
///
/// The decoder fills what is missing with grey and says nothing; Pillow refuses such a file, and so do we.
fn jpeg_has_no_end(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];
    let Some(JpegFrame { scans, .. }) = jpeg_frame(bytes) else { return true };
    scans < bytes.len() && !bytes[scans..].windows(2).rev().any(|pair| pair == END_OF_IMAGE)
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
