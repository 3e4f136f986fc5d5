//! One-dimensional convolutions over `[positions, channels]` as matrix products without a copy.
//!
//! The input is a window: the positions that came before (the layer's state) followed by the new ones.
//! A convolution reads `kernel` taps, `dilation` apart, for each output. A transposed convolution with
//! stride s is the same product with `ceil(kernel / s)` taps and `s * channels` outputs, which are the
//! s new positions of one input position. Source: `pocket_tts.modules.conv`.

mod single;

use single::SingleChannel;

use crate::dispatch::SimdOp;
use crate::gemm::{Epilogue, Input, PackedDType, PackedMatrix, Values, gemm};
use crate::level::Level;
use crate::packed::{Part, Parts};
use crate::parallel::Pool;
use crate::quantized::{QuantFormat, QuantizedInput, QuantizedMatrix, QuantizedRows, RowLayout, gemm_quantized};
use crate::simd::Simd;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Input channels.
    pub in_channels: usize,
    /// Output channels.
    pub out_channels: usize,
    /// Taps.
    pub kernel: usize,
    /// Input positions per output (transposed: outputs per input position).
    pub stride: usize,
    /// Distance between taps; 1 for a transposed convolution.
    pub dilation: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl ConvShape {
    /// Input positions before the new ones that the window of a convolution starts with.
    #[must_use]
    pub fn history(&self) -> usize {
        ((self.kernel - 1) * self.dilation + 1).saturating_sub(self.stride)
    }

    /// The same for a transposed convolution.
    #[must_use]
    pub fn transposed_history(&self) -> usize {
        self.kernel.div_ceil(self.stride) - 1
    }
}

/// Packed weights of a convolution.
#[derive(Debug)]
pub struct ConvMatrix {
    shape: ConvShape,
    matrices: Matrices,
}

#[derive(Debug)]
enum Matrices {
    /// One matrix `[out / groups, kernel * in / groups]` per group.
    Groups(Vec<PackedMatrix>),
    /// `[out, kernel * in]` of a convolution without groups.
    Quantized(QuantizedMatrix),
    /// One output channel.
    Single(SingleChannel),
}

