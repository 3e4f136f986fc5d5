//! Attention of one query row over caches of the lengths that occur, all heads.

mod support;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pocket_kernels::Level;
use pocket_kernels::attention::{AttentionShape, KvSegment, attend};
use pocket_kernels::element::{Bf16, Element};
use pocket_kernels::testing::{relative_l2, uniform};

/// `(name, heads, K/V heads, head width, keys)`.
const SHAPES: [(&str, usize, usize, usize, &[usize]); 4] = [
    ("lm 100M", 16, 16, 64, &[50, 300, 1000]),
    ("lm 7M", 8, 2, 64, &[50, 300]),
    ("lm 2M", 3, 1, 64, &[50, 300]),
    ("codec 100M", 8, 8, 64, &[250]),
];
const MAX_ERROR: f64 = 3e-6;

fn bench_type<T: Element>(c: &mut Criterion, dtype: &str) {
    for (name, heads, kv_heads, head_dim, lengths) in SHAPES {
        let shape = AttentionShape { heads, kv_heads, head_dim };
        for &n in lengths {
            let store = |seed| uniform(seed, shape.kv_width() * n, -1.0, 1.0).into_iter().map(T::from_f32).collect();
            let (keys, values): (Vec<T>, Vec<T>) = (store(1), store(2));
            let query = uniform(3, shape.query_width(), -1.0, 1.0);
            let segments = [KvSegment::new(shape, &keys, &values, n, n)];
            let mut scores = vec![0.0; n];
            let mut want = vec![0.0; query.len()];
            attend(Level::Scalar, shape, &query, &segments, 0..n, &mut scores, &mut want);
            let mut group = c.benchmark_group(format!("{name} {n} keys"));
            let n_flop = 4 * heads * head_dim * n;
            let n_bytes = 2 * size_of_val(&keys[..]);
            group.throughput(Throughput::ElementsAndBytes { elements: n_flop as u64, bytes: n_bytes as u64 });
            for level in Level::available() {
                let mut out = vec![0.0; query.len()];
                attend(level, shape, &query, &segments, 0..n, &mut scores, &mut out);
                assert!(relative_l2(&out, &want) <= MAX_ERROR, "{level:?} {name}");
                group.bench_function(BenchmarkId::new(level.name(), dtype), |b| {
                    b.iter(|| attend(level, shape, black_box(&query), &segments, 0..n, &mut scores, &mut out));
                });
            }
            group.finish();
        }
    }
}

fn bench(c: &mut Criterion) {
    bench_type::<f32>(c, "F32");
    bench_type::<Bf16>(c, "Bf16");
}

criterion_group! {
    name = benches;
    config = support::criterion();
    targets = bench
}
criterion_main!(benches);
