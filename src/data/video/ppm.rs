//! Frames on a pipe: one PPM picture after the other, each of which says how large it is.

use std::io::{self, BufRead, Read};

use crate::data::picture::{MAX_SIDE, Picture};

/// Reads the next frame into `frame`; false where the pipe ends before one.
///
/// # Errors
/// What the pipe gives; [`io::ErrorKind::InvalidData`] where it holds something else, [`io::ErrorKind::Unsupported`] where
/// a frame is larger than the `most` bytes that the film's frames have.
pub(super) fn read(from: &mut impl BufRead, most: u64, frame: &mut Picture) -> io::Result<bool> {
    if from.fill_buf()?.is_empty() {
        return Ok(false);
    }
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut header = Vec::new();
    for _ in 0..3 {
        /// `P6`, two sides, or 255.
        const LINE: u64 = 32;
        from.by_ref().take(LINE).read_until(b'\n', &mut header)?;
    }
    let text = String::from_utf8_lossy(&header);
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let ["P6", width, height, "255"] = words[..] else {
        return Err(invalid(format!("the header of a frame reads {text:?}")));
    };
    let side = |text: &str| text.parse::<usize>().ok().filter(|side| (1..=MAX_SIDE as usize).contains(side));
    let (Some(width), Some(height)) = (side(width), side(height)) else {
        return Err(invalid(format!("a frame is of {width}x{height} pixels")));
    };
    let bytes = width * height * 3;
    if bytes as u64 > most {
        let what = format!("the size of the frames changes: one of {width}x{height} pixels has more than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::Unsupported, what));
    }
    (frame.width, frame.height, frame.channels) = (width, height, 3);
    frame.pixels.resize(bytes, 0);
    from.read_exact(&mut frame.pixels)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(mut bytes: &[u8]) -> Result<Vec<(usize, usize)>, String> {
        let (mut frame, mut sizes) = (Picture::default(), Vec::new());
        while read(&mut bytes, 1000, &mut frame).map_err(|error| error.to_string())? {
            assert_eq!(frame.pixels.len(), frame.width * frame.height * 3);
            sizes.push((frame.width, frame.height));
        }
        Ok(sizes)
    }

    #[test]
    fn frames_come_one_by_one_and_nothing_else_passes() {
        let two = b"P6\n2 1\n255\n\x01\x02\x03\x04\x05\x06P6\n1 1\n255\n\n\n\n";
        assert_eq!(frames(two), Ok(vec![(2, 1), (1, 1)]));
        assert_eq!(frames(b""), Ok(vec![]));
        for (bytes, says) in [
            (&two[..16], "failed to fill whole buffer"),
            (b"P5\n2 1\n255\n", "the header of a frame"),
            (b"P6\n0 1\n255\n", "a frame is of 0x1"),
            (b"P6\n99999 99999\n255\n", "a frame is of 99999"),
            (b"P6\n100 100\n255\n", "more than 1000 bytes"),
            (&[b'x'; 200], "the header of a frame"),
        ] {
            assert!(frames(bytes).unwrap_err().contains(says), "{:?}", frames(bytes));
        }
    }
}
