//! Every layer against the same layer written in plain `candle-core` operations in f64.
//!
//! The bounds are relative L2 errors, so they measure our rounding alone. A sum of n f32 products
//! that is blocked as ours has an error of about `sqrt(n / 3) * 2^-24`, 1e-6 for the longest here.

#![expect(clippy::unwrap_used, reason = "a fault in a helper fails the test, as in the test itself")]

use candle_core::{D, DType, Device, Result, Tensor};
use pocket_kernels::Level;
use pocket_kernels::activation::Activation;
use pocket_kernels::attention::AttentionShape;
use pocket_kernels::conv1d::ConvShape;
use pocket_kernels::parallel::Pool;
use pocket_kernels::testing::{for_each_level, relative_l2, uniform};
use pocket_nn::conv::{Conv1d, ConvState, ConvTranspose1d, Padding};
use pocket_nn::linear::Linear;
use pocket_nn::mlp::FeedForward;
use pocket_nn::norm::LayerNorm;
use pocket_nn::testing::RandomWeights;
use pocket_nn::transformer::{Transformer, TransformerConfig, TransformerState};
use pocket_nn::{Arena, Context, Rows};

/// One product or one pass over a row: a few roundings of 6e-8, and long sums.
const MAX_ERROR: f64 = 1e-6;
/// Several products, norms and a softmax one after the other: each adds its own error, and a norm or
/// an activation may double what it gets.
const MAX_DEEP_ERROR: f64 = 2e-6;

fn with_context<R>(level: Level, n_threads: usize, run: impl FnOnce(Context<'_>) -> R) -> R {
    let (pool, arena) = (Pool::new(n_threads), Arena::new());
    run(Context { level, pool: &pool, arena: &arena })
}

#[track_caller]
fn check(got: &[f32], want: &Tensor, bound: f64, what: &str) {
    let want: Vec<f64> = want.flatten_all().and_then(|want| want.to_vec1()).unwrap();
    // Rounding the f64 result adds 3e-8.
    let want: Vec<f32> = want.into_iter().map(|x| x as f32).collect();
    let error = relative_l2(got, &want);
    assert!(error <= bound, "{what}: relative error {error:e}");
}

// --- the layers in candle: rows are `[rows, width]`, signals `[1, channels, positions]` ---

fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).and_then(|x| x.to_dtype(DType::F64)).unwrap()
}

trait ToCandle {
    /// The tensor `name`.
    fn candle(&self, name: &str) -> Tensor;
}

impl ToCandle for RandomWeights {
    fn candle(&self, name: &str) -> Tensor {
        let ours = self.get(name);
        tensor(&ours.to_f32(), ours.shape())
    }
}

fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?)
}

fn layer_norm(x: &Tensor, eps: f64, affine: Option<(&Tensor, &Tensor)>) -> Result<Tensor> {
    let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centered.sqr()?.mean_keepdim(D::Minus1)?;
    let normed = centered.broadcast_div(&(variance + eps)?.sqrt()?)?;
    match affine {
        Some((weight, bias)) => normed.broadcast_mul(weight)?.broadcast_add(bias),
        None => Ok(normed),
    }
}

fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    let inner = ((x + (x.powf(3.0)? * 0.044715)?)? * (2.0 / std::f64::consts::PI).sqrt())?;
    ((inner.tanh()? + 1.0)? * x)? * 0.5
}

fn elu(x: &Tensor) -> Result<Tensor> {
    let negative = (x.minimum(0.0)?.exp()? - 1.0)?;
    x.maximum(0.0)? + negative
}

fn softmax(x: &Tensor) -> Result<Tensor> {
    let e = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}

