//! The vector operations that kernels are written in, one implementation per instruction set.

#[cfg(target_arch = "x86_64")]
pub mod amx;
#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
#[cfg(target_arch = "aarch64")]
pub mod neon;
#[cfg(target_arch = "x86_64")]
pub mod sse4;

/// Most lanes of any level: the size of a stack buffer that holds one vector.
pub const MAX_LANES: usize = 16;

/// f32 vectors of one instruction set.
///
/// A value of the implementing type is a token: it exists only where the CPU has the instructions.
/// The methods must run inside [`crate::Level::run`], where they inline into a function with the
/// right target features; elsewhere they are correct but slow.
pub trait Simd: Copy + Send + Sync + 'static {
    /// A vector of [`Self::LANES`] f32.
    type V: Copy;
    /// A vector of [`Self::LANES`] i32, or of as many pairs of i16.
    type I: Copy;
    /// Lanes of a vector: 4, 8 or 16.
    const LANES: usize;
    /// Most vectors of outputs in a GEMM register tile of several rows.
    const TILE: usize;
    /// Most vectors of outputs in the tile of a single row.
    const WIDE_TILE: usize;
    /// Accumulators of one GEMM register tile: as many as the registers hold beside the operands.
    const ACCUMULATORS: usize;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::V;
    /// The first [`Self::LANES`] values of `x`.
    ///
    /// # Panics
    /// If `x` is shorter.
    #[inline(always)]
    fn load(self, x: &[f32]) -> Self::V {
        assert!(x.len() >= Self::LANES, "load past the end of the slice");
        // SAFETY: the slice holds LANES values.
        unsafe { self.load_ptr(x.as_ptr()) }
    }
    /// Writes the lanes to the front of `out`.
    ///
    /// # Panics
    /// If `out` is shorter than [`Self::LANES`].
    #[inline(always)]
    fn store(self, v: Self::V, out: &mut [f32]) {
        assert!(out.len() >= Self::LANES, "store past the end of the slice");
        // SAFETY: the slice holds LANES values.
        unsafe { self.store_ptr(v, out.as_mut_ptr()) }
    }
    /// The [`Self::LANES`] values at `x`, any alignment.
    ///
    /// # Safety
    /// - `x` must be readable for LANES f32.
    unsafe fn load_ptr(self, x: *const f32) -> Self::V;
    /// The [`Self::LANES`] bf16 values at `x`, widened to f32.
    ///
    /// # Safety
    /// - `x` must be readable for LANES u16.
    unsafe fn load_bf16_ptr(self, x: *const u16) -> Self::V;
    /// Writes the lanes to `out`, any alignment.
    ///
    /// # Safety
    /// - `out` must be writable for LANES f32.
    unsafe fn store_ptr(self, v: Self::V, out: *mut f32);

    /// Asks for the cache line at `at`, any address, to be brought into the second-level cache.
    #[inline(always)]
    fn prefetch<T>(self, at: *const T) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: SSE is part of every x86-64 CPU, and a prefetch of any address has no effect on
        // the program.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T1>(at.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }

    /// Asks for the cache line at `at`, any address, to be brought into the first-level cache.
    #[inline(always)]
    fn prefetch_near<T>(self, at: *const T) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: SSE is part of every x86-64 CPU, and a prefetch of any address has no effect on
        // the program.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(at.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }

    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, fused where the level has FMA.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger lane; `b` where either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller lane; `b` where either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The nearest integer, ties to even; for magnitudes below 2^22.
    fn round(self, a: Self::V) -> Self::V;
    /// `2^n` for integral lanes in −126 … 127.
    fn exp2_int(self, n: Self::V) -> Self::V;
    /// `x` where `a < b`, else `y` (so `y` where either is NaN).
    fn select_lt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// The sum of the lanes, halves first: `(l0 + l4) + (l2 + l6) …`.
    fn reduce_add(self, a: Self::V) -> f32;
    /// The largest lane; for lanes without NaN.
    fn reduce_max(self, a: Self::V) -> f32;

    /// All lanes the integer zero.
    fn zero_i32(self) -> Self::I;
    /// All lanes the pair `pair`.
    fn splat_pair(self, pair: [i16; 2]) -> Self::I;
    /// The [`Self::LANES`] pairs of i16 at `x`, any alignment.
    ///
    /// # Safety
    /// - `x` must be readable for 2 · LANES i16.
    unsafe fn load_pairs_i16_ptr(self, x: *const i16) -> Self::I;
    /// The [`Self::LANES`] pairs of i8 at `x`, any alignment, widened to i16.
    ///
    /// # Safety
    /// - `x` must be readable for 2 · LANES i8.
    unsafe fn load_pairs_i8_ptr(self, x: *const i8) -> Self::I;
    /// `a0 * b0 + a1 * b1 + c` of the pairs `a` and `b` and the i32 `c`, exact while it fits.
    fn dot_pairs(self, a: Self::I, b: Self::I, c: Self::I) -> Self::I;
    /// The i32 lanes, rounded to f32.
    fn f32_from_i32(self, a: Self::I) -> Self::V;
    /// Writes the lanes as i16, rounded to the nearest integer, ties to even; for magnitudes up to 32767.
    ///
    /// # Safety
    /// - `out` must be writable for LANES i16.
    unsafe fn store_i16_ptr(self, a: Self::V, out: *mut i16);

    /// `-a`.
    #[inline(always)]
    fn neg(self, a: Self::V) -> Self::V {
        self.sub(self.splat(-0.0), a)
    }

    /// All lanes zero.
    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }

    /// The values of `x`, at most [`Self::LANES`], the remaining lanes `fill`.
    #[inline(always)]
    fn load_partial(self, x: &[f32], fill: f32) -> Self::V {
        let mut lanes = [fill; MAX_LANES];
        lanes[..x.len()].copy_from_slice(x);
        self.load(&lanes)
    }

    /// Writes the first `out.len()` lanes, at most [`Self::LANES`].
    #[inline(always)]
    fn store_partial(self, v: Self::V, out: &mut [f32]) {
        let mut lanes = [0.0; MAX_LANES];
        self.store(v, &mut lanes);
        let n = out.len();
        out.copy_from_slice(&lanes[..n]);
    }
}
