//! The register tiles: V vectors of outputs × R rows over one block of k.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::pack::Data;
use super::{Epilogue, Input, K_BLOCK, PANEL, PackedMatrix, ROW_CHUNK};
use crate::element::Element;
use crate::simd::Simd;

/// How far ahead of its use a single row asks for the weights: of 256 B to 8 KB the best on Zen 3, by a fifth.
pub(crate) const PREFETCH_BYTES: usize = 1024;
/// Whether a single row asks for weights of which it reads `n_bytes` at a time. A line at a time gains a fifth; with two
/// the requests get into each other's way, and the hardware's own are better by a fifth.
pub(crate) const fn is_asked_ahead(n_bytes: usize) -> bool {
    n_bytes <= 64
}

/// An output matrix that several threads write disjoint parts of.
#[derive(Clone, Copy)]
pub(crate) struct SharedOutput<'a> {
    data: *mut f32,
    stride: usize,
    marker: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is only a pointer; `row` makes its caller promise that no two slices overlap.
unsafe impl Send for SharedOutput<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedOutput<'_> {}

impl<'a> SharedOutput<'a> {
    pub(crate) fn new(out: &'a mut [f32], stride: usize) -> Self {
        Self { data: out.as_mut_ptr(), stride, marker: PhantomData }
    }

    /// The outputs `columns` of row `row`.
    ///
    /// # Safety
    /// - The row and columns must lie within the slice that `self` was made of.
    /// - No other slice of them may exist at the same time.
    #[inline(always)]
    pub(crate) unsafe fn row(&self, row: usize, columns: Range<usize>) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(row * self.stride + columns.start), columns.len()) }
    }
}

/// What a product wants of one panel: `outputs` of `rows`, through `epilogue` to `out`.
pub(crate) struct PanelTask<'a> {
    pub(crate) rows: Range<usize>,
    pub(crate) outputs: Range<usize>,
    pub(crate) epilogue: Epilogue<'a>,
    pub(crate) out: SharedOutput<'a>,
}

/// One panel of a product of a level; a trait, not a closure, because a closure may stay a call, without the
/// instructions of the level.
pub(crate) trait PanelSums {
    type Simd: Simd;

    /// The vectors of the level.
    fn simd(&self) -> Self::Simd;

    /// Writes the sums of `rows`, at most [`ROW_CHUNK`], to `totals` (`[rows, PANEL]`), whatever they were. Must be
    /// `inline(always)`.
    fn sum(&self, rows: Range<usize>, totals: &mut [f32]);

    /// Writes what `task` wants of the panel.
    ///
    /// # Safety
    /// - The task's rows and outputs must lie in its `out`, and no other call may have a pair of them at the same
    ///   time. `for_each_panel` gives such tasks.
    #[inline(always)]
    unsafe fn write(&self, task: PanelTask<'_>) {
        let PanelTask { mut rows, outputs, epilogue, out } = task;
        // A single row, which is most often the case, has no time to clear the memory of a whole chunk.
        let mut buffer = [const { MaybeUninit::<f32>::uninit() }; ROW_CHUNK * PANEL];
        let buffer = &mut buffer[..rows.len().min(ROW_CHUNK) * PANEL];
        for total in &mut *buffer {
            total.write(0.0);
        }
        // SAFETY: all of them have just been written.
        let buffer = unsafe { &mut *(std::ptr::from_mut(buffer) as *mut [f32]) };
        while !rows.is_empty() {
            let chunk = rows.start..rows.end.min(rows.start + ROW_CHUNK);
            let totals = &mut buffer[..chunk.len() * PANEL];
            self.sum(chunk.clone(), totals);
            for (row, totals) in chunk.clone().zip(totals.chunks_exact_mut(PANEL)) {
                // SAFETY: the caller's promise.
                let out = unsafe { out.row(row, outputs.clone()) };
                epilogue.write_vectors(self.simd(), outputs.start, totals, out);
            }
            rows.start = chunk.end;
        }
    }
}

/// A panel of a product of floats.
pub(super) struct FloatPanel<'a, S> {
    pub(super) s: S,
    pub(super) w: &'a PackedMatrix,
    pub(super) panel: usize,
    pub(super) x: Input<'a>,
    pub(super) n_outputs: usize,
}

impl<S: Simd> PanelSums for FloatPanel<'_, S> {
    type Simd = S;

    #[inline(always)]
    fn simd(&self) -> S {
        self.s
    }

    #[inline(always)]
    fn sum(&self, rows: Range<usize>, totals: &mut [f32]) {
        let &Self { s, w, panel, ref x, n_outputs } = self;
        assert!(totals.len() == rows.len() * PANEL && rows.end <= x.n_rows && n_outputs <= PANEL);
        let (n_inputs, panel_len) = (w.in_features(), w.in_features() * PANEL);
        assert_eq!(n_inputs, x.k());
        let panel = panel * panel_len..(panel + 1) * panel_len;
        for k_start in (0..n_inputs).step_by(K_BLOCK) {
            let (rows, ks) = (rows.clone(), k_start..(k_start + K_BLOCK).min(n_inputs));
            match &w.data {
                Data::F32(data) => typed_block(s, &data.as_slice()[panel.clone()], x, rows, ks, n_outputs, totals),
                Data::Bf16(data) => typed_block(s, &data.as_slice()[panel.clone()], x, rows, ks, n_outputs, totals),
            }
        }
    }
}

