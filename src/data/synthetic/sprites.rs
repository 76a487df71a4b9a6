//! Two shapes on a torus that move the same way: one frame tells nothing of the direction.

use super::{Generator, Motion, SYNTHETIC_SIDE};
use crate::random::Stream;

/// Films of shapes before a dark ground.
#[derive(Debug)]
pub(super) struct Sprites;

/// A shape, where it is in the middle of the film.
struct Sprite {
    kind: usize,
    centre: [f64; 2],
    radius: f64,
    colour: [f64; 3],
}

const GROUND: f64 = 24.0;
/// Half the size of a shape, in pixels, from and to.
const RADIUS: [f64; 2] = [6.0, 11.0];

impl Generator for Sprites {
    fn frame(&self, motion: Motion, mut stream: Stream, frame: usize) -> Vec<u8> {
        let sprites = [Sprite::draw(&mut stream), Sprite::draw(&mut stream)];
        let offset = motion.offset(frame);
        let mut pixels = Vec::with_capacity(SYNTHETIC_SIDE * SYNTHETIC_SIDE * 3);
        for y in 0..SYNTHETIC_SIDE {
            for x in 0..SYNTHETIC_SIDE {
                let mut levels = [GROUND; 3];
                for sprite in &sprites {
                    let cover = sprite.cover(x as f64 - offset[0], y as f64 - offset[1]);
                    for (level, colour) in levels.iter_mut().zip(sprite.colour) {
                        *level += (colour - *level) * cover;
                    }
                }
                pixels.extend(levels.map(|level| level.round() as u8));
            }
        }
        pixels
    }
}

impl Sprite {
    fn draw(stream: &mut Stream) -> Self {
        let side = SYNTHETIC_SIDE as f64;
        Self {
            kind: stream.below(3),
            centre: [stream.range(0.0, side), stream.range(0.0, side)],
            radius: stream.range(RADIUS[0], RADIUS[1]),
            colour: [stream.range(96.0, 255.0), stream.range(96.0, 255.0), stream.range(96.0, 255.0)],
        }
    }

    /// How much of the pixel at `x`, `y` it covers: its edge is a pixel wide.
    fn cover(&self, x: f64, y: f64) -> f64 {
        let side = SYNTHETIC_SIDE as f64;
        // The way round the torus that is shorter.
        let near = |from: f64, to: f64| (from - to + 1.5 * side).rem_euclid(side) - 0.5 * side;
        let (x, y) = (near(x, self.centre[0]), near(y, self.centre[1]));
        let outside = match self.kind {
            0 => (x * x + y * y).sqrt() - self.radius,
            1 => x.abs().max(y.abs()) - 0.85 * self.radius,
            _ => (x.abs() + y.abs()) * std::f64::consts::FRAC_1_SQRT_2 - 0.75 * self.radius,
        };
        (0.5 - outside).clamp(0.0, 1.0)
    }
}
