//! The convolutions of the 100M models' decoder, in order.

use pocket_kernels::activation::Activation;
use pocket_kernels::conv1d::ConvShape;
use pocket_kernels::parallel::Pool;
use pocket_nn::conv::{Conv1d, ConvState, ConvTranspose1d, Padding};
use pocket_nn::testing::RandomWeights;
use pocket_nn::{Context, MatrixFormat, Rows};

/// Sums in another order, and an activation.
pub(crate) const MAX_ERROR: f64 = 1e-6;

/// Which layer a stage is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Conv,
    Transposed,
    Depthwise,
}

/// One convolution and the input positions of one frame.
#[derive(Clone, Copy)]
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) shape: ConvShape,
    pub(crate) n_positions: usize,
    is_activated: bool,
}

const fn stage(
    name: &'static str,
    kind: Kind,
    (in_channels, out_channels): (usize, usize),
    (kernel, stride): (usize, usize),
    n_positions: usize,
    is_activated: bool,
) -> Stage {
    let groups = if matches!(kind, Kind::Depthwise) { out_channels } else { 1 };
    let shape = ConvShape { in_channels, out_channels, kernel, stride, dilation: 1, groups };
    Stage { name, kind, shape, n_positions, is_activated }
}

pub(crate) const STAGES: [Stage; 12] = [
    stage("upsample", Kind::Depthwise, (512, 512), (32, 16), 1, false),
    stage("first", Kind::Conv, (512, 512), (7, 1), 16, false),
    stage("transposed 6", Kind::Transposed, (512, 256), (12, 6), 16, true),
    stage("residual 256 k3", Kind::Conv, (256, 128), (3, 1), 96, true),
    stage("residual 256 k1", Kind::Conv, (128, 256), (1, 1), 96, true),
    stage("transposed 5", Kind::Transposed, (256, 128), (10, 5), 96, true),
    stage("residual 128 k3", Kind::Conv, (128, 64), (3, 1), 480, true),
    stage("residual 128 k1", Kind::Conv, (64, 128), (1, 1), 480, true),
    stage("transposed 4", Kind::Transposed, (128, 64), (8, 4), 480, true),
    stage("residual 64 k3", Kind::Conv, (64, 32), (3, 1), 1920, true),
    stage("residual 64 k1", Kind::Conv, (32, 64), (1, 1), 1920, true),
    stage("last", Kind::Conv, (64, 1), (3, 1), 1920, true),
];

impl Stage {
    /// Values that one frame yields.
    pub(crate) fn n_outputs(&self) -> usize {
        let stride = if self.kind == Kind::Conv { 1 } else { self.shape.stride };
        self.n_positions * stride * self.shape.out_channels
    }

    /// Floating-point operations of one frame, those of the activation not counted.
    pub(crate) fn n_flop(&self) -> usize {
        let ConvShape { in_channels, kernel, stride, groups, .. } = self.shape;
        let taps = if self.kind == Kind::Conv { kernel } else { kernel / stride };
        2 * self.n_outputs() * taps * in_channels / groups
    }
}

/// A stage with random weights.
pub(crate) enum Conv {
    Conv(Conv1d),
    Transposed(ConvTranspose1d),
}

impl Conv {
    pub(crate) fn new(pool: &Pool, stage: Stage, format: MatrixFormat) -> Self {
        let ConvShape { in_channels, out_channels, kernel, groups, .. } = stage.shape;
        let (inner, outer) = if stage.kind == Kind::Conv {
            (in_channels / groups, out_channels)
        } else {
            (out_channels / groups, in_channels)
        };
        let weights = RandomWeights::of_convolution(1, &[outer, inner, kernel], stage.shape).weights();
        let weights = weights.kept_as(&[("", format)]);
        let activated = |conv: Conv1d| if stage.is_activated { conv.after(Activation::Elu) } else { conv };
        match stage.kind {
            Kind::Conv => {
                let conv = Conv1d::load(&weights, pool, stage.shape, true, Padding::Zeros);
                Self::Conv(activated(conv.expect("the shapes fit")))
            }
            Kind::Transposed => {
                let conv = ConvTranspose1d::load(&weights, pool, stage.shape).expect("the shapes fit");
                Self::Transposed(conv.after(Activation::Elu))
            }
            Kind::Depthwise => {
                Self::Transposed(ConvTranspose1d::load_depthwise(&weights, stage.shape).expect("the shapes fit"))
            }
        }
    }

    pub(crate) fn new_state(&self) -> ConvState {
        match self {
            Self::Conv(conv) => conv.new_state(),
            Self::Transposed(conv) => conv.new_state(),
        }
    }

    pub(crate) fn step(&self, ctx: Context<'_>, x: &[f32], streams: &mut [Rows<'_, ConvState>], out: &mut [f32]) {
        match self {
            Self::Conv(conv) => conv.step(ctx, x, 1, streams, |state| state, false, out),
            Self::Transposed(conv) => conv.step(ctx, x, 1, streams, |state| state, out),
        }
    }
}
