//! One-dimensional convolutions over `[positions, channels]` as matrix products without a copy.
//!
//! The input is a window: the positions that came before (the layer's state) followed by the new ones.
//! A convolution reads `kernel` taps, `dilation` apart, for each output. A transposed convolution with
//! stride s is the same product with `ceil(kernel / s)` taps and `s * channels` outputs, which are the
//! s new positions of one input position. Source: `pocket_tts.modules.conv`.

use crate::dispatch::SimdOp;
use crate::gemm::{Epilogue, Input, PackedMatrix, Values, gemm};
use crate::level::Level;
use crate::parallel::Pool;
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

/// Packed weights of a convolution: one matrix `[out / groups, kernel * in / groups]` per group.
#[derive(Debug)]
pub struct ConvMatrix {
    shape: ConvShape,
    groups: Vec<PackedMatrix>,
}

impl ConvMatrix {
    /// Packs weights `[out_channels, in_channels / groups, kernel]`.
    ///
    /// # Panics
    /// If the groups do not divide the channels or the weights have another size.
    #[must_use]
    pub fn new(pool: &Pool, shape: ConvShape, weight: Values<'_>) -> Self {
        let ConvShape { in_channels, out_channels, kernel, groups, .. } = shape;
        assert!(in_channels.is_multiple_of(groups) && out_channels.is_multiple_of(groups), "groups divide channels");
        let (ins, outs) = (in_channels / groups, out_channels / groups);
        assert_eq!(weight.len(), out_channels * ins * kernel, "weights are [out, in / groups, kernel]");
        let groups = (0..groups)
            .map(|group| {
                PackedMatrix::gather(pool, outs, kernel * ins, weight, |m, k| {
                    Some(((group * outs + m) * ins + k % ins) * kernel + k / ins)
                })
            })
            .collect();
        Self { shape, groups }
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
    /// If the sizes do not fit.
    pub fn apply(&self, level: Level, pool: &Pool, window: &[f32], epilogue: Epilogue<'_>, out: &mut [f32]) {
        let ConvShape { in_channels, out_channels, kernel, stride, dilation, .. } = self.shape;
        let n_out = out.len() / out_channels;
        assert_eq!(window.len(), (self.shape.history() + n_out * stride) * in_channels, "the window has another size");
        let (ins, outs) = (in_channels / self.groups.len(), out_channels / self.groups.len());
        for (group, matrix) in self.groups.iter().enumerate() {
            // With a stride longer than the kernel the window has no history and a tail that no tap reads.
            let x = Input::windows(
                &window[group * ins..],
                n_out,
                stride * in_channels,
                (kernel, dilation * in_channels),
                ins,
            );
            let part = |vector: &mut Option<&[f32]>| *vector = vector.map(|v| &v[group * outs..(group + 1) * outs]);
            let mut epilogue = epilogue;
            part_epilogue(&mut epilogue, part);
            gemm(level, pool, matrix, x, epilogue, &mut out[group * outs..], out_channels);
        }
    }
}

fn part_epilogue<'a>(epilogue: &mut Epilogue<'a>, part: impl Fn(&mut Option<&'a [f32]>)) {
    part(&mut epilogue.bias);
    part(&mut epilogue.scale);
}

/// Packed weights of a transposed convolution without groups: `[stride * out, taps * in]`.
#[derive(Debug)]
pub struct ConvTransposeMatrix {
    shape: ConvShape,
    matrix: PackedMatrix,
    /// The bias of every output of one input position: `[stride, out]`.
    bias: Option<Vec<f32>>,
}

impl ConvTransposeMatrix {
    /// Packs weights `[in_channels, out_channels, kernel]`.
    ///
    /// # Panics
    /// If there are groups or the weights have another size.
    #[must_use]
    pub fn new(pool: &Pool, shape: ConvShape, weight: Values<'_>, bias: Option<&[f32]>) -> Self {
        let ConvShape { in_channels, out_channels, kernel, stride, groups, .. } = shape;
        assert_eq!(groups, 1, "grouped transposed convolutions are `DepthwiseUpsample`");
        assert_eq!(weight.len(), in_channels * out_channels * kernel, "weights are [in, out, kernel]");
        let taps = kernel.div_ceil(stride);
        let matrix = PackedMatrix::gather(pool, stride * out_channels, taps * in_channels, weight, |m, k| {
            // The window starts with the oldest position, which the last tap reads.
            let tap = taps - 1 - k / in_channels;
            let at = m / out_channels + tap * stride;
            (at < kernel).then(|| (k % in_channels * out_channels + m % out_channels) * kernel + at)
        });
        Self { shape, matrix, bias: bias.map(|bias| bias.repeat(stride)) }
    }

    /// The sizes.
    #[must_use]
    pub fn shape(&self) -> ConvShape {
        self.shape
    }

    /// Convolves `window` (`[history + new, in_channels]`) into `out` (`[new * stride, out_channels]`),
    /// with the bias.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn apply(&self, level: Level, pool: &Pool, window: &[f32], out: &mut [f32]) {
        let ConvShape { in_channels, out_channels, stride, .. } = self.shape;
        let n_new = out.len() / (stride * out_channels);
        let history = self.shape.transposed_history();
        assert_eq!(window.len(), (history + n_new) * in_channels, "the window has another size");
        let x = Input::windows(window, n_new, in_channels, (history + 1, in_channels), in_channels);
        let epilogue = Epilogue { bias: self.bias.as_deref(), ..Epilogue::default() };
        gemm(level, pool, &self.matrix, x, epilogue, out, stride * out_channels);
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
