//! Pillow's antialiased resize of 8-bit pictures, bit for bit, and torch's without antialiasing, to a level.
//!
//! Two passes, one along the rows and one along the columns, in Pillow's order; each is a weighted sum over a support that grows with the ratio when shrinking, in integers
//! with weights of 22 fractional bits; between the passes values are rounded to 8 bits. What rounds elsewhere shows: a
//! float resize is up to 25 levels off at hard edges, and fast_image_resize 6.1 up to 23 (bicubic) and 1 (bilinear).

use pulp::{Arch, Simd, WithSimd};
use serde::{Deserialize, Serialize};

/// How a resize weighs a source pixel by its distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// A triangle: training crops, and Hugging Face's preprocessing.
    Bilinear,
    /// Keys' cubic with a = -0.5: evaluation of pictures.
    Bicubic,
    /// A triangle that does not grow when shrinking, and so leaves pixels out: clips, as V-JEPA resizes them.
    Linear,
}

impl Interpolation {
    /// That of evaluation: bicubic for pictures, and for clips as V-JEPA resizes them.
    pub fn of_evaluation(frames: usize) -> Self {
        if frames > 1 { Self::Linear } else { Self::Bicubic }
    }

    /// The distance from which on weights are zero.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear | Self::Linear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, distance: f64) -> f64 {
        const A: f64 = -0.5;
        let x = distance.abs();
        match self {
            Self::Bilinear | Self::Linear if x < 1.0 => 1.0 - x,
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            _ => 0.0,
        }
    }
}

/// A rectangle of pixels inside a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Columns to the left of it.
    pub left: usize,
    /// Rows above it.
    pub top: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Region {
    /// All of a picture of this size.
    pub fn whole(width: usize, height: usize) -> Self {
        Self { left: 0, top: 0, width, height }
    }

    /// Whether it has pixels, all of them inside a picture of this size.
    pub fn fits(&self, width: usize, height: usize) -> bool {
        let inside = |from: usize, length: usize, side: usize| length > 0 && from <= side && length <= side - from;
        inside(self.left, self.width, width) && inside(self.top, self.height, height)
    }
}

/// Borrowed pixels, `[height, width, channels]` with 1 or 3 channels; the height follows from the length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pixels<'a> {
    pub width: usize,
    pub channels: usize,
    /// Channels that are wanted: all, or 1 of 3, which is grey.
    pub wanted: usize,
    pub values: &'a [u8],
}

/// Rows of pixels, or parts of rows, read one by one: a grey copy of a large picture takes a third of its memory.
#[derive(Debug, Clone, Copy)]
struct Lines<'a> {
    pixels: Pixels<'a>,
    /// The number of the first line, and the pixel with which it begins.
    first: (usize, usize),
    /// Pixels of a line.
    length: usize,
}

impl Lines<'_> {
    /// Line `y`, in `grey` where it had more channels than are wanted.
    #[inline(always)]
    fn at<'a>(&'a self, y: usize, grey: &'a mut Vec<u8>) -> &'a [u8] {
        let Pixels { width, channels, wanted, values } = self.pixels;
        let start = self.first.1 + (y - self.first.0) * width;
        let line = &values[start * channels..][..self.length * channels];
        if wanted == channels {
            return line;
        }
        grey.clear();
        grey.extend(line.chunks_exact(channels).map(luma));
        grey
    }
}

/// ITU-R 601 luma, (299 R + 587 G + 114 B) / 1000, in Pillow's 16-bit fixed point.
fn luma(rgb: &[u8]) -> u8 {
    let weighted = 19_595 * u32::from(rgb[0]) + 38_470 * u32::from(rgb[1]) + 7_471 * u32::from(rgb[2]);
    ((weighted + 0x8000) >> 16) as u8
}

/// What is resized to what.
#[derive(Debug, Clone, Copy)]
pub struct Resize {
    /// The part of the picture that is resized, as if it had been cut out beforehand.
    pub source: Region,
    /// Width and height to which that part is resized.
    pub size: (usize, usize),
    /// The part of the result that is wanted; only that is computed.
    pub window: Region,
    /// The weights.
    pub interpolation: Interpolation,
}

/// Resizes picture after picture in the same memory.
#[derive(Debug, Default)]
pub(super) struct Resizer {
    columns: Taps,
    rows: Taps,
    /// After the first pass.
    between: Vec<u8>,
    sums: Vec<i32>,
    /// One line.
    grey: Vec<u8>,
    across: Across,
}

/// One line while it is blended.
#[derive(Debug, Default)]
struct Across {
    /// The pixel that each output takes by one of its weights.
    taken: Vec<u8>,
    sums: Vec<i32>,
    /// The first weight of each value of the line, then the second ones, and so on.
    weights: Vec<i32>,
}

const FRACTION_BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (FRACTION_BITS - 1);

