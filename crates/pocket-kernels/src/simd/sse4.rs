//! SSE4.1: 4 lanes, multiply and add rounded separately.

use std::arch::x86_64::*;

use super::Simd;

/// Proof that the CPU has SSE4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sse4(());

impl Sse4 {
    /// A token if the CPU has the instructions.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let has = std::arch::is_x86_feature_detected!("sse4.1");
        has.then_some(Self(()))
    }
}

impl Simd for Sse4 {
    type V = __m128;
    type I = __m128i;
    const LANES: usize = 4;
    const TILE: usize = 2;
    const WIDE_TILE: usize = 8;
    const ACCUMULATORS: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load_ptr(self, x: *const f32) -> Self::V {
        // SAFETY: the caller grants the reads.
        unsafe { _mm_loadu_ps(x) }
    }

    #[inline(always)]
    unsafe fn store_ptr(self, v: Self::V, out: *mut f32) {
        // SAFETY: the caller grants the writes.
        unsafe { _mm_storeu_ps(out, v) }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm_div_ps(a, b) }
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm_min_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn load_bf16_ptr(self, x: *const u16) -> Self::V {
        // SAFETY: the caller grants the reads (8 bytes).
        unsafe { _mm_castsi128_ps(_mm_slli_epi32::<16>(_mm_cvtepu16_epi32(_mm_loadl_epi64(x.cast())))) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm_add_ps(_mm_mul_ps(a, b), c) }
    }

    #[inline(always)]
    fn round(self, a: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    fn exp2_int(self, n: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm_castsi128_ps(_mm_slli_epi32::<23>(_mm_add_epi32(_mm_cvtps_epi32(n), _mm_set1_epi32(127)))) }
    }

    #[inline(always)]
    fn select_lt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm_blendv_ps(y, x, _mm_cmplt_ps(a, b)) }
    }

    #[inline(always)]
    fn zero_i32(self) -> Self::I {
        // SAFETY: the token proves the instructions.
        unsafe { _mm_setzero_si128() }
    }

    #[inline(always)]
    fn splat_pair(self, [low, high]: [i16; 2]) -> Self::I {
        let pair = i32::from(high) << 16 | i32::from(low.cast_unsigned());
        // SAFETY: the token proves the instructions.
        unsafe { _mm_set1_epi32(pair) }
    }

    #[inline(always)]
    unsafe fn load_pairs_i16_ptr(self, x: *const i16) -> Self::I {
        // SAFETY: the caller grants the reads (16 bytes).
        unsafe { _mm_loadu_si128(x.cast()) }
    }

    #[inline(always)]
    unsafe fn load_pairs_i8_ptr(self, x: *const i8) -> Self::I {
        // SAFETY: the caller grants the reads (8 bytes).
        unsafe { _mm_cvtepi8_epi16(_mm_loadl_epi64(x.cast())) }
    }

    #[inline(always)]
    fn dot_pairs(self, a: Self::I, b: Self::I, c: Self::I) -> Self::I {
        // SAFETY: the token proves the instructions.
        unsafe { _mm_add_epi32(c, _mm_madd_epi16(a, b)) }
    }

    #[inline(always)]
    fn f32_from_i32(self, a: Self::I) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm_cvtepi32_ps(a) }
    }

    #[inline(always)]
    unsafe fn store_i16_ptr(self, a: Self::V, out: *mut i16) {
        // SAFETY: the caller grants the writes (8 bytes).
        unsafe {
            let integers = _mm_cvtps_epi32(a);
            _mm_storel_epi64(out.cast(), _mm_packs_epi32(integers, integers));
        }
    }

    #[inline(always)]
    fn reduce_add(self, a: Self::V) -> f32 {
        // SAFETY: the token proves the instructions.
        unsafe {
            let pairs = _mm_add_ps(a, _mm_movehl_ps(a, a));
            _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps::<1>(pairs, pairs)))
        }
    }

    #[inline(always)]
    fn reduce_max(self, a: Self::V) -> f32 {
        // SAFETY: the token proves the instructions.
        unsafe {
            let pairs = _mm_max_ps(a, _mm_movehl_ps(a, a));
            _mm_cvtss_f32(_mm_max_ss(pairs, _mm_shuffle_ps::<1>(pairs, pairs)))
        }
    }
}
