//! The register tiles: V vectors of outputs × R rows over one block of inputs.

use std::ops::Range;

use super::pack::Data;
use super::{BLOCK, QuantizedInput, QuantizedMatrix};
use crate::element::Plain;
use crate::gemm::kernel::{LINE_BYTES, PREFETCH_BYTES, is_tile};
use crate::gemm::{PANEL, ROW_CHUNK};
use crate::simd::Simd;

/// Stored integers that are read as pairs of i16.
trait Integer: Plain {
    /// LANES pairs.
    ///
    /// # Safety
    /// - `at` must be readable for 2 · LANES elements.
    unsafe fn load_pairs<S: Simd>(s: S, at: *const Self) -> S::I;
}

impl Integer for i8 {
    #[inline(always)]
    unsafe fn load_pairs<S: Simd>(s: S, at: *const Self) -> S::I {
        // SAFETY: the caller's promise.
        unsafe { s.load_pairs_i8_ptr(at) }
    }
}

impl Integer for i16 {
    #[inline(always)]
    unsafe fn load_pairs<S: Simd>(s: S, at: *const Self) -> S::I {
        // SAFETY: the caller's promise.
        unsafe { s.load_pairs_i16_ptr(at) }
    }
}

/// Writes the sums over all blocks of `n_outputs` outputs of a panel, for `rows`, to `totals`
/// (`[rows, PANEL]`), which must be zero.
#[inline(always)]
pub(super) fn sum_blocks<S: Simd>(
    s: S,
    w: &QuantizedMatrix,
    panel: usize,
    x: &QuantizedInput<'_>,
    rows: Range<usize>,
    n_outputs: usize,
    totals: &mut [f32; ROW_CHUNK * PANEL],
) {
    match &w.data {
        Data::I8(data) => typed(s, w, data.as_slice(), panel, x, rows, n_outputs, totals),
        Data::I12(data) => typed(s, w, data.as_slice(), panel, x, rows, n_outputs, totals),
    }
}

#[expect(clippy::too_many_arguments, reason = "one call site; `sum_blocks` with its integers")]
#[inline(always)]
fn typed<S: Simd, W: Integer>(
    s: S,
    w: &QuantizedMatrix,
    data: &[W],
    panel: usize,
    x: &QuantizedInput<'_>,
    rows: Range<usize>,
    n_outputs: usize,
    totals: &mut [f32; ROW_CHUNK * PANEL],
) {
    assert!(rows.len() <= ROW_CHUNK && rows.end <= x.n_rows && n_outputs <= PANEL);
    let layout = w.layout();
    let (padded_len, n_blocks) = (layout.padded_len(), layout.n_blocks());
    for tap in 0..w.n_taps() {
        let tap_of_panel = panel * w.n_taps() + tap;
        let data = &data[tap_of_panel * padded_len * PANEL..][..padded_len * PANEL];
        let scales = &w.scales.as_slice()[tap_of_panel * n_blocks * PANEL..][..n_blocks * PANEL];
        for block in 0..n_blocks {
            let values = block * BLOCK..((block + 1) * BLOCK).min(padded_len);
            let tiles = Block {
                weights: &data[values.start * PANEL..values.end * PANEL],
                scales: &scales[block * PANEL..][..PANEL],
                x,
                tap,
                x_scale: block,
                values,
            };
            tiles.run(s, rows.clone(), n_outputs, totals);
        }
    }
}

/// One block of one tap of a panel.
struct Block<'a, W> {
    /// `[pairs, PANEL, 2]`.
    weights: &'a [W],
    /// `[PANEL]`.
    scales: &'a [f32],
    x: &'a QuantizedInput<'a>,
    tap: usize,
    /// The values of a position that the block covers, and the scale that they share.
    values: Range<usize>,
    x_scale: usize,
}

