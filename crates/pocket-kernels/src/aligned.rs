//! Buffers whose first element lies on a cache line.

use crate::element::Plain;

const LINE_BYTES: usize = 64;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; LINE_BYTES]);

/// A fixed-size buffer of `T`, aligned to 64 bytes, zero at first.
pub struct AlignedVec<T> {
    lines: Vec<Line>,
    len: usize,
    marker: std::marker::PhantomData<T>,
}

impl<T: Plain> AlignedVec<T> {
    /// A buffer of `len` zeros.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let n_lines = (len * size_of::<T>()).div_ceil(LINE_BYTES);
        Self { lines: vec![Line([0; LINE_BYTES]); n_lines], len, marker: std::marker::PhantomData }
    }

    /// The elements.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: the lines hold at least `len` elements of `T`, are initialised, aligned to 64
        // bytes, and every bit pattern is a valid `T` (`Plain` is sealed).
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    /// The elements, mutable.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::AlignedVec;

    #[test]
    fn buffers_are_aligned_zeroed_and_sized() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let mut buffer = AlignedVec::<f32>::zeroed(len);
            assert_eq!(buffer.as_slice(), vec![0.0; len]);
            assert_eq!(buffer.as_slice().as_ptr() as usize % 64, 0);
            buffer.as_mut_slice().fill(2.0);
            assert_eq!(buffer.as_slice().iter().sum::<f32>(), 2.0 * len as f32);
        }
    }
}
