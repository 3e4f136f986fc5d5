//! SEANet: stacks of convolutions with ELU before every one but the first.
//! Source: `pocket_tts.modules.seanet`.

use std::ops::Range;

use pocket_kernels::activation::Activation;
use pocket_kernels::conv1d::ConvShape;
use pocket_kernels::parallel::Pool;
use pocket_nn::conv::{Conv1d, ConvState, ConvTranspose1d, Padding};
use pocket_nn::timing::{Op, timed};
use pocket_nn::{ArenaBuf, Context, Rows, Weights, WeightsError, total_rows};

use crate::config::{PadMode, SeanetConfig};

/// Values of the widest stage that a piece of the tail has: 96 KiB, so that a few such buffers fit the second-level
/// cache.
const PIECE_VALUES: usize = 24 << 10;

/// One entry of the stack.
#[derive(Debug)]
enum Stage {
    Conv(Conv1d),
    Transposed(ConvTranspose1d),
    /// Two convolutions whose output is added to the input.
    Residual(Box<[Conv1d; 2]>),
}

impl Stage {
    /// Sizes of the first convolution.
    fn shape(&self) -> ConvShape {
        match self {
            Self::Conv(conv) => conv.shape(),
            Self::Transposed(conv) => conv.shape(),
            Self::Residual(convs) => convs[0].shape(),
        }
    }

    fn out_channels(&self) -> usize {
        match self {
            Self::Conv(_) | Self::Transposed(_) => self.shape().out_channels,
            Self::Residual(_) => self.shape().in_channels,
        }
    }

    /// Values that an input position becomes.
    fn out_per_position(&self) -> usize {
        let stride = if matches!(self, Self::Transposed(_)) { self.shape().stride } else { 1 };
        stride * self.out_channels()
    }

    /// Whether every input position yields outputs.
    fn is_per_position(&self) -> bool {
        !matches!(self, Self::Conv(conv) if conv.shape().stride > 1)
    }

    fn n_states(&self) -> usize {
        match self {
            Self::Conv(_) | Self::Transposed(_) => 1,
            Self::Residual(convs) => convs.len(),
        }
    }
}

/// A stack of convolutions, encoder or decoder.
#[derive(Debug)]
pub(super) struct Seanet {
    stages: Vec<Stage>,
}

/// The states of all convolutions of one stream.
pub(super) type SeanetState = Vec<ConvState>;

/// Builds the stack in the order of the reference's module list, whose indices name the tensors: an
/// ELU there is an entry of its own.
struct Builder<'a> {
    weights: &'a Weights,
    pool: &'a Pool,
    config: &'a SeanetConfig,
    index: usize,
    stages: Vec<Stage>,
}

impl Builder<'_> {
    fn shape(in_channels: usize, out_channels: usize, kernel: usize) -> ConvShape {
        ConvShape { in_channels, out_channels, kernel, stride: 1, dilation: 1, groups: 1 }
    }

    fn load_conv(&self, weights: &Weights, shape: ConvShape) -> Result<Conv1d, WeightsError> {
        let padding = match self.config.pad_mode {
            PadMode::Constant => Padding::Zeros,
            PadMode::Replicate => Padding::Replicate,
        };
        Conv1d::load(&weights.scope("conv"), self.pool, shape, true, padding)
    }

    fn conv(&mut self, shape: ConvShape, is_activated: bool) -> Result<(), WeightsError> {
        self.index += usize::from(is_activated);
        let conv = self.load_conv(&self.weights.scope(self.index), shape)?;
        self.stages.push(Stage::Conv(if is_activated { conv.after(Activation::Elu) } else { conv }));
        self.index += 1;
        Ok(())
    }

    fn transposed(&mut self, in_channels: usize, out_channels: usize, ratio: usize) -> Result<(), WeightsError> {
        self.index += 1;
        let shape = ConvShape { stride: ratio, ..Self::shape(in_channels, out_channels, 2 * ratio) };
        let conv = ConvTranspose1d::load(&self.weights.scope(self.index).scope("convtr"), self.pool, shape)?;
        self.stages.push(Stage::Transposed(conv.after(Activation::Elu)));
        self.index += 1;
        Ok(())
    }

    fn residuals(&mut self, channels: usize) -> Result<(), WeightsError> {
        let hidden = channels / self.config.compress;
        for j in 0..self.config.n_residual_layers {
            let block = self.weights.scope(self.index).scope("block");
            let dilation = self.config.dilation_base.pow(j as u32);
            let first = ConvShape { dilation, ..Self::shape(channels, hidden, self.config.residual_kernel_size) };
            let second = Self::shape(hidden, channels, 1);
            self.stages.push(Stage::Residual(Box::new([
                self.load_conv(&block.scope(1), first)?.after(Activation::Elu),
                self.load_conv(&block.scope(3), second)?.after(Activation::Elu),
            ])));
            self.index += 1;
        }
        Ok(())
    }
}

