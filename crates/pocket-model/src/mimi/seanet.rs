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

#[cfg(test)]
mod tests {
    use pocket_kernels::testing::{for_each_level, uniform};
    use pocket_nn::Arena;
    use pocket_nn::testing::RandomWeights;

    use super::*;

    /// A decoder of 8 channels whose one transposed convolution makes 64 values of a position.
    fn decoder(pool: &Pool) -> Seanet {
        let config = SeanetConfig {
            dimension: 8,
            channels: 1,
            n_filters: 16,
            n_residual_layers: 1,
            ratios: vec![4],
            kernel_size: 7,
            residual_kernel_size: 3,
            last_kernel_size: 3,
            dilation_base: 2,
            pad_mode: PadMode::Constant,
            compress: 2,
        };
        let mut weights = RandomWeights::new(1);
        for (name, shape, n_bias) in [
            ("0.conv", [32, 8, 7], 32),
            ("2.convtr", [32, 16, 8], 16),
            ("3.block.1.conv", [8, 16, 3], 8),
            ("3.block.3.conv", [16, 8, 1], 16),
            ("5.conv", [1, 16, 3], 1),
        ] {
            weights = weights.with(format!("model.{name}.weight"), &shape, 0.2).with(
                format!("model.{name}.bias"),
                &[n_bias],
                0.5,
            );
        }
        Seanet::load_decoder(&weights.weights(), pool, &config).expect("the tensors fit")
    }

    #[test]
    fn pieces_of_the_tail_do_not_change_a_bit() {
        const N_POSITIONS: usize = 1000;
        let (pool, arena) = (Pool::default(), Arena::new());
        let seanet = decoder(&pool);
        let tail = seanet.tail(N_POSITIONS * 8).expect("so many positions leave the cache");
        assert!(
            N_POSITIONS > 2 * tail.piece_len && !N_POSITIONS.is_multiple_of(tail.piece_len),
            "whole pieces and a rest"
        );
        assert!(seanet.tail(100 * 8).is_none(), "so few stay in it");
        for_each_level(|level| {
            let ctx = Context { level, pool: &pool, arena: &arena };
            let inputs = [uniform(2, N_POSITIONS * 8, -1.0, 1.0), uniform(3, N_POSITIONS * 8, -1.0, 1.0)];
            let step = |x: &[f32], per_row: usize, streams: &mut [Rows<'_, SeanetState>]| {
                let mut taken = arena.take(x.len());
                taken.copy_from_slice(x);
                seanet.step(ctx, &taken, per_row, streams, |state| state).to_vec()
            };
            let mut want = Vec::new();
            for x in &inputs {
                let mut state = seanet.new_state();
                for part in x.chunks(100 * 8) {
                    want.extend(step(part, 1, &mut [Rows::new(100, &mut state)]));
                }
            }
            assert_eq!(want.len(), 2 * 4 * N_POSITIONS);
            let mut states = [seanet.new_state(), seanet.new_state()];
            let [first, second] = &mut states;
            let together =
                step(&inputs.concat(), 1, &mut [Rows::new(N_POSITIONS, first), Rows::new(N_POSITIONS, second)]);
            assert!(together == want, "{level:?}: pieces differ from short calls");
        });
    }
}
