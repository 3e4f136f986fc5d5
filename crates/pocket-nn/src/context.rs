//! What every layer call needs besides its data: the level, the threads and scratch memory.

use pocket_kernels::Level;
use pocket_kernels::parallel::Pool;

use crate::arena::Arena;

/// The means of one call: cheap to copy, borrowed from whoever runs the step.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Instruction set.
    pub level: Level,
    /// Threads for large products.
    pub pool: &'a Pool,
    /// Scratch memory of the calling thread.
    pub arena: &'a Arena,
}

/// Consecutive positions of one stream among the rows of a call.
///
/// A layer takes the rows of several streams one after the other in one slice, and a slice of these
/// with as many positions in total.
#[derive(Debug)]
pub struct Rows<'a, S> {
    /// Positions of this stream in the call.
    pub n: usize,
    /// The stream's state.
    pub state: &'a mut S,
}

impl<'a, S> Rows<'a, S> {
    /// `n` positions of the stream with this state.
    pub fn new(n: usize, state: &'a mut S) -> Self {
        Self { n, state }
    }
}

/// The number of positions of all streams together.
#[must_use]
pub fn total_rows<S>(streams: &[Rows<'_, S>]) -> usize {
    streams.iter().map(|rows| rows.n).sum()
}
