//! Stored element types: what weights and K/V caches are kept in; arithmetic is f32.

use crate::simd::Simd;

/// A bfloat16 value: the upper half of an f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(u16);

impl Bf16 {
    /// The value with these bits.
    #[must_use]
    pub fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The memory of floats as twice as many bf16.
    pub(crate) fn slice_in(floats: &mut [f32]) -> &mut [Self] {
        let len = 2 * floats.len();
        // SAFETY: an f32 is two `Bf16` in size and aligned no less, all bit patterns are valid for both, and the
        // borrow is handed on.
        unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), len) }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for super::Bf16 {}
    impl Sealed for i8 {}
    impl Sealed for i16 {}
    impl Sealed for u16 {}
}

/// A number of which every bit pattern is valid; all bits zero is zero.
pub trait Plain: sealed::Sealed + Copy + Default + Send + Sync + 'static {
    /// Its name in safetensors files.
    const NAME: &'static str;
}

impl Plain for f32 {
    const NAME: &'static str = "F32";
}
impl Plain for Bf16 {
    const NAME: &'static str = "BF16";
}
impl Plain for i8 {
    const NAME: &'static str = "I8";
}
impl Plain for i16 {
    const NAME: &'static str = "I16";
}
impl Plain for u16 {
    const NAME: &'static str = "U16";
}

/// `n` zeros, in memory that the operating system gives out when it is first written.
#[must_use]
pub fn zeroed<T: Plain>(n: usize) -> Vec<T> {
    let Ok(layout) = std::alloc::Layout::array::<T>(n) else { return vec![T::default(); n] };
    if layout.size() == 0 {
        return vec![T::default(); n];
    }
    // SAFETY: the layout has a size; a box of n elements frees the memory by the same layout; all bits zero are
    // a valid `T` (`Plain` is sealed).
    unsafe {
        let start = std::alloc::alloc_zeroed(layout).cast::<T>();
        if start.is_null() {
            std::alloc::handle_alloc_error(layout);
        }
        Box::from_raw(std::ptr::slice_from_raw_parts_mut(start, n)).into_vec()
    }
}

/// A stored element that stands for an f32.
pub trait Element: Plain {
    /// The value in f32.
    fn to_f32(self) -> f32;
    /// The stored value nearest to `x`, ties to even.
    fn from_f32(x: f32) -> Self;
    /// LANES consecutive values in f32.
    ///
    /// # Safety
    /// - `at` must be readable for LANES elements.
    unsafe fn load<S: Simd>(s: S, at: *const Self) -> S::V;
}

impl Element for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, at: *const Self) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { s.load_ptr(at) }
    }
}

impl Element for Bf16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        let bits = x.to_bits();
        if x.is_nan() {
            return Self((bits >> 16) as u16 | 0x40);
        }
        let even = bits >> 16 & 1;
        Self((bits.wrapping_add(0x7FFF + even) >> 16) as u16)
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, at: *const Self) -> S::V {
        // SAFETY: the caller's promise; `Bf16` is a transparent u16.
        unsafe { s.load_bf16_ptr(at.cast()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_rounds_to_nearest_even_and_keeps_nan() {
        for (x, want) in
            [(1.0, 1.0), (1.003_906_3, 1.0), (1.0117188, 1.015625), (-2.5, -2.5), (f32::INFINITY, f32::INFINITY)]
        {
            assert_eq!(Bf16::from_f32(x).to_f32(), want, "{x}");
        }
        assert!(Bf16::from_f32(f32::NAN).to_f32().is_nan());
        assert_eq!(Bf16::from_f32(f32::MAX).to_f32(), f32::INFINITY);
    }
}
