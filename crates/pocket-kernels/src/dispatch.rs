//! The one place where generic code enters a `#[target_feature]` function.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::gemm::kernel::{PanelSums, PanelTask};
use crate::level::Level;
use crate::simd::Simd;

/// A piece of work that is generic over the instruction set.
///
/// `eval` must be `#[inline(always)]`, so that it is compiled with the features of the function that
/// enters it; so must every generic helper that it calls.
pub trait SimdOp {
    /// What the work returns.
    type Output;
    /// Whether it multiplies pairs of integers. Other work is not compiled again for levels that differ from a
    /// lower one in that alone.
    const MULTIPLIES_PAIRS: bool = false;
    /// Runs with the instruction set `S`.
    fn eval<S: Simd>(self, simd: S) -> Self::Output;
    /// Runs the scalar specification.
    fn eval_scalar(self) -> Self::Output;
}

impl Level {
    /// Runs `op` compiled for this level.
    #[inline]
    pub fn run<O: SimdOp>(self, op: O) -> O::Output {
        match self {
            Self::Scalar => op.eval_scalar(),
            #[cfg(target_arch = "x86_64")]
            Self::Sse4(token) => {
                #[target_feature(enable = "sse4.1")]
                fn enter<O: SimdOp>(op: O, token: crate::simd::sse4::Sse4) -> O::Output {
                    op.eval(token)
                }
                // SAFETY: the token exists only where the CPU has SSE4.1.
                unsafe { enter(op, token) }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(token) => {
                #[target_feature(enable = "avx2,fma,f16c")]
                fn enter<O: SimdOp>(op: O, token: crate::simd::avx2::Avx2) -> O::Output {
                    op.eval(token)
                }
                // SAFETY: the token exists only where the CPU has AVX2, FMA and F16C.
                unsafe { enter(op, token) }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Vnni(token) => {
                #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
                fn enter<O: SimdOp>(op: O, token: crate::simd::avx2::Avx2<true>) -> O::Output {
                    op.eval(token)
                }
                if const { O::MULTIPLIES_PAIRS } {
                    // SAFETY: the token exists only where the CPU has AVX2, FMA, F16C and AVX-VNNI.
                    unsafe { enter(op, token) }
                } else {
                    Self::Avx2(token.into()).run(op)
                }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(token) => {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
                fn enter<O: SimdOp>(op: O, token: crate::simd::avx512::Avx512) -> O::Output {
                    op.eval(token)
                }
                // SAFETY: the token exists only where the CPU has AVX-512 F, BW, DQ and VL, AVX2, FMA
                // and F16C.
                unsafe { enter(op, token) }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(_) | Self::Avx512Bf16(_) | Self::Amx(_) => {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
                fn enter<O: SimdOp>(op: O, token: crate::simd::avx512::Avx512<true>) -> O::Output {
                    op.eval(token)
                }
                let token = match self {
                    Self::Avx512Vnni(token) => token,
                    // Tiles and products of bf16 are for products alone, which enter them by themselves.
                    Self::Avx512Bf16(token) => token.vectors(),
                    Self::Amx(token) => token.vectors(),
                    _ => unreachable!("the outer match"),
                };
                if const { O::MULTIPLIES_PAIRS } {
                    // SAFETY: the token exists only where the CPU has AVX-512 F, BW, DQ, VL and VNNI, AVX2,
                    // FMA and F16C.
                    unsafe { enter(op, token) }
                } else {
                    Self::Avx512(token.into()).run(op)
                }
            }
            // The products of bytes are for products alone, which name them in their assembly.
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot(token) => Self::Neon(token.into()).run(op),
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm(token) => Self::NeonDot(token.dot()).run(op),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(token) => {
                #[target_feature(enable = "neon")]
                fn enter<O: SimdOp>(op: O, token: crate::simd::neon::Neon) -> O::Output {
                    op.eval(token)
                }
                // SAFETY: the token exists only where the CPU has NEON.
                unsafe { enter(op, token) }
            }
        }
    }
}

/// A level with products of its own, which enter it by themselves.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) trait PanelLevel {
    /// [`PanelSums::write`], compiled for this level.
    ///
    /// # Safety
    /// As there.
    unsafe fn write<P: PanelSums>(self, sums: &P, task: PanelTask<'_>);
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! panel_level {
    ($token:ty, $features:literal) => {
        impl PanelLevel for $token {
            unsafe fn write<P: PanelSums>(self, sums: &P, task: PanelTask<'_>) {
                #[target_feature(enable = $features)]
                fn enter<P: PanelSums>(sums: &P, task: PanelTask<'_>) {
                    // SAFETY: the caller's promise.
                    unsafe { sums.write(task) };
                }
                // SAFETY: the token exists only where the CPU has these features.
                unsafe { enter(sums, task) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
panel_level!(crate::simd::avx512::Avx512Bf16, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c");
// The assembler knows tiles by name: they are no feature that the compiler has to be told of.
#[cfg(target_arch = "x86_64")]
panel_level!(crate::simd::amx::Amx, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c");
#[cfg(target_arch = "aarch64")]
panel_level!(crate::simd::neon::Neon<true>, "neon");
#[cfg(target_arch = "aarch64")]
panel_level!(crate::simd::neon::NeonI8mm, "neon");
