//! NEON: 4 lanes with fused multiply-add, with or without the dot product of bytes.

use std::arch::aarch64::*;

use super::Simd;

/// Proof that the CPU has NEON, and with `DOT` its dot product of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neon<const DOT: bool = false>(());

impl<const DOT: bool> Neon<DOT> {
    /// A token if the CPU has the instructions.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let has = std::arch::is_aarch64_feature_detected!("neon")
            && (!DOT || std::arch::is_aarch64_feature_detected!("dotprod"));
        has.then_some(Self(()))
    }
}

impl Neon<true> {
    /// `sum + w · x` of 4 outputs with 4 weights each and the 4 activations in lane `LANE` of `x`.
    ///
    /// The intrinsic is not stable; the assembler knows the instruction by name.
    #[inline(always)]
    pub(crate) fn dot_bytes<const LANE: usize>(self, w: int16x8_t, x: int8x16_t, sum: int32x4_t) -> int32x4_t {
        let mut sum = sum;
        // SAFETY: the token proves the instruction, which reads and writes these registers alone.
        unsafe {
            std::arch::asm!(
                ".arch_extension dotprod",
                "sdot {sum:v}.4s, {w:v}.16b, {x:v}.4b[{lane}]",
                sum = inout(vreg) sum,
                w = in(vreg) w,
                x = in(vreg) x,
                lane = const LANE,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        sum
    }
}

/// Proof that the CPU has NEON with the dot product and the matrix product of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeonI8mm(Neon<true>);

impl NeonI8mm {
    /// A token if the CPU has the instructions.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let dot = Neon::detect()?;
        std::arch::is_aarch64_feature_detected!("i8mm").then_some(Self(dot))
    }

    /// The token of the level below.
    #[inline(always)]
    pub(crate) fn dot(self) -> Neon<true> {
        self.0
    }

    /// `sums + w · x` of 2 outputs with 8 weights each and 2 rows with 8 activations each:
    /// `[output 0 row 0, output 0 row 1, output 1 row 0, output 1 row 1]`.
    ///
    /// The intrinsic is not stable; the assembler knows the instruction by name.
    #[expect(clippy::unused_self, reason = "the token is the proof")]
    #[inline(always)]
    pub(crate) fn matrix_bytes(self, w: int16x8_t, x: int8x16_t, sums: int32x4_t) -> int32x4_t {
        let mut sums = sums;
        // SAFETY: the token proves the instruction, which reads and writes these registers alone.
        unsafe {
            std::arch::asm!(
                ".arch_extension i8mm",
                "smmla {sums:v}.4s, {w:v}.16b, {x:v}.16b",
                sums = inout(vreg) sums,
                w = in(vreg) w,
                x = in(vreg) x,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        sums
    }
}

/// The same level without the dot product.
impl From<Neon<true>> for Neon {
    fn from(_: Neon<true>) -> Self {
        Self(())
    }
}

impl<const DOT: bool> Simd for Neon<DOT> {
    type V = float32x4_t;
    type I = int32x4_t;
    const LANES: usize = 4;
    const TILE: usize = 4;
    const WIDE_TILE: usize = 8;
    const ACCUMULATORS: usize = 24;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { vdupq_n_f32(x) }
    }

    #[inline(always)]
    unsafe fn load_ptr(self, x: *const f32) -> Self::V {
        // SAFETY: the caller grants the reads.
        unsafe { vld1q_f32(x) }
    }

    #[inline(always)]
    unsafe fn store_ptr(self, v: Self::V, out: *mut f32) {
        // SAFETY: the caller grants the writes.
        unsafe { vst1q_f32(out, v) }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { vdivq_f32(a, b) }
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }

    #[inline(always)]
    unsafe fn load_bf16_ptr(self, x: *const u16) -> Self::V {
        // SAFETY: the caller grants the reads (8 bytes).
        unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vld1_u16(x)))) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    fn round(self, a: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { vrndnq_f32(a) }
    }

    #[inline(always)]
    fn exp2_int(self, n: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)))) }
    }

    #[inline(always)]
    fn select_lt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { vbslq_f32(vcltq_f32(a, b), x, y) }
    }

    #[inline(always)]
    fn zero_i32(self) -> Self::I {
        // SAFETY: the token proves the instructions.
        unsafe { vdupq_n_s32(0) }
    }

    #[inline(always)]
    fn splat_pair(self, [low, high]: [i16; 2]) -> Self::I {
        let pair = i32::from(high) << 16 | i32::from(low.cast_unsigned());
        // SAFETY: the token proves the instructions.
        unsafe { vdupq_n_s32(pair) }
    }

    #[inline(always)]
    unsafe fn load_pairs_i16_ptr(self, x: *const i16) -> Self::I {
        // SAFETY: the caller grants the reads (16 bytes).
        unsafe { vreinterpretq_s32_s16(vld1q_s16(x)) }
    }

    #[inline(always)]
    unsafe fn load_pairs_i8_ptr(self, x: *const i8) -> Self::I {
        // SAFETY: the caller grants the reads (8 bytes).
        unsafe { vreinterpretq_s32_s16(vmovl_s8(vld1_s8(x))) }
    }

    #[inline(always)]
    fn dot_pairs(self, a: Self::I, b: Self::I, c: Self::I) -> Self::I {
        // SAFETY: the token proves the instructions.
        unsafe {
            let (a, b) = (vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b));
            let (low, high) = (vmull_s16(vget_low_s16(a), vget_low_s16(b)), vmull_high_s16(a, b));
            vaddq_s32(c, vpaddq_s32(low, high))
        }
    }

    #[inline(always)]
    fn f32_from_i32(self, a: Self::I) -> Self::V {
        // SAFETY: the token proves the instructions.
        unsafe { vcvtq_f32_s32(a) }
    }

    #[inline(always)]
    unsafe fn store_i16_ptr(self, a: Self::V, out: *mut i16) {
        // SAFETY: the caller grants the writes (8 bytes).
        unsafe { vst1_s16(out, vqmovn_s32(vcvtnq_s32_f32(a))) }
    }

    #[inline(always)]
    fn reduce_add(self, a: Self::V) -> f32 {
        // SAFETY: the token proves the instructions.
        unsafe {
            let pairs = vadd_f32(vget_low_f32(a), vget_high_f32(a));
            vget_lane_f32::<0>(pairs) + vget_lane_f32::<1>(pairs)
        }
    }

    #[inline(always)]
    fn reduce_max(self, a: Self::V) -> f32 {
        // SAFETY: the token proves the instructions.
        unsafe { vmaxvq_f32(a) }
    }
}