impl Seanet {
    /// Loads `model.N.*` of an encoder: samples to `dimension` channels, at `1 / product of ratios`.
    pub(super) fn load_encoder(weights: &Weights, pool: &Pool, config: &SeanetConfig) -> Result<Self, WeightsError> {
        let weights = weights.scope("model");
        let mut builder = Builder { weights: &weights, pool, config, index: 0, stages: Vec::new() };
        let mut channels = config.n_filters;
        builder.conv(Builder::shape(config.channels, channels, config.kernel_size), false)?;
        for &ratio in config.ratios.iter().rev() {
            builder.residuals(channels)?;
            let shape = ConvShape { stride: ratio, ..Builder::shape(channels, 2 * channels, 2 * ratio) };
            builder.conv(shape, true)?;
            channels *= 2;
        }
        builder.conv(Builder::shape(channels, config.dimension, config.last_kernel_size), true)?;
        Ok(Self { stages: builder.stages })
    }

    /// Loads `model.N.*` of a decoder: `dimension` channels to samples.
    pub(super) fn load_decoder(weights: &Weights, pool: &Pool, config: &SeanetConfig) -> Result<Self, WeightsError> {
        let weights = weights.scope("model");
        let mut builder = Builder { weights: &weights, pool, config, index: 0, stages: Vec::new() };
        let mut channels = config.n_filters << config.ratios.len();
        builder.conv(Builder::shape(config.dimension, channels, config.kernel_size), false)?;
        for &ratio in &config.ratios {
            builder.transposed(channels, channels / 2, ratio)?;
            channels /= 2;
            builder.residuals(channels)?;
        }
        builder.conv(Builder::shape(config.n_filters, config.channels, config.last_kernel_size), true)?;
        Ok(Self { stages: builder.stages })
    }

    pub(super) fn new_state(&self) -> SeanetState {
        let states = self.stages.iter().flat_map(|stage| match stage {
            Stage::Conv(conv) => vec![conv.new_state()],
            Stage::Transposed(conv) => vec![conv.new_state()],
            Stage::Residual(convs) => convs.iter().map(Conv1d::new_state).collect(),
        });
        states.collect()
    }

