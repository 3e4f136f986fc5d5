//! Matrix products with the shapes of the models: the codec's largest, and the language model's at one
//! row (a step), 16 (a batch, or the codec's frame) and 100 (prefill).

mod support;

use std::hint::black_box;

use candle_core::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pocket_kernels::Level;
use pocket_kernels::bf16::{gemm_bf16, round_rows, rounded_len};
use pocket_kernels::gemm::{Epilogue, Input, PackedDType, PackedMatrix, gemm};
use pocket_kernels::parallel::Pool;
use pocket_kernels::testing::{relative_l2, uniform};

/// `(name, outputs, inputs, rows)`.
const SHAPES: [(&str, usize, usize, &[usize]); 8] = [
    ("codec", 2040, 512, &[16]),
    ("lm in_proj", 3072, 1024, &[1, 16, 100]),
    ("lm out_proj", 1024, 1024, &[1, 16, 100]),
    ("lm linear1", 4096, 1024, &[1, 16, 100]),
    ("lm linear2", 1024, 4096, &[1, 16, 100]),
    ("flow modulation", 10240, 512, &[1, 16]),
    ("2M in_proj", 320, 112, &[1, 16, 100]),
    ("2M linear1", 96, 112, &[1, 16, 100]),
];

/// Sums in another order.
const MAX_ERROR: f64 = 1e-6;

fn run(level: Level, pool: &Pool, w: &PackedMatrix, x: &[f32], out: &mut [f32]) {
    gemm(level, pool, w, Input::rows(x, w.in_features()), Epilogue::default(), out, w.out_features());
}

/// A product of bf16 with the rounding of its input, as a layer computes it.
fn run_bf16(level: Level, pool: &Pool, w: &PackedMatrix, x: &[f32], buffer: &mut [f32], out: &mut [f32]) {
    let x = round_rows(level, x, w.in_features(), buffer);
    gemm_bf16(level, pool, w, x, Epilogue::default(), out, w.out_features());
}

fn packed(pool: &Pool, values: &[f32], dtype: PackedDType, m: usize, k: usize) -> PackedMatrix {
    match dtype {
        PackedDType::F32 => PackedMatrix::from_f32(pool, values, m, k),
        PackedDType::Bf16 => {
            let bits: Vec<u16> = values.iter().map(|x| (x.to_bits() >> 16) as u16).collect();
            PackedMatrix::from_bf16(pool, &bits, m, k)
        }
    }
}

fn bench(c: &mut Criterion) {
    let pool = Pool::default();
    for (name, m, k, rows) in SHAPES {
        let values = uniform(1, m * k, -1.0, 1.0);
        for &n in rows {
            let x = uniform(2, n * k, -1.0, 1.0);
            let mut group = c.benchmark_group(format!("{name} {m}x{k}x{n}"));
            group.throughput(Throughput::ElementsAndBytes {
                elements: (2 * m * k * n) as u64,
                bytes: (4 * m * k) as u64,
            });
            for dtype in [PackedDType::F32, PackedDType::Bf16] {
                let w = packed(&pool, &values, dtype, m, k);
                let mut buffer = vec![0.0; rounded_len(n, k)];
                let (mut want, mut want_bf16) = (vec![0.0; n * m], vec![0.0; n * m]);
                run(Level::Scalar, &pool, &w, &x, &mut want);
                if dtype == PackedDType::Bf16 {
                    run_bf16(Level::Scalar, &pool, &w, &x, &mut buffer, &mut want_bf16);
                }
                for level in Level::available() {
                    // The specification takes seconds at these sizes.
                    if level == Level::Scalar {
                        continue;
                    }
                    let mut out = vec![0.0; n * m];
                    run(level, &pool, &w, &x, &mut out);
                    assert!(relative_l2(&out, &want) <= MAX_ERROR, "{level:?} {name}");
                    group.bench_function(BenchmarkId::new(level.name(), format!("{dtype:?}")), |b| {
                        b.iter(|| run(level, &pool, black_box(&w), black_box(&x), &mut out));
                    });
                    if dtype == PackedDType::Bf16 {
                        run_bf16(level, &pool, &w, &x, &mut buffer, &mut out);
                        assert!(relative_l2(&out, &want_bf16) <= MAX_ERROR, "{level:?} {name}");
                        group.bench_function(BenchmarkId::new(level.name(), "Bf16Products"), |b| {
                            b.iter(|| run_bf16(level, &pool, black_box(&w), black_box(&x), &mut buffer, &mut out));
                        });
                    }
                }
            }
            group.bench_function("candle/F32", |b| {
                let w = Tensor::from_slice(&values, (m, k), &Device::Cpu).and_then(|w| w.t()).expect("a matrix");
                let x = Tensor::from_slice(&x, (n, k), &Device::Cpu).expect("a matrix");
                b.iter(|| black_box(&x).matmul(black_box(&w)).expect("a product"));
            });
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = support::criterion();
    targets = bench
}
criterion_main!(benches);
