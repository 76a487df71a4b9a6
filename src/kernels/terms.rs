//! How the operands of a matrix product are kept while they are multiplied: whole, or rounded to bfloat16.
//!
//! bfloat16 is the upper half of a 32-bit float. Two that follow each other along the depth make a pair: the first in the
//! lower 16 bits, the second in the upper ones. Products of such values are exact in 32 bits, and are summed there.

use bytemuck::{Pod, Zeroable as _};
use pulp::Simd;

use super::panels::PANEL;

/// Terms of a row that are converted before any is written: their place is in the first cache for all rows of a tile.
const AT_ONCE: usize = 64;

/// How both operands of a product are kept, as terms: values that are taken together along the depth.
pub trait Terms: Copy + Send + Sync {
    /// A term of the left operand.
    type Left: Pod;
    /// A term of the right operand.
    type Right: Pod + Send + Sync;
    /// Values of a term; those that the last one lacks are 0.
    const VALUES: usize;

    /// A term of the left operand, of values by their place.
    fn left(at: impl Fn(usize) -> f32) -> Self::Left;

    /// Lays the terms of `R` rows, each in one piece, side by side.
    fn pack<const R: usize>(rows: [&[f32]; R], to: &mut [[Self::Left; R]]);

    /// The sums of a tile over a stretch of terms, in two vectors of columns from `strip` on of each row.
    fn sum<S: Simd, const R: usize>(
        self,
        simd: S,
        left: &[[Self::Left; R]],
        panel: &[[Self::Right; PANEL]],
        strip: usize,
    ) -> [[S::f32s; 2]; R];
}

/// Values as they are.
#[derive(Debug, Clone, Copy)]
pub struct Whole;

impl Terms for Whole {
    type Left = f32;
    type Right = f32;
    const VALUES: usize = 1;

    #[inline(always)]
    fn left(at: impl Fn(usize) -> f32) -> f32 {
        at(0)
    }

    #[inline(always)]
    fn pack<const R: usize>(rows: [&[f32]; R], to: &mut [[f32; R]]) {
        side_by_side(rows, to);
    }

    #[inline(always)]
    fn sum<S: Simd, const R: usize>(
        self,
        simd: S,
        left: &[[f32; R]],
        panel: &[[f32; PANEL]],
        strip: usize,
    ) -> [[S::f32s; 2]; R] {
        let mut sums = [[simd.splat_f32s(0.0); 2]; R];
        for (left, right) in left.iter().zip(panel) {
            let (right, _) = S::as_simd_f32s(&right[strip..strip + 2 * S::F32_LANES]);
            let right = [right[0], right[1]];
            for r in 0..R {
                multiply(simd, left[r], right, &mut sums[r]);
            }
        }
        sums
    }
}

/// Pairs on the right, which become values of 32 bits again in the registers: for any processor.
#[derive(Debug, Clone, Copy)]
pub struct Unpacked;

impl Terms for Unpacked {
    /// Rounded, in 32 bits.
    type Left = [f32; 2];
    type Right = u32;
    const VALUES: usize = 2;

    #[inline(always)]
    fn left(at: impl Fn(usize) -> f32) -> [f32; 2] {
        let pair = pair(&at);
        [f32::from_bits(pair << 16), f32::from_bits(pair & UPPER)]
    }

    #[inline(always)]
    fn pack<const R: usize>(rows: [&[f32]; R], to: &mut [[[f32; 2]; R]]) {
        pack_pairs::<Self, R>(rows, to);
    }

    #[inline(always)]
    fn sum<S: Simd, const R: usize>(
        self,
        simd: S,
        left: &[[[f32; 2]; R]],
        panel: &[[u32; PANEL]],
        strip: usize,
    ) -> [[S::f32s; 2]; R] {
        let (upper, half) = (simd.splat_u32s(UPPER), simd.splat_u32s(16));
        let mut sums = [[simd.splat_f32s(0.0); 2]; R];
        for (left, right) in left.iter().zip(panel) {
            let (right, _) = S::as_simd_u32s(&right[strip..strip + 2 * S::U32_LANES]);
            // One after the other, so that registers suffice, and in the order of `vdpbf16ps`: the second first.
            let mut values = [simd.splat_f32s(0.0); 2];
            for v in 0..2 {
                values[v] = simd.transmute_f32s_u32s(simd.and_u32s(right[v], upper));
            }
            for r in 0..R {
                multiply(simd, left[r][1], values, &mut sums[r]);
            }
            for v in 0..2 {
                values[v] = simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(right[v], half));
            }
            for r in 0..R {
                multiply(simd, left[r][0], values, &mut sums[r]);
            }
        }
        sums
    }
}

/// The bits of a pair's second value.
const UPPER: u32 = 0xFFFF_0000;