    /// Runs the stack over `x`, in which every stream has `rows.n * per_row` positions; `select` finds
    /// the states in the stream's.
    pub(super) fn step<'a, S>(
        &self,
        ctx: Context<'a>,
        x: &[f32],
        per_row: usize,
        streams: &mut [Rows<'_, S>],
        select: impl Fn(&mut S) -> &mut SeanetState,
    ) -> ArenaBuf<'a> {
        let Some(tail) = self.tail(x.len()) else {
            return self.run(ctx, 0..self.stages.len(), x, per_row, streams, &select);
        };
        let x = self.run(ctx, 0..tail.start, x, per_row, streams, &select);
        let mut rest = &x[..];
        let n_positions = x.len() / tail.in_channels;
        let mut out = ctx.arena.take(n_positions * tail.out_per_position);
        let mut written = 0;
        // Positions of the tail's input in a row.
        let per_row = n_positions / total_rows(streams).max(1);
        for rows in streams {
            let (own, others) = rest.split_at(rows.n * per_row * tail.in_channels);
            rest = others;
            for piece in own.chunks(tail.piece_len * tail.in_channels) {
                let n = piece.len() / tail.in_channels;
                let stream = &mut [Rows::new(1, &mut *rows.state)];
                let piece = self.run(ctx, tail.start..self.stages.len(), piece, n, stream, &select);
                out[written..written + piece.len()].copy_from_slice(&piece);
                written += piece.len();
            }
        }
        out
    }

    /// The stages from the one on whose output, but not whose weights, leaves the second-level cache, for so many
    /// values of input.
    fn tail(&self, n_values: usize) -> Option<Tail> {
        let mut n_values = n_values;
        for (start, stage) in self.stages.iter().enumerate() {
            let shape = stage.shape();
            let n_positions = n_values / shape.in_channels;
            n_values = n_positions * stage.out_per_position();
            // Its weights are read for every piece, so they must stay in the cache too.
            let n_weights = shape.in_channels * shape.out_channels * shape.kernel;
            let is_large = n_values >= 2 * PIECE_VALUES && n_weights <= 4 * PIECE_VALUES;
            if start == 0 || !matches!(stage, Stage::Transposed(_)) || !is_large {
                continue;
            }
            let (mut widest, mut values, mut channels) = (1, shape.in_channels, shape.in_channels);
            for stage in &self.stages[start..] {
                if !stage.is_per_position() {
                    return None;
                }
                values = values / channels * stage.out_per_position();
                channels = stage.out_channels();
                widest = widest.max(values);
            }
            let piece_len = (PIECE_VALUES / widest).max(1);
            return Some(Tail { start, in_channels: shape.in_channels, out_per_position: values, piece_len });
        }
        None
    }

    /// Runs some of the stages.
    fn run<'a, S>(
        &self,
        ctx: Context<'a>,
        stages: Range<usize>,
        input: &[f32],
        mut per_row: usize,
        streams: &mut [Rows<'_, S>],
        select: &impl Fn(&mut S) -> &mut SeanetState,
    ) -> ArenaBuf<'a> {
        let mut i: usize = self.stages[..stages.start].iter().map(Stage::n_states).sum();
        let mut x = ctx.arena.take(0);
        for index in stages.clone() {
            let stage = &self.stages[index];
            let before: &[f32] = if index == stages.start { input } else { &x };
            match stage {
                Stage::Conv(conv) => {
                    let shape = conv.shape();
                    let n_out = before.len() / shape.in_channels / shape.stride;
                    let mut out = ctx.arena.take(n_out * shape.out_channels);
                    timed(Op::convolution(index), || {
                        conv.step(ctx, before, per_row, streams, |state| &mut select(state)[i], false, &mut out);
                    });
                    per_row /= shape.stride;
                    x = out;
                }
                Stage::Transposed(conv) => {
                    let shape = conv.shape();
                    let n_out = before.len() / shape.in_channels * shape.stride;
                    let mut out = ctx.arena.take(n_out * shape.out_channels);
                    timed(Op::transposed(index), || {
                        conv.step(ctx, before, per_row, streams, |state| &mut select(state)[i], &mut out);
                    });
                    per_row *= shape.stride;
                    x = out;
                }
                Stage::Residual(convs) => {
                    let [first, second] = &**convs;
                    if index == stages.start {
                        x = ctx.arena.take(input.len());
                        x.copy_from_slice(input);
                    }
                    let n = x.len() / first.shape().in_channels;
                    let mut hidden = ctx.arena.take(n * first.shape().out_channels);
                    timed(Op::residual(index), || {
                        first.step(ctx, &x, per_row, streams, |state| &mut select(state)[i], false, &mut hidden);
                        second.step(ctx, &hidden, per_row, streams, |state| &mut select(state)[i + 1], true, &mut x);
                    });
                }
            }
            i += stage.n_states();
        }
        x
    }
}

/// The last stages of a stack, which run over a few positions at a time: then what one stage writes is still in
/// the second-level cache when the next one reads it. Streaming convolutions give the same bits in any pieces.
struct Tail {
    start: usize,
    in_channels: usize,
    /// Values of the stack's output for every position of the tail's input.
    out_per_position: usize,
    /// Positions of the tail's input that go together.
    piece_len: usize,
}
