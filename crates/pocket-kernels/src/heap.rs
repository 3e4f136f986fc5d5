//! The allocator's unused memory.

/// Gives freed memory that the allocator keeps for later back to the system; takes about a millisecond.
///
/// After a passing need of many megabytes, which is not met again soon. Only glibc's allocator needs it.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> i32;
        }
        // SAFETY: the C library's function may be called at any time, by any thread; memory in use stays.
        unsafe { malloc_trim(0) };
    }
}
