//! Products with 8-bit weights by instructions that multiply bytes: what AMX and NEON's products of bytes share.
//!
//! Activations are split into signed bytes, `x = 256 * high + low`, and the sums of a block are
//! `256 * sum(high * w) + sum(low * w)`: the same integers as those of pairs, and so the same bits.
//!
//! The instructions want 4 consecutive weights of an output together where panels have 2 ([`Pairs`]): the
//! kernels interleave two rows of pairs on their way, so that the layout is one for all levels.

use std::cell::Cell;

use crate::dispatch::SimdOp;
use crate::gemm::PANEL;
use crate::level::Level;
use crate::simd::Simd;

use super::{BLOCK, QuantizedInput, QuantizedMatrix};

/// Integers that the planes of a position are padded to, with zeros.
pub(super) const STEP: usize = 64;

/// A row of a panel: two consecutive weights of every output.
pub(super) type Pairs = [[i8; 2]; PANEL];

thread_local! {
    /// Activations as bytes, kept for the next product of the thread.
    static BYTES: Cell<Vec<i8>> = const { Cell::new(Vec::new()) };
}

/// The operands of a product.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    w: &'a QuantizedMatrix,
    weights: &'a [i8],
    pub(super) x: QuantizedInput<'a>,
    /// `[positions, high and low, plane_len]`.
    pub(super) bytes: &'a [i8],
    /// Bytes of a position's high or low plane, a multiple of [`STEP`].
    pub(super) plane_len: usize,
}

/// A block of inputs of one tap and panel.
pub(super) struct Block<'a> {
    pub(super) tap: usize,
    pub(super) index: usize,
    pub(super) pairs: &'a [Pairs],
    /// One per output.
    pub(super) scales: &'a [f32],
}

impl<'a> Product<'a> {
    /// Calls `run` with the product of `w`, whose integers are `weights`, and `x`.
    ///
    /// Allocates nothing once a thread has seen its largest input.
    pub(super) fn with<R>(
        level: Level,
        (w, weights): (&'a QuantizedMatrix, &'a [i8]),
        x: QuantizedInput<'a>,
        run: impl FnOnce(Product<'_>) -> R,
    ) -> R {
        let plane_len = w.layout().padded_len().next_multiple_of(STEP);
        let n_bytes = x.positions.n_rows() * 2 * plane_len;
        let mut bytes = BYTES.take();
        if bytes.len() < n_bytes {
            bytes.resize(n_bytes, 0);
        }
        level.run(Split { x, plane_len, bytes: &mut bytes[..n_bytes] });
        let result = run(Product { w, weights, x, bytes: &bytes[..n_bytes], plane_len });
        BYTES.set(bytes);
        result
    }

    /// The blocks of a panel, taps first, in the order in which their sums are added.
    #[inline(always)]
    pub(super) fn blocks(&self, panel: usize) -> impl Iterator<Item = Block<'a>> {
        let (n_taps, n_blocks) = (self.w.n_taps(), self.w.layout().n_blocks());
        let n_pairs = self.w.layout().padded_len() / 2;
        let (pairs, _) = self.weights.as_chunks::<2>();
        let (pairs, _) = pairs.as_chunks::<PANEL>();
        let scales = self.w.scales.as_slice();
        (0..n_taps * n_blocks).map(move |i| {
            let (tap, index) = (i / n_blocks, i % n_blocks);
            let tap_of_panel = panel * n_taps + tap;
            let ks = index * BLOCK / 2..((index + 1) * BLOCK / 2).min(n_pairs);
            Block {
                tap,
                index,
                pairs: &pairs[tap_of_panel * n_pairs..][ks],
                scales: &scales[(tap_of_panel * n_blocks + index) * PANEL..][..PANEL],
            }
        })
    }

    /// The scale of the row's activations in a block.
    #[inline(always)]
    pub(super) fn x_scale(&self, row: usize, block: &Block<'_>) -> f32 {
        self.x.positions.row(self.x.position(row, block.tap)).1[block.index]
    }

    /// Where the high plane of a row's activations in a block starts; the low one is `plane_len` further.
    #[inline(always)]
    pub(super) fn high(&self, row: usize, block: &Block<'_>) -> usize {
        self.x.position(row, block.tap) * 2 * self.plane_len + block.index * BLOCK
    }
}

/// Writes the bytes of every position.
struct Split<'a> {
    x: QuantizedInput<'a>,
    plane_len: usize,
    bytes: &'a mut [i8],
}

impl SimdOp for Split<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, _: S) {
        for (position, planes) in self.bytes.chunks_exact_mut(2 * self.plane_len).enumerate() {
            let (values, _) = self.x.positions.row(position);
            let (high, low) = planes.split_at_mut(self.plane_len);
            for ((high, low), &value) in high.iter_mut().zip(&mut *low).zip(values) {
                (*high, *low) = split(value);
            }
            high[values.len()..].fill(0);
            low[values.len()..].fill(0);
        }
    }

    fn eval_scalar(self) {
        unreachable!("the specification multiplies integers as they are");
    }
}

/// The signed bytes of `value = 256 * high + low`, for values up to 32639.
#[inline(always)]
fn split(value: i16) -> (i8, i8) {
    ((value.wrapping_add(128) >> 8) as i8, value as i8)
}

#[cfg(test)]
mod tests {
    use super::split;
    use crate::quantized::QuantFormat;

    #[test]
    fn all_activations_are_split_into_signed_bytes() {
        let limit = QuantFormat::I8.max_activation();
        for value in -limit..=limit {
            let (high, low) = split(value);
            assert_eq!(256 * i32::from(high) + i32::from(low), i32::from(value));
        }
    }
}