/// Rotates the interleaved pairs of `x` `[positions, heads, head_dim]`; the angle is an f32 product of
/// an f32 frequency and a position, as in the reference.
fn rope(x: &Tensor, max_period: f64) -> Result<Tensor> {
    let (n, heads, head_dim) = x.dims3()?;
    let step = (-max_period.ln() * 2.0 / head_dim as f64) as f32;
    let pairs = Tensor::arange(0_u32, head_dim as u32 / 2, &Device::Cpu)?.to_dtype(DType::F32)?;
    let step = Tensor::new(step, &Device::Cpu)?;
    let frequencies = pairs.broadcast_mul(&step)?.to_dtype(DType::F64)?.exp()?.to_dtype(DType::F32)?;
    let positions = Tensor::arange(0_u32, n as u32, &Device::Cpu)?.to_dtype(DType::F32)?.reshape((n, 1))?;
    let angles = positions.broadcast_mul(&frequencies.unsqueeze(0)?)?.to_dtype(DType::F64)?.unsqueeze(1)?;
    let (cos, sin) = (angles.cos()?, angles.sin()?);
    let x = x.reshape((n, heads, head_dim / 2, 2))?;
    let (re, im) = (x.narrow(3, 0, 1)?.squeeze(3)?, x.narrow(3, 1, 1)?.squeeze(3)?);
    let rotated_re = (re.broadcast_mul(&cos)? - im.broadcast_mul(&sin)?)?;
    let rotated_im = (im.broadcast_mul(&cos)? + re.broadcast_mul(&sin)?)?;
    Tensor::stack(&[rotated_re, rotated_im], 3)?.reshape((n, heads, head_dim))
}

/// Zero where a position sees another, minus infinity elsewhere.
fn mask(n: usize, context: Option<usize>) -> Tensor {
    let sees = |query: usize, key: usize| key <= query && context.is_none_or(|context| query - key < context);
    let values: Vec<f64> = (0..n * n).map(|i| if sees(i / n, i % n) { 0.0 } else { f64::NEG_INFINITY }).collect();
    Tensor::from_vec(values, (n, n), &Device::Cpu).unwrap()
}

fn attention(x: &Tensor, w_in: &Tensor, w_out: &Tensor, config: &TransformerConfig) -> Result<Tensor> {
    let AttentionShape { heads, kv_heads, head_dim } = config.attention;
    let n = x.dim(0)?;
    let projected = linear(x, w_in)?;
    let part = |start: usize, heads: usize| {
        projected.narrow(1, start * head_dim, heads * head_dim)?.reshape((n, heads, head_dim))
    };
    let q = rope(&part(0, heads)?, config.max_period)?;
    let k = rope(&part(heads, kv_heads)?, config.max_period)?;
    let v = part(heads + kv_heads, kv_heads)?;
    let mut outs = Vec::new();
    for head in 0..heads {
        let kv_head = head / (heads / kv_heads);
        let of = |x: &Tensor, head: usize| x.narrow(1, head, 1)?.squeeze(1)?.contiguous();
        let scores = (of(&q, head)?.matmul(&of(&k, kv_head)?.t()?)? / (head_dim as f64).sqrt())?;
        let weights = softmax(&(scores + mask(n, config.context))?)?;
        outs.push(weights.matmul(&of(&v, kv_head)?)?);
    }
    linear(&Tensor::cat(&outs, 1)?, w_out)
}

fn transformer(x: &Tensor, weights: &RandomWeights, config: &TransformerConfig) -> Result<Tensor> {
    let mut x = x.clone();
    for layer in 0..config.n_layers {
        let w = |name: &str| weights.candle(&format!("layers.{layer}.{name}"));
        let scaled = |update: Tensor, name: &str| {
            if config.has_layer_scale { update.broadcast_mul(&w(name)) } else { Ok(update) }
        };
        let normed = layer_norm(&x, 1e-5, Some((&w("norm1.weight"), &w("norm1.bias"))))?;
        let update = attention(&normed, &w("self_attn.in_proj.weight"), &w("self_attn.out_proj.weight"), config)?;
        x = (x + scaled(update, "layer_scale_1.scale")?)?;
        let normed = layer_norm(&x, 1e-5, Some((&w("norm2.weight"), &w("norm2.bias"))))?;
        let hidden = gelu_tanh(&linear(&normed, &w("linear1.weight"))?)?;
        x = (x + scaled(linear(&hidden, &w("linear2.weight"))?, "layer_scale_2.scale")?)?;
    }
    Ok(x)
}

/// `[positions, channels]` as a signal.
fn signal(values: &[f32], channels: usize) -> Tensor {
    tensor(values, &[values.len() / channels, channels]).t().and_then(|x| x.contiguous()?.unsqueeze(0)).unwrap()
}

