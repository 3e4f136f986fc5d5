use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

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

#[test]
fn helpers_join_a_caller_that_is_alone() {
    let pool = Pool::new(2);
    let _turn = pool.turn();
    // Both tasks run only if each waits for the other.
    let n_inside = AtomicUsize::new(0);
    pool.for_each(2, MIN_PARALLEL_WORK, |_| {
        n_inside.fetch_add(1, Ordering::SeqCst);
        while n_inside.load(Ordering::SeqCst) < 2 {
            std::thread::yield_now();
        }
    });
}

#[test]
fn no_more_threads_compute_than_asked() {
    for n_threads in [1, 2, 3] {
        let pool = Pool::new(n_threads);
        let (n_busy, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _turn = pool.turn();
                        pool.for_each(12, MIN_PARALLEL_WORK, |_| {
                            most.fetch_max(n_busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            std::thread::sleep(Duration::from_micros(20));
                            n_busy.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                });
            }
        });
        let most = most.load(Ordering::SeqCst);
        assert!(most <= n_threads, "{most} threads computed at once, {n_threads} were allowed");
        assert!(most > 0);
    }
}

#[test]
fn a_panic_reaches_the_caller_and_harms_nobody() {
    let pool = Pool::new(2);
    for _ in 0..20 {
        let n_done = AtomicUsize::new(0);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.for_each(16, MIN_PARALLEL_WORK, |i| {
                assert!(i != 5, "task 5 fails");
                n_done.fetch_add(1, Ordering::SeqCst);
            });
        }));
        assert!(result.is_err());
        assert!(n_done.load(Ordering::SeqCst) >= 12, "the other parts are done");
    }
    let sum = AtomicUsize::new(0);
    pool.for_each(10, MIN_PARALLEL_WORK, |i| {
        sum.fetch_add(i, Ordering::Relaxed);
    });
    assert_eq!(sum.into_inner(), 45);
}

#[test]
fn turns_come_in_the_order_of_asking() {
    let pool = Pool::new(1);
    let order = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let turn = pool.turn();
        for i in 0..5 {
            let (pool, order) = (&pool, &order);
            scope.spawn(move || {
                let _turn = pool.turn();
                order.lock().unwrap().push(i);
            });
            // The next one asks later.
            std::thread::sleep(Duration::from_millis(30));
        }
        drop(turn);
    });
    assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3, 4]);
}
