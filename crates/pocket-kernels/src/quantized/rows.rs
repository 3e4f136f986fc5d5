//! Activations as integers: one scale per row and block.

use crate::dispatch::SimdOp;
use crate::level::Level;
use crate::simd::Simd;

use super::{BLOCK, QuantFormat};

/// How rows of a given width are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLayout {
    row_len: usize,
}

impl RowLayout {
    /// Rows of `row_len` values.
    ///
    /// # Panics
    /// If there are none.
    #[must_use]
    pub fn new(row_len: usize) -> Self {
        assert!(row_len > 0, "rows without values");
        Self { row_len }
    }

    /// Values of a row.
    #[must_use]
    pub fn row_len(self) -> usize {
        self.row_len
    }

    /// Integers that a row takes up: whole pairs.
    #[must_use]
    pub fn padded_len(self) -> usize {
        self.row_len.next_multiple_of(2)
    }

    /// Scales of a row.
    #[must_use]
    pub fn n_blocks(self) -> usize {
        self.row_len.div_ceil(BLOCK)
    }

    /// The values that share the scale `block`.
    pub(super) fn block(self, block: usize) -> std::ops::Range<usize> {
        block * BLOCK..((block + 1) * BLOCK).min(self.row_len)
    }
}

/// Rows as [`quantize_rows`] wrote them.
#[derive(Clone, Copy, Debug)]
pub struct QuantizedRows<'a> {
    layout: RowLayout,
    values: &'a [i16],
    scales: &'a [f32],
}

impl<'a> QuantizedRows<'a> {
    pub(super) fn layout(&self) -> RowLayout {
        self.layout
    }

    /// Number of rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.scales.len() / self.layout.n_blocks()
    }

    /// The integers, padded to pairs, and the scales of one row.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> (&'a [i16], &'a [f32]) {
        let (n_values, n_scales) = (self.layout.padded_len(), self.layout.n_blocks());
        (&self.values[row * n_values..(row + 1) * n_values], &self.scales[row * n_scales..(row + 1) * n_scales])
    }
}

/// Quantises `x` (`[rows, row_len]`) for products with matrices of `format` into `values`
/// (`[rows, padded_len]`) and `scales` (`[rows, n_blocks]`).
///
/// A block's largest magnitude becomes the format's largest activation; values are rounded to the
/// nearest integer, ties to even. A block with a value that is not finite gets the scale NaN.
///
/// # Panics
/// If the lengths do not fit.
pub fn quantize_rows<'a>(
    level: Level,
    layout: RowLayout,
    format: QuantFormat,
    x: &[f32],
    values: &'a mut [i16],
    scales: &'a mut [f32],
) -> QuantizedRows<'a> {
    let n_rows = x.len() / layout.row_len;
    assert_eq!(x.len(), n_rows * layout.row_len, "the input is not whole rows");
    assert_eq!(values.len(), n_rows * layout.padded_len(), "as many integers as values, padded to pairs");
    assert_eq!(scales.len(), n_rows * layout.n_blocks(), "one scale per row and block");
    let limit = f32::from(format.max_activation());
    level.run(Quantize { layout, limit, x, values: &mut *values, scales: &mut *scales });
    QuantizedRows { layout, values, scales }
}

struct Quantize<'a> {
    layout: RowLayout,
    limit: f32,
    x: &'a [f32],
    values: &'a mut [i16],
    scales: &'a mut [f32],
}

impl Quantize<'_> {
    /// Calls `quantize` with every block of values, its integers, those of the padding included, and
    /// stores the scale that it returns.
    #[inline(always)]
    fn for_each_block(self, mut quantize: impl FnMut(&[f32], &mut [i16]) -> f32) {
        let rows = self.x.chunks_exact(self.layout.row_len).zip(self.values.chunks_exact_mut(self.layout.padded_len()));
        for ((x, values), scales) in rows.zip(self.scales.chunks_exact_mut(self.layout.n_blocks())) {
            for ((x, values), scale) in x.chunks(BLOCK).zip(values.chunks_mut(BLOCK)).zip(scales) {
                *scale = quantize(x, values);
            }
        }
    }
}

/// The scale of a block and its inverse. `zero` is 0 if all values are finite, else NaN.
#[inline(always)]
fn scales(largest: f32, zero: f32, limit: f32) -> (f32, f32) {
    let inverse = if largest > 0.0 { limit / largest } else { 0.0 };
    // Values so small that the inverse overflows are zeros.
    (largest / limit + zero, if inverse.is_finite() { inverse } else { 0.0 })
}

impl SimdOp for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let limit = self.limit;
        self.for_each_block(|x, values| {
            let (mut largest, mut zero) = (s.zero(), s.zero());
            let n_whole = x.len() / S::LANES * S::LANES;
            let (whole, tail) = x.split_at(n_whole);
            // Most rows have none.
            let tail_vector = (!tail.is_empty()).then(|| s.load_partial(tail, 0.0));
            let mut visit = |v| {
                largest = s.max(s.max(v, s.neg(v)), largest);
                zero = s.mul_add(v, s.zero(), zero);
            };
            for x in whole.chunks_exact(S::LANES) {
                visit(s.load(x));
            }
            tail_vector.into_iter().for_each(&mut visit);
            let (scale, inverse) = scales(s.reduce_max(largest), s.reduce_add(zero), limit);
            let inverse = s.splat(inverse);
            for (x, values) in whole.chunks_exact(S::LANES).zip(values.chunks_exact_mut(S::LANES)) {
                // SAFETY: the chunk holds LANES integers.
                unsafe { s.store_i16_ptr(s.mul(s.load(x), inverse), values.as_mut_ptr()) };
            }
            if let Some(tail) = tail_vector {
                let mut rounded = [0; crate::simd::MAX_LANES];
                // SAFETY: the buffer holds as many integers as any level has lanes.
                unsafe { s.store_i16_ptr(s.mul(tail, inverse), rounded.as_mut_ptr()) };
                let n_rest = values.len() - n_whole;
                values[n_whole..].copy_from_slice(&rounded[..n_rest]);
            }
            scale
        });
    }

    fn eval_scalar(self) {
        let limit = self.limit;
        self.for_each_block(|x, values| {
            let largest = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            let zero: f32 = x.iter().map(|x| x * 0.0).sum();
            let (scale, inverse) = scales(largest, zero, limit);
            values.fill(0);
            for (value, x) in values.iter_mut().zip(x) {
                *value = (x * inverse).round_ties_even() as i16;
            }
            scale
        });
    }
}
