use super::*;
use crate::testing::{Rng, for_each_level, relative_l2, uniform};

/// Sums of at most a few hundred terms in another order.
const MAX_ERROR: f64 = 2e-6;

/// The definition: `out[t, o] = sum w[o, i, j] x[t * stride + j * dilation, i]`.
fn conv_by_definition(shape: ConvShape, weight: &[f32], window: &[f32], n_out: usize) -> Vec<f32> {
    let (ins, outs) = (shape.in_channels / shape.groups, shape.out_channels / shape.groups);
    let mut out = vec![0.0; n_out * shape.out_channels];
    for t in 0..n_out {
        for o in 0..shape.out_channels {
            let mut sum = 0.0_f64;
            for i in 0..ins {
                for j in 0..shape.kernel {
                    let x = window[(t * shape.stride + j * shape.dilation) * shape.in_channels + o / outs * ins + i];
                    sum += f64::from(weight[(o * ins + i) * shape.kernel + j]) * f64::from(x);
                }
            }
            out[t * shape.out_channels + o] = sum as f32;
        }
    }
    out
}

/// The definition over a whole signal: `out[t * stride + j, o] += w[i, o, j] x[t, i]`, the tail cut.
fn transposed_by_definition(shape: ConvShape, weight: &[f32], x: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let n = x.len() / shape.in_channels;
    let (ins, outs) = (shape.in_channels / shape.groups, shape.out_channels / shape.groups);
    let mut out = vec![0.0; (n * shape.stride + shape.kernel) * shape.out_channels];
    for t in 0..n {
        for i in 0..shape.in_channels {
            for o in 0..outs {
                for j in 0..shape.kernel {
                    let channel = i / ins * outs + o;
                    out[(t * shape.stride + j) * shape.out_channels + channel] +=
                        weight[(i * outs + o) * shape.kernel + j] * x[t * shape.in_channels + i];
                }
            }
        }
    }
    out.truncate(n * shape.stride * shape.out_channels);
    if let Some(bias) = bias {
        for row in out.chunks_mut(shape.out_channels) {
            for (out, bias) in row.iter_mut().zip(bias) {
                *out += bias;
            }
        }
    }
    out
}

#[test]
fn convolutions_match_their_definition() {
    for_each_level(|level| {
        let mut rng = Rng::new(3);
        for _ in 0..80 {
            let groups = [1, 1, 1, 2, 3][rng.below(5)];
            let outs = if rng.below(4) == 0 { 1 } else { 1 + rng.below(12) };
            let (in_channels, out_channels) = (groups * (1 + rng.below(12)), groups * outs);
            let (kernel, stride, dilation) = (1 + rng.below(7), 1 + rng.below(3), 1 + rng.below(3));
            let shape = ConvShape { in_channels, out_channels, kernel, stride, dilation, groups };
            let n_out = 1 + rng.below(20);
            let weight = uniform(1, out_channels * in_channels / groups * kernel, -1.0, 1.0);
            let bias = uniform(3, out_channels, -1.0, 1.0);
            let window = uniform(2, (shape.history() + n_out * stride) * in_channels, -1.0, 1.0);
            let pool = Pool::default();
            let mut got = vec![0.0; n_out * out_channels];
            let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::default() };
            ConvMatrix::new(&pool, shape, Values::F32(&weight), None).apply(
                level,
                &pool,
                Window::Float(&window),
                epilogue,
                &mut got,
            );
            let mut want = conv_by_definition(shape, &weight, &window, n_out);
            for (i, want) in want.iter_mut().enumerate() {
                *want += bias[i % out_channels];
            }
            assert!(relative_l2(&got, &want) <= MAX_ERROR, "{level:?} {shape:?}");
        }
    });
}

#[test]
fn transposed_convolutions_match_their_definition() {
    for_each_level(|level| {
        let mut rng = Rng::new(4);
        for case in 0..80 {
            let stride = 1 + rng.below(6);
            // Twice the stride in this family; other lengths for the general case.
            let kernel = if case % 3 == 0 { 1 + rng.below(13) } else { 2 * stride };
            let (in_channels, out_channels) = (1 + rng.below(20), 1 + rng.below(20));
            let shape = ConvShape { in_channels, out_channels, kernel, stride, dilation: 1, groups: 1 };
            let n = 1 + rng.below(12);
            let weight = uniform(1, in_channels * out_channels * kernel, -1.0, 1.0);
            let bias = uniform(2, out_channels, -1.0, 1.0);
            let x = uniform(3, n * in_channels, -1.0, 1.0);
            let pool = Pool::default();
            let matrix = ConvTransposeMatrix::new(&pool, shape, Values::F32(&weight), Some(&bias), None);
            let mut window = vec![0.0; shape.transposed_history() * in_channels];
            window.extend_from_slice(&x);
            let mut got = vec![0.0; n * stride * out_channels];
            matrix.apply(level, &pool, Window::Float(&window), &mut got);
            let want = transposed_by_definition(shape, &weight, &x, Some(&bias));
            assert!(relative_l2(&got, &want) <= MAX_ERROR, "{level:?} {shape:?}");
        }
    });
}

#[test]
fn depthwise_upsampling_matches_its_definition() {
    for_each_level(|level| {
        let mut rng = Rng::new(5);
        for _ in 0..60 {
            let (stride, out_channels, ins) = (1 + rng.below(16), 1 + rng.below(40), 1 + rng.below(3));
            let shape = ConvShape {
                in_channels: out_channels * ins,
                out_channels,
                kernel: 2 * stride,
                stride,
                dilation: 1,
                groups: out_channels,
            };
            let n = 1 + rng.below(5);
            let weight = uniform(1, shape.in_channels * shape.kernel, -1.0, 1.0);
            let x = uniform(2, n * shape.in_channels, -1.0, 1.0);
            let mut window = vec![0.0; shape.transposed_history() * shape.in_channels];
            window.extend_from_slice(&x);
            let mut got = vec![0.0; n * stride * out_channels];
            DepthwiseUpsample::new(shape, &weight).apply(level, &window, &mut got);
            let want = transposed_by_definition(shape, &weight, &x, None);
            assert!(relative_l2(&got, &want) <= MAX_ERROR, "{level:?} {shape:?}");
        }
    });
}

#[test]
#[should_panic(expected = "another size")]
fn a_short_window_is_refused() {
    let shape = ConvShape { in_channels: 2, out_channels: 1, kernel: 3, stride: 1, dilation: 1, groups: 1 };
    let matrix = ConvMatrix::new(&Pool::default(), shape, Values::F32(&[0.0; 6]), None);
    matrix.apply(Level::Scalar, &Pool::default(), Window::Float(&[0.0; 4]), Epilogue::default(), &mut [0.0; 1]);
}
