//! A constant matrix in the form that its layer multiplies with: floats or integers.

use std::slice;

use pocket_kernels::aligned::AlignedVec;
use pocket_kernels::bf16::{gemm_bf16, round_rows, rounded_len};
use pocket_kernels::gemm::{Epilogue, Input, PackedDType, PackedMatrix, Values, gemm};
use pocket_kernels::packed::{Part, Parts};
use pocket_kernels::parallel::Pool;
use pocket_kernels::quantized::{
    QuantFormat, QuantizedInput, QuantizedMatrix, QuantizedRows, RowLayout, gemm_quantized, quantize_rows,
};

use crate::arena::ArenaBuf;
use crate::context::Context;
use crate::packed::{HasParts, Packs};
use crate::weights::{DType, MatrixFormat, Tensor};

/// Inputs and outputs of a fully connected layer below which quantising saves nothing that could be measured, nor
/// does rounding its input to bf16.
const MIN_LARGE_FEATURES: usize = 64;

/// The type of the floats that a tensor is packed as.
pub(crate) fn packed_dtype(tensor: &Tensor, format: MatrixFormat) -> PackedDType {
    match (tensor.dtype(), format) {
        (DType::Bf16, _) | (_, MatrixFormat::Bf16 | MatrixFormat::Bf16Products) => PackedDType::Bf16,
        _ => PackedDType::F32,
    }
}

/// Calls `pack` with the values of float tensors, one after the other, whose memory is given back.
pub(crate) fn with_values<R>(tensors: &[Tensor], dtype: PackedDType, pack: impl FnOnce(Values<'_>) -> R) -> R {
    let n_values = tensors.iter().map(Tensor::numel).sum();
    let packed = match (dtype, tensors) {
        (PackedDType::F32, [tensor]) => pack(Values::F32(&tensor.floats())),
        (PackedDType::F32, _) => {
            let mut values = AlignedVec::zeroed(n_values);
            let mut rest = values.as_mut_slice();
            for tensor in tensors {
                let (own, others) = rest.split_at_mut(tensor.numel());
                tensor.values_into(0, own);
                tensor.release();
                rest = others;
            }
            pack(Values::F32(values.as_slice()))
        }
        (PackedDType::Bf16, [tensor]) if tensor.dtype() == DType::Bf16 => pack(Values::Bf16(&tensor.bf16_bits())),
        (PackedDType::Bf16, _) => {
            let mut bits = AlignedVec::zeroed(n_values);
            let mut rest = bits.as_mut_slice();
            for tensor in tensors {
                let (own, others) = rest.split_at_mut(tensor.numel());
                tensor.bf16_bits_into(own);
                tensor.release();
                rest = others;
            }
            pack(Values::Bf16(bits.as_slice()))
        }
    };
    tensors.iter().for_each(Tensor::release);
    packed
}

/// A matrix `[out_features, in_features]` of a fully connected layer.
#[derive(Debug)]
pub(crate) enum Matrix {
    Float(PackedMatrix),
    /// Of bf16, which multiplies activations rounded to bf16.
    Bf16(PackedMatrix),
    Quantized(QuantizedMatrix),
}

impl HasParts for Matrix {
    fn parts(&self) -> Vec<Part<'_>> {
        match self {
            Self::Float(matrix) | Self::Bf16(matrix) => matrix.parts(),
            Self::Quantized(matrix) => matrix.parts(),
        }
    }
}

impl Matrix {
    /// The packed form of a tensor `[out_features, in_features]`.
    pub(crate) fn of(packs: &Packs, pool: &Pool, tensor: &Tensor, format: MatrixFormat) -> Self {
        Self::of_stacked(packs, pool, slice::from_ref(tensor), format)
    }

