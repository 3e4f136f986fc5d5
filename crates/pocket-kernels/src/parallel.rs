//! Threads: a pool that starts at its first use, survives `fork`, and never changes a result.
//!
//! Only work that is large enough to pay for the hand-over goes to the pool: packing, prefill and the
//! encoder. A step of one position runs on the caller's thread.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

/// Multiply-adds below which a kernel stays on the caller's thread (about 100 µs on one core).
pub const MIN_PARALLEL_WORK: usize = 1 << 22;

struct Started {
    /// The process that started the threads: a forked child has none of them.
    pid: u32,
    pool: Arc<rayon::ThreadPool>,
}

/// Threads for large kernels.
pub struct Pool {
    n_threads: usize,
    started: Mutex<Option<Started>>,
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

    fn threads(&self) -> Option<Arc<rayon::ThreadPool>> {
        if self.n_threads == 1 {
            return None;
        }
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = std::process::id();
        if let Some(running) = started.as_ref().filter(|running| running.pid == pid) {
            return Some(Arc::clone(&running.pool));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.n_threads)
            .thread_name(|i| format!("pocket-pool-{i}"))
            .build()
            .ok()?;
        let pool = Arc::new(pool);
        // Dropping the parent's pool in a forked child would wait for threads that do not exist.
        std::mem::forget(started.replace(Started { pid, pool: Arc::clone(&pool) }));
        Some(pool)
    }

    /// Calls `task` with every index below `n`, on several threads if `work` multiply-adds pay.
    ///
    /// Where the operating system gives no threads the calls run here, one after the other.
    pub fn for_each(&self, n: usize, work: usize, task: impl Fn(usize) + Send + Sync) {
        let pool = if n > 1 && work >= MIN_PARALLEL_WORK { self.threads() } else { None };
        match pool {
            Some(pool) => pool.install(|| (0..n).into_par_iter().for_each(&task)),
            None => (0..n).for_each(task),
        }
    }

    /// As [`Self::for_each`], with a chunk of `out` for every call; the last one may be shorter.
    pub fn for_each_chunk<T: Send>(
        &self,
        out: &mut [T],
        chunk: usize,
        work: usize,
        task: impl Fn(usize, &mut [T]) + Send + Sync,
    ) {
        let pool = if out.len() > chunk && work >= MIN_PARALLEL_WORK { self.threads() } else { None };
        match pool {
            Some(pool) => {
                pool.install(|| out.par_chunks_mut(chunk).enumerate().for_each(|(i, chunk)| task(i, chunk)));
            }
            None => out.chunks_mut(chunk).enumerate().for_each(|(i, chunk)| task(i, chunk)),
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
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_index_is_visited_once() {
        for n_threads in [0, 1, 2, 3] {
            let pool = Pool::new(n_threads);
            for work in [0, MIN_PARALLEL_WORK] {
                let counts: Vec<AtomicUsize> = (0..100).map(|_| AtomicUsize::new(0)).collect();
                pool.for_each(100, work, |i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
                let mut out = vec![0; 100];
                pool.for_each_chunk(&mut out, 7, work, |i, chunk| chunk.fill(i));
                assert!(out.iter().enumerate().all(|(i, &chunk)| chunk == i / 7));
            }
        }
    }
}