/// A signal as `[positions, channels]`.
fn rows(signal: &Tensor) -> Tensor {
    signal.squeeze(0).and_then(|x| x.t()?.contiguous()).unwrap()
}

fn conv1d(x: &Tensor, weights: &RandomWeights, shape: ConvShape, padding: Padding) -> Result<Tensor> {
    let n_left = shape.history();
    let left = match padding {
        Padding::Zeros => Tensor::zeros((1, shape.in_channels, n_left), DType::F64, &Device::Cpu)?,
        Padding::Replicate => x.narrow(2, 0, 1)?.repeat((1, 1, n_left))?,
    };
    let x = if n_left == 0 { x.clone() } else { Tensor::cat(&[&left, x], 2)? };
    let out = x.contiguous()?.conv1d(&weights.candle("weight"), 0, shape.stride, shape.dilation, shape.groups)?;
    out.broadcast_add(&weights.candle("bias").reshape((1, shape.out_channels, 1))?)
}

fn conv_transpose1d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, shape: ConvShape) -> Result<Tensor> {
    let n_out = x.dim(2)? * shape.stride;
    let out = x.conv_transpose1d(weight, 0, 0, shape.stride, 1, shape.groups)?;
    // What later positions will complete is cut.
    let missing = n_out.saturating_sub(out.dim(2)?);
    let out = out.pad_with_zeros(2, 0, missing)?.narrow(2, 0, n_out)?;
    match bias {
        Some(bias) => out.broadcast_add(&bias.reshape((1, shape.out_channels, 1))?),
        None => Ok(out),
    }
}

// --- the tests ---

#[test]
fn linear_layers_match_candle() {
    for (rows, in_features, out_features, has_bias) in
        [(1, 1, 1, true), (1, 129, 33, false), (3, 512, 40, true), (17, 300, 95, true), (50, 1024, 64, false)]
    {
        let weights =
            RandomWeights::new(1).with_matrix("weight", out_features, in_features).with("bias", &[out_features], 1.0);
        let x = uniform(2, rows * in_features, -1.0, 1.0);
        let mut want = linear(&tensor(&x, &[rows, in_features]), &weights.candle("weight")).unwrap();
        if has_bias {
            want = want.broadcast_add(&weights.candle("bias")).unwrap();
        }
        for_each_level(|level| {
            with_context(level, 2, |ctx| {
                let layer = Linear::load(&weights.weights(), ctx.pool, in_features, out_features, has_bias).unwrap();
                let mut got = vec![0.0; rows * out_features];
                layer.forward_into(ctx, &x, &mut got);
                check(&got, &want, MAX_ERROR, &format!("{level:?} {rows} x {in_features} x {out_features}"));
            });
        });
    }
}

#[test]
fn layer_norms_match_candle() {
    for (rows, width) in [(1, 2), (3, 17), (5, 112), (2, 1024)] {
        let weights = RandomWeights::new(3).with_norm("norm", width);
        // A mean that is not small: the norm has to take it out first.
        let x = uniform(4, rows * width, -1.0, 3.0);
        let x_candle = tensor(&x, &[rows, width]);
        let affine = (&weights.candle("norm.weight"), &weights.candle("norm.bias"));
        let want = layer_norm(&x_candle, 1e-5, Some(affine)).unwrap();
        let want_plain = layer_norm(&x_candle, 1e-6, None).unwrap();
        for_each_level(|level| {
            with_context(level, 1, |ctx| {
                let mut got = vec![0.0; x.len()];
                let layer = LayerNorm::load(&weights.weights().scope("norm"), width, 1e-5).unwrap();
                layer.forward_into(ctx, &x, &mut got);
                check(&got, &want, MAX_ERROR, &format!("{level:?} width {width}"));
                LayerNorm::plain(width, 1e-6).forward_into(ctx, &x, &mut got);
                check(&got, &want_plain, MAX_ERROR, &format!("{level:?} width {width}, plain"));
            });
        });
    }
}

