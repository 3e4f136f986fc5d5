//! Matrix product with quantised weights: `out[r, m] = sum_k x[r, k] * w[m, k]`.
//!
//! Weights and activations are integers with one scale per *block* of at most [`BLOCK`] consecutive
//! inputs: per output for the weights, per row for the activations. The products of a block are summed
//! exactly in i32, pairs of inputs at a time (one instruction on most CPUs):
//!
//! ```text
//! total = 0
//! for each block of at most BLOCK consecutive k:
//!     acc = sum over the block of wq[m, k] * xq[r, k]          (i32, exact)
//!     total = total + acc * w_scale[m, block] * x_scale[r, block]
//! out = epilogue(total)
//! ```
//!
//! Activations have 14 to 16 bits, so that what is lost is lost in the weights ([`QuantFormat`]). The
//! scales of a row depend on that row alone, and so does its result: never on other rows or threads.
//!
//! A convolution is a product over windows of *positions*. Positions are quantised one by one, and
//! blocks do not reach across taps, so that a position has the same integers in every window.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod bytes;
#[cfg(target_arch = "aarch64")]
mod dot;
mod kernel;
#[cfg(target_arch = "aarch64")]
mod matrix;
mod pack;
mod rows;

pub use pack::{QuantFormat, QuantizedMatrix};
pub use rows::{QuantizedRows, RowLayout, quantize_rows};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::dispatch::PanelLevel;
use crate::dispatch::SimdOp;
use crate::gemm::kernel::{PanelSums, PanelTask};
use crate::gemm::{Epilogue, PANEL, for_each_panel};
use crate::level::Level;
use crate::parallel::Pool;
use crate::simd::Simd;

/// Most inputs that share a scale: the products of so many fit an i32 in every format.
pub const BLOCK: usize = 128;

/// The left operand: windows of quantised positions.
///
/// Tap `t` of row `r` is the position `r * row_stride + t * tap_stride`.
#[derive(Clone, Copy, Debug)]
pub struct QuantizedInput<'a> {
    positions: QuantizedRows<'a>,
    n_rows: usize,
    row_stride: usize,
    n_taps: usize,
    tap_stride: usize,
}

impl<'a> QuantizedInput<'a> {
    /// Plain rows: each position is one.
    #[must_use]
    pub fn rows(positions: QuantizedRows<'a>) -> Self {
        Self { positions, n_rows: positions.n_rows(), row_stride: 1, n_taps: 1, tap_stride: 0 }
    }

    /// Windows of a convolution, strides in positions.
    ///
    /// # Panics
    /// If the last window ends past the positions.
    #[must_use]
    pub fn windows(
        positions: QuantizedRows<'a>,
        n_rows: usize,
        row_stride: usize,
        n_taps: usize,
        tap_stride: usize,
    ) -> Self {
        assert!(n_taps > 0, "an empty window");
        let last = |row: usize| row * row_stride + (n_taps - 1) * tap_stride;
        assert!(n_rows == 0 || last(n_rows - 1) < positions.n_rows(), "the last window ends past the input");
        Self { positions, n_rows, row_stride, n_taps, tap_stride }
    }

    fn position(&self, row: usize, tap: usize) -> usize {
        row * self.row_stride + tap * self.tap_stride
    }
}

/// `out[r, m]`, row `r` at `r * out_stride`.
///
/// # Panics
/// If the widths of `w`, `x`, the epilogue and `out` do not fit.
pub fn gemm_quantized(
    level: Level,
    pool: &Pool,
    w: &QuantizedMatrix,
    x: QuantizedInput<'_>,
    epilogue: Epilogue<'_>,
    out: &mut [f32],
    out_stride: usize,
) {
    assert_eq!((x.n_taps, x.positions.layout()), (w.n_taps(), w.layout()), "the input does not fit the matrix");
    let size = (x.n_rows, w.out_features());
    let work = x.n_rows * w.out_features() * w.in_features();
    let mut for_each = |run: &(dyn Fn(usize, PanelTask<'_>) + Send + Sync)| {
        for_each_panel(pool, size, work, epilogue, (&mut *out, out_stride), run);
    };
    #[cfg(target_arch = "x86_64")]
    if let (Level::Amx(token), pack::Data::I8(weights)) = (level, &w.data)
        && x.n_rows >= amx::MIN_ROWS
    {
        return bytes::Product::with(level, (w, weights.as_slice()), x, |product| {
            // SAFETY: the tasks are those of `for_each_panel`.
            for_each(&|panel, task| unsafe { token.write(&amx::TilePanel { token, product: &product, panel }, task) });
        });
    }
    #[cfg(target_arch = "aarch64")]
    if let (Level::NeonDot(_) | Level::NeonI8mm(_), pack::Data::I8(weights)) = (level, &w.data) {
        return bytes::Product::with(level, (w, weights.as_slice()), x, |product| {
            for_each(&|panel, task| {
                let product = &product;
                let token = match level {
                    Level::NeonI8mm(token) if task.rows.len() > 1 => {
                        // SAFETY: the task is one of `for_each_panel`.
                        return unsafe { token.write(&matrix::MatrixPanel { token, product, panel }, task) };
                    }
                    Level::NeonI8mm(token) => token.dot(),
                    Level::NeonDot(token) => token,
                    _ => unreachable!("the outer match"),
                };
                // SAFETY: as above.
                unsafe { token.write(&dot::DotPanel { token, product, panel }, task) };
            });
        });
    }
    for_each(&|panel, task| level.run(PanelOp { w, x, panel, task }));
}

/// A task of one panel.
struct PanelOp<'a> {
    w: &'a QuantizedMatrix,
    x: QuantizedInput<'a>,
    panel: usize,
    task: PanelTask<'a>,
}

impl SimdOp for PanelOp<'_> {
    type Output = ();
    const MULTIPLIES_PAIRS: bool = true;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let n_outputs = self.task.outputs.len();
        let sums = kernel::QuantizedPanel { s, w: self.w, panel: self.panel, x: self.x, n_outputs };
        // SAFETY: the task is one of `for_each_panel`.
        unsafe { sums.write(self.task) };
    }

    fn eval_scalar(self) {
        let PanelTask { rows, outputs, epilogue, out } = self.task;
        let layout = self.w.layout();
        for row in rows {
            let mut totals = [0.0; PANEL];
            for (m, total) in outputs.clone().zip(&mut totals) {
                for tap in 0..self.w.n_taps() {
                    let (values, scales) = self.x.positions.row(self.x.position(row, tap));
                    for (block, x_scale) in scales.iter().enumerate() {
                        let ks = layout.block(block);
                        let acc: i32 = ks.map(|k| self.w.integer(m, tap, k) * i32::from(values[k])).sum();
                        *total += acc as f32 * self.w.scale(m, tap, block) * x_scale;
                    }
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
