//! The decoder's convolutions of the 100M models over one frame: 16 positions at 200 Hz up to 1920
//! samples, activation and history included.

mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pocket_kernels::Level;
use pocket_kernels::parallel::Pool;
use pocket_kernels::testing::{relative_l2, uniform};
use pocket_nn::conv::ConvState;
use pocket_nn::{Arena, Context, MatrixFormat, Rows};
use support::codec::{Conv, MAX_ERROR, STAGES};

fn bench(c: &mut Criterion) {
    let pool = Pool::default();
    for stage in STAGES {
        let conv = Conv::new(&pool, stage, MatrixFormat::Stored);
        let x = uniform(1, stage.n_positions * stage.shape.in_channels, -1.0, 1.0);
        let mut group = c.benchmark_group(stage.name);
        group.throughput(Throughput::Elements(stage.n_flop() as u64));
        let mut want = vec![0.0; stage.n_outputs()];
        let arena = Arena::new();
        let step = |level: Level, state: &mut ConvState, out: &mut [f32]| {
            let ctx = Context { level, pool: &pool, arena: &arena };
            conv.step(ctx, black_box(&x), &mut [Rows::new(stage.n_positions, state)], out);
        };
        step(Level::Scalar, &mut conv.new_state(), &mut want);
        for level in Level::available() {
            let mut out = want.clone();
            let mut state = conv.new_state();
            step(level, &mut state, &mut out);
            assert!(relative_l2(&out, &want) <= MAX_ERROR, "{level:?} {}", stage.name);
            if level == Level::Scalar {
                continue;
            }
            group.bench_function(level.name(), |b| b.iter(|| step(level, &mut state, &mut out)));
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = support::criterion();
    targets = bench
}
criterion_main!(benches);
