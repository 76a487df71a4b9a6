//! The order of samples in an epoch: a keyed permutation that is computed sample by sample and never stored.

use crate::random::{Purpose, Stream};

/// A permutation of `0..len` that depends on (seed, epoch) alone.
///
/// A Feistel network permutes the smallest power of two that holds `len`; what falls outside is permuted again until
/// it falls inside (cycle walking), at most twice on average. So any position costs the same, and so does resuming.
#[derive(Debug, Clone)]
pub struct EpochOrder {
    len: usize,
    low_bits: u32,
    high_bits: u32,
    keys: [u64; Self::ROUNDS],
}

impl EpochOrder {
    /// More than a cipher's four, because the halves of a small data set's indices have few bits.
    const ROUNDS: usize = 10;

    /// The order of `len` samples in `epoch`.
    pub fn new(seed: u64, epoch: u64, len: usize) -> Self {
        let bits = (usize::BITS - len.saturating_sub(1).leading_zeros()).max(2);
        let mut stream = Stream::new(seed, epoch, 0, Purpose::Order);
        let keys = std::array::from_fn(|_| u64::from(stream.bits()) << 32 | u64::from(stream.bits()));
        Self { len, low_bits: bits / 2, high_bits: bits - bits / 2, keys }
    }

    /// The sample at `position`, which is below the number of samples.
    pub fn sample(&self, position: usize) -> usize {
        debug_assert!(position < self.len);
        let mut at = position as u64;
        loop {
            at = self.permute(at);
            if at < self.len as u64 {
                return at as usize;
            }
        }
    }

    fn permute(&self, at: u64) -> u64 {
        let (low_mask, high_mask) = ((1u64 << self.low_bits) - 1, (1u64 << self.high_bits) - 1);
        let (mut low, mut high) = (at & low_mask, at >> self.low_bits);
        for pair in self.keys.chunks_exact(2) {
            low ^= mix(high ^ pair[0]) & low_mask;
            high ^= mix(low ^ pair[1]) & high_mask;
        }
        high << self.low_bits | low
    }
}

/// The finaliser of SplitMix64: every bit of the result depends on every bit of `value`.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_comes_once_an_epoch() {
        for len in [1, 2, 3, 5, 64, 65, 1000, 7716] {
            for epoch in 0..3 {
                let order = EpochOrder::new(7, epoch, len);
                let mut samples: Vec<usize> = (0..len).map(|position| order.sample(position)).collect();
                samples.sort_unstable();
                assert!(samples.into_iter().eq(0..len), "{len} samples, epoch {epoch}");
            }
        }
    }

    #[test]
    fn the_order_is_fixed_for_ever_and_differs_by_seed_and_epoch() {
        let first = |seed, epoch| {
            let order = EpochOrder::new(seed, epoch, 1000);
            (0..6).map(|position| order.sample(position)).collect::<Vec<_>>()
        };
        insta::assert_debug_snapshot!([first(0, 0), first(0, 1), first(1, 0)].map(|order| format!("{order:?}")));
    }

    /// Chi-squared with `cells` - 1 degrees of freedom, as a distance from its mean in standard deviations.
    fn excess(counts: &[u32]) -> f64 {
        let mean = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
        let chi: f64 = counts.iter().map(|count| (f64::from(*count) - mean).powi(2) / mean).sum();
        let freedom = counts.len() as f64 - 1.0;
        (chi - freedom) / (2.0 * freedom).sqrt()
    }

    #[test]
    fn positions_are_uniform_and_neighbours_are_strangers() {
        // Six standard deviations: a fair order is beyond them once in a thousand million runs, and the seed is fixed.
        const BOUND: f64 = 6.0;
        for len in [10, 24, 100] {
            let mut places = vec![0; len * len];
            let mut steps = vec![0; len - 1];
            for epoch in 0..4000 {
                let order = EpochOrder::new(3, epoch, len);
                let samples: Vec<usize> = (0..len).map(|position| order.sample(position)).collect();
                for (position, sample) in samples.iter().enumerate() {
                    places[position * len + sample] += 1;
                }
                for pair in samples.windows(2) {
                    steps[(pair[1] + len - pair[0]) % len - 1] += 1;
                }
            }
            assert!(excess(&places).abs() < BOUND, "{len} samples: places {}", excess(&places));
            assert!(excess(&steps).abs() < BOUND, "{len} samples: steps {}", excess(&steps));
        }
    }
}
