//! Optional pinning of the loops to cores: `POCKET_PIN=1`.
//!
//! Linux only; elsewhere it does nothing, which the Python package tells when a model is loaded.

use super::Parts;

/// 1 keeps each loop on a core of its own.
#[cfg(target_os = "linux")]
const VARIABLE: &str = "POCKET_PIN";

/// Keeps the calling thread, loop number `index`, on one of the cores that the process may use, if the
/// environment asks for it.
#[cfg(target_os = "linux")]
pub(super) fn pin_loop(index: usize, parts: &Parts) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    if std::env::var_os(VARIABLE).is_none_or(|value| value != "1") {
        return;
    }
    // Threads start with the mask of the one that starts them: helpers must not be pinned, and start with the
    // first turn.
    drop(parts.pool.turn());
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let n_allowed = allowed.count() as usize;
    let core = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).nth(index);
    if let Some(core) = core.filter(|_| n_allowed > 1) {
        let mut own = CpuSet::new();
        own.set(core);
        // Without the permission the loop runs where the system puts it, as ever.
        let _ = sched_setaffinity(None, &own);
    }
}

/// Does nothing on this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn pin_loop(_index: usize, _parts: &Parts) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::thread::sched_getaffinity;

    #[test]
    fn masks_are_per_thread() {
        let before = sched_getaffinity(None).expect("a thread may ask for its mask");
        let pinned = std::thread::spawn(move || {
            let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|&core| before.is_set(core)).expect("a core");
            let mut own = rustix::thread::CpuSet::new();
            own.set(first);
            rustix::thread::sched_setaffinity(None, &own).expect("a core of the mask is allowed");
            sched_getaffinity(None).expect("a thread may ask for its mask").count()
        });
        assert_eq!(pinned.join().expect("the thread ends"), 1);
        assert_eq!(sched_getaffinity(None).expect("a thread may ask for its mask").count(), before.count());
    }
}
