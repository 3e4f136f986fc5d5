//! Scratch memory of a step: buffers that are reused instead of allocated.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// A pool of f32 buffers of one thread.
///
/// The first steps allocate; once every size has been seen, taking a buffer allocates nothing.
#[derive(Debug, Default)]
pub struct Arena {
    free: RefCell<Vec<Vec<f32>>>,
}

impl Arena {
    /// An arena without buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A buffer of `len` values, whatever they were before; goes back when dropped.
    #[must_use]
    pub fn take(&self, len: usize) -> ArenaBuf<'_> {
        let mut free = self.free.borrow_mut();
        // The smallest buffer that is large enough, else the largest one, to be grown.
        let fit = free
            .iter()
            .enumerate()
            .filter(|(_, buffer)| buffer.len() >= len)
            .min_by_key(|(_, buffer)| buffer.len())
            .or_else(|| free.iter().enumerate().max_by_key(|(_, buffer)| buffer.len()))
            .map(|(i, _)| i);
        let mut buffer = fit.map(|i| free.swap_remove(i)).unwrap_or_default();
        if buffer.len() < len {
            buffer.resize(len, 0.0);
        }
        ArenaBuf { arena: self, buffer, len }
    }
}

/// A buffer of an [`Arena`], dereferencing to its values.
#[derive(Debug)]
pub struct ArenaBuf<'a> {
    arena: &'a Arena,
    buffer: Vec<f32>,
    len: usize,
}

impl Deref for ArenaBuf<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.buffer[..self.len]
    }
}

impl DerefMut for ArenaBuf<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.buffer[..self.len]
    }
}

impl Drop for ArenaBuf<'_> {
    fn drop(&mut self) {
        self.arena.free.borrow_mut().push(std::mem::take(&mut self.buffer));
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
        assert_eq!(arena.free.borrow().len(), 2);
    }
}
