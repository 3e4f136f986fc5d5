//! Scratch memory of a step: buffers that are reused instead of allocated.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Buffers of one thread, of f32 or i16.
///
/// The first steps allocate; once every size has been seen, taking a buffer allocates nothing.
#[derive(Debug, Default)]
pub struct Arena {
    floats: Free<f32>,
    integers: Free<i16>,
}

type Free<T> = RefCell<Vec<Vec<T>>>;

impl Arena {
    /// An arena without buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A buffer of `len` values, whatever they were before; goes back when dropped.
    #[must_use]
    pub fn take(&self, len: usize) -> ArenaBuf<'_> {
        ArenaBuf::of(&self.floats, len)
    }

    /// As [`Self::take`], of integers.
    #[must_use]
    pub fn take_i16(&self, len: usize) -> ArenaBuf<'_, i16> {
        ArenaBuf::of(&self.integers, len)
    }
}

/// A buffer of an [`Arena`], dereferencing to its values.
#[derive(Debug)]
pub struct ArenaBuf<'a, T = f32> {
    free: &'a Free<T>,
    buffer: Vec<T>,
    len: usize,
}

impl<'a, T: Copy + Default> ArenaBuf<'a, T> {
    fn of(free: &'a Free<T>, len: usize) -> Self {
        let mut buffers = free.borrow_mut();
        // The smallest buffer that is large enough, else the largest one, to be grown.
        let fit = buffers
            .iter()
            .enumerate()
            .filter(|(_, buffer)| buffer.len() >= len)
            .min_by_key(|(_, buffer)| buffer.len())
            .or_else(|| buffers.iter().enumerate().max_by_key(|(_, buffer)| buffer.len()))
            .map(|(i, _)| i);
        let mut buffer = fit.map(|i| buffers.swap_remove(i)).unwrap_or_default();
        if buffer.len() < len {
            buffer.resize(len, T::default());
        }
        Self { free, buffer, len }
    }
}

impl<T> Deref for ArenaBuf<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.buffer[..self.len]
    }
}

impl<T> DerefMut for ArenaBuf<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.buffer[..self.len]
    }
}

impl<T> Drop for ArenaBuf<'_, T> {
    fn drop(&mut self) {
        self.free.borrow_mut().push(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::Arena;

    #[test]
    fn a_repeated_pattern_reuses_its_buffers() {
        let arena = Arena::new();
        let pattern = |arena: &Arena| {
            let (a, b) = (arena.take(100), arena.take(10));
            assert_eq!((a.len(), b.len()), (100, 10));
            let pointers = (a.as_ptr(), b.as_ptr());
            assert_ne!(pointers.0, pointers.1);
            drop(a);
            assert_eq!(arena.take(60).as_ptr(), pointers.0);
            pointers
        };
        let first = pattern(&arena);
        assert_eq!(pattern(&arena), first);
        assert_eq!(arena.floats.borrow().len(), 2);
    }
}
