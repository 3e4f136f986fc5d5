//! A fully connected layer: `y = x W^T + b` over rows.

use pocket_kernels::gemm::{Epilogue, Input, PackedMatrix, Values, gemm};
use pocket_kernels::parallel::Pool;

use crate::context::Context;
use crate::error::WeightsError;
use crate::weights::{Tensor, Weights};

/// Calls `pack` with the values of a float tensor; bf16 stays bf16.
pub(crate) fn with_values<R>(tensor: &Tensor, pack: impl FnOnce(Values<'_>) -> R) -> R {
    match tensor.to_bf16_bits() {
        Some(bits) => pack(Values::Bf16(&bits)),
        None => pack(Values::F32(&tensor.to_f32())),
    }
}

/// Packs a `[out, in]` tensor.
fn pack(pool: &Pool, tensor: &Tensor) -> PackedMatrix {
    let (out_features, in_features) = (tensor.shape()[0], tensor.shape()[1]);
    with_values(tensor, |values| PackedMatrix::from_rows(pool, values, out_features, in_features))
}

/// Weights of a fully connected layer.
#[derive(Debug)]
pub struct Linear {
    weight: PackedMatrix,
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
        let weight = pack(pool, &weights.get("weight", &[out_features, in_features])?);
        let bias = if has_bias { Some(weights.get("bias", &[out_features])?.to_f32()) } else { None };
        Ok(Self { weight, bias })
    }

    /// A layer without bias of a tensor `[out_features, in_features]`.
    #[must_use]
    pub fn from_tensor(pool: &Pool, tensor: &Tensor) -> Self {
        Self { weight: pack(pool, tensor), bias: None }
    }

    /// Loads several layers with biases over the same input as one, their outputs one after the other.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn load_stacked(parts: &[(Weights, usize)], pool: &Pool, in_features: usize) -> Result<Self, WeightsError> {
        let mut tensors = Vec::new();
        let mut bias = Vec::new();
        for (weights, out_features) in parts {
            tensors.push(weights.get("weight", &[*out_features, in_features])?);
            bias.extend(weights.get("bias", &[*out_features])?.to_f32());
        }
        let bits: Option<Vec<Vec<u16>>> = tensors.iter().map(Tensor::to_bf16_bits).collect();
        let weight = if let Some(bits) = bits {
            PackedMatrix::from_bf16(pool, &bits.concat(), bias.len(), in_features)
        } else {
            let values: Vec<f32> = tensors.iter().flat_map(Tensor::to_f32).collect();
            PackedMatrix::from_f32(pool, &values, bias.len(), in_features)
        };
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

    /// The packed weights.
    #[must_use]
    pub fn weight(&self) -> &PackedMatrix {
        &self.weight
    }

    /// Writes `y` `[rows, out_features]` for `x` `[rows, in_features]`.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn forward_into(&self, ctx: Context<'_>, x: &[f32], out: &mut [f32]) {
        let epilogue = Epilogue { bias: self.bias.as_deref(), ..Epilogue::default() };
        self.run(ctx, x, epilogue, out);
    }

    /// Adds `scale * y` to `out`; a scale of `None` is one.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn accumulate(&self, ctx: Context<'_>, x: &[f32], scale: Option<&[f32]>, out: &mut [f32]) {
        self.run(ctx, x, Epilogue { bias: self.bias.as_deref(), scale, accumulate: true }, out);
    }

    fn run(&self, ctx: Context<'_>, x: &[f32], epilogue: Epilogue<'_>, out: &mut [f32]) {
        let x = Input::rows(x, self.in_features());
        gemm(ctx.level, ctx.pool, &self.weight, x, epilogue, out, self.out_features());
    }
}
