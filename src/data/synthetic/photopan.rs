//! A camera that moves over a photograph by fractions of a pixel.

use super::{CENTRE, Generator, Motion, SPEED, SYNTHETIC_FRAMES, SYNTHETIC_SIDE};
use crate::data::picture::Picture;
use crate::data::resize::{Interpolation, Region, Resize};
use crate::error::{Error, Kind, Result};
use crate::random::Stream;

/// The committed photographs, in the public domain or CC0 (`examples/data/README.md`).
const PHOTOGRAPHS: [&[u8]; 4] = [
    include_bytes!("../../../examples/data/photos/astronaut.png"),
    include_bytes!("../../../examples/data/photos/chelsea.png"),
    include_bytes!("../../../examples/data/photos/coffee.png"),
    include_bytes!("../../../examples/data/photos/rocket.jpg"),
];
/// The short side of the photographs, so that a frame shows a quarter of it.
const SHORT_SIDE: usize = 256;
/// The least standard deviation of light in the middle of a film: a wall that moves looks the same.
const CONTRAST: f64 = 20.0;
/// Places that are looked at for one that has it.
const TRIES: usize = 64;

/// Films that show a part of a photograph.
#[derive(Debug)]
pub(super) struct Photopan {
    photographs: Vec<Picture>,
}

impl Photopan {
    /// Decodes the photographs.
    ///
    /// # Errors
    /// A data error, which would be a mistake of this crate.
    pub fn open() -> Result<Self> {
        let photographs = PHOTOGRAPHS.iter().map(|bytes| {
            let photo = Picture::decode(bytes).map_err(|fault| Error::new(Kind::Data, fault.detail))?;
            let short = photo.width.min(photo.height);
            let size = (photo.width * SHORT_SIDE / short, photo.height * SHORT_SIDE / short);
            photo.resized(&Resize {
                source: Region::whole(photo.width, photo.height),
                size,
                window: Region::whole(size.0, size.1),
                interpolation: Interpolation::Bicubic,
            })
        });
        Ok(Self { photographs: photographs.collect::<Result<_>>()? })
    }

    /// A photograph, and the place of the frame's corner in it: neither knows of the motion.
    fn place(&self, stream: &mut Stream) -> (&Picture, [f64; 2]) {
        let photo = &self.photographs[stream.below(self.photographs.len())];
        // The same on all sides, and wide enough for the fastest camera.
        let margin = SPEED[1] * CENTRE.max(SYNTHETIC_FRAMES - CENTRE) as f64 + 1.0;
        let mut draw = |side: usize| stream.range(margin, (side - SYNTHETIC_SIDE) as f64 - margin - 1.0);
        let mut place = [0.0; 2];
        for _ in 0..TRIES {
            place = [draw(photo.width), draw(photo.height)];
            if contrast(photo, place) >= CONTRAST {
                break;
            }
        }
        (photo, place)
    }
}

impl Generator for Photopan {
    fn frame(&self, motion: Motion, mut stream: Stream, frame: usize) -> Vec<u8> {
        let (photo, place) = self.place(&mut stream);
        // What is seen moves against the camera.
        let offset = motion.offset(frame);
        window(photo, [place[0] - offset[0], place[1] - offset[1]])
    }
}

/// The square whose corner is at `left`, `top`, between pixels as well (bilinear); it lies inside the photograph.
fn window(photo: &Picture, [left, top]: [f64; 2]) -> Vec<u8> {
    let (from_left, from_top) = (left as usize, top as usize);
    let (right, down) = (left - from_left as f64, top - from_top as f64);
    let weights = [(1.0 - right) * (1.0 - down), right * (1.0 - down), (1.0 - right) * down, right * down];
    let mut pixels = Vec::with_capacity(SYNTHETIC_SIDE * SYNTHETIC_SIDE * 3);
    let values = SYNTHETIC_SIDE * 3;
    for y in from_top..from_top + SYNTHETIC_SIDE {
        let row = |y: usize, x: usize| &photo.pixels[(y * photo.width + x) * 3..][..values];
        let corners = [row(y, from_left), row(y, from_left + 1), row(y + 1, from_left), row(y + 1, from_left + 1)];
        for i in 0..values {
            let level: f64 = corners.iter().zip(weights).map(|(row, weight)| f64::from(row[i]) * weight).sum();
            pixels.push(level.round() as u8);
        }
    }
    pixels
}

/// The standard deviation of green, every fourth pixel both ways.
fn contrast(photo: &Picture, [left, top]: [f64; 2]) -> f64 {
    let places = (0..SYNTHETIC_SIDE).step_by(4);
    let level =
        |x: usize, y: usize| f64::from(photo.pixels[((top as usize + y) * photo.width + left as usize + x) * 3 + 1]);
    let levels: Vec<f64> = places.clone().flat_map(|y| places.clone().map(move |x| level(x, y))).collect();
    let count = levels.len() as f64;
    let mean = levels.iter().sum::<f64>() / count;
    (levels.iter().map(|level| (level - mean).powi(2)).sum::<f64>() / count).sqrt()
}
