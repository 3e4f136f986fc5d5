//! The threads of a pool and how they share work.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a helper looks for the next piece of work before it sleeps: longer than what lies between two
/// products of a step. It yields its core to whoever else wants it.
const HELPER_PATIENCE: Duration = Duration::from_micros(100);
/// Looks between two yields.
const SPINS: usize = 50;

/// Tasks that several threads take from.
struct Job {
    /// Borrowed from the caller of [`Crew::run`], who waits until nobody uses it.
    task: *const (dyn Fn(usize) + Sync),
    n: usize,
    next: AtomicUsize,
    has_panicked: AtomicBool,
    /// Threads besides the caller's that are in it. Changed under the crew's lock, except to leave.
    n_helpers: AtomicUsize,
}

impl Job {
    /// Takes tasks until none is left or `is_over`.
    fn work(&self, is_over: impl Fn() -> bool) {
        while !is_over() {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
            if i >= self.n {
                return;
            }
            // SAFETY: the caller of `Crew::run` keeps the task alive while anybody is in the job.
            let task = unsafe { &*self.task };
            // A panic belongs to the caller, who must not leave before the helpers.
            if catch_unwind(AssertUnwindSafe(|| task(i))).is_err() {
                self.has_panicked.store(true, Ordering::Relaxed);
            }
        }
    }

    fn has_tasks(&self) -> bool {
        self.next.load(Ordering::Relaxed) < self.n
    }
}

/// A job in the list.
#[derive(Clone, Copy, PartialEq, Eq)]
struct JobRef(*const Job);

// SAFETY: a job is used by several threads only through atomics and its `Sync` task, and it is in the list only
// while its owner waits.
unsafe impl Send for JobRef {}

#[derive(Default)]
struct State {
    jobs: Vec<JobRef>,
    /// Threads that compute: turns and helpers.
    n_busy: usize,
    /// Turns that were asked for and begun.
    n_asked: usize,
    n_begun: usize,
    n_sleeping: usize,
    is_closing: bool,
}

/// Helpers, and what they share with the callers.
pub(super) struct Crew {
    n_threads: usize,
    has_helpers: bool,
    state: Mutex<State>,
    /// Wakes helpers.
    helper_wake: Condvar,
    /// Wakes those that wait for a turn.
    turn_wake: Condvar,
    // What the threads look at without the lock.
    n_jobs: AtomicUsize,
    n_free: AtomicUsize,
    n_waiting: AtomicUsize,
}

impl Crew {
    /// A crew in which `n_threads` compute at once, so many less one of them helpers of its own.
    pub(super) fn start(n_threads: usize) -> Arc<Self> {
        let mut helpers = Vec::new();
        let crew = Arc::new_cyclic(|crew: &std::sync::Weak<Self>| {
            for i in 1..n_threads {
                let crew = crew.clone();
                let (ready, start) = std::sync::mpsc::channel::<()>();
                let run = move || {
                    // The crew exists once the sender is gone.
                    let _ = start.recv();
                    if let Some(crew) = crew.upgrade() {
                        crew.help();
                    }
                };
                if thread::Builder::new().name(format!("pocket-helper-{i}")).spawn(run).is_ok() {
                    helpers.push(ready);
                }
            }
            Self {
                n_threads,
                has_helpers: !helpers.is_empty(),
                state: Mutex::new(State { jobs: Vec::with_capacity(64), ..State::default() }),
                helper_wake: Condvar::new(),
                turn_wake: Condvar::new(),
                n_jobs: AtomicUsize::new(0),
                n_free: AtomicUsize::new(n_threads),
                n_waiting: AtomicUsize::new(0),
            }
        });
        drop(helpers);
        crew
    }