/// The pair of two values by their place, each rounded to the nearest, of two the even one.
#[inline(always)]
pub fn pair(at: impl Fn(usize) -> f32) -> u32 {
    let rounded = |value: f32| {
        let bits = value.to_bits();
        let nearest = bits.wrapping_add(0x7FFF + (bits >> 16 & 1));
        // What is no number must not become one.
        if value.is_nan() { bits | 0x0040_0000 } else { nearest }
    };
    rounded(at(0)) >> 16 | rounded(at(1)) & UPPER
}

/// Adds a value times two vectors to the sums of its row.
#[inline(always)]
fn multiply<S: Simd>(simd: S, left: f32, right: [S::f32s; 2], sums: &mut [S::f32s; 2]) {
    let left = simd.splat_f32s(left);
    for v in 0..2 {
        sums[v] = simd.mul_add_e_f32s(left, right[v], sums[v]);
    }
}

/// Turns rows to `[terms, R]`, so that what is written is written once.
#[inline(always)]
fn side_by_side<T: Copy, const R: usize>(rows: [&[T]; R], to: &mut [[T; R]]) {
    for (k, to) in to.iter_mut().enumerate() {
        for (to, row) in to.iter_mut().zip(rows) {
            *to = row[k];
        }
    }
}

/// [`Terms::pack`] of pairs: a stretch of each row is rounded, a vector at a time, before any is turned.
#[inline(always)]
pub fn pack_pairs<T: Terms, const R: usize>(rows: [&[f32]; R], to: &mut [[T::Left; R]]) {
    let mut rounded = [[T::Left::zeroed(); AT_ONCE]; R];
    for (i, to) in to.chunks_mut(AT_ONCE).enumerate() {
        for (rounded, row) in rounded.iter_mut().zip(rows) {
            let row = &row[2 * AT_ONCE * i..];
            let (pairs, rest) = row[..row.len().min(2 * AT_ONCE)].as_chunks::<2>();
            for (rounded, pair) in rounded.iter_mut().zip(pairs) {
                *rounded = T::left(|i| pair[i]);
            }
            if let [last] = rest {
                rounded[pairs.len()] = T::left(|i| if i == 0 { *last } else { 0.0 });
            }
        }
        let mut rows = [&rounded[0][..]; R];
        for (row, rounded) in rows.iter_mut().zip(&rounded) {
            *row = &rounded[..to.len()];
        }
        side_by_side(rows, to);
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn pairs_are_rounded_as_bfloat16_is() {
        let mut values: Vec<f32> = [0x3F80_8000, 0x3F81_8000, 0x3F80_7FFF, 0x3F80_8001, 0x7F7F_FFFF, 0xFF80_0000]
            .into_iter()
            .chain([0x7F80_0001, 0xFFFF_FFFF, 0x0000_8000, 0x0001_8001, 0x8000_0000])
            .map(f32::from_bits)
            .collect();
        values.extend((0..1000).map(|i| (i as f32 * 0.37).sin() * 3.0));
        for neighbours in values.windows(2) {
            let wanted = neighbours.iter().map(|value| u32::from(bf16::from_f32(*value).to_bits()));
            let wanted = wanted.enumerate().fold(0, |pair, (i, bits)| pair | bits << (16 * i));
            assert_eq!(pair(|i| neighbours[i]), wanted, "{neighbours:?}");
        }
    }

    #[test]
    fn rows_of_an_odd_number_of_values_end_with_a_zero() {
        for len in [1, 2, 127, 128, 129, 131] {
            let rows: Vec<Vec<f32>> = (0..3).map(|r| (0..len).map(|k| (r * 1000 + k) as f32).collect()).collect();
            let mut packed = vec![[u32::MAX; 3]; (len as usize).div_ceil(2)];
            pack_pairs::<Plain, 3>([&rows[0], &rows[1], &rows[2]], &mut packed);
            for (k, packed) in packed.iter().enumerate() {
                for (packed, row) in packed.iter().zip(&rows) {
                    assert_eq!(*packed, pair(|i| row.get(2 * k + i).copied().unwrap_or(0.0)), "{len}");
                }
            }
        }
    }

    /// Pairs on both sides, with no way to multiply them.
    #[derive(Clone, Copy)]
    struct Plain;

    impl Terms for Plain {
        type Left = u32;
        type Right = u32;
        const VALUES: usize = 2;

        fn left(at: impl Fn(usize) -> f32) -> u32 {
            pair(at)
        }

        fn pack<const R: usize>(rows: [&[f32]; R], to: &mut [[u32; R]]) {
            pack_pairs::<Self, R>(rows, to);
        }

        fn sum<S: Simd, const R: usize>(
            self,
            simd: S,
            _: &[[u32; R]],
            _: &[[u32; PANEL]],
            _: usize,
        ) -> [[S::f32s; 2]; R] {
            [[simd.splat_f32s(0.0); 2]; R]
        }
    }
}
