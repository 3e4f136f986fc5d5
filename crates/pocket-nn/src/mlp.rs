//! The feed-forward block of a transformer layer: linear, GELU-tanh, linear.

use pocket_kernels::activation::Activation;
use pocket_kernels::parallel::Pool;

use crate::context::Context;
use crate::error::WeightsError;
use crate::linear::Linear;
use crate::weights::Weights;

/// `linear2(gelu_tanh(linear1(x)))`, both without bias.
#[derive(Debug)]
pub struct FeedForward {
    linear1: Linear,
    linear2: Linear,
}

impl FeedForward {
    /// Loads `linear1` `[hidden, width]` and `linear2` `[width, hidden]`.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn load(weights: &Weights, pool: &Pool, width: usize, hidden: usize) -> Result<Self, WeightsError> {
        Ok(Self {
            linear1: Linear::load(&weights.scope("linear1"), pool, width, hidden, false)?,
            linear2: Linear::load(&weights.scope("linear2"), pool, hidden, width, false)?,
        })
    }

    /// Adds `scale * y` to `out`, both `[rows, width]`.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn accumulate(&self, ctx: Context<'_>, x: &[f32], scale: Option<&[f32]>, out: &mut [f32]) {
        let n_rows = x.len() / self.linear1.in_features();
        let mut hidden = ctx.arena.take(n_rows * self.linear1.out_features());
        self.linear1.forward_into(ctx, x, &mut hidden);
        Activation::GeluTanh.apply(ctx.level, &mut hidden);
        self.linear2.accumulate(ctx, &hidden, scale, out);
    }
}
