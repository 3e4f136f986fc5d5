//! A convolution with one output channel, the last of the codec: a dot product per position.

use crate::aligned::{AlignedVec, Constants};
use crate::dispatch::SimdOp;
use crate::gemm::{Epilogue, Values};
use crate::level::Level;
use crate::packed::{Part, Parts, next_values, part};
use crate::simd::Simd;

use super::ConvShape;

/// Outputs that are computed side by side, to hide the latency of their sums.
const TILE: usize = 4;
/// f32 of a cache line.
const LINE: usize = 16;

/// Weights of one output channel, `[kernel, in_channels]`, then zeros to the end of a cache line.
pub(super) struct SingleChannel {
    weight: Constants<f32>,
    len: usize,
}

/// The number of weights; `None` for a shape with other outputs, groups or gaps.
fn n_weights(shape: ConvShape) -> Option<usize> {
    let ConvShape { in_channels, out_channels, kernel, dilation, groups, .. } = shape;
    let is_dense = dilation == 1 || kernel == 1;
    (out_channels == 1 && groups == 1 && is_dense).then_some(kernel * in_channels)
}

impl SingleChannel {
    /// Whether a convolution of floats is of this kind.
    pub(super) fn is_for(shape: ConvShape) -> bool {
        n_weights(shape).is_some()
    }

    /// Takes weights `[1, in_channels, kernel]`; `None` for a shape with other outputs, groups or gaps.
    pub(super) fn new(shape: ConvShape, weight: Values<'_>) -> Option<Self> {
        let ConvShape { in_channels, kernel, .. } = shape;
        let len = n_weights(shape)?;
        let mut values = AlignedVec::zeroed(len.next_multiple_of(LINE));
        for (k, value) in values.as_mut_slice()[..len].iter_mut().enumerate() {
            *value = weight.get(k % in_channels * kernel + k / in_channels);
        }
        Some(Self { weight: values.into(), len })
    }

    /// The weights that [`Self::parts`] gave the next of `parts` of.
    pub(super) fn from_parts(shape: ConvShape, parts: &mut dyn Parts) -> Option<Self> {
        let len = n_weights(shape)?;
        Some(Self { weight: next_values(parts, &[len.next_multiple_of(LINE)])?, len })
    }

    /// The array of the weights.
    pub(super) fn parts(&self) -> Vec<Part<'_>> {
        vec![part(&self.weight, &[self.weight.as_slice().len()])]
    }

    /// The products of the weights with the windows that start at every `row_stride` values of `window`.
    pub(super) fn apply(
        &self,
        level: Level,
        window: &[f32],
        row_stride: usize,
        epilogue: Epilogue<'_>,
        out: &mut [f32],
    ) {
        level.run(SingleOp { weight: &self.weight.as_slice()[..self.len], window, row_stride, epilogue, out });
    }
}

impl std::fmt::Debug for SingleChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SingleChannel({})", self.len)
    }
}

struct SingleOp<'a> {
    weight: &'a [f32],
    window: &'a [f32],
    row_stride: usize,
    epilogue: Epilogue<'a>,
    out: &'a mut [f32],
}

impl SingleOp<'_> {
    fn row(&self, row: usize) -> &[f32] {
        &self.window[row * self.row_stride..][..self.weight.len()]
    }

    fn write(&mut self, row: usize, sum: f32) {
        self.epilogue.write(0, &[sum], &mut self.out[row..=row]);
    }
}

impl SimdOp for SingleOp<'_> {
    type Output = ();

    /// Every sum has one chain per lane and then one over the lanes, whatever its neighbours.
    #[inline(always)]
    fn eval<S: Simd>(mut self, s: S) {
        let n_rows = self.out.len();
        let n_whole = n_rows / TILE * TILE;
        for first in (0..n_whole).step_by(TILE) {
            let sums = self.sums::<S, TILE>(s, first);
            for (i, sum) in sums.into_iter().enumerate() {
                self.write(first + i, sum);
            }
        }
        for row in n_whole..n_rows {
            let [sum] = self.sums::<S, 1>(s, row);
            self.write(row, sum);
        }
    }

    fn eval_scalar(mut self) {
        for row in 0..self.out.len() {
            let sum = self.row(row).iter().zip(self.weight).map(|(x, w)| x * w).sum();
            self.write(row, sum);
        }
    }
}

impl SingleOp<'_> {
    #[inline(always)]
    fn sums<S: Simd, const R: usize>(&self, s: S, first: usize) -> [f32; R] {
        let mut rows = [self.weight; R];
        for r in 0..R {
            rows[r] = self.row(first + r);
        }
        let n = self.weight.len();
        let n_whole = n / S::LANES * S::LANES;
        let mut acc = [s.zero(); R];
        for k in (0..n_whole).step_by(S::LANES) {
            let w = s.load(&self.weight[k..]);
            for r in 0..R {
                acc[r] = s.mul_add(w, s.load(&rows[r][k..]), acc[r]);
            }
        }
        let w = s.load_partial(&self.weight[n_whole..], 0.0);
        let mut sums = [0.0; R];
        for r in 0..R {
            let x = s.load_partial(&rows[r][n_whole..], 0.0);
            sums[r] = s.reduce_add(s.mul_add(w, x, acc[r]));
        }
        sums
    }
}
