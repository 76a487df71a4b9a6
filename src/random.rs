//! Everything random in a run: a function of (seed, epoch, sample, purpose), drawn on the host.
//!
//! ChaCha8's stream is fixed by its specification, and the floats are derived here, so that no dependency's new version
//! can change a run. Nothing of a generator needs saving: it is made anew wherever it is needed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// What a random stream is for; streams of different purposes never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial values of parameters; `sample` numbers the tensor.
    Init = 1,
    /// The order of samples in an epoch.
    Order = 2,
    /// Crop, flip and colour of one sample.
    Augment = 3,
    /// Sizes of a batch's mask blocks.
    MaskSize = 4,
    /// Positions of one sample's mask blocks.
    MaskPosition = 5,
    /// Which labels a few-label probe sees.
    Labels = 6,
    /// Which rows a probe's penalty is chosen on.
    Folds = 8,
    /// Where in a film a training clip begins.
    Clip = 9,
    /// One clip of a generator; its parts are told apart by their data set.
    Scene = 10,
    /// The order of a clip's frames where it is to have none.
    Shuffle = 11,
}

/// A stream of random numbers.
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of `(seed, epoch, sample, purpose)`.
    pub fn new(seed: u64, epoch: u64, sample: u64, purpose: Purpose) -> Self {
        let mut key = [0u8; 32];
        for (chunk, word) in key.chunks_exact_mut(8).zip([seed, epoch, sample, purpose as u64]) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Uniform in [0, 1), with 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [low, high).
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + self.unit() * (high - low)
    }

    /// Uniform among 0, 1, ..., `n` - 1, without bias (Lemire's method); 0 where `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        let n = n as u64;
        if n <= 1 {
            return 0;
        }
        loop {
            let wide = u128::from(self.0.next_u64()) * u128::from(n);
            if (wide as u64) >= n.wrapping_neg() % n {
                return (wide >> 64) as usize;
            }
        }
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Puts `items` in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_fixed_for_ever() {
        let mut stream = Stream::new(1, 2, 3, Purpose::Augment);
        let first: Vec<u32> = (0..4).map(|_| stream.bits()).collect();
        insta::assert_debug_snapshot!(first);
    }

    #[test]
    fn draws_stay_in_their_range() {
        let mut stream = Stream::new(0, 0, 0, Purpose::Order);
        for n in 1..200 {
            assert!(stream.below(n) < n);
            assert!((0.0..1.0).contains(&stream.unit()));
            assert!(stream.normal().is_finite());
        }
    }
}
