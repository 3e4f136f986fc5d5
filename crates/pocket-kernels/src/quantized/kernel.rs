//! The register tiles: V vectors of outputs × R rows over one block of inputs.

use std::ops::Range;

use super::pack::Data;
use super::{BLOCK, QuantizedInput, QuantizedMatrix};
use crate::element::Plain;
use crate::gemm::kernel::{PREFETCH_BYTES, PanelSums, is_asked_ahead, is_tile};
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

/// A panel of a product of integers.
pub(super) struct QuantizedPanel<'a, S> {
    pub(super) s: S,
    pub(super) w: &'a QuantizedMatrix,
    pub(super) panel: usize,
    pub(super) x: QuantizedInput<'a>,
    pub(super) n_outputs: usize,
}

impl<S: Simd> PanelSums for QuantizedPanel<'_, S> {
    type Simd = S;

    #[inline(always)]
    fn simd(&self) -> S {
        self.s
    }

    #[inline(always)]
    fn sum(&self, rows: Range<usize>, totals: &mut [f32]) {
        match &self.w.data {
            Data::I8(data) => self.sum_typed(data.as_slice(), rows, totals),
            Data::I12(data) => self.sum_typed(data.as_slice(), rows, totals),
        }
    }
}

impl<S: Simd> QuantizedPanel<'_, S> {
    #[inline(always)]
    fn sum_typed<W: Integer>(&self, data: &[W], rows: Range<usize>, totals: &mut [f32]) {
        let &Self { s, w, panel, ref x, n_outputs } = self;
        assert!(rows.len() <= ROW_CHUNK && totals.len() == rows.len() * PANEL);
        assert!(rows.end <= x.n_rows && n_outputs <= PANEL);
        let layout = w.layout();
        assert_eq!(x.positions.layout(), layout, "the positions are as wide as the matrix");
        let (padded_len, n_blocks) = (layout.padded_len(), layout.n_blocks());
        let mut positions = [Position::NONE; ROW_CHUNK];
        for tap in 0..w.n_taps() {
            for (position, row) in positions.iter_mut().zip(rows.clone()) {
                let (values, scales) = x.positions.row(x.position(row, tap));
                *position = Position { values: values.as_ptr(), scales: scales.as_ptr() };
            }
            let tap_of_panel = panel * w.n_taps() + tap;
            let data = &data[tap_of_panel * padded_len * PANEL..][..padded_len * PANEL];
            let scales = &w.scales.as_slice()[tap_of_panel * n_blocks * PANEL..][..n_blocks * PANEL];
            for block in 0..n_blocks {
                let first_value = block * BLOCK;
                let n_values = BLOCK.min(padded_len - first_value);
                let block = Block {
                    weights: &data[first_value * PANEL..(first_value + n_values) * PANEL],
                    scales: &scales[block * PANEL..][..PANEL],
                    index: block,
                    is_first: tap == 0 && block == 0,
                    n_pairs: n_values / 2,
                };
                // SAFETY: every position is a row of the layout, which has this block.
                unsafe { block.run(s, &positions[..rows.len()], n_outputs, totals) };
            }
        }
    }
}

/// The integers and scales of one position.
#[derive(Clone, Copy)]
struct Position {
    values: *const i16,
    scales: *const f32,
}

impl Position {
    const NONE: Self = Self { values: std::ptr::null(), scales: std::ptr::null() };
}

/// One block of one tap of a panel.
struct Block<'a, W> {
    /// `[n_pairs, PANEL, 2]`.
    weights: &'a [W],
    /// `[PANEL]`.
    scales: &'a [f32],
    /// Which one of the blocks of a position.
    index: usize,
    /// Whether the totals begin with it.
    is_first: bool,
    n_pairs: usize,
}

impl<W: Integer> Block<'_, W> {
    /// Adds the sums of the block to the totals (`[rows, PANEL]`) of all rows.
    ///
    /// # Safety
    /// - Every position must point to at least `index + 1` blocks and scales, this one with `n_pairs` pairs.
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, s: S, rows: &[Position], n_outputs: usize, totals: &mut [f32]) {
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
                let (first, rows) = (first * S::LANES, &rows[row..row + r]);
                macro_rules! run {
                    ($($v:literal: $($r:literal)*;)*) => {
                        match (v, r) {
                            $($(($v, $r) if const { is_tile::<S>($v, $r) } => {
                                // SAFETY: the caller's promise.
                                unsafe { self.tile::<S, $v, $r>(s, first, rows, totals) };
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

    /// Outputs from `first` on, all of `rows`.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[inline(always)]
    unsafe fn tile<S: Simd, const V: usize, const R: usize>(
        &self,
        s: S,
        first: usize,
        rows: &[Position],
        totals: &mut [f32],
    ) {
        let n_pairs = self.n_pairs;
        assert!(self.weights.len() == n_pairs * 2 * PANEL && first + V * S::LANES <= PANEL);
        assert!(rows.len() == R && totals.len() >= (R - 1) * PANEL + V * S::LANES);
        let mut values = [std::ptr::null::<[i16; 2]>(); R];
        for r in 0..R {
            // SAFETY: the position has this block (the caller's promise).
            values[r] = unsafe { rows[r].values.add(self.index * BLOCK).cast() };
        }
        let weights = self.weights.as_ptr();
        let mut acc = [[s.zero_i32(); V]; R];
        for pair in 0..n_pairs {
            let at = weights.wrapping_add((pair * PANEL + first) * 2);
            let n_bytes = V * S::LANES * 2 * size_of::<W>();
            if R > 1 {
                for line in (0..n_bytes).step_by(64) {
                    s.prefetch(at.wrapping_byte_add(BLOCK * PANEL * size_of::<W>() + line));
                }
            } else if is_asked_ahead(n_bytes) {
                s.prefetch_near(at.wrapping_byte_add(PREFETCH_BYTES));
            }
            let mut w = [s.zero_i32(); V];
            for v in 0..V {
                // SAFETY: the weights hold 2 * PANEL integers for every pair, and first + V * LANES is
                // at most PANEL (both asserted above).
                w[v] = unsafe { W::load_pairs(s, at.add(v * S::LANES * 2)) };
            }
            for r in 0..R {
                // SAFETY: the block has n_pairs pairs (the caller's promise); [i16; 2] has the alignment
                // of i16.
                let x = s.splat_pair(unsafe { *values[r].add(pair) });
                for v in 0..V {
                    acc[r][v] = s.dot_pairs(w[v], x, acc[r][v]);
                }
            }
        }
        for r in 0..R {
            // SAFETY: the position has a scale for this block (the caller's promise).
            let x_scale = s.splat(unsafe { *rows[r].scales.add(self.index) });
            for v in 0..V {
                let w_scale = s.load(&self.scales[first + v * S::LANES..]);
                let total = &mut totals[r * PANEL + v * S::LANES..];
                let before = if self.is_first { s.zero() } else { s.load(total) };
                s.store(add_scaled(s, acc[r][v], w_scale, x_scale, before), total);
            }
        }
    }
}

/// `total` with the sums of a block: the rounding that every kernel of a level shares.
#[inline(always)]
pub(super) fn add_scaled<S: Simd>(s: S, acc: S::I, w_scale: S::V, x_scale: S::V, total: S::V) -> S::V {
    s.mul_add(s.mul(s.f32_from_i32(acc), w_scale), x_scale, total)
}
