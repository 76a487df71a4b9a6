//! Where crops lie: torchvision's random crop for training, and its resize and centre crop for evaluation.

use super::resize::Region;
use crate::random::Stream;

/// How a training crop is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomCrop {
    /// Share of the picture's area that the crop keeps, from and to.
    pub scale: [f64; 2],
    /// Width over height of the crop, from and to.
    pub aspect: [f64; 2],
}

impl RandomCrop {
    /// A crop of a picture of `width` x `height`: uniform in area, log-uniform in aspect, uniform in position.
    ///
    /// A shape that does not fit is drawn again; after ten the largest centred crop of a permitted aspect is taken.
    pub fn draw(&self, stream: &mut Stream, width: usize, height: usize) -> Region {
        self.drawn(stream, width, height).unwrap_or_else(|| self.fallback(width, height))
    }

    /// The first of ten shapes that fits, somewhere in the picture.
    pub(super) fn drawn(&self, stream: &mut Stream, width: usize, height: usize) -> Option<Region> {
        const TRIES: usize = 10;
        let area = (width * height) as f64;
        let [log_low, log_high] = self.aspect.map(f64::ln);
        for _ in 0..TRIES {
            let target = area * stream.range(self.scale[0], self.scale[1]);
            let aspect = stream.range(log_low, log_high).exp();
            let crop_width = (target * aspect).sqrt().round_ties_even() as usize;
            let crop_height = (target / aspect).sqrt().round_ties_even() as usize;
            if (1..=width).contains(&crop_width) && (1..=height).contains(&crop_height) {
                let top = stream.below(height - crop_height + 1);
                let left = stream.below(width - crop_width + 1);
                return Some(Region { left, top, width: crop_width, height: crop_height });
            }
        }
        None
    }

    /// The largest centred crop of a permitted aspect.
    pub(super) fn fallback(&self, width: usize, height: usize) -> Region {
        let aspect = width as f64 / height as f64;
        let (mut crop_width, mut crop_height) = (width, height);
        if aspect < self.aspect[0] {
            crop_height = ((width as f64 / self.aspect[0]).round_ties_even() as usize).clamp(1, height);
        } else if aspect > self.aspect[1] {
            crop_width = ((height as f64 * self.aspect[1]).round_ties_even() as usize).clamp(1, width);
        }
        let (left, top) = ((width - crop_width) / 2, (height - crop_height) / 2);
        Region { left, top, width: crop_width, height: crop_height }
    }
}

/// The size of a picture of `width` x `height` whose short side is resized to `short`; the long one is cut to a whole.
pub(super) fn short_side_to(width: usize, height: usize, short: usize) -> (usize, usize) {
    if width <= height { (short, short * height / width) } else { (short * width / height, short) }
}

/// The square of `side` in the middle of `width` x `height`, which are at least `side`.
pub(super) fn centre(width: usize, height: usize, side: usize) -> Region {
    // Python's round takes half to even.
    let half = |space: usize| (space as f64 / 2.0).round_ties_even() as usize;
    Region { left: half(width - side), top: half(height - side), width: side, height: side }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    #[test]
    fn long_sides_are_cut_and_half_offsets_go_to_the_even_side() {
        assert_eq!(short_side_to(341, 270, 256), (323, 256));
        assert_eq!(short_side_to(200, 300, 256), (256, 384));
        assert_eq!((centre(323, 256, 224).left, centre(323, 256, 224).top), (50, 16));
        assert_eq!(centre(313, 225, 224), Region { left: 44, top: 0, width: 224, height: 224 });
        assert_eq!(centre(225, 227, 224).top, 2);
    }

    #[test]
    fn a_crop_always_lies_inside_whatever_the_picture() {
        let crop = RandomCrop { scale: [0.3, 1.0], aspect: [0.75, 4.0 / 3.0] };
        for (sample, size) in [(1, 1), (1, 500), (500, 1), (2, 3), (28, 28), (640, 360)].into_iter().enumerate() {
            let mut stream = Stream::new(0, 0, sample as u64, Purpose::Augment);
            for _ in 0..200 {
                let region = crop.draw(&mut stream, size.0, size.1);
                assert!(region.width > 0 && region.left + region.width <= size.0, "{region:?} in {size:?}");
                assert!(region.height > 0 && region.top + region.height <= size.1, "{region:?} in {size:?}");
            }
        }
    }

    #[test]
    fn a_shape_that_never_fits_falls_back_to_the_centre() {
        let crop = RandomCrop { scale: [0.9, 1.0], aspect: [0.75, 4.0 / 3.0] };
        let mut stream = Stream::new(0, 0, 0, Purpose::Augment);
        assert_eq!(crop.draw(&mut stream, 900, 30), Region { left: 430, top: 0, width: 40, height: 30 });
        assert_eq!(crop.draw(&mut stream, 30, 900), Region { left: 0, top: 430, width: 30, height: 40 });
    }
}
