//! What reading the header of a picture takes, told before any decoder is made: decoders read headers at once.

use image::ImageFormat;

use super::skip::{Fault, SkipReason};

/// What the decoder may take of memory for what stands before the pixels, such as a compressed colour profile.
pub(super) const MAX_HEADER_BYTES: u64 = 16 << 20;

/// An upper bound of the bytes of memory that the decoder of `format` takes to read the header of the file `bytes`.
///
/// # Errors
/// A fault where a header has lists that no picture needs.
pub(super) fn memory(format: ImageFormat, bytes: &[u8]) -> Result<u64, Fault> {
    let length = bytes.len() as u64;
    Ok(match format {
        // A copy of the file, and of what it says beside the picture.
        ImageFormat::Jpeg => 2 * length,
        ImageFormat::Png => {
            /// Deflate expands no further.
            const EXPANDS: u64 = 1032;
            /// What is kept of a chunk beside its content.
            const A_CHUNK: u64 = 256;
            let Extras { chunks, bytes } = png_extras(bytes)?;
            bytes.saturating_mul(EXPANDS).min(MAX_HEADER_BYTES) + chunks * A_CHUNK
        }
        ImageFormat::Tiff => {
            /// A value while it is read, and as it is kept.
            const A_VALUE: u64 = 32 + 8;
            tiff_values(bytes)?.saturating_mul(A_VALUE)
        }
        // A copy of what it says beside the picture.
        ImageFormat::WebP | ImageFormat::Pnm => length,
        _ => 0,
    })
}

/// What a PNG holds before its pixels, other than the header and the palette.
#[derive(Default)]
struct Extras {
    chunks: u64,
    bytes: u64,
}

fn png_extras(bytes: &[u8]) -> Result<Extras, Fault> {
    /// Editors write a few; a decoder keeps each of millions.
    const MOST: u64 = 10_000;
    const SIGNATURE: usize = 8;
    /// Length, kind and check sum.
    const AROUND: usize = 12;
    let (mut at, mut extras) = (SIGNATURE, Extras::default());
    while let Some(&[a, b, c, d, ref kind @ ..]) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let length = u32::from_be_bytes([a, b, c, d]);
        match kind {
            b"IDAT" => break,
            b"IHDR" | b"PLTE" | b"tRNS" => {}
            _ => extras = Extras { chunks: extras.chunks + 1, bytes: extras.bytes + u64::from(length) },
        }
        if extras.chunks > MOST {
            let detail = format!("more than {MOST} chunks stand before its pixels");
            return Err(Fault::new(SkipReason::TooLarge, detail));
        }
        at = at.saturating_add(length as usize).saturating_add(AROUND);
    }
    Ok(extras)
}

/// How many values of its first directory a TIFF's decoder reads.
fn tiff_values(bytes: &[u8]) -> Result<u64, Fault> {
    /// A colour map of 16 bits has as many values; strips and tiles of the largest pictures are fewer.
    const MOST: u64 = 3 << 16;
    let (mut values, tags) = (0u64, tiff_tags(bytes).unwrap_or_default());
    for Tag { number, count } in tags {
        if count > MOST {
            let detail = format!("the tag {number} has {count} values, more than {MOST}");
            return Err(Fault::new(SkipReason::TooLarge, detail));
        }
        values += count;
    }
    Ok(values)
}

/// A list of a TIFF.
struct Tag {
    number: u16,
    count: u64,
}