impl Resizer {
    /// Puts the window of the resized picture into `out`, `[window.height, window.width, wanted]`.
    ///
    /// What is to be grey is so before it is resized, as Pillow turns a picture grey when it is opened.
    pub fn resize(&mut self, picture: Pixels<'_>, resize: &Resize, out: &mut Vec<u8>) {
        let Resize { source, size, window, interpolation } = *resize;
        self.rows.compute(interpolation, source.height, size.1, window.top, window.height);
        self.columns.compute(interpolation, source.width, size.0, window.left, window.width);
        Arch::new().dispatch(Passes { resizer: self, picture, resize, out });
    }
}

/// Both passes, in as wide registers as the processor has.
struct Passes<'a> {
    resizer: &'a mut Resizer,
    picture: Pixels<'a>,
    resize: &'a Resize,
    out: &'a mut Vec<u8>,
}

impl WithSimd for Passes<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { resizer: Resizer { columns, rows, between, sums, grey, across }, picture, resize, out } = self;
        let Resize { source, size, window, .. } = *resize;
        let (used_rows, used_columns) = (rows.used(), columns.used());
        let start = source.top * picture.width + source.left + used_columns.start;
        let lines = Lines { pixels: picture, first: (0, start), length: used_columns.len() };
        let channels = picture.wanted;

        columns.spread(channels, &mut across.weights);
        between.clear();
        out.clear();
        if makes_rows_first(source, size) {
            rows.blend(lines, sums, grey, between);
            for line in between.chunks_exact(used_columns.len() * channels) {
                columns.blend_within(line, channels, across, out);
            }
        } else {
            for y in used_rows.clone() {
                columns.blend_within(lines.at(y, grey), channels, across, between);
            }
            let pixels = Pixels { width: window.width, channels, wanted: channels, values: between };
            let lines = Lines { pixels, first: (used_rows.start, 0), length: window.width };
            rows.blend(lines, sums, grey, out);
        }
    }
}

/// Whether Pillow (13.0) makes the new rows of the old width first: where that saves the more work, by its estimate. The
/// values between the passes are rounded, so that the order shows.
fn makes_rows_first(source: Region, size: (usize, usize)) -> bool {
    let fewer = |from: usize, to: usize| from as i64 - to as i64;
    let fewer_rows = fewer(source.height, size.1);
    fewer_rows > 0 && fewer_rows > 2 * fewer(source.width, size.0)
}

