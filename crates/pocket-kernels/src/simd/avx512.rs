//! AVX-512 F, BW, DQ and VL, with or without VNNI: 16 lanes.

use std::arch::x86_64::*;

use super::Simd;

/// Proof that the CPU has AVX-512 F, BW, DQ and VL, AVX2, FMA and F16C, and with `VNNI` AVX-512 VNNI: pairs
/// multiplied and added in one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512<const VNNI: bool = false>(());

impl<const VNNI: bool> Avx512<VNNI> {
    /// A token if the CPU has the instructions.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let has = std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512dq")
            && std::arch::is_x86_feature_detected!("avx512vl")
            && std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma")
            && std::arch::is_x86_feature_detected!("f16c")
            && (!VNNI || std::arch::is_x86_feature_detected!("avx512vnni"));
        has.then_some(Self(()))
    }
}

/// Proof that the CPU has AVX-512 BF16 beside AVX-512 with VNNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512Bf16(Avx512<true>);

impl Avx512Bf16 {
    /// A token if the CPU has the instructions.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let vectors = Avx512::detect()?;
        std::arch::is_x86_feature_detected!("avx512bf16").then_some(Self(vectors))
    }

    /// The token of the vector instructions.
    #[inline(always)]
    pub(crate) fn vectors(self) -> Avx512<true> {
        self.0
    }

    /// `a0 * b0 + a1 * b1 + c` of the bf16 pairs `a` and `b` and the f32 `c`, rounded in between; numbers too
    /// small for a normal f32 count as zero.
    #[expect(clippy::unused_self, reason = "the token is the proof")]
    #[inline(always)]
    pub(crate) fn dot_bf16(self, a: __m512i, b: __m512i, c: __m512) -> __m512 {
        // SAFETY: the token proves the instructions; the casts change the type of the same 512 bits.
        unsafe {
            _mm512_dpbf16_ps(
                c,
                std::mem::transmute::<__m512i, __m512bh>(a),
                std::mem::transmute::<__m512i, __m512bh>(b),
            )
        }
    }
}

/// The same level without VNNI.
impl From<Avx512<true>> for Avx512 {
    fn from(_: Avx512<true>) -> Self {
        Self(())
    }
}

impl<const VNNI: bool> Simd for Avx512<VNNI> {
    type V = __m512;
    type I = __m512i;
    const LANES: usize = 16;
    const TILE: usize = 2;
    const WIDE_TILE: usize = 2;
    const ACCUMULATORS: usize = 16;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load_ptr(self, x: *const f32) -> Self::V {
        // SAFETY: the caller grants the reads.
        unsafe { _mm512_loadu_ps(x) }
    }

    #[inline(always)]
    unsafe fn store_ptr(self, v: Self::V, out: *mut f32) {
        // SAFETY: the caller grants the writes.
        unsafe { _mm512_storeu_ps(out, v) }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn load_bf16_ptr(self, x: *const u16) -> Self::V {
        // SAFETY: the caller grants the reads (32 bytes).
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(x.cast())))) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn round(self, a: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    fn exp2_int(self, n: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe {
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(
                _mm512_cvtps_epi32(n),
                _mm512_set1_epi32(127),
            )))
        }
    }

    #[inline(always)]
    fn select_lt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), y, x) }
    }

    #[inline(always)]
    fn zero_i32(self) -> Self::I {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn splat_pair(self, [low, high]: [i16; 2]) -> Self::I {
        let pair = i32::from(high) << 16 | i32::from(low.cast_unsigned());
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_set1_epi32(pair) }
    }

    #[inline(always)]
    unsafe fn load_pairs_i16_ptr(self, x: *const i16) -> Self::I {
        // SAFETY: the caller grants the reads (64 bytes).
        unsafe { _mm512_loadu_si512(x.cast()) }
    }

    #[inline(always)]
    unsafe fn load_pairs_i8_ptr(self, x: *const i8) -> Self::I {
        // SAFETY: the caller grants the reads (32 bytes).
        unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(x.cast())) }
    }

    #[inline(always)]
    fn dot_pairs(self, a: Self::I, b: Self::I, c: Self::I) -> Self::I {
        // SAFETY: the token proves the instructions.
        unsafe { if VNNI { _mm512_dpwssd_epi32(c, a, b) } else { _mm512_add_epi32(c, _mm512_madd_epi16(a, b)) } }
    }

    #[inline(always)]
    fn f32_from_i32(self, a: Self::I) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_cvtepi32_ps(a) }
    }

    #[inline(always)]
    unsafe fn store_i16_ptr(self, a: Self::V, out: *mut i16) {
        // SAFETY: the caller grants the writes (32 bytes).
        unsafe {
            _mm256_storeu_si256(out.cast(), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(a)));
        }
    }

    #[inline(always)]
    fn reduce_add(self, a: Self::V) -> f32 {
        // SAFETY: the token proves the instructions.
        unsafe {
            let wide = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let half = _mm_add_ps(_mm256_castps256_ps128(wide), _mm256_extractf128_ps::<1>(wide));
            let pairs = _mm_add_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps::<1>(pairs, pairs)))
        }
    }

    #[inline(always)]
    fn reduce_max(self, a: Self::V) -> f32 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_reduce_max_ps(a) }
    }
}
