//! What the layers compute in few passes, against the same in plain `candle-core` operations, f32, one thread.

mod support;

use std::hint::black_box;

use candle_core::{D, Device, Result, Tensor};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pocket_kernels::Level;
use pocket_kernels::activation::Activation;
use pocket_kernels::attention::{AttentionShape, Queries, attend, scratch_len};
use pocket_kernels::conv1d::ConvShape;
use pocket_kernels::parallel::Pool;
use pocket_kernels::testing::{relative_l2, uniform};
use pocket_nn::conv::{Conv1d, Padding};
use pocket_nn::kv_cache::{KvCache, KvDType};
use pocket_nn::linear::Linear;
use pocket_nn::norm::LayerNorm;
use pocket_nn::testing::RandomWeights;
use pocket_nn::{Arena, Context, Rows};

/// Sums in another order, an approximated tanh or exp.
const MAX_ERROR: f64 = 3e-6;
const EPS: f32 = 1e-5;

fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).expect("as many values as the shape has")
}

fn named(weights: &RandomWeights, name: &str) -> Tensor {
    let ours = weights.get(name);
    tensor(&ours.to_f32(), ours.shape())
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().and_then(|x| x.to_vec1()).expect("a tensor of f32")
}

/// Benches `plain` and `ours` at every level of the CPU, whose results must agree.
fn compare(
    group: &mut BenchmarkGroup<'_, WallTime>,
    plain: impl Fn() -> Result<Tensor>,
    mut ours: impl FnMut(Level, &mut Vec<f32>),
) {
    let want = values(&plain().expect("the shapes fit"));
    for level in Level::available().into_iter().filter(|&level| level != Level::Scalar) {
        let mut out = Vec::new();
        ours(level, &mut out);
        assert!(relative_l2(&out, &want) <= MAX_ERROR, "{level:?} differs from candle");
        group.bench_function(BenchmarkId::new("ours", level.name()), |b| b.iter(|| ours(level, &mut out)));
    }
    group.bench_function("candle", |b| b.iter(|| black_box(plain().expect("the shapes fit"))));
}

fn norm_linear_gelu(c: &mut Criterion) {
    let pool = Pool::default();
    let (width, hidden) = (1024, 4096);
    let weights = RandomWeights::new(1).with_norm("norm", width).with_matrix("linear.weight", hidden, width);
    let norm = LayerNorm::load(&weights.weights().scope("norm"), width, EPS).expect("the shapes fit");
    let linear = Linear::load(&weights.weights().scope("linear"), &pool, width, hidden, false).expect("the shapes fit");
    let (gain, bias) = (named(&weights, "norm.weight"), named(&weights, "norm.bias"));
    let matrix = named(&weights, "linear.weight").t().expect("a matrix");
    for n in [1, 16] {
        let x = uniform(2, n * width, -1.0, 1.0);
        let x_plain = tensor(&x, &[n, width]);
        let plain = || {
            let centred = x_plain.broadcast_sub(&x_plain.mean_keepdim(D::Minus1)?)?;
            let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
            let normed = centred.broadcast_div(&(variance + f64::from(EPS))?.sqrt()?)?;
            normed.broadcast_mul(&gain)?.broadcast_add(&bias)?.matmul(&matrix)?.gelu()
        };
        let arena = Arena::new();
        let mut group = c.benchmark_group(format!("LayerNorm, linear {width}x{hidden}, GELU, {n} rows"));
        group.throughput(Throughput::Elements((2 * n * width * hidden) as u64));
        compare(&mut group, plain, |level, out| {
            let ctx = Context { level, pool: &pool, arena: &arena };
            let mut normed = arena.take(n * width);
            out.resize(n * hidden, 0.0);
            norm.forward_into(ctx, black_box(&x), &mut normed);
            linear.forward_into(ctx, &normed, out);
            Activation::GeluTanh.apply(level, out);
        });
        group.finish();
    }
}