/// What a convolution reads: the positions that came before, and the new ones.
#[derive(Clone, Copy, Debug)]
pub enum Window<'a> {
    /// `[positions, in_channels]`.
    Float(&'a [f32]),
    /// The same, quantised position by position.
    Quantized(QuantizedRows<'a>),
}

impl ConvMatrix {
    /// Packs weights `[out_channels, in_channels / groups, kernel]`; without groups, as integers where
    /// `format` says so.
    ///
    /// # Panics
    /// If the groups do not divide the channels or the weights have another size.
    #[must_use]
    pub fn new(pool: &Pool, shape: ConvShape, weight: Values<'_>, format: Option<QuantFormat>) -> Self {
        let ConvShape { in_channels, out_channels, kernel, groups, .. } = shape;
        assert!(in_channels.is_multiple_of(groups) && out_channels.is_multiple_of(groups), "groups divide channels");
        let (ins, outs) = (in_channels / groups, out_channels / groups);
        assert_eq!(weight.len(), out_channels * ins * kernel, "weights are [out, in / groups, kernel]");
        let index = |group: usize, m: usize, k: usize| ((group * outs + m) * ins + k % ins) * kernel + k / ins;
        if let Some(format) = format.filter(|_| groups == 1) {
            let index = |m, k| Some(index(0, m, k));
            let matrix = QuantizedMatrix::gather(pool, format, outs, (kernel, ins), weight, index);
            return Self { shape, matrices: Matrices::Quantized(matrix) };
        }
        if let Some(single) = SingleChannel::new(shape, weight) {
            return Self { shape, matrices: Matrices::Single(single) };
        }
        let groups = (0..groups)
            .map(|group| PackedMatrix::gather(pool, outs, kernel * ins, weight, |m, k| Some(index(group, m, k))));
        Self { shape, matrices: Matrices::Groups(groups.collect()) }
    }

    /// The matrix whose [`Self::parts`] are next in `parts`, of floats of type `dtype` or integers of `format`;
    /// nothing if they are of another type or size.
    ///
    /// # Panics
    /// If the groups do not divide the channels.
    #[must_use]
    pub fn from_parts(
        shape: ConvShape,
        dtype: PackedDType,
        format: Option<QuantFormat>,
        parts: &mut dyn Parts,
    ) -> Option<Self> {
        let ConvShape { in_channels, out_channels, kernel, groups, .. } = shape;
        assert!(in_channels.is_multiple_of(groups) && out_channels.is_multiple_of(groups), "groups divide channels");
        let (ins, outs) = (in_channels / groups, out_channels / groups);
        let matrices = match format.filter(|_| groups == 1) {
            Some(format) => Matrices::Quantized(QuantizedMatrix::from_parts(format, outs, (kernel, ins), parts)?),
            None if SingleChannel::is_for(shape) => Matrices::Single(SingleChannel::from_parts(shape, parts)?),
            None => Matrices::Groups(
                (0..groups)
                    .map(|_| PackedMatrix::from_parts(dtype, outs, kernel * ins, parts))
                    .collect::<Option<_>>()?,
            ),
        };
        Some(Self { shape, matrices })
    }

    /// The arrays that it consists of.
    #[must_use]
    pub fn parts(&self) -> Vec<Part<'_>> {
        match &self.matrices {
            Matrices::Groups(groups) => groups.iter().flat_map(PackedMatrix::parts).collect(),
            Matrices::Quantized(matrix) => matrix.parts(),
            Matrices::Single(single) => single.parts(),
        }
    }

    /// How positions are quantised for this layer; `None` if it takes floats.
    #[must_use]
    pub fn quantization(&self) -> Option<(RowLayout, QuantFormat)> {
        match &self.matrices {
            Matrices::Groups(_) | Matrices::Single(_) => None,
            Matrices::Quantized(matrix) => Some((matrix.layout(), matrix.format())),
        }
    }

    /// The sizes.
    #[must_use]
    pub fn shape(&self) -> ConvShape {
        self.shape
    }

    /// Convolves `window` (`[history + new, in_channels]`, `new` a multiple of the stride) into `out`
    /// (`[new / stride, out_channels]`).
    ///
    /// # Panics
    /// If the sizes do not fit, or the window is not of the kind that the layer takes.
    pub fn apply(&self, level: Level, pool: &Pool, window: Window<'_>, epilogue: Epilogue<'_>, out: &mut [f32]) {
        let ConvShape { in_channels, out_channels, kernel, stride, dilation, .. } = self.shape;
        let n_out = out.len() / out_channels;
        let n_positions = self.shape.history() + n_out * stride;
        match (&self.matrices, window) {
            (Matrices::Groups(groups), Window::Float(window)) => {
                assert_eq!(window.len(), n_positions * in_channels, "the window has another size");
                let (ins, outs) = (in_channels / groups.len(), out_channels / groups.len());
                for (group, matrix) in groups.iter().enumerate() {
                    // With a stride longer than the kernel the window has no history and a tail that
                    // no tap reads.
                    let x = Input::windows(
                        &window[group * ins..],
                        n_out,
                        stride * in_channels,
                        (kernel, dilation * in_channels),
                        ins,
                    );
                    let part =
                        |vector: &mut Option<&[f32]>| *vector = vector.map(|v| &v[group * outs..(group + 1) * outs]);
                    let mut epilogue = epilogue;
                    part_epilogue(&mut epilogue, part);
                    gemm(level, pool, matrix, x, epilogue, &mut out[group * outs..], out_channels);
                }
            }
            (Matrices::Single(single), Window::Float(window)) => {
                assert_eq!(window.len(), n_positions * in_channels, "the window has another size");
                single.apply(level, window, stride * in_channels, epilogue, out);
            }
            (Matrices::Quantized(matrix), Window::Quantized(window)) => {
                assert_eq!(window.n_rows(), n_positions, "the window has another size");
                let x = QuantizedInput::windows(window, n_out, stride, kernel, dilation);
                gemm_quantized(level, pool, matrix, x, epilogue, out, out_channels);
            }
            _ => panic!("the window is of another kind than the weights"),
        }
    }
}

fn part_epilogue<'a>(epilogue: &mut Epilogue<'a>, part: impl Fn(&mut Option<&'a [f32]>)) {
    part(&mut epilogue.bias);
    part(&mut epilogue.scale);
}

#[derive(Debug)]
enum TransposedMatrix {
    Float(PackedMatrix),
    Quantized(QuantizedMatrix),
}

/// Packed weights of a transposed convolution without groups: `[stride * out, taps * in]`.
#[derive(Debug)]
pub struct ConvTransposeMatrix {
    shape: ConvShape,
    matrix: TransposedMatrix,
    /// The bias of every output of one input position: `[stride, out]`.
    bias: Option<Vec<f32>>,
}

