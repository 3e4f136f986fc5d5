//! What the benches share: the machine's peaks, and timing by the minimum.

#![allow(dead_code, reason = "every bench uses a part of this")]

pub(crate) mod codec;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use pocket_kernels::simd::Simd;
use pocket_kernels::{Level, SimdOp};

/// Short runs: the cases are many, and on a shared machine the shortest counts.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
}

/// The shortest of several runs: what others do to the machine only adds.
pub(crate) fn shortest(n_runs: usize, mut run: impl FnMut()) -> Duration {
    let time = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    run();
    (0..n_runs).map(|_| time(&mut run)).min().unwrap_or_default()
}

/// `amount` per nanosecond: FLOP → GFLOP/s, bytes → GB/s.
pub(crate) fn giga_per_second(amount: usize, time: Duration) -> f64 {
    amount as f64 / time.as_nanos() as f64
}

/// Multiply-adds in registers only.
struct Fma {
    n: usize,
}

/// Enough independent chains to hide the latency of two units.
const CHAINS: usize = 10;

impl SimdOp for Fma {
    type Output = usize;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> usize {
        let (a, b) = (s.splat(black_box(0.999)), s.splat(black_box(0.001)));
        let mut acc = [s.zero(); CHAINS];
        for _ in 0..self.n {
            for acc in &mut acc {
                *acc = s.mul_add(a, *acc, b);
            }
        }
        for acc in acc {
            black_box(s.reduce_add(acc));
        }
        2 * self.n * CHAINS * S::LANES
    }

    fn eval_scalar(self) -> usize {
        let (a, b) = (black_box(0.999_f32), black_box(0.001_f32));
        let mut acc = [0.0; CHAINS];
        for _ in 0..self.n {
            for acc in &mut acc {
                *acc = a * *acc + b;
            }
        }
        black_box(acc);
        2 * self.n * CHAINS
    }
}

/// GFLOP/s of one core at `level`, in registers.
pub(crate) fn fma_peak(level: Level) -> f64 {
    let n = 200_000;
    let mut n_flop = 0;
    let time = shortest(20, || n_flop = level.run(Fma { n }));
    giga_per_second(n_flop, time)
}

/// Products of pairs of i16 in registers only.
struct Dot {
    n: usize,
}

impl SimdOp for Dot {
    type Output = usize;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> usize {
        let (first, w) = (s.splat_pair(black_box([3, -1])), s.splat_pair(black_box([2, 5])));
        let mut acc = [first; CHAINS];
        for _ in 0..self.n {
            for acc in &mut acc {
                // Each multiplies what the last one made: a product that stays the same would leave the loop.
                *acc = s.dot_pairs(*acc, w, *acc);
            }
        }
        for acc in acc {
            black_box(s.reduce_add(s.f32_from_i32(acc)));
        }
        2 * 2 * self.n * CHAINS * S::LANES
    }

    fn eval_scalar(self) -> usize {
        let mut acc = [0_i32; CHAINS];
        let (a, b) = (black_box(3_i32), black_box(2_i32));
        for _ in 0..self.n {
            for acc in &mut acc {
                *acc = acc.wrapping_mul(a).wrapping_add(b);
            }
        }
        black_box(acc);
        2 * self.n * CHAINS
    }
}

/// Integer operations a nanosecond of one core at `level`, in registers.
pub(crate) fn dot_peak(level: Level) -> f64 {
    let n = 100_000;
    let mut n_op = 0;
    let time = shortest(20, || n_op = level.run(Dot { n }));
    giga_per_second(n_op, time)
}

/// Reads every value once.
struct Read<'a>(&'a [f32]);

impl SimdOp for Read<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let mut acc = [s.zero(); 8];
        for chunk in self.0.chunks_exact(8 * S::LANES) {
            for (i, acc) in acc.iter_mut().enumerate() {
                *acc = s.add(*acc, s.load(&chunk[i * S::LANES..]));
            }
        }
        for acc in acc {
            black_box(s.reduce_add(acc));
        }
    }

    fn eval_scalar(self) {
        black_box(self.0.iter().sum::<f32>());
    }
}

/// GB/s at which `n_threads` threads read `n_bytes` at the widest level, again and again.
pub(crate) fn read_bandwidth(n_bytes: usize, n_threads: usize) -> f64 {
    let data = vec![1.0_f32; n_bytes / size_of::<f32>()];
    let level = Level::detect();
    let part = data.len().div_ceil(n_threads);
    // A small buffer is read often enough for a time that can be measured.
    let n_times = ((64 << 20) / n_bytes).max(1);
    let time = shortest(10, || {
        std::thread::scope(|scope| {
            for part in data.chunks(part) {
                scope.spawn(move || (0..n_times).for_each(|_| level.run(Read(black_box(part)))));
            }
        });
    });
    giga_per_second(n_bytes * n_times, time)
}
