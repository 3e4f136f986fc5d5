//! Buffers whose first element lies on a cache line.

use memmap2::MmapMut;

use crate::element::Plain;
use crate::mapped::FilePart;

const LINE_BYTES: usize = 64;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; LINE_BYTES]);

/// From this size on a buffer has a mapping of its own, which goes back to the system when it is dropped; an
/// allocator may keep it. Packing takes and drops buffers of megabytes.
const MIN_MAPPED_BYTES: usize = 1 << 20;

enum Memory {
    Heap(Vec<Line>),
    Mapped(MmapMut),
}

/// A fixed-size buffer of `T`, aligned to 64 bytes, zero at first.
pub struct AlignedVec<T> {
    memory: Memory,
    len: usize,
    marker: std::marker::PhantomData<T>,
}

impl<T: Plain> AlignedVec<T> {
    /// A buffer of `len` zeros.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let n_bytes = len * size_of::<T>();
        let heap = || Memory::Heap(vec![Line([0; LINE_BYTES]); n_bytes.div_ceil(LINE_BYTES)]);
        let memory = if n_bytes < MIN_MAPPED_BYTES {
            heap()
        } else {
            MmapMut::map_anon(n_bytes).map_or_else(|_| heap(), Memory::Mapped)
        };
        Self { memory, len, marker: std::marker::PhantomData }
    }

    /// The elements.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        let start = match &self.memory {
            Memory::Heap(lines) => lines.as_ptr().cast(),
            Memory::Mapped(map) => map.as_ptr().cast(),
        };
        // SAFETY: the memory holds at least `len` elements of `T`, is initialised, aligned to 64 bytes (a
        // mapping to a page), and every bit pattern is a valid `T` (`Plain` is sealed).
        unsafe { std::slice::from_raw_parts(start, self.len) }
    }

    /// The elements, mutable.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        let start = match &mut self.memory {
            Memory::Heap(lines) => lines.as_mut_ptr().cast(),
            Memory::Mapped(map) => map.as_mut_ptr().cast(),
        };
        // SAFETY: as in `as_slice`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(start, self.len) }
    }
}

/// Values that never change, aligned to 64 bytes: a buffer of our own, or part of a mapped file.
pub struct Constants<T> {
    start: *const T,
    len: usize,
    /// Keeps the values alive, and where they are.
    _owner: Owner<T>,
}

enum Owner<T> {
    Buffer { _buffer: AlignedVec<T> },
    File { _part: FilePart },
}

// SAFETY: the values are owned and only ever read, and `Plain` numbers may be read by any thread.
unsafe impl<T: Plain> Send for Constants<T> {}
// SAFETY: as above.
unsafe impl<T: Plain> Sync for Constants<T> {}

impl<T: Plain> From<AlignedVec<T>> for Constants<T> {
    fn from(buffer: AlignedVec<T>) -> Self {
        let (start, len) = (buffer.as_slice().as_ptr(), buffer.len);
        Self { start, len, _owner: Owner::Buffer { _buffer: buffer } }
    }
}

impl<T: Plain> Constants<T> {
    /// The values that lie in part of a file; nothing if they are not aligned or not whole.
    #[must_use]
    pub fn from_part(part: FilePart) -> Option<Self> {
        let values = elements::<T>(part.bytes())?;
        if !values.as_ptr().addr().is_multiple_of(LINE_BYTES) {
            return None;
        }
        let (start, len) = (values.as_ptr(), values.len());
        Some(Self { start, len, _owner: Owner::File { _part: part } })
    }

    /// The values.
    #[inline(always)]
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: both constructors took `start` and `len` from a slice of the owner's memory, which
        // moves with neither owner and is neither written nor freed before the owner is dropped.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    /// The bytes of the values.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let values = self.as_slice();
        // SAFETY: the bytes of a slice of numbers, which have no padding.
        unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
    }
}

/// Bytes as the numbers that they are in the order of this machine; nothing if they are not aligned for
/// them or not whole.
#[must_use]
pub fn elements<T: Plain>(bytes: &[u8]) -> Option<&[T]> {
    // SAFETY: every bit pattern is a valid `T` (`Plain` is sealed).
    let (before, values, after) = unsafe { bytes.align_to() };
    (before.is_empty() && after.is_empty()).then_some(values)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use super::*;
    use crate::mapped::MappedFile;

    #[test]
    fn buffers_are_aligned_zeroed_and_sized() {
        for len in [0, 1, 15, 16, 17, 1000, (1 << 18) + 1] {
            let mut buffer = AlignedVec::<f32>::zeroed(len);
            assert_eq!(buffer.as_slice(), vec![0.0; len]);
            assert_eq!(buffer.as_slice().as_ptr() as usize % 64, 0);
            buffer.as_mut_slice().fill(2.0);
            assert_eq!(buffer.as_slice().iter().sum::<f32>(), 2.0 * len as f32);
        }
    }

    #[test]
    fn constants_are_the_same_in_memory_and_in_a_file() {
        let mut buffer = AlignedVec::<i16>::zeroed(96);
        buffer.as_mut_slice().iter_mut().zip(-7..).for_each(|(x, i)| *x = i);
        let owned = Constants::from(buffer);
        let path = std::env::temp_dir().join(format!("pocket-kernels-{}-constants", std::process::id()));
        std::fs::write(&path, [&[0; 64], owned.as_bytes()].concat()).unwrap();
        let file = Arc::new(MappedFile::new(&File::open(&path).unwrap(), 0..256).unwrap());
        std::fs::remove_file(&path).unwrap();
        let constants = |range| Constants::<i16>::from_part(FilePart::new(&file, range)?);
        let mapped = constants(64..256).unwrap();
        assert_eq!(mapped.as_slice(), owned.as_slice());
        assert!(constants(66..256).is_none(), "not on a cache line");
        assert!(constants(64..255).is_none(), "half a number");
        assert!(constants(64..257).is_none(), "past the end");
        drop(file);
        let moved = [mapped];
        assert_eq!(moved[0].as_slice()[95], 88);
    }
}
