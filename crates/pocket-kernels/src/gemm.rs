//! Matrix product with a packed constant matrix: `out[r, m] = sum_k x[r, k] * w[m, k]`.
//!
//! One row is a GEMV, several rows a GEMM; a convolution is a GEMM whose rows overlap in memory
//! ([`Input`]). Outputs are vectorised, so that each is one chain of multiply-adds over k:
//!
//! ```text
//! total = 0
//! for each block of K_BLOCK consecutive k:
//!     acc = 0
//!     for k in block: acc = acc + w[m, k] * x[r, k]
//!     total = total + acc
//! out = epilogue(total)
//! ```
//!
//! That order is the contract: it depends neither on the number of rows nor on the threads, and the
//! blocks keep the rounding error of long sums small.

pub(crate) mod kernel;
mod pack;

pub use pack::{PackedDType, PackedMatrix, Values};

use std::ops::Range;

use kernel::{PanelTask, SharedOutput};

use crate::dispatch::SimdOp;
use crate::level::Level;
use crate::parallel::Pool;
use crate::simd::Simd;

/// Outputs of one panel: the unit of packing, a multiple of every vector width.
pub const PANEL: usize = 32;
/// Consecutive k summed before the sum joins the total: a panel's block of 16 KB stays in L1.
pub const K_BLOCK: usize = 128;
/// Rows that share one pass over a panel; their totals (6 KB) stay in L1.
pub(crate) const ROW_CHUNK: usize = 48;

/// The left operand: rows of one slice that may overlap.
///
/// Row `r`, column `k` is `data[r * row_stride + (k / segment_len) * segment_stride + k % segment_len]`,
/// so a convolution over `[positions, channels]` needs no copy: a row is a window, a segment a tap.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    data: &'a [f32],
    n_rows: usize,
    row_stride: usize,
    segment_len: usize,
    n_segments: usize,
    segment_stride: usize,
}

impl<'a> Input<'a> {
    /// Plain rows of width `k`.
    ///
    /// # Panics
    /// If `data` is not whole rows.
    #[must_use]
    pub fn rows(data: &'a [f32], k: usize) -> Self {
        assert!(k > 0 && data.len().is_multiple_of(k), "the input is not whole rows of {k}");
        Self { data, n_rows: data.len() / k, row_stride: k, segment_len: k, n_segments: 1, segment_stride: 0 }
    }

    /// Windows of a convolution: each row is `n_segments` taps of `segment_len` channels.
    ///
    /// # Panics
    /// If the last row ends past `data`.
    #[must_use]
    pub fn windows(
        data: &'a [f32],
        n_rows: usize,
        row_stride: usize,
        (n_segments, segment_stride): (usize, usize),
        segment_len: usize,
    ) -> Self {
        assert!(segment_len > 0 && n_segments > 0, "an empty window");
        let end = |row: usize| row * row_stride + (n_segments - 1) * segment_stride + segment_len;
        assert!(n_rows == 0 || end(n_rows - 1) <= data.len(), "the last window ends past the input");
        // Adjacent taps are one long segment.
        if segment_stride == segment_len {
            let segment_len = segment_len * n_segments;
            return Self { data, n_rows, row_stride, segment_len, n_segments: 1, segment_stride: 0 };
        }
        Self { data, n_rows, row_stride, segment_len, n_segments, segment_stride }
    }

    fn k(&self) -> usize {
        self.segment_len * self.n_segments
    }

    fn at(&self, row: usize, k: usize) -> f32 {
        self.data[row * self.row_stride + k / self.segment_len * self.segment_stride + k % self.segment_len]
    }
}

/// What happens to a sum on its way to the output: `[out +] scale * (sum + bias)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Added to the sum, one value per output.
    pub bias: Option<&'a [f32]>,
    /// Multiplied with the sum, one value per output (a layer scale).
    pub scale: Option<&'a [f32]>,
    /// Whether the result is added to `out` (a skip connection) instead of replacing it.
    pub accumulate: bool,
}