#[test]
fn feed_forward_blocks_match_candle() {
    for (rows, width, hidden) in [(1, 16, 64), (5, 112, 96), (40, 128, 512)] {
        let weights = RandomWeights::new(5)
            .with_matrix("linear1.weight", hidden, width)
            .with_matrix("linear2.weight", width, hidden)
            .with("scale", &[width], 1.0);
        let x = uniform(6, rows * width, -2.0, 2.0);
        let scale = weights.get("scale").to_f32();
        let skip = uniform(7, rows * width, -1.0, 1.0);
        let hidden_rows = gelu_tanh(&linear(&tensor(&x, &[rows, width]), &weights.candle("linear1.weight")).unwrap());
        let update = linear(&hidden_rows.unwrap(), &weights.candle("linear2.weight")).unwrap();
        let scaled = update.broadcast_mul(&weights.candle("scale")).unwrap();
        let want = (tensor(&skip, &[rows, width]) + scaled).unwrap();
        for_each_level(|level| {
            with_context(level, 2, |ctx| {
                let layer = FeedForward::load(&weights.weights(), ctx.pool, width, hidden).unwrap();
                let mut got = skip.clone();
                layer.accumulate(ctx, &x, Some(&scale), &mut got);
                check(&got, &want, MAX_DEEP_ERROR, &format!("{level:?} {rows} x {width} x {hidden}"));
            });
        });
    }
}

#[test]
fn transformers_match_candle() {
    let base = TransformerConfig {
        width: 48,
        attention: AttentionShape { heads: 3, kv_heads: 3, head_dim: 16 },
        feed_forward: 96,
        n_layers: 2,
        context: None,
        max_period: 10000.0,
        has_layer_scale: false,
    };
    let cases = [
        ("causal", base),
        ("windowed", TransformerConfig { context: Some(7), has_layer_scale: true, ..base }),
        ("grouped", TransformerConfig { attention: AttentionShape { heads: 4, kv_heads: 2, head_dim: 22 }, ..base }),
        ("one K/V head", TransformerConfig { attention: AttentionShape { kv_heads: 1, ..base.attention }, ..base }),
        ("short period", TransformerConfig { max_period: 50.0, n_layers: 1, ..base }),
    ];
    let n = 45;
    for (name, config) in cases {
        let weights = RandomWeights::of_transformer(8, &config);
        let x = uniform(9, n * config.width, -1.0, 1.0);
        let want = transformer(&tensor(&x, &[n, config.width]), &weights, &config).unwrap();
        for_each_level(|level| {
            with_context(level, 2, |ctx| {
                let layer = Transformer::load(&weights.weights(), ctx.pool, config).unwrap();
                for group in [n, 16, 1] {
                    let mut state = layer.new_state();
                    let mut got = x.clone();
                    for rows in got.chunks_mut(group * config.width) {
                        let n = rows.len() / config.width;
                        let rows_of = &mut [Rows::new(n, &mut state)];
                        layer.step(ctx, rows, 1, rows_of, |state: &mut TransformerState| state);
                    }
                    check(&got, &want, MAX_DEEP_ERROR, &format!("{level:?} {name}, {group} rows a call"));
                }
            });
        });
    }
}

/// Runs a convolution over `x` in groups of `group` positions.
fn in_groups(
    x: &[f32],
    in_width: usize,
    out_width: usize,
    group: usize,
    mut step: impl FnMut(&[f32], usize, &mut [f32]),
) -> Vec<f32> {
    let mut out = vec![0.0; x.len() / in_width * out_width];
    for (x, out) in x.chunks(group * in_width).zip(out.chunks_mut(group * out_width)) {
        step(x, x.len() / in_width, out);
    }
    out
}

