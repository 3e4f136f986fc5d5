//! AVX2 with FMA, with or without AVX-VNNI: 8 lanes.

use std::arch::x86_64::*;

use super::Simd;

/// Proof that the CPU has AVX2, FMA and F16C, and with `VNNI` AVX-VNNI: pairs multiplied and added in one
/// instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2<const VNNI: bool = false>(());

impl<const VNNI: bool> Avx2<VNNI> {
    /// A token if the CPU has the instructions.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let has = std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma")
            && std::arch::is_x86_feature_detected!("f16c")
            && (!VNNI || std::arch::is_x86_feature_detected!("avxvnni"));
        has.then_some(Self(()))
    }
}

/// The same level without AVX-VNNI.
impl From<Avx2<true>> for Avx2 {
    fn from(_: Avx2<true>) -> Self {
        Self(())
    }
}

impl<const VNNI: bool> Simd for Avx2<VNNI> {
    type V = __m256;
    type I = __m256i;
    const LANES: usize = 8;
    const TILE: usize = 2;
    const WIDE_TILE: usize = 4;
    const ACCUMULATORS: usize = 12;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load_ptr(self, x: *const f32) -> Self::V {
        // SAFETY: the caller grants the reads.
        unsafe { _mm256_loadu_ps(x) }
    }

    #[inline(always)]
    unsafe fn store_ptr(self, v: Self::V, out: *mut f32) {
        // SAFETY: the caller grants the writes.
        unsafe { _mm256_storeu_ps(out, v) }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_min_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn load_bf16_ptr(self, x: *const u16) -> Self::V {
        // SAFETY: the caller grants the reads (16 bytes).
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(x.cast())))) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn round(self, a: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    fn exp2_int(self, n: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe {
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(
                _mm256_cvtps_epi32(n),
                _mm256_set1_epi32(127),
            )))
        }
    }

    #[inline(always)]
    fn select_lt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b)) }
    }

    #[inline(always)]
    fn zero_i32(self) -> Self::I {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    fn splat_pair(self, [low, high]: [i16; 2]) -> Self::I {
        let pair = i32::from(high) << 16 | i32::from(low.cast_unsigned());
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_set1_epi32(pair) }
    }

    #[inline(always)]
    unsafe fn load_pairs_i16_ptr(self, x: *const i16) -> Self::I {
        // SAFETY: the caller grants the reads (32 bytes).
        unsafe { _mm256_loadu_si256(x.cast()) }
    }

    #[inline(always)]
    unsafe fn load_pairs_i8_ptr(self, x: *const i8) -> Self::I {
        // SAFETY: the caller grants the reads (16 bytes).
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(x.cast())) }
    }

    #[inline(always)]
    fn dot_pairs(self, a: Self::I, b: Self::I, c: Self::I) -> Self::I {
        // SAFETY: the token proves the instructions.
        unsafe { if VNNI { _mm256_dpwssd_avx_epi32(c, a, b) } else { _mm256_add_epi32(c, _mm256_madd_epi16(a, b)) } }
    }

    #[inline(always)]
    fn f32_from_i32(self, a: Self::I) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_cvtepi32_ps(a) }
    }

    #[inline(always)]
    unsafe fn store_i16_ptr(self, a: Self::V, out: *mut i16) {
        // SAFETY: the caller grants the writes (16 bytes).
        unsafe {
            let integers = _mm256_cvtps_epi32(a);
            let (low, high) = (_mm256_castsi256_si128(integers), _mm256_extracti128_si256::<1>(integers));
            _mm_storeu_si128(out.cast(), _mm_packs_epi32(low, high));
        }
    }

    #[inline(always)]
    fn reduce_add(self, a: Self::V) -> f32 {
        // SAFETY: the token proves the instructions.
        unsafe {
            let half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let pairs = _mm_add_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps::<1>(pairs, pairs)))
        }
    }

    #[inline(always)]
    fn reduce_max(self, a: Self::V) -> f32 {
        // SAFETY: the token proves the instructions.
        unsafe {
            let half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let pairs = _mm_max_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_max_ss(pairs, _mm_shuffle_ps::<1>(pairs, pairs)))
        }
    }
}
