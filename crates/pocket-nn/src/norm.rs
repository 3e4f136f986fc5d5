//! LayerNorm with its weights.

use pocket_kernels::norm::layer_norm_into;

use crate::context::Context;
use crate::error::WeightsError;
use crate::weights::Weights;

/// `(x - mean) / sqrt(var + eps) * weight + bias` over rows; without affine part the last two are left out.
#[derive(Debug)]
pub struct LayerNorm {
    width: usize,
    affine: Option<(Vec<f32>, Vec<f32>)>,
    eps: f32,
}

impl LayerNorm {
    /// Loads `weight` and `bias`, both `[width]`.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn load(weights: &Weights, width: usize, eps: f32) -> Result<Self, WeightsError> {
        let affine = (weights.get("weight", &[width])?.to_f32(), weights.get("bias", &[width])?.to_f32());
        Ok(Self { width, affine: Some(affine), eps })
    }

    /// A norm without weights.
    #[must_use]
    pub fn plain(width: usize, eps: f32) -> Self {
        Self { width, affine: None, eps }
    }

    /// Writes the normalised rows of `x` to `out`.
    ///
    /// # Panics
    /// If the lengths differ or are not whole rows.
    pub fn forward_into(&self, ctx: Context<'_>, x: &[f32], out: &mut [f32]) {
        let affine = self.affine.as_ref().map(|(weight, bias)| (&weight[..], &bias[..]));
        layer_norm_into(ctx.level, x, self.width, affine, self.eps, out);
    }
}
