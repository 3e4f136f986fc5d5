//! Threads: a crew that shares large pieces of work, survives `fork`, and never changes a result.
//!
//! A pool of n threads lets at most n of them compute at once, whoever they are: threads of the caller that
//! hold a [`Turn`], and helpers. A kernel whose work is worth it offers its tasks; helpers that are free join
//! in, as long as fewer than n threads compute, and leave as soon as another caller wants its turn. So with
//! two threads the language model and the codec have a core each while both are busy, and whoever is alone has both.

mod crew;

use std::sync::{Arc, Mutex, PoisonError};

use crew::Crew;

/// Multiply-adds below which a kernel stays on the caller's thread (a few µs).
pub const MIN_PARALLEL_WORK: usize = 1 << 18;
/// Tasks that a thread takes at a time, at most one in so many of its share.
const SHARE_PARTS: usize = 4;

struct Started {
    /// The process that started the threads: a forked child has none of them.
    pid: u32,
    crew: Arc<Crew>,
}

/// Threads for large kernels.
pub struct Pool {
    n_threads: usize,
    started: Mutex<Option<Started>>,
}

/// The right to compute, until it is dropped.
#[must_use = "the turn ends when it is dropped"]
pub struct Turn {
    crew: Option<Arc<Crew>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(crew) = &self.crew {
            crew.end_turn();
        }
    }
}

impl Pool {
    /// A pool of `n_threads` threads, none of them started yet; at least one.
    #[must_use]
    pub fn new(n_threads: usize) -> Self {
        Self { n_threads: n_threads.max(1), started: Mutex::new(None) }
    }

    /// The number of threads.
    #[must_use]
    pub fn n_threads(&self) -> usize {
        self.n_threads
    }

    fn crew(&self) -> Arc<Crew> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = std::process::id();
        if let Some(running) = started.as_ref().filter(|running| running.pid == pid) {
            return Arc::clone(&running.crew);
        }
        let crew = Crew::start(self.n_threads);
        // The parent's helpers do not exist in a forked child, and its locks may be held by them.
        std::mem::forget(started.replace(Started { pid, crew: Arc::clone(&crew) }));
        crew
    }

    /// Waits until fewer than [`Self::n_threads`] threads compute; helpers make room at once, other callers
    /// when their turn ends, in the order of asking.
    pub fn turn(&self) -> Turn {
        let crew = self.crew();
        crew.begin_turn();
        Turn { crew: Some(crew) }
    }

    /// Whether [`Self::for_each`] would share so much work.
    #[must_use]
    pub fn is_shared(&self, work: usize) -> bool {
        self.n_threads > 1 && work >= MIN_PARALLEL_WORK
    }

    /// Calls `task` with every index below `n`, on several threads if `work` multiply-adds pay.
    ///
    /// Where the operating system gives no threads the calls run here, one after the other.
    ///
    /// # Panics
    /// If a task does, once all threads have left.
    pub fn for_each(&self, n: usize, work: usize, task: impl Fn(usize) + Send + Sync) {
        if n < 2 || !self.is_shared(work) {
            return (0..n).for_each(task);
        }
        let batch = (n / (self.n_threads * SHARE_PARTS)).max(1);
        self.crew().run(n.div_ceil(batch), &|part| {
            (part * batch..n.min((part + 1) * batch)).for_each(&task);
        });
    }

    /// As [`Self::for_each`], with a chunk of `out` for every call; the last one may be shorter.
    pub fn for_each_chunk<T: Send>(
        &self,
        out: &mut [T],
        chunk: usize,
        work: usize,
        task: impl Fn(usize, &mut [T]) + Send + Sync,
    ) {
        let (start, len) = (Shared(out.as_mut_ptr()), out.len());
        self.for_each(len.div_ceil(chunk), work, |i| {
            let first = i * chunk;
            // SAFETY: chunks do not overlap, every index is visited once, and `out` is borrowed until all
            // calls have returned.
            task(i, unsafe { std::slice::from_raw_parts_mut(start.get().add(first), chunk.min(len - first)) });
        });
    }
}

/// A pointer that several threads use.
struct Shared<T>(*mut T);

impl<T> Shared<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

// SAFETY: it is only a pointer; its user takes care of what several threads do with it.
unsafe impl<T: Send> Sync for Shared<T> {}

impl Drop for Pool {
    fn drop(&mut self) {
        let started = self.started.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        match started {
            Some(started) if started.pid == std::process::id() => started.crew.stop(),
            // Nothing of the parent's crew may be touched.
            started => std::mem::forget(started),
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("n_threads", &self.n_threads).finish_non_exhaustive()
    }
}

impl Default for Pool {
    /// One thread: everything runs on the caller's.
    fn default() -> Self {
        Self::new(1)
    }
}

#[cfg(test)]
mod tests;
