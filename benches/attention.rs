//! Attention over caches of the lengths that occur, all heads: one row of the language model, one frame of the
//! codec.

mod support;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pocket_kernels::Level;
use pocket_kernels::attention::{AttentionShape, Queries, attend, scratch_len};
use pocket_kernels::parallel::Pool;
use pocket_kernels::testing::{relative_l2, uniform};
use pocket_nn::kv_cache::{KvCache, KvDType};

/// `(name, heads, K/V heads, head width, keys, rows)`.
type Shape = (&'static str, usize, usize, usize, &'static [usize], usize);

const SHAPES: [Shape; 4] = [
    ("lm 100M", 16, 16, 64, &[50, 300, 1000], 1),
    ("lm 7M", 8, 2, 64, &[50, 300], 1),
    ("lm 2M", 3, 1, 64, &[50, 300], 1),
    ("codec 100M", 8, 8, 64, &[250], 16),
];
const MAX_ERROR: f64 = 3e-6;

/// One call: the rows of one stream, which all see the same keys.
fn bench_shape(c: &mut Criterion, name: &str, shape: AttentionShape, n: usize, n_rows: usize, dtype: KvDType) {
    let rows = |seed| uniform(seed, shape.kv_width() * n, -1.0, 1.0);
    let mut cache = KvCache::new(shape, dtype, None);
    cache.reserve(n);
    let (keys, values) = (rows(1), rows(2));
    for (key, value) in keys.chunks_exact(shape.kv_width()).zip(values.chunks_exact(shape.kv_width())) {
        cache.push(key, value);
    }
    let pool = Pool::default();
    let query = uniform(3, n_rows * shape.query_width(), -1.0, 1.0);
    let queries = Queries::new(&query, shape.query_width(), shape.query_width());
    let mut scratch = vec![0.0; scratch_len(shape, n_rows, n)];
    let mut run = |level, out: &mut [f32]| {
        attend(level, &pool, shape, black_box(queries), &cache.segments(), &|_| 0..n, &mut scratch, out);
    };
    let (mut want, mut out) = (vec![0.0; query.len()], vec![0.0; query.len()]);
    run(Level::Scalar, &mut want);
    let mut group = c.benchmark_group(format!("{name} {n} keys, {n_rows} rows"));
    let n_flop = 4 * shape.heads * shape.head_dim * n * n_rows;
    let n_bytes = 2 * shape.kv_width() * n * if dtype == KvDType::F32 { 4 } else { 2 };
    group.throughput(Throughput::ElementsAndBytes { elements: n_flop as u64, bytes: n_bytes as u64 });
    for level in Level::available() {
        run(level, &mut out);
        assert!(relative_l2(&out, &want) <= MAX_ERROR, "{level:?} {name}");
        group.bench_function(BenchmarkId::new(level.name(), format!("{dtype:?}")), |b| b.iter(|| run(level, &mut out)));
    }
    group.finish();
}

fn bench(c: &mut Criterion) {
    for dtype in [KvDType::F32, KvDType::Bf16] {
        for (name, heads, kv_heads, head_dim, lengths, n_rows) in SHAPES {
            for &n in lengths {
                bench_shape(c, name, AttentionShape { heads, kv_heads, head_dim }, n, n_rows, dtype);
            }
        }
    }
}

criterion_group! {
    name = benches;
    config = support::criterion();
    targets = bench
}
criterion_main!(benches);