/// Adds the sums over the block `ks` of `n_outputs` outputs of a panel, for `rows`, to `totals`
/// (`[rows, PANEL]`); the first block begins them.
#[inline(always)]
fn typed_block<S: Simd, W: Element>(
    s: S,
    panel: &[W],
    x: &Input<'_>,
    rows: Range<usize>,
    ks: Range<usize>,
    n_outputs: usize,
    totals: &mut [f32],
) {
    let n_vectors = n_outputs.div_ceil(S::LANES);
    let mut first = 0;
    while first < n_vectors {
        // The largest power of two that fits the outputs left and the registers.
        // A single row has as many chains as vectors; several rows reuse fewer vectors more often.
        let widest = if rows.len() == 1 { S::WIDE_TILE } else { S::TILE };
        let v = 1 << (n_vectors - first).min(widest).ilog2();
        let max_rows = (S::ACCUMULATORS / v).min(8);
        let n_blocks = rows.len().div_ceil(max_rows);
        let mut row = 0;
        for i in 0..n_blocks {
            // As even as possible: a short last tile would wait for its own latency.
            let r = (rows.len() - row).div_ceil(n_blocks - i);
            let tile = Tile { first: first * S::LANES, x, row: rows.start + row, ks: ks.clone() };
            let totals = &mut totals[row * PANEL + first * S::LANES..];
            macro_rules! run {
                ($($v:literal: $($r:literal)*;)*) => {
                    match (v, r) {
                        $($(($v, $r) if const { is_tile::<S>($v, $r) } => {
                                tile.run::<S, W, $v, $r>(s, panel, totals);
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

/// Whether tiles of `v` vectors and `r` rows occur at a level; the others are not compiled for it.
pub(crate) const fn is_tile<S: Simd>(v: usize, r: usize) -> bool {
    v <= S::TILE && v * r <= S::ACCUMULATORS || v <= S::WIDE_TILE && r == 1
}

/// One register tile: outputs from `first` on, rows from `row` on, the block `ks`.
struct Tile<'a> {
    first: usize,
    x: &'a Input<'a>,
    row: usize,
    ks: Range<usize>,
}

impl Tile<'_> {
    #[inline(always)]
    fn run<S: Simd, W: Element, const V: usize, const R: usize>(&self, s: S, panel: &[W], totals: &mut [f32]) {
        let x = self.x;
        assert!(self.ks.end * PANEL <= panel.len() && self.first + V * S::LANES <= PANEL);
        assert!(self.row + R <= x.n_rows && self.ks.end <= x.k());
        assert!(totals.len() >= (R - 1) * PANEL + V * S::LANES);
        // SAFETY: `Input` checked that every row, all segments included, lies in the data, and the
        // row is one of them; a zero-length tail is never read.
        let x_rows: [*const f32; R] =
            std::array::from_fn(|r| unsafe { x.data.as_ptr().add((self.row + r) * x.row_stride) });
        let mut acc = [[s.zero(); V]; R];
        let mut k = self.ks.start;
        while k < self.ks.end {
            // The rest of the segment or of the block.
            let offset = k % x.segment_len;
            let n = (x.segment_len - offset).min(self.ks.end - k);
            let x_start = k / x.segment_len * x.segment_stride + offset;
            for i in 0..n {
                let at = panel.as_ptr().wrapping_add((k + i) * PANEL + self.first);
                if R > 1 {
                    s.prefetch(at.wrapping_add(K_BLOCK * PANEL));
                } else if is_asked_ahead(V * S::LANES * size_of::<W>()) {
                    s.prefetch_near(at.wrapping_byte_add(PREFETCH_BYTES));
                }
                let mut w = [s.zero(); V];
                for v in 0..V {
                    // SAFETY: k + i is below ks.end, so the PANEL values from (k + i) * PANEL on are
                    // in the panel, and first + V * LANES is at most PANEL (both asserted above).
                    w[v] = unsafe { W::load(s, panel.as_ptr().add((k + i) * PANEL + self.first + v * S::LANES)) };
                }
                for r in 0..R {
                    // SAFETY: k + i is below x.k(), so the value is inside its row (asserted above).
                    let value = s.splat(unsafe { *x_rows[r].add(x_start + i) });
                    for v in 0..V {
                        acc[r][v] = s.mul_add(w[v], value, acc[r][v]);
                    }
                }
            }
            k += n;
        }
        for r in 0..R {
            for v in 0..V {
                let total = &mut totals[r * PANEL + v * S::LANES..];
                let before = if self.ks.start == 0 { s.zero() } else { s.load(total) };
                s.store(s.add(before, acc[r][v]), total);
            }
        }
    }
}