impl<W: Integer> Block<'_, W> {
    /// Adds the sums of the block to the totals of all rows.
    #[inline(always)]
    fn run<S: Simd>(&self, s: S, rows: Range<usize>, n_outputs: usize, totals: &mut [f32; ROW_CHUNK * PANEL]) {
        let n_vectors = n_outputs.div_ceil(S::LANES);
        let mut first = 0;
        while first < n_vectors {
            let widest = if rows.len() == 1 { S::WIDE_TILE } else { S::TILE };
            let v = 1 << (n_vectors - first).min(widest).ilog2();
            let max_rows = (S::ACCUMULATORS / v).min(8);
            let n_tiles = rows.len().div_ceil(max_rows);
            let mut row = 0;
            for i in 0..n_tiles {
                // As even as possible: a short last tile would wait for its own latency.
                let r = (rows.len() - row).div_ceil(n_tiles - i);
                let totals = &mut totals[row * PANEL + first * S::LANES..];
                let (first, row_start) = (first * S::LANES, rows.start + row);
                macro_rules! run {
                    ($($v:literal: $($r:literal)*;)*) => {
                        match (v, r) {
                            $($(($v, $r) if const { is_tile::<S>($v, $r) } => {
                                self.tile::<S, $v, $r>(s, first, row_start, totals);
                            })*)*
                            _ => unreachable!("a tile of {v} vectors and {r} rows"),
                        }
                    };
                }
                run! {
                    1: 1 2 3 4 5 6 7 8;
                    2: 1 2 3 4 5 6 7 8;
                    4: 1 2 3 4 5 6;
                    8: 1 2 3;
                }
                row += r;
            }
            first += v;
        }
    }

    /// Outputs from `first` on, rows from `row` on.
    #[inline(always)]
    fn tile<S: Simd, const V: usize, const R: usize>(&self, s: S, first: usize, row: usize, totals: &mut [f32]) {
        let n_pairs = self.values.len() / 2;
        assert!(self.weights.len() == n_pairs * 2 * PANEL && first + V * S::LANES <= PANEL);
        assert!(totals.len() >= (R - 1) * PANEL + V * S::LANES);
        let rows: [(&[i16], &[f32]); R] =
            std::array::from_fn(|r| self.x.positions.row(self.x.position(row + r, self.tap)));
        let values: [*const i16; R] = std::array::from_fn(|r| rows[r].0[self.values.clone()].as_ptr());
        let mut acc = [[s.zero_i32(); V]; R];
        for pair in 0..n_pairs {
            let mut w = [s.zero_i32(); V];
            if R == 1 {
                // A single row waits for the memory: ask for every line of it some time before.
                let at = self.weights.as_ptr().wrapping_add((pair * PANEL + first) * 2);
                for line in (0..V * S::LANES * 2 * size_of::<W>()).step_by(LINE_BYTES) {
                    s.prefetch_near(at.wrapping_byte_add(PREFETCH_BYTES + line));
                }
            }
            for v in 0..V {
                // SAFETY: the weights hold 2 * PANEL integers for every pair, and first + V * LANES is
                // at most PANEL (both asserted above).
                w[v] =
                    unsafe { W::load_pairs(s, self.weights.as_ptr().add((pair * PANEL + first + v * S::LANES) * 2)) };
            }
            for r in 0..R {
                // SAFETY: the row's slice holds as many pairs as the block; [i16; 2] has the
                // alignment of i16.
                let x = s.splat_pair(unsafe { *values[r].cast::<[i16; 2]>().add(pair) });
                for v in 0..V {
                    acc[r][v] = s.dot_pairs(w[v], x, acc[r][v]);
                }
            }
        }
        for r in 0..R {
            let x_scale = s.splat(rows[r].1[self.x_scale]);
            for v in 0..V {
                let w_scale = s.load(&self.scales[first + v * S::LANES..]);
                let total = &mut totals[r * PANEL + v * S::LANES..];
                s.store(add_scaled(s, acc[r][v], w_scale, x_scale, s.load(total)), total);
            }
        }
    }
}

/// `total` with the sums of a block: the rounding that every kernel of a level shares.
#[inline(always)]
pub(super) fn add_scaled<S: Simd>(s: S, acc: S::I, w_scale: S::V, x_scale: S::V, total: S::V) -> S::V {
    s.mul_add(s.mul(s.f32_from_i32(acc), w_scale), x_scale, total)
}
