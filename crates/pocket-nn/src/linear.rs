//! A fully connected layer: `y = x W^T + b` over rows.

use pocket_kernels::gemm::Epilogue;
use pocket_kernels::parallel::Pool;

use crate::context::Context;
use crate::error::WeightsError;
use crate::matrix::Matrix;
use crate::weights::{MatrixFormat, Tensor, Weights};

/// Weights of a fully connected layer.
#[derive(Debug)]
pub struct Linear {
    weight: Matrix,
    bias: Option<Vec<f32>>,
}

impl Linear {
    /// Loads `weight` `[out_features, in_features]` and, with `has_bias`, `bias` `[out_features]`.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn load(
        weights: &Weights,
        pool: &Pool,
        in_features: usize,
        out_features: usize,
        has_bias: bool,
    ) -> Result<Self, WeightsError> {
        let weight = weights.get("weight", &[out_features, in_features])?;
        let weight = Matrix::of(weights.packs(), pool, &weight, weights.format());
        let bias = if has_bias { Some(weights.get("bias", &[out_features])?.to_f32()) } else { None };
        Ok(Self { weight, bias })
    }

    /// A layer without bias of a tensor `[out_features, in_features]` of `weights`, kept as it is.
    #[must_use]
    pub fn from_tensor(weights: &Weights, pool: &Pool, tensor: &Tensor) -> Self {
        Self { weight: Matrix::of(weights.packs(), pool, tensor, MatrixFormat::Stored), bias: None }
    }

    /// Loads several layers with biases over the same input as one, their outputs one after the other.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    ///
    /// # Panics
    /// If there are no layers.
    pub fn load_stacked(parts: &[(Weights, usize)], pool: &Pool, in_features: usize) -> Result<Self, WeightsError> {
        let mut tensors = Vec::new();
        let mut bias = Vec::new();
        for (weights, out_features) in parts {
            tensors.push(weights.get("weight", &[*out_features, in_features])?);
            bias.extend(weights.get("bias", &[*out_features])?.to_f32());
        }
        let (weights, _) = parts.first().expect("a stack has layers");
        let weight = Matrix::of_stacked(weights.packs(), pool, &tensors, weights.format());
        Ok(Self { weight, bias: Some(bias) })
    }

    /// Width of the input.
    #[must_use]
    pub fn in_features(&self) -> usize {
        self.weight.in_features()
    }

    /// Width of the output.
    #[must_use]
    pub fn out_features(&self) -> usize {
        self.weight.out_features()
    }

    /// Writes `y` `[rows, out_features]` for `x` `[rows, in_features]`.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn forward_into(&self, ctx: Context<'_>, x: &[f32], out: &mut [f32]) {
        let epilogue = Epilogue { bias: self.bias.as_deref(), ..Epilogue::default() };
        self.weight.apply(ctx, x, epilogue, out);
    }

    /// Adds `scale * y` to `out`; a scale of `None` is one.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn accumulate(&self, ctx: Context<'_>, x: &[f32], scale: Option<&[f32]>, out: &mut [f32]) {
        self.weight.apply(ctx, x, Epilogue { bias: self.bias.as_deref(), scale, accumulate: true }, out);
    }
}