/// The lists of the first directory that the decoder reads; nothing where the file ends before, which it finds as well.
fn tiff_tags(bytes: &[u8]) -> Option<Vec<Tag>> {
    const BIG: u16 = 43;
    /// What tells the picture's form, without the texts between.
    const FORM: [std::ops::RangeInclusive<u16>; 2] = [254..=347, 512..=532];
    const TEXTS: [u16; 9] = [269, 270, 271, 272, 285, 305, 306, 315, 316];
    let little = bytes.starts_with(b"II");
    // A number of `N` bytes, in the file's order.
    let number = |at: usize, length: usize| {
        let digits = bytes.get(at..at.checked_add(length)?)?;
        let add = |sum: u64, digit: &u8| sum << 8 | u64::from(*digit);
        Some(if little { digits.iter().rev().fold(0, add) } else { digits.iter().fold(0, add) })
    };
    let big = number(2, 2)? == u64::from(BIG);
    // Where the directory is named, the bytes of its length, those of an entry, and of a count.
    let (named, head, entry, width) = if big { (8, 8, 20, 8) } else { (4, 2, 12, 4) };
    let directory = usize::try_from(number(named, width)?).ok()?;
    let first = directory.checked_add(head)?;
    let mut tags = Vec::new();
    for i in 0..usize::try_from(number(directory, head)?).ok()? {
        let at = first.checked_add(i.checked_mul(entry)?)?;
        let Some(tag) = number(at, 2) else { break };
        let Some(count) = number(at + 4, width) else { break };
        let tag = tag as u16;
        if FORM.iter().any(|range| range.contains(&tag)) && !TEXTS.contains(&tag) {
            tags.push(Tag { number: tag, count });
        }
    }
    Some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of one list, in either order of bytes and either size of numbers.
    fn tiff(little: bool, big: bool, tag: u16, count: u64) -> Vec<u8> {
        let digits = |value: u64, length: usize| {
            let bytes = value.to_be_bytes()[8 - length..].to_vec();
            if little { bytes.into_iter().rev().collect() } else { bytes }
        };
        let width = if big { 8 } else { 4 };
        let start = if big {
            [digits(43, 2), digits(8, 2), digits(0, 2), digits(16, 8), digits(1, 8)].concat()
        } else {
            [digits(42, 2), digits(8, 4), digits(1, 2)].concat()
        };
        let order = if little { b"II" } else { b"MM" };
        [order.to_vec(), start, digits(tag.into(), 2), digits(4, 2), digits(count, width), digits(0, width)].concat()
    }

    #[test]
    fn lists_that_no_picture_needs_are_refused_in_every_form_of_tiff() {
        const STRIP_OFFSETS: u16 = 273;
        const COLOUR_PROFILE: u16 = 34_675;
        for (little, big) in [(true, false), (false, false), (true, true), (false, true)] {
            let memory = |tag, count| memory(ImageFormat::Tiff, &tiff(little, big, tag, count));
            assert_eq!(memory(STRIP_OFFSETS, 1000), Ok(40_000));
            assert_eq!(memory(STRIP_OFFSETS, 8 << 20).unwrap_err().reason, SkipReason::TooLarge);
            assert_eq!(memory(COLOUR_PROFILE, 8 << 20), Ok(0));
        }
        for length in 0..18 {
            assert_eq!(memory(ImageFormat::Tiff, &tiff(true, false, STRIP_OFFSETS, 1 << 30)[..length]).ok(), Some(0));
        }
    }

    #[test]
    fn what_stands_before_the_pixels_of_a_png_counts() {
        let chunk = |kind: &[u8; 4], length: u32| {
            [&length.to_be_bytes(), kind.as_slice(), &vec![0; length as usize + 4]].concat()
        };
        let png = |chunks: &[Vec<u8>]| [b"\x89PNG\r\n\x1a\n".to_vec(), chunks.concat()].concat();
        let memory = |chunks: &[Vec<u8>]| memory(ImageFormat::Png, &png(chunks));
        assert_eq!(memory(&[chunk(b"IHDR", 13), chunk(b"IDAT", 900), chunk(b"tEXt", 900)]), Ok(0));
        assert_eq!(memory(&[chunk(b"IHDR", 13), chunk(b"iCCP", 100), chunk(b"IDAT", 9)]), Ok(103_200 + 256));
        assert_eq!(memory(&[chunk(b"zTXt", 1 << 20)]), Ok(MAX_HEADER_BYTES + 256));
        assert!(memory(&vec![chunk(b"tEXt", 3); 10_000]).is_ok());
        assert_eq!(memory(&vec![chunk(b"tEXt", 3); 10_001]).unwrap_err().reason, SkipReason::TooLarge);
    }
}