fn attention(c: &mut Criterion) {
    let pool = Pool::default();
    let shape = AttentionShape { heads: 16, kv_heads: 16, head_dim: 64 };
    let width = shape.kv_width();
    for n in [100, 300] {
        let (keys, vals, query) =
            (uniform(1, n * width, -1.0, 1.0), uniform(2, n * width, -1.0, 1.0), uniform(3, width, -1.0, 1.0));
        let mut cache = KvCache::new(shape, KvDType::F32, None);
        cache.reserve(n);
        for (key, value) in keys.chunks_exact(width).zip(vals.chunks_exact(width)) {
            cache.push(key, value);
        }
        let heads = |x: &[f32], n: usize| {
            let x = tensor(x, &[n, shape.heads, shape.head_dim]);
            x.transpose(0, 1).and_then(|x| x.contiguous()).expect("three dimensions")
        };
        // As a cache of candle's would hold them.
        let (k, v, q) = (heads(&keys, n), heads(&vals, n), heads(&query, 1));
        let plain = || {
            let scores = (q.matmul(&k.t()?)? / (shape.head_dim as f64).sqrt())?;
            let e = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
            e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?.matmul(&v)
        };
        let segments = cache.segments();
        let mut scratch = vec![0.0; scratch_len(shape, 1, n)];
        let mut group = c.benchmark_group(format!("attention of one query, {n} keys"));
        group.throughput(Throughput::Elements((4 * width * n) as u64));
        compare(&mut group, plain, |level, out| {
            out.resize(width, 0.0);
            let queries = Queries::new(black_box(&query), width, width);
            attend(level, &pool, shape, queries, &segments, &|_| 0..n, &mut scratch, out);
        });
        group.finish();
    }
}

fn elu_convolution(c: &mut Criterion) {
    let pool = Pool::default();
    // The first convolutions of the codec's residual blocks: channels, and positions of a frame.
    for (channels, n) in [(256, 96), (128, 480), (64, 1920)] {
        let shape = ConvShape {
            in_channels: channels,
            out_channels: channels / 2,
            kernel: 3,
            stride: 1,
            dilation: 1,
            groups: 1,
        };
        let weights = RandomWeights::of_convolution(1, &[channels / 2, channels, 3], shape);
        let conv = Conv1d::load(&weights.weights(), &pool, shape, true, Padding::Zeros).expect("the shapes fit");
        let conv = conv.after(Activation::Elu);
        let x = uniform(2, n * channels, -1.0, 1.0);
        let (weight, bias) = (named(&weights, "weight"), named(&weights, "bias"));
        let bias = bias.reshape((1, channels / 2, 1)).expect("a bias per channel");
        let x_plain = tensor(&x, &[1, n, channels]).transpose(1, 2).and_then(|x| x.contiguous()).expect("a signal");
        // Back to rows of channels, as ours are, only to be compared.
        let rows = |y: Tensor| y.transpose(1, 2)?.contiguous();
        let plain = || {
            let padded = x_plain.elu(1.0)?.pad_with_zeros(2, shape.kernel - 1, 0)?;
            rows(padded.conv1d(&weight, 0, 1, 1, 1)?.broadcast_add(&bias)?)
        };
        let arena = Arena::new();
        let mut group = c.benchmark_group(format!("ELU, convolution {channels} k3, {n} positions"));
        group.throughput(Throughput::Elements((2 * n * channels * channels / 2 * 3) as u64));
        compare(&mut group, plain, |level, out| {
            let ctx = Context { level, pool: &pool, arena: &arena };
            out.resize(n * channels / 2, 0.0);
            let mut state = conv.new_state();
            conv.step(ctx, black_box(&x), 1, &mut [Rows::new(n, &mut state)], |state| state, false, out);
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = support::criterion();
    targets = norm_linear_gelu, attention, elu_convolution
}
criterion_main!(benches);