impl ConvTransposeMatrix {
    /// Packs weights `[in_channels, out_channels, kernel]`, as integers where `format` says so.
    ///
    /// # Panics
    /// If there are groups or the weights have another size.
    #[must_use]
    pub fn new(
        pool: &Pool,
        shape: ConvShape,
        weight: Values<'_>,
        bias: Option<&[f32]>,
        format: Option<QuantFormat>,
    ) -> Self {
        let ConvShape { in_channels, out_channels, kernel, stride, groups, .. } = shape;
        assert_eq!(groups, 1, "grouped transposed convolutions are `DepthwiseUpsample`");
        assert_eq!(weight.len(), in_channels * out_channels * kernel, "weights are [in, out, kernel]");
        let taps = kernel.div_ceil(stride);
        let outs = stride * out_channels;
        let index = |m: usize, k: usize| {
            // The window starts with the oldest position, which the last tap reads.
            let tap = taps - 1 - k / in_channels;
            let at = m / out_channels + tap * stride;
            (at < kernel).then(|| (k % in_channels * out_channels + m % out_channels) * kernel + at)
        };
        let matrix = match format {
            None => TransposedMatrix::Float(PackedMatrix::gather(pool, outs, taps * in_channels, weight, index)),
            Some(format) => TransposedMatrix::Quantized(QuantizedMatrix::gather(
                pool,
                format,
                outs,
                (taps, in_channels),
                weight,
                index,
            )),
        };
        Self { shape, matrix, bias: bias.map(|bias| bias.repeat(stride)) }
    }

    /// As [`ConvMatrix::from_parts`], with the bias.
    #[must_use]
    pub fn from_parts(
        shape: ConvShape,
        dtype: PackedDType,
        bias: Option<&[f32]>,
        format: Option<QuantFormat>,
        parts: &mut dyn Parts,
    ) -> Option<Self> {
        let ConvShape { in_channels, out_channels, kernel, stride, .. } = shape;
        let (taps, outs) = (kernel.div_ceil(stride), stride * out_channels);
        let matrix = match format {
            None => TransposedMatrix::Float(PackedMatrix::from_parts(dtype, outs, taps * in_channels, parts)?),
            Some(format) => {
                TransposedMatrix::Quantized(QuantizedMatrix::from_parts(format, outs, (taps, in_channels), parts)?)
            }
        };
        Some(Self { shape, matrix, bias: bias.map(|bias| bias.repeat(stride)) })
    }

    /// The arrays of the matrix, without the bias.
    #[must_use]
    pub fn parts(&self) -> Vec<Part<'_>> {
        match &self.matrix {
            TransposedMatrix::Float(matrix) => matrix.parts(),
            TransposedMatrix::Quantized(matrix) => matrix.parts(),
        }
    }

    /// The sizes.
    #[must_use]
    pub fn shape(&self) -> ConvShape {
        self.shape
    }

    /// As [`ConvMatrix::quantization`].
    #[must_use]
    pub fn quantization(&self) -> Option<(RowLayout, QuantFormat)> {
        match &self.matrix {
            TransposedMatrix::Float(_) => None,
            TransposedMatrix::Quantized(matrix) => Some((matrix.layout(), matrix.format())),
        }
    }

    /// Convolves `window` (`[history + new, in_channels]`) into `out` (`[new * stride, out_channels]`),
    /// with the bias.
    ///
    /// # Panics
    /// If the sizes do not fit, or the window is not of the kind that the layer takes.
    pub fn apply(&self, level: Level, pool: &Pool, window: Window<'_>, out: &mut [f32]) {
        let ConvShape { in_channels, out_channels, stride, .. } = self.shape;
        let n_new = out.len() / (stride * out_channels);
        let history = self.shape.transposed_history();
        let epilogue = Epilogue { bias: self.bias.as_deref(), ..Epilogue::default() };
        match (&self.matrix, window) {
            (TransposedMatrix::Float(matrix), Window::Float(window)) => {
                assert_eq!(window.len(), (history + n_new) * in_channels, "the window has another size");
                let x = Input::windows(window, n_new, in_channels, (history + 1, in_channels), in_channels);
                gemm(level, pool, matrix, x, epilogue, out, stride * out_channels);
            }
            (TransposedMatrix::Quantized(matrix), Window::Quantized(window)) => {
                assert_eq!(window.n_rows(), history + n_new, "the window has another size");
                let x = QuantizedInput::windows(window, n_new, 1, history + 1, 1);
                gemm_quantized(level, pool, matrix, x, epilogue, out, stride * out_channels);
            }
            _ => panic!("the window is of another kind than the weights"),
        }
    }
}

