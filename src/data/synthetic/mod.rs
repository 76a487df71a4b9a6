//! Films whose motion is known: data sets by name, in which each film is a function of seed, split and index.
//!
//! The label is one of eight directions in which what is seen moves. Neither a single frame nor where a film begins
//! tells it.

mod photopan;
mod sprites;

use std::f64::consts::FRAC_1_SQRT_2;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::dataset::{Named, Source, Wanted, hash_text};
use super::open::Split;
use super::picture::{Decoded, Picture};
use super::skip::Fault;
use super::video::Timeline;
use crate::error::{Error, Result, nearest};
use crate::random::{Purpose, Stream};

/// What stands before a generator's name.
pub(super) const SCHEME: &str = "synthetic:";
/// Side of a frame, in pixels.
pub const SYNTHETIC_SIDE: usize = 64;
/// Frames of a film; the one after the middle has what moves at its centre.
pub const SYNTHETIC_FRAMES: usize = 16;
/// Frames a second.
const RATE: f64 = 8.0;
/// Films of the training and of the test part.
const TRAIN_FILMS: usize = 8192;
const TEST_FILMS: usize = 2048;

/// The directions, a label each, counter-clockwise from the right.
pub const DIRECTIONS: [&str; 8] = ["right", "up-right", "up", "up-left", "left", "down-left", "down", "down-right"];

/// How far what moves is from where it is in the frame [`CENTRE`].
#[derive(Debug, Clone, Copy)]
struct Motion {
    direction: u32,
    /// Pixels a frame.
    speed: f64,
}

/// The frame whose content does not depend on the direction.
const CENTRE: usize = SYNTHETIC_FRAMES / 2;
/// Pixels a frame, from and to: less and more than a pixel.
const SPEED: [f64; 2] = [0.75, 2.25];

impl Motion {
    fn draw(stream: &mut Stream) -> Self {
        Self { direction: stream.below(DIRECTIONS.len()) as u32, speed: stream.range(SPEED[0], SPEED[1]) }
    }

    /// To the right and down, in pixels, at `frame`.
    fn offset(&self, frame: usize) -> [f64; 2] {
        /// Cosines of the directions; written down, because a sine is another one on another machine.
        const COSINES: [f64; 8] = [1.0, FRAC_1_SQRT_2, 0.0, -FRAC_1_SQRT_2, -1.0, -FRAC_1_SQRT_2, 0.0, FRAC_1_SQRT_2];
        let far = self.speed * (frame as f64 - CENTRE as f64);
        let direction = self.direction as usize;
        // The sine is the cosine of a quarter turn before; rows count downwards.
        [far * COSINES[direction], -far * COSINES[(direction + 6) % 8]]
    }
}

/// One kind of films.
trait Generator: Send + Sync + std::fmt::Debug {
    /// Frame `frame` of the film that `motion` moves and `stream` draws, `[SYNTHETIC_SIDE, SYNTHETIC_SIDE, 3]`.
    fn frame(&self, motion: Motion, stream: Stream, frame: usize) -> Vec<u8>;
}

/// The films of one part.
#[derive(Debug)]
struct Synthetic {
    name: &'static str,
    /// What tells its streams from those of other parts and generators.
    number: u64,
    generator: Box<dyn Generator>,
    seed: u64,
    part: Part,
    classes: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Train,
    Test,
}

/// The films that `path` names, such as `synthetic:photopan` or `synthetic:sprites:7`, whose seed is 7 instead of 0; no
/// films where it names a path.
///
/// # Errors
/// A usage error for an unknown generator or a seed that is no number.
pub(super) fn named(path: &Path, split: Split) -> Option<Result<Vec<Named>>> {
    let text = path.to_str()?.strip_prefix(SCHEME)?;
    Some(open(text, split))
}

fn open(text: &str, split: Split) -> Result<Vec<Named>> {
    const NAMES: [&str; 2] = ["photopan", "sprites"];
    let (name, seed) = text.split_once(':').unwrap_or((text, "0"));
    let Some(kind) = NAMES.iter().position(|known| *known == name) else {
        let near = nearest(name, NAMES).map_or(String::new(), |near| format!("did you mean {SCHEME}{near}? "));
        return Err(Error::usage(format!("there are no synthetic films called {name}"))
            .with_remedy(format!("{near}they are {SCHEME}photopan and {SCHEME}sprites")));
    };
    let Ok(seed) = seed.parse() else {
        return Err(Error::usage(format!("the seed of synthetic films is a whole number, found {seed}"))
            .with_remedy(format!("write {SCHEME}{name}:7, or {SCHEME}{name} for the seed 0")));
    };
    let parts = match split {
        Split::Train => vec![Part::Train],
        Split::Test => vec![Part::Test],
        Split::All => vec![Part::Train, Part::Test],
    };
    let mut found = Vec::new();
    for part in parts {
        let generator: Box<dyn Generator> = match kind {
            0 => Box::new(photopan::Photopan::open()?),
            _ => Box::new(sprites::Sprites),
        };
        let (name, number) = (NAMES[kind], 2 * kind as u64 + part as u64);
        let classes = DIRECTIONS.map(String::from).to_vec();
        let source = Box::new(Synthetic { name, number, generator, seed, part, classes });
        found.push(Named { prefix: String::new(), source });
    }
    Ok(found)
}

impl Synthetic {
    /// What moves film `i`, and the rest of its stream.
    fn motion(&self, i: usize) -> (Motion, Stream) {
        let mut stream = Stream::new(self.seed, self.number, i as u64, Purpose::Scene);
        (Motion::draw(&mut stream), stream)
    }

    fn frame(&self, i: usize, frame: usize) -> Picture {
        let (motion, stream) = self.motion(i);
        let pixels = self.generator.frame(motion, stream, frame);
        Picture { width: SYNTHETIC_SIDE, height: SYNTHETIC_SIDE, channels: 3, pixels }
    }
}

impl Source for Synthetic {
    fn len(&self) -> usize {
        match self.part {
            Part::Train => TRAIN_FILMS,
            Part::Test => TEST_FILMS,
        }
    }

    fn films(&self) -> usize {
        self.len()
    }

    fn name(&self, i: usize) -> String {
        let part = match self.part {
            Part::Train => "train",
            Part::Test => "test",
        };
        format!("{}/{part}#{i}", self.name)
    }

    fn label(&self, i: usize) -> Option<u32> {
        Some(self.motion(i).0.direction)
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn picture(&self, i: usize, _: &AtomicBool) -> Result<Decoded, Fault> {
        Ok(self.frame(i, CENTRE).into())
    }

    fn timeline(&self, _i: usize, _stop: &AtomicBool) -> Result<Timeline, Fault> {
        Ok(Timeline::even(SYNTHETIC_FRAMES, RATE))
    }

    fn frames(&self, i: usize, wanted: Wanted<'_>) -> Result<Vec<f64>, Fault> {
        for (at, frame) in wanted.frames.iter().enumerate() {
            (wanted.each)(at, &self.frame(i, *frame));
        }
        Ok(wanted.frames.iter().map(|frame| *frame as f64 / RATE).collect())
    }

    fn fingerprint(&self, hasher: &mut blake3::Hasher) {
        hash_text(hasher, &self.name(0));
        hasher.update(&self.seed.to_le_bytes());
    }
}

#[cfg(test)]
mod tests;