    /// Lets the helpers end.
    pub(super) fn stop(&self) {
        self.state().is_closing = true;
        self.helper_wake.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_busy(&self, state: &mut State, n_busy: usize) {
        state.n_busy = n_busy;
        self.n_free.store(self.n_threads.saturating_sub(n_busy), Ordering::Relaxed);
    }

    /// Waits until fewer than `n_threads` compute, then counts the caller among them.
    pub(super) fn begin_turn(&self) {
        let mut state = self.state();
        let ticket = state.n_asked;
        state.n_asked += 1;
        while state.n_begun != ticket || state.n_busy >= self.n_threads {
            self.n_waiting.fetch_add(1, Ordering::Relaxed);
            state = self.turn_wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            self.n_waiting.fetch_sub(1, Ordering::Relaxed);
        }
        state.n_begun += 1;
        let n_busy = state.n_busy + 1;
        self.set_busy(&mut state, n_busy);
        if state.n_begun != state.n_asked {
            self.turn_wake.notify_all();
        }
    }

    /// The end of a turn, or of a helper's work.
    pub(super) fn end_turn(&self) {
        let mut state = self.state();
        let n_busy = state.n_busy - 1;
        self.set_busy(&mut state, n_busy);
        if state.n_begun != state.n_asked {
            self.turn_wake.notify_all();
        } else if !state.jobs.is_empty() && state.n_sleeping > 0 {
            self.helper_wake.notify_one();
        }
    }

    /// Runs `task` for every index below `n`, with whoever is free.
    pub(super) fn run(&self, n: usize, task: &(dyn Fn(usize) + Sync)) {
        // SAFETY: only the lifetime changes; the job is gone from the list, and everybody has left it, before
        // this function returns.
        let task: *const (dyn Fn(usize) + Sync + 'static) = unsafe { std::mem::transmute(task) };
        let job = Job {
            task,
            n,
            next: AtomicUsize::new(0),
            has_panicked: AtomicBool::new(false),
            n_helpers: AtomicUsize::new(0),
        };
        let is_offered = self.has_helpers;
        if is_offered {
            let mut state = self.state();
            state.jobs.push(JobRef(&raw const job));
            self.n_jobs.store(state.jobs.len(), Ordering::Release);
            let is_woken = state.n_sleeping > 0 && state.n_busy < self.n_threads;
            drop(state);
            if is_woken {
                self.helper_wake.notify_all();
            }
        }
        job.work(|| false);
        if is_offered {
            let mut state = self.state();
            state.jobs.retain(|other| *other != JobRef(&raw const job));
            self.n_jobs.store(state.jobs.len(), Ordering::Release);
            drop(state);
            // Nobody can join any more; those inside are at their last task.
            let mut n_looks = 0;
            while job.n_helpers.load(Ordering::Acquire) > 0 {
                look_again(&mut n_looks);
            }
        }
        if job.has_panicked.load(Ordering::Relaxed) {
            resume_unwind(Box::new("a task of a shared kernel panicked"));
        }
    }

    /// A helper's life.
    fn help(&self) {
        let mut idle_since = None;
        let mut n_looks = 0;
        loop {
            if self.n_jobs.load(Ordering::Acquire) > 0 && self.n_free.load(Ordering::Relaxed) > 0 && self.join_a_job() {
                idle_since = None;
                continue;
            }
            if idle_since.get_or_insert_with(Instant::now).elapsed() < HELPER_PATIENCE {
                look_again(&mut n_looks);
                continue;
            }
            let mut state = self.state();
            if state.is_closing {
                return;
            }
            if !self.has_room(&state) {
                state.n_sleeping += 1;
                state = self.helper_wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.n_sleeping -= 1;
            }
            if state.is_closing {
                return;
            }
            idle_since = None;
        }
    }

    /// Whether a helper could join a job.
    fn has_room(&self, state: &State) -> bool {
        let is_free = state.n_busy < self.n_threads && state.n_begun == state.n_asked;
        // SAFETY: jobs in the list are alive.
        is_free && state.jobs.iter().any(|job| unsafe { &*job.0 }.has_tasks())
    }

    /// Works on the first job that has tasks left; false if there is none, or no room.
    fn join_a_job(&self) -> bool {
        let mut state = self.state();
        if !self.has_room(&state) {
            return false;
        }
        // SAFETY: jobs in the list are alive while the lock is held, and after it while a helper is counted.
        let job = state.jobs.iter().map(|job| unsafe { &*job.0 }).find(|job| job.has_tasks());
        let Some(job) = job else { return false };
        job.n_helpers.fetch_add(1, Ordering::Relaxed);
        let n_busy = state.n_busy + 1;
        self.set_busy(&mut state, n_busy);
        drop(state);
        job.work(|| self.n_waiting.load(Ordering::Relaxed) > 0);
        // The job may be gone after this.
        job.n_helpers.fetch_sub(1, Ordering::Release);
        self.end_turn();
        true
    }
}

/// Passes a moment; lets other threads run now and then.
fn look_again(n_looks: &mut usize) {
    *n_looks += 1;
    if n_looks.is_multiple_of(SPINS) {
        thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}