    /// The packed form of the matrices of one width below each other; bf16 if all are, else f32.
    ///
    /// # Panics
    /// If there are none.
    pub(crate) fn of_stacked(packs: &Packs, pool: &Pool, tensors: &[Tensor], format: MatrixFormat) -> Self {
        let (first, others) = tensors.split_first().expect("a layer is made of at least one tensor");
        let out_features = tensors.iter().map(|tensor| tensor.shape()[0]).sum();
        let in_features = first.shape()[1];
        let is_large = in_features.min(out_features) >= MIN_LARGE_FEATURES;
        let quantized = format.quantized().filter(|_| is_large);
        let dtypes = tensors.iter().map(|tensor| packed_dtype(tensor, format));
        let dtype = dtypes.fold(PackedDType::Bf16, |all, dtype| if dtype == all { all } else { PackedDType::F32 });
        let name = match others.len() {
            0 => first.name().to_owned(),
            n => format!("{} and {n} more", first.name()),
        };
        let multiplies_bf16 = is_large && format == MatrixFormat::Bf16Products;
        let float = |matrix| if multiplies_bf16 { Self::Bf16(matrix) } else { Self::Float(matrix) };
        let from_parts = |parts: &mut dyn Parts| {
            Some(match quantized {
                None => float(PackedMatrix::from_parts(dtype, out_features, in_features, parts)?),
                Some(format) => {
                    Self::Quantized(QuantizedMatrix::from_parts(format, out_features, (1, in_features), parts)?)
                }
            })
        };
        let pack = |values: Values<'_>| match quantized {
            None => float(PackedMatrix::from_rows(pool, values, out_features, in_features)),
            Some(format) => {
                Self::Quantized(QuantizedMatrix::from_rows(pool, format, values, out_features, in_features))
            }
        };
        packs.matrix(&name, from_parts, || with_values(tensors, dtype, pack))
    }

    pub(crate) fn in_features(&self) -> usize {
        match self {
            Self::Float(matrix) | Self::Bf16(matrix) => matrix.in_features(),
            Self::Quantized(matrix) => matrix.in_features(),
        }
    }

    pub(crate) fn out_features(&self) -> usize {
        match self {
            Self::Float(matrix) | Self::Bf16(matrix) => matrix.out_features(),
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
            Self::Bf16(matrix) => {
                let n_in = matrix.in_features();
                let mut buffer = ctx.arena.take(rounded_len(x.len() / n_in, n_in));
                let x = round_rows(ctx.level, x, n_in, &mut buffer);
                gemm_bf16(ctx.level, ctx.pool, matrix, x, epilogue, out, stride);
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

#[cfg(test)]
mod tests {
    use pocket_kernels::testing::for_each_level;

    use super::*;
    use crate::arena::Arena;

    #[test]
    fn formats_round_what_they_say() {
        // 1 + 2^-9 is 1 in bf16.
        const FINE: f32 = 1.001_953_1;
        let of_width = |width: usize| {
            let mut values = vec![0.0; width * width];
            (values[0], values[width]) = (FINE, 2.0);
            Tensor::from_f32("weight", &[width, width], values)
        };
        let (large, small) = (of_width(MIN_LARGE_FEATURES), of_width(MIN_LARGE_FEATURES - 1));
        let (pool, arena) = (Pool::default(), Arena::new());
        for_each_level(|level| {
            let product = |tensor: &Tensor, format| {
                let matrix = Matrix::of(&Packs::Memory, &pool, tensor, format);
                let (mut x, mut out) = (vec![0.0; tensor.shape()[1]], vec![0.0; tensor.shape()[0]]);
                x[0] = FINE;
                matrix.apply(Context { level, pool: &pool, arena: &arena }, &x, Epilogue::default(), &mut out);
                [out[0], out[1]]
            };
            assert_eq!(product(&large, MatrixFormat::Stored), [FINE * FINE, 2.0 * FINE], "{level:?}");
            assert_eq!(product(&large, MatrixFormat::Bf16), [FINE, 2.0 * FINE], "{level:?}");
            assert_eq!(product(&large, MatrixFormat::Bf16Products), [1.0, 2.0], "{level:?}");
            assert_eq!(product(&small, MatrixFormat::Bf16Products), [FINE, 2.0 * FINE], "{level:?}");
            // What is stored as bf16 is exact in f32 arithmetic unless the format says otherwise.
            let stored = large.to_dtype(DType::Bf16);
            assert_eq!(product(&stored, MatrixFormat::Stored), [FINE, 2.0 * FINE], "{level:?}");
        });
    }
}
