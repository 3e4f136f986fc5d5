//! A constant matrix in the form that its layer multiplies with: floats or integers.

use pocket_kernels::gemm::{Epilogue, Input, PackedMatrix, Values, gemm};
use pocket_kernels::parallel::Pool;
use pocket_kernels::quantized::{
    QuantFormat, QuantizedInput, QuantizedMatrix, QuantizedRows, RowLayout, gemm_quantized, quantize_rows,
};

use crate::arena::ArenaBuf;
use crate::context::Context;
use crate::weights::{MatrixFormat, Tensor};

/// Inputs and outputs of a fully connected layer below which quantising saves nothing that could be measured.
const MIN_QUANTIZED_FEATURES: usize = 64;

/// Calls `pack` with the values of a float tensor, in f32 or bf16 as the format says.
pub(crate) fn with_values<R>(tensor: &Tensor, format: MatrixFormat, pack: impl FnOnce(Values<'_>) -> R) -> R {
    match (tensor.to_bf16_bits(), format) {
        (Some(bits), _) => pack(Values::Bf16(&bits)),
        (None, MatrixFormat::Bf16) => pack(Values::Bf16(&bf16_bits(&tensor.to_f32()))),
        (None, _) => pack(Values::F32(&tensor.to_f32())),
    }
}

/// The nearest bf16 of every value.
fn bf16_bits(values: &[f32]) -> Vec<u16> {
    values.iter().map(|&x| half::bf16::from_f32(x).to_bits()).collect()
}

/// A matrix `[out_features, in_features]` of a fully connected layer.
#[derive(Debug)]
pub(crate) enum Matrix {
    Float(PackedMatrix),
    Quantized(QuantizedMatrix),
}

impl Matrix {
    /// Packs a tensor `[out_features, in_features]`.
    pub(crate) fn pack(pool: &Pool, tensor: &Tensor, format: MatrixFormat) -> Self {
        let (out_features, in_features) = (tensor.shape()[0], tensor.shape()[1]);
        let is_large = in_features.min(out_features) >= MIN_QUANTIZED_FEATURES;
        with_values(tensor, format, |values| match format.quantized().filter(|_| is_large) {
            None => Self::Float(PackedMatrix::from_rows(pool, values, out_features, in_features)),
            Some(format) => {
                Self::Quantized(QuantizedMatrix::from_rows(pool, format, values, out_features, in_features))
            }
        })
    }

    pub(crate) fn in_features(&self) -> usize {
        match self {
            Self::Float(matrix) => matrix.in_features(),
            Self::Quantized(matrix) => matrix.in_features(),
        }
    }

    pub(crate) fn out_features(&self) -> usize {
        match self {
            Self::Float(matrix) => matrix.out_features(),
            Self::Quantized(matrix) => matrix.out_features(),
        }
    }

    /// Multiplies rows `x` `[rows, in_features]` into `out` `[rows, out_features]`.
    pub(crate) fn apply(&self, ctx: Context<'_>, x: &[f32], epilogue: Epilogue<'_>, out: &mut [f32]) {
        let stride = self.out_features();
        match self {
            Self::Float(matrix) => {
                gemm(ctx.level, ctx.pool, matrix, Input::rows(x, matrix.in_features()), epilogue, out, stride);
            }
            Self::Quantized(matrix) => {
                let mut buffers = RowBuffers::take(ctx, matrix.layout(), x.len());
                let x = QuantizedInput::rows(buffers.quantize(ctx, matrix.format(), x));
                gemm_quantized(ctx.level, ctx.pool, matrix, x, epilogue, out, stride);
            }
        }
    }
}

/// Scratch memory for quantised rows.
pub(crate) struct RowBuffers<'a> {
    layout: RowLayout,
    values: ArenaBuf<'a, i16>,
    scales: ArenaBuf<'a>,
}

impl<'a> RowBuffers<'a> {
    /// Buffers for `len` values in rows of `layout`.
    pub(crate) fn take(ctx: Context<'a>, layout: RowLayout, len: usize) -> Self {
        let n_rows = len / layout.row_len();
        let values = ctx.arena.take_i16(n_rows * layout.padded_len());
        Self { layout, values, scales: ctx.arena.take(n_rows * layout.n_blocks()) }
    }

    pub(crate) fn quantize(&mut self, ctx: Context<'_>, format: QuantFormat, x: &[f32]) -> QuantizedRows<'_> {
        quantize_rows(ctx.level, self.layout, format, x, &mut self.values, &mut self.scales)
    }
}
