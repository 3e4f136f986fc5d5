//! Streams do not notice each other: several of them in one call give bit for bit what each gives
//! alone, on one thread, in any groups, at every level and number of threads.
//!
//! The sizes are such that several threads share the work of the large calls.

use std::ops::Range;

use pocket_kernels::Level;
use pocket_kernels::activation::Activation;
use pocket_kernels::attention::AttentionShape;
use pocket_kernels::conv1d::ConvShape;
use pocket_kernels::parallel::{MIN_PARALLEL_WORK, Pool};
use pocket_kernels::testing::{for_each_level, uniform};
use pocket_nn::conv::{Conv1d, ConvState, ConvTranspose1d, Padding};
use pocket_nn::testing::RandomWeights;
use pocket_nn::transformer::{Transformer, TransformerConfig, TransformerState};
use pocket_nn::{Arena, Context, Rows};

const N_STREAMS: usize = 3;
const THREADS: [usize; 3] = [1, 2, 3];

/// Rows that each stream has in each call: prefill beside single rows, unequal positions, and a stream
/// that sits a call out.
const CALLS: [[usize; N_STREAMS]; 6] = [[160, 0, 3], [1, 70, 1], [1, 1, 1], [2, 1, 65], [0, 1, 1], [1, 1, 1]];
/// The same rows, stream by stream, in other groups.
const OTHER_GROUPS: [usize; 4] = [7, 1, 64, 200];

/// A layer with the state of a stream: `step` takes the rows of several streams.
trait Layer {
    type State;
    /// Values of an input row and of an output row.
    fn widths(&self) -> (usize, usize);
    fn new_state(&self) -> Self::State;
    fn step(&self, ctx: Context<'_>, x: &[f32], streams: &mut [Rows<'_, Self::State>], out: &mut [f32]);
}

impl Layer for Transformer {
    type State = TransformerState;

    fn widths(&self) -> (usize, usize) {
        (self.config().width, self.config().width)
    }

    fn new_state(&self) -> TransformerState {
        self.new_state()
    }

    fn step(&self, ctx: Context<'_>, x: &[f32], streams: &mut [Rows<'_, TransformerState>], out: &mut [f32]) {
        out.copy_from_slice(x);
        self.step(ctx, out, 1, streams, |state| state);
    }
}

/// A row is `stride` positions.
impl Layer for Conv1d {
    type State = ConvState;

    fn widths(&self) -> (usize, usize) {
        (self.shape().stride * self.shape().in_channels, self.shape().out_channels)
    }

    fn new_state(&self) -> ConvState {
        self.new_state()
    }

    fn step(&self, ctx: Context<'_>, x: &[f32], streams: &mut [Rows<'_, ConvState>], out: &mut [f32]) {
        self.step(ctx, x, self.shape().stride, streams, |state| state, false, out);
    }
}

impl Layer for ConvTranspose1d {
    type State = ConvState;

    fn widths(&self) -> (usize, usize) {
        (self.shape().in_channels, self.shape().stride * self.shape().out_channels)
    }

    fn new_state(&self) -> ConvState {
        self.new_state()
    }

    fn step(&self, ctx: Context<'_>, x: &[f32], streams: &mut [Rows<'_, ConvState>], out: &mut [f32]) {
        self.step(ctx, x, 1, streams, |state| state, out);
    }
}

/// One stream alone: its rows in groups of the given sizes, the last one repeated.
fn alone<L: Layer>(ctx: Context<'_>, layer: &L, x: &[f32], groups: &[usize]) -> Vec<f32> {
    let (in_width, out_width) = layer.widths();
    let mut state = layer.new_state();
    let mut out = vec![0.0; x.len() / in_width * out_width];
    let n_rows = x.len() / in_width;
    let mut first = 0;
    for i in 0.. {
        if first == n_rows {
            break;
        }
        let n = groups[i.min(groups.len() - 1)].min(n_rows - first);
        let rows = first..first + n;
        layer.step(
            ctx,
            &x[rows.start * in_width..rows.end * in_width],
            &mut [Rows::new(n, &mut state)],
            &mut out[rows.start * out_width..rows.end * out_width],
        );
        first = rows.end;
    }
    out
}

/// All streams, call by call.
fn together<L: Layer>(ctx: Context<'_>, layer: &L, xs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let (in_width, out_width) = layer.widths();
    let mut states: Vec<L::State> = xs.iter().map(|_| layer.new_state()).collect();
    let mut outs = vec![Vec::new(); xs.len()];
    let mut first = [0; N_STREAMS];
    for call in CALLS {
        let rows = |stream: usize| -> Range<usize> { first[stream]..first[stream] + call[stream] };
        let x: Vec<f32> = (0..N_STREAMS)
            .flat_map(|stream| &xs[stream][rows(stream).start * in_width..rows(stream).end * in_width])
            .copied()
            .collect();
        let mut out = vec![0.0; x.len() / in_width * out_width];
        let mut streams: Vec<_> = states.iter_mut().zip(call).map(|(state, n)| Rows::new(n, state)).collect();
        layer.step(ctx, &x, &mut streams, &mut out);
        let mut rest = &out[..];
        for (stream, n) in call.into_iter().enumerate() {
            let (own, others) = rest.split_at(n * out_width);
            outs[stream].extend_from_slice(own);
            rest = others;
            first[stream] += n;
        }
    }
    outs
}