/// A transposed convolution with one output channel per group and no bias: the codec's upsampling.
#[derive(Debug)]
pub struct DepthwiseUpsample {
    shape: ConvShape,
    /// `[taps (oldest first), in / out, stride, out]`.
    weight: Vec<f32>,
}

impl DepthwiseUpsample {
    /// Takes weights `[in_channels, 1, kernel]` with `groups == out_channels`.
    ///
    /// # Panics
    /// If the groups are not the output channels, or the weights have another size.
    #[must_use]
    pub fn new(shape: ConvShape, weight: &[f32]) -> Self {
        let ConvShape { in_channels, out_channels, kernel, stride, groups, .. } = shape;
        assert_eq!(groups, out_channels, "one output channel per group");
        assert!(in_channels.is_multiple_of(out_channels), "groups divide the input channels");
        assert_eq!(weight.len(), in_channels * kernel, "weights are [in, 1, kernel]");
        let (taps, ins) = (kernel.div_ceil(stride), in_channels / out_channels);
        let mut packed = vec![0.0; taps * ins * stride * out_channels];
        for (index, packed) in packed.iter_mut().enumerate() {
            let channel = index % out_channels;
            let phase = index / out_channels % stride;
            let i = index / (out_channels * stride) % ins;
            let tap = taps - 1 - index / (out_channels * stride * ins);
            let at = phase + tap * stride;
            if at < kernel {
                *packed = weight[(channel * ins + i) * kernel + at];
            }
        }
        Self { shape, weight: packed }
    }

    /// The sizes.
    #[must_use]
    pub fn shape(&self) -> ConvShape {
        self.shape
    }

    /// As [`ConvTransposeMatrix::apply`].
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn apply(&self, level: Level, window: &[f32], out: &mut [f32]) {
        let ConvShape { in_channels, out_channels, stride, .. } = self.shape;
        let n_new = out.len() / (stride * out_channels);
        let history = self.shape.transposed_history();
        assert_eq!(window.len(), (history + n_new) * in_channels, "the window has another size");
        level.run(DepthwiseOp { upsample: self, window, out });
    }
}

struct DepthwiseOp<'a> {
    upsample: &'a DepthwiseUpsample,
    window: &'a [f32],
    out: &'a mut [f32],
}

impl SimdOp for DepthwiseOp<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let ConvShape { in_channels, out_channels, stride, .. } = self.upsample.shape;
        if in_channels != out_channels {
            // No shipped model has several input channels per group.
            return self.eval_scalar();
        }
        let taps = self.upsample.shape.transposed_history() + 1;
        for (position, out) in self.out.chunks_exact_mut(stride * out_channels).enumerate() {
            for (phase, out) in out.chunks_exact_mut(out_channels).enumerate() {
                for start in (0..out_channels).step_by(S::LANES) {
                    let lanes = start..(start + S::LANES).min(out_channels);
                    let whole = lanes.len() == S::LANES;
                    let mut acc = s.zero();
                    for tap in 0..taps {
                        let x = &self.window[(position + tap) * in_channels..][lanes.clone()];
                        let w = &self.upsample.weight[(tap * stride + phase) * out_channels..][lanes.clone()];
                        let (x, w) = if whole {
                            (s.load(x), s.load(w))
                        } else {
                            (s.load_partial(x, 0.0), s.load_partial(w, 0.0))
                        };
                        acc = s.mul_add(x, w, acc);
                    }
                    if whole {
                        s.store(acc, &mut out[lanes]);
                    } else {
                        s.store_partial(acc, &mut out[lanes]);
                    }
                }
            }
        }
    }

    fn eval_scalar(self) {
        let ConvShape { in_channels, out_channels, stride, .. } = self.upsample.shape;
        let (taps, ins) = (self.upsample.shape.transposed_history() + 1, in_channels / out_channels);
        for (index, out) in self.out.iter_mut().enumerate() {
            let (position, phase, channel) =
                (index / (stride * out_channels), index / out_channels % stride, index % out_channels);
            *out = 0.0;
            for tap in 0..taps {
                for i in 0..ins {
                    let x = self.window[(position + tap) * in_channels + channel * ins + i];
                    *out += x * self.upsample.weight[((tap * ins + i) * stride + phase) * out_channels + channel];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
