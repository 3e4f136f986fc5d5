//! Activations, norms, softmax and rotations at the widths of a step.

mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pocket_kernels::Level;
use pocket_kernels::activation::Activation;
use pocket_kernels::norm::{layer_norm_into, variance_norm_into};
use pocket_kernels::rope::{Rope, rotate};
use pocket_kernels::softmax::softmax;
use pocket_kernels::testing::{relative_l2, uniform};

const MAX_ERROR: f64 = 2e-6;

/// Benches `run(level, x, out)` over rows `x`, after a check against the specification.
fn bench_rows(c: &mut Criterion, name: &str, x: &[f32], run: impl Fn(Level, &[f32], &mut [f32])) {
    let mut want = vec![0.0; x.len()];
    run(Level::Scalar, x, &mut want);
    let mut group = c.benchmark_group(format!("{name} {}", x.len()));
    group.throughput(Throughput::Elements(x.len() as u64));
    for level in Level::available() {
        let mut out = vec![0.0; x.len()];
        run(level, x, &mut out);
        assert!(relative_l2(&out, &want) <= MAX_ERROR, "{level:?} {name}");
        group.bench_function(level.name(), |b| b.iter(|| run(level, black_box(x), &mut out)));
    }
    group.finish();
}

fn bench(c: &mut Criterion) {
    let x = uniform(1, 61440, -4.0, 4.0);
    // The codec's last stage, the language model's hidden row, the flow head's row.
    for (activation, n) in [(Activation::Elu, 61440), (Activation::GeluTanh, 4096), (Activation::Silu, 512)] {
        bench_rows(c, &format!("{activation:?}"), &x[..n], |level, x, out| activation.apply_into(level, x, out));
    }
    let (weight, bias) = (uniform(2, 1024, 0.5, 1.5), uniform(3, 1024, -0.5, 0.5));
    bench_rows(c, "LayerNorm", &x[..1024], |level, x, out| {
        layer_norm_into(level, x, 1024, Some((&weight, &bias)), 1e-5, out);
    });
    bench_rows(c, "variance norm", &x[..512], |level, x, out| {
        variance_norm_into(level, x, 512, &weight[..512], 1e-5, out);
    });
    bench_rows(c, "softmax", &x[..300], |level, x, out| {
        out.copy_from_slice(x);
        softmax(level, out);
    });
    let (mut cos, mut sin) = (vec![0.0; 64], vec![0.0; 64]);
    Rope::new(64, 10000.0).rotation_into(300, &mut cos, &mut sin);
    bench_rows(c, "RoPE", &x[..2048], |level, x, out| {
        out.copy_from_slice(x);
        rotate(level, out, &cos, &sin);
    });
}

criterion_group! {
    name = benches;
    config = support::criterion();
    targets = bench
}
criterion_main!(benches);