#[inline(always)]
fn round(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

/// The weights that make each of some neighbouring outputs of one axis.
#[derive(Debug, Default)]
struct Taps {
    firsts: Vec<usize>,
    counts: Vec<usize>,
    /// `most` of them for each output, of which `counts` are used.
    weights: Vec<i32>,
    most: usize,
    exact: Vec<f64>,
}

impl Taps {
    /// The weights for outputs `from..from + count` of `from_length` pixels resized to `to_length`.
    fn compute(
        &mut self,
        interpolation: Interpolation,
        from_length: usize,
        to_length: usize,
        from: usize,
        count: usize,
    ) {
        let ratio = from_length as f64 / to_length as f64;
        // Where the triangle reaches beyond an edge the rest is made a whole: the pixel at the edge counts alone.
        let stretch = if interpolation == Interpolation::Linear { 1.0 } else { ratio.max(1.0) };
        let support = interpolation.support() * stretch;
        let shrink = 1.0 / stretch;
        self.firsts.clear();
        self.counts.clear();
        self.weights.clear();
        if from_length == to_length {
            // Each sum is the pixel itself.
            self.most = 1;
            self.firsts.extend(from..from + count);
            self.counts.resize(count, 1);
            self.weights.resize(count, 1 << FRACTION_BITS);
            return;
        }
        self.most = support.ceil() as usize * 2 + 1;
        for output in from..from + count {
            let centre = (output as f64 + 0.5) * ratio;
            // The casts cut towards zero, and what is negative becomes 0.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(from_length);
            self.exact.clear();
            self.exact.extend((first..end).map(|x| interpolation.weight((x as f64 - centre + 0.5) * shrink)));
            let total: f64 = self.exact.iter().sum();
            let unit = f64::from(1 << FRACTION_BITS);
            // Half away from zero, by a cast that cuts: `f64::round` is a call where the processor has no instruction.
            let weights = self.exact.iter().map(|weight| (weight / total * unit + 0.5_f64.copysign(*weight)) as i32);
            self.weights.extend(weights.chain(std::iter::repeat(0)).take(self.most));
            self.firsts.push(first);
            self.counts.push(end - first);
        }
    }

    /// Appends rows, each a sum of `lines`.
    #[inline(always)]
    fn blend(&self, lines: Lines<'_>, sums: &mut Vec<i32>, grey: &mut Vec<u8>, out: &mut Vec<u8>) {
        for output in 0..self.firsts.len() {
            let (first, weights) = self.at(output);
            sums.clear();
            sums.resize(lines.length * lines.pixels.wanted, HALF);
            for (y, weight) in (first..).zip(weights) {
                for (sum, value) in sums.iter_mut().zip(lines.at(y, grey)) {
                    *sum += weight * i32::from(*value);
                }
            }
            out.extend(sums.iter().map(|sum| round(*sum)));
        }
    }

    /// Appends a row, each pixel of it a sum of pixels of `line`, which begins with the first that is used.
    #[inline(always)]
    fn blend_within(&self, line: &[u8], channels: usize, across: &mut Across, out: &mut Vec<u8>) {
        match channels {
            1 => self.blend_pixels::<1>(line, across, out),
            _ => self.blend_pixels::<3>(line, across, out),
        }
    }

    /// All pixels by their first weights, then all by their second, and so on: what is multiplied stands side by side.
    #[inline(always)]
    fn blend_pixels<const C: usize>(&self, line: &[u8], across: &mut Across, out: &mut Vec<u8>) {
        let Some(&start) = self.firsts.first() else { return };
        let pixels = line.as_chunks::<C>().0;
        let last = pixels.len().saturating_sub(1);
        let Across { taken, sums, weights } = across;
        sums.clear();
        sums.resize(self.firsts.len() * C, HALF);
        taken.resize(sums.len(), 0);
        for (i, weights) in weights.chunks_exact(sums.len()).enumerate() {
            for (taken, first) in taken.as_chunks_mut::<C>().0.iter_mut().zip(&self.firsts) {
                // Weights of pixels beyond the last are 0.
                *taken = pixels[(first - start + i).min(last)];
            }
            for ((sum, weight), value) in sums.iter_mut().zip(weights).zip(taken.iter()) {
                *sum += weight * i32::from(*value);
            }
        }
        out.extend(sums.iter().map(|sum| round(*sum)));
    }

    /// Puts the weights into `weights` as [`Across`] has them, without those that are 0 in all outputs.
    fn spread(&self, channels: usize, weights: &mut Vec<i32>) {
        weights.clear();
        for i in 0..self.counts.iter().copied().max().unwrap_or(0) {
            let ith = self.weights.iter().skip(i).step_by(self.most);
            weights.extend(ith.flat_map(|weight| std::iter::repeat_n(*weight, channels)));
        }
    }

    /// The first source pixel of an output, and the weights from it on.
    fn at(&self, output: usize) -> (usize, &[i32]) {
        (self.firsts[output], &self.weights[output * self.most..][..self.counts[output]])
    }

    /// The source pixels that some output uses.
    fn used(&self) -> std::ops::Range<usize> {
        let ends = self.firsts.iter().zip(&self.counts).map(|(first, count)| first + count);
        self.firsts.first().copied().unwrap_or(0)..ends.max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    /// torch's `interpolate(mode="bilinear", align_corners=False)`, in f64.
    fn interpolated(values: &[u8], [width, height]: [usize; 2], [to_width, to_height]: [usize; 2]) -> Vec<f64> {
        let side = |i: usize, from: usize, to: usize| {
            let at = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
            let first = (at as usize).min(from - 1);
            (first, (first + 1).min(from - 1), at - first as f64)
        };
        let level = |x: usize, y: usize| f64::from(values[y * width + x]);
        let pixel = |x: usize, y: usize| {
            let ((left, right, across), (above, below, down)) = (side(x, width, to_width), side(y, height, to_height));
            let row = |y| level(left, y) * (1.0 - across) + level(right, y) * across;
            row(above) * (1.0 - down) + row(below) * down
        };
        (0..to_height).flat_map(|y| (0..to_width).map(move |x| (x, y))).map(|(x, y)| pixel(x, y)).collect()
    }

    #[test]
    fn clips_are_resized_without_antialiasing_as_torch_does() {
        /// Two roundings to 8 bits, each of half a level at most, where torch has none.
        const LEVELS: f64 = 1.0 + 1e-4;
        let mut stream = Stream::new(2, 0, 0, Purpose::Augment);
        for (from, to) in
            [([97, 61], [32, 32]), ([20, 31], [32, 32]), ([320, 33], [32, 24]), ([32, 90], [32, 31]), ([1, 1], [3, 2])]
        {
            let values: Vec<u8> = (0..from[0] * from[1]).map(|_| stream.bits() as u8).collect();
            let mut found = Vec::new();
            let resize = Resize {
                source: Region::whole(from[0], from[1]),
                size: (to[0], to[1]),
                window: Region::whole(to[0], to[1]),
                interpolation: Interpolation::Linear,
            };
            let pixels = Pixels { width: from[0], channels: 1, wanted: 1, values: &values };
            Resizer::default().resize(pixels, &resize, &mut found);
            let expected = interpolated(&values, from, to);
            let off = found.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs());
            let most = off.max_by(f64::total_cmp).unwrap();
            assert!(found.len() == expected.len() && most <= LEVELS, "{from:?} to {to:?}: {most} levels");
        }
    }
}