impl Epilogue<'_> {
    /// Writes `totals`, whose first value is that of output `m`, to `out`, as many as it takes.
    pub(crate) fn write(&self, m: usize, totals: &[f32], out: &mut [f32]) {
        for (i, (total, out)) in totals.iter().zip(out).enumerate() {
            let biased = self.bias.map_or(*total, |bias| total + bias[m + i]);
            let scaled = self.scale.map_or(biased, |scale| biased * scale[m + i]);
            *out = if self.accumulate { *out + scaled } else { scaled };
        }
    }

    /// [`Self::write`] by vectors: left to the compiler, the loop stays scalar.
    #[inline(always)]
    pub(crate) fn write_vectors<S: Simd>(&self, s: S, m: usize, totals: &[f32], out: &mut [f32]) {
        // A whole panel is a case of its own, whose loop needs no bounds.
        match out.len() {
            PANEL => self.write_whole_vectors(s, m, &totals[..PANEL], &mut out[..PANEL]),
            n => {
                let n_whole = n / S::LANES * S::LANES;
                self.write_whole_vectors(s, m, &totals[..n_whole], &mut out[..n_whole]);
                self.write(m + n_whole, &totals[n_whole..], &mut out[n_whole..]);
            }
        }
    }

    #[inline(always)]
    fn write_whole_vectors<S: Simd>(&self, s: S, m: usize, totals: &[f32], out: &mut [f32]) {
        let n = out.len();
        let (bias, scale) = (self.bias.map(|bias| &bias[m..m + n]), self.scale.map(|scale| &scale[m..m + n]));
        for i in (0..n).step_by(S::LANES) {
            let mut total = s.load(&totals[i..]);
            if let Some(bias) = bias {
                total = s.add(total, s.load(&bias[i..]));
            }
            if let Some(scale) = scale {
                total = s.mul(total, s.load(&scale[i..]));
            }
            if self.accumulate {
                total = s.add(s.load(&out[i..]), total);
            }
            s.store(total, &mut out[i..]);
        }
    }
}

/// `out[r, m]`, row `r` at `r * out_stride`.
///
/// # Panics
/// If the widths of `w`, `x`, the epilogue and `out` do not fit.
pub fn gemm(
    level: Level,
    pool: &Pool,
    w: &PackedMatrix,
    x: Input<'_>,
    epilogue: Epilogue<'_>,
    out: &mut [f32],
    out_stride: usize,
) {
    assert_eq!(x.k(), w.in_features(), "the input is not as wide as the matrix");
    let work = x.n_rows * w.out_features() * w.in_features();
    for_each_panel(pool, (x.n_rows, w.out_features()), work, epilogue, (out, out_stride), |panel, task| {
        level.run(PanelOp { w, x, panel, task });
    });
}

/// Calls `run` with every panel and what is wanted of it, each pair of a row and a panel once, on several
/// threads if `work` multiply-adds pay. Shared by the products of floats and integers.
///
/// # Panics
/// If the epilogue or `out` does not fit the rows and outputs.
pub(crate) fn for_each_panel(
    pool: &Pool,
    (n_rows, out_features): (usize, usize),
    work: usize,
    epilogue: Epilogue<'_>,
    (out, out_stride): (&mut [f32], usize),
    run: impl Fn(usize, PanelTask<'_>) + Send + Sync,
) {
    for vector in [epilogue.bias, epilogue.scale].into_iter().flatten() {
        assert_eq!(vector.len(), out_features, "bias and scale have one value per output");
    }
    if n_rows == 0 || out_features == 0 {
        return;
    }
    assert!(out_stride >= out_features, "output rows overlap");
    assert!(out.len() >= (n_rows - 1) * out_stride + out_features, "the output is too short");
    let n_panels = out_features.div_ceil(PANEL);
    let n_chunks = n_rows.div_ceil(ROW_CHUNK);
    let out = SharedOutput::new(out, out_stride);
    let run_rows = |panel: usize, rows: Range<usize>| {
        let outputs = panel * PANEL..((panel + 1) * PANEL).min(out_features);
        run(panel, PanelTask { rows, outputs, epilogue, out });
    };
    // Panels first, all row chunks of one panel together: the panel is read from memory once. With
    // fewer panels than threads the chunks are shared out too.
    if n_panels >= 2 * pool.n_threads() || n_chunks == 1 {
        pool.for_each(n_panels, work, |panel| run_rows(panel, 0..n_rows));
    } else {
        pool.for_each(n_panels * n_chunks, work, |index| {
            let first = index % n_chunks * ROW_CHUNK;
            run_rows(index / n_chunks, first..(first + ROW_CHUNK).min(n_rows));
        });
    }
}

/// A task of one panel.
struct PanelOp<'a> {
    w: &'a PackedMatrix,
    x: Input<'a>,
    panel: usize,
    task: PanelTask<'a>,
}

impl SimdOp for PanelOp<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let n_outputs = self.task.outputs.len();
        let sums = kernel::FloatPanel { s, w: self.w, panel: self.panel, x: self.x, n_outputs };
        // SAFETY: the task is one of `for_each_panel`.
        unsafe { kernel::PanelSums::write(&sums, self.task) };
    }

    fn eval_scalar(self) {
        let PanelTask { rows, outputs, epilogue, out } = self.task;
        for row in rows {
            let mut totals = [0.0; PANEL];
            for (m, total) in outputs.clone().zip(&mut totals) {
                for k_start in (0..self.x.k()).step_by(K_BLOCK) {
                    let mut acc = 0.0;
                    for k in k_start..(k_start + K_BLOCK).min(self.x.k()) {
                        acc += self.w.at(m, k) * self.x.at(row, k);
                    }
                    *total += acc;
                }
            }
            // SAFETY: as in `eval`.
            let out = unsafe { out.row(row, outputs.clone()) };
            epilogue.write(outputs.start, &totals, out);
        }
    }
}

#[cfg(test)]
mod tests;
