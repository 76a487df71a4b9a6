//! Sums of pairs of bfloat16 values by AVX512-BF16: `vdpbf16ps` adds two products to each of 16 sums.

use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps, _mm512_set1_epi32, _mm512_setzero_ps};

use bytemuck::cast;
use pulp::Simd;

use super::panels::PANEL;
use super::terms::{Terms, pack_pairs, pair};

/// Pairs on both sides. It can only be had where the processor multiplies them.
#[derive(Debug, Clone, Copy)]
pub struct Dots(());

impl Dots {
    /// None where the processor lacks AVX512-BF16.
    pub fn try_new() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
        has.then_some(Self(()))
    }
}

impl Terms for Dots {
    type Left = u32;
    type Right = u32;
    const VALUES: usize = 2;

    #[inline(always)]
    fn left(at: impl Fn(usize) -> f32) -> u32 {
        pair(at)
    }

    #[inline(always)]
    fn pack<const R: usize>(rows: [&[f32]; R], to: &mut [[u32; R]]) {
        pack_pairs::<Self, R>(rows, to);
    }

    #[inline(always)]
    fn sum<S: Simd, const R: usize>(
        self,
        simd: S,
        left: &[[u32; R]],
        panel: &[[u32; PANEL]],
        strip: usize,
    ) -> [[S::f32s; 2]; R] {
        #[expect(unsafe_code, reason = "the compiler cannot know what the processor has")]
        // SAFETY: `self` exists only where `try_new` has found both sets of instructions.
        let rows = unsafe { dots(left, panel) };
        let mut sums = [[simd.splat_f32s(0.0); 2]; R];
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let row: &[f32; PANEL] = bytemuck::cast_ref(row);
            let (row, _) = S::as_simd_f32s(&row[strip..strip + 2 * S::F32_LANES]);
            *sums = [row[0], row[1]];
        }
        sums
    }
}

/// The sums of a tile, in `2 R` registers.
#[target_feature(enable = "avx512f,avx512bf16")]
fn dots<const R: usize>(left: &[[u32; R]], panel: &[[u32; PANEL]]) -> [[__m512; 2]; R] {
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    for (left, right) in left.iter().zip(panel) {
        let right: [__m512bh; 2] = cast(*right);
        for r in 0..R {
            let left: __m512bh = cast(_mm512_set1_epi32(left[r].cast_signed()));
            for v in 0..2 {
                sums[r][v] = _mm512_dpbf16_ps(sums[r][v], left, right[v]);
            }
        }
    }
    sums
}