#[test]
fn streaming_convolutions_match_candle() {
    let base = ConvShape { in_channels: 6, out_channels: 10, kernel: 7, stride: 1, dilation: 1, groups: 1 };
    let shapes = [
        base,
        ConvShape { kernel: 3, dilation: 2, ..base },
        ConvShape { kernel: 3, dilation: 4, out_channels: 40, ..base },
        ConvShape { kernel: 1, in_channels: 33, ..base },
        ConvShape { kernel: 8, stride: 4, ..base },
        ConvShape { kernel: 4, stride: 2, groups: 2, ..base },
        ConvShape { kernel: 5, groups: 2, dilation: 3, ..base },
        ConvShape { in_channels: 12, out_channels: 12, kernel: 6, stride: 3, groups: 12, ..base },
        ConvShape { in_channels: 1, out_channels: 64, ..base },
        ConvShape { in_channels: 64, out_channels: 1, kernel: 3, ..base },
    ];
    for shape in shapes {
        let ConvShape { in_channels, out_channels, kernel, stride, .. } = shape;
        let weights = RandomWeights::of_convolution(10, &[out_channels, in_channels / shape.groups, kernel], shape);
        let n_out = 23;
        let x = uniform(11, n_out * stride * in_channels, -1.0, 1.0);
        for padding in [Padding::Zeros, Padding::Replicate] {
            for activation in [None, Some(Activation::Elu)] {
                let x_candle = signal(&x, in_channels);
                let activated = if activation.is_some() { elu(&x_candle).unwrap() } else { x_candle };
                let want = rows(&conv1d(&activated, &weights, shape, padding).unwrap());
                for_each_level(|level| {
                    with_context(level, 2, |ctx| {
                        let mut layer = Conv1d::load(&weights.weights(), ctx.pool, shape, true, padding).unwrap();
                        if let Some(activation) = activation {
                            layer = layer.after(activation);
                        }
                        for group in [n_out, 5, 1] {
                            let mut state = layer.new_state();
                            let (in_width, out_width) = (stride * in_channels, out_channels);
                            let got = in_groups(&x, in_width, out_width, group, |x, n, out| {
                                let rows = &mut [Rows::new(n, &mut state)];
                                layer.step(ctx, x, stride, rows, |state: &mut ConvState| state, false, out);
                            });
                            let what = format!("{level:?} {shape:?} {padding:?} {activation:?} by {group}");
                            check(&got, &want, MAX_ERROR, &what);
                        }
                    });
                });
            }
        }
    }
}

#[test]
fn streaming_transposed_convolutions_match_candle() {
    let base = ConvShape { in_channels: 12, out_channels: 5, kernel: 8, stride: 4, dilation: 1, groups: 1 };
    let shapes = [
        base,
        ConvShape { kernel: 12, stride: 6, out_channels: 32, ..base },
        ConvShape { kernel: 10, ..base },
        ConvShape { kernel: 3, stride: 5, ..base },
        ConvShape { kernel: 1, stride: 1, ..base },
        ConvShape { in_channels: 20, out_channels: 20, kernel: 32, stride: 16, groups: 20, ..base },
        ConvShape { in_channels: 20, out_channels: 10, kernel: 4, stride: 2, groups: 10, ..base },
    ];
    for shape in shapes {
        let ConvShape { in_channels, out_channels, kernel, stride, groups, .. } = shape;
        let is_depthwise = groups > 1;
        let weights = RandomWeights::of_convolution(12, &[in_channels, out_channels / groups, kernel], shape);
        let n = 17;
        let x = uniform(13, n * in_channels, -1.0, 1.0);
        let bias = (!is_depthwise).then(|| weights.candle("bias"));
        let x_candle = elu(&signal(&x, in_channels)).unwrap();
        let want = rows(&conv_transpose1d(&x_candle, &weights.candle("weight"), bias.as_ref(), shape).unwrap());
        for_each_level(|level| {
            with_context(level, 2, |ctx| {
                let weights = weights.weights();
                let layer = if is_depthwise {
                    ConvTranspose1d::load_depthwise(&weights, shape).unwrap()
                } else {
                    ConvTranspose1d::load(&weights, ctx.pool, shape).unwrap()
                };
                let layer = layer.after(Activation::Elu);
                for group in [n, 3, 1] {
                    let mut state = layer.new_state();
                    let got = in_groups(&x, in_channels, stride * out_channels, group, |x, n, out| {
                        let rows = &mut [Rows::new(n, &mut state)];
                        layer.step(ctx, x, 1, rows, |state: &mut ConvState| state, out);
                    });
                    check(&got, &want, MAX_ERROR, &format!("{level:?} {shape:?} by {group}"));
                }
            });
        });
    }
}