/// Checks a layer at one level: three streams together on any number of threads, and in other groups,
/// against each alone, at once, on one thread.
fn check<L: Layer>(level: Level, layer: &L, what: &str) {
    let in_width = layer.widths().0;
    let n_rows = |stream: usize| CALLS.iter().map(|call| call[stream]).sum::<usize>();
    let xs: Vec<Vec<f32>> =
        (0..N_STREAMS).map(|stream| uniform(stream as u64, n_rows(stream) * in_width, -1.0, 1.0)).collect();
    let arena = Arena::new();
    let serial = Pool::default();
    let ctx = Context { level, pool: &serial, arena: &arena };
    let want: Vec<Vec<f32>> = xs.iter().map(|x| alone(ctx, layer, x, &[usize::MAX])).collect();
    assert!(want.iter().flatten().any(|&x| x != 0.0), "{what}: no output");
    for n_threads in THREADS {
        let pool = Pool::new(n_threads);
        let ctx = Context { pool: &pool, ..ctx };
        assert!(together(ctx, layer, &xs) == want, "{what}, {level:?}, {n_threads} threads: streams differ together");
        for (stream, x) in xs.iter().enumerate() {
            let got = alone(ctx, layer, x, &OTHER_GROUPS);
            assert!(got == want[stream], "{what}, {level:?}, {n_threads} threads: groups differ");
        }
    }
}

#[test]
fn transformers_keep_streams_apart() {
    let base = TransformerConfig {
        width: 128,
        attention: AttentionShape { heads: 8, kv_heads: 8, head_dim: 16 },
        feed_forward: 512,
        n_layers: 2,
        context: None,
        max_period: 10000.0,
        has_layer_scale: false,
    };
    assert!(160 * base.width * base.feed_forward >= MIN_PARALLEL_WORK, "the prefill is too small for threads");
    assert!(160 * base.width * 160 * 2 >= MIN_PARALLEL_WORK, "the attention is too small for threads");
    let cases = [
        ("causal", base),
        ("windowed", TransformerConfig { context: Some(20), has_layer_scale: true, ..base }),
        ("grouped", TransformerConfig { attention: AttentionShape { heads: 6, kv_heads: 2, head_dim: 22 }, ..base }),
    ];
    for_each_level(|level| {
        for (what, config) in cases {
            let weights = RandomWeights::of_transformer(1, &config).weights();
            check(level, &Transformer::load(&weights, &Pool::new(2), config).unwrap(), what);
        }
    });
}

#[test]
fn convolutions_keep_streams_apart() {
    let base = ConvShape { in_channels: 64, out_channels: 64, kernel: 7, stride: 1, dilation: 1, groups: 1 };
    const { assert!(160 * 64 * 64 * 7 >= MIN_PARALLEL_WORK, "the call is too small for threads") };
    let shapes = [
        base,
        ConvShape { kernel: 3, dilation: 4, out_channels: 33, ..base },
        ConvShape { kernel: 8, stride: 4, ..base },
        ConvShape { groups: 2, stride: 2, ..base },
        ConvShape { out_channels: 1, kernel: 3, ..base },
    ];
    for_each_level(|level| {
        for shape in shapes {
            let weight = [shape.out_channels, shape.in_channels / shape.groups, shape.kernel];
            let weights = RandomWeights::of_convolution(2, &weight, shape).weights();
            for padding in [Padding::Zeros, Padding::Replicate] {
                let layer = Conv1d::load(&weights, &Pool::default(), shape, true, padding).unwrap();
                check(level, &layer.after(Activation::Elu), &format!("{shape:?} {padding:?}"));
            }
        }
    });
}

#[test]
fn transposed_convolutions_keep_streams_apart() {
    let base = ConvShape { in_channels: 64, out_channels: 40, kernel: 12, stride: 6, dilation: 1, groups: 1 };
    const { assert!(160 * 2 * 64 * 6 * 40 >= MIN_PARALLEL_WORK, "the call is too small for threads") };
    let shapes = [
        base,
        ConvShape { kernel: 7, stride: 3, out_channels: 9, ..base },
        ConvShape { out_channels: 64, kernel: 32, stride: 16, groups: 64, ..base },
    ];
    for_each_level(|level| {
        for shape in shapes {
            let weight = [shape.in_channels, shape.out_channels / shape.groups, shape.kernel];
            let weights = RandomWeights::of_convolution(3, &weight, shape).weights();
            let layer = if shape.groups == 1 {
                ConvTranspose1d::load(&weights, &Pool::default(), shape).unwrap()
            } else {
                ConvTranspose1d::load_depthwise(&weights, shape).unwrap()
            };
            check(level, &layer, &format!("{shape:?}"));
        }
    });
}
