//! Matrix product of bf16 with bf16: `out[r, m] = sum_k bf16(x[r, k]) * w[m, k]`, summed in f32.
//!
//! Weights are packed as bf16 and activations rounded to bf16 ([`round_rows`]) at every level, so that results
//! differ between levels as much as those of f32 products do: in the order and rounding of sums.
//!
//! | level | sum of a block of at most `K_BLOCK` inputs |
//! |---|---|
//! | `avx512bf16` | pairs of inputs, `vdpbf16ps` |
//! | `amx` | 32 inputs and up to 16 rows an instruction, `tdpbf16ps` |
//! | all others | one input after the other, by the kernels of [`crate::gemm`] |
//!
//! A level sums every row by the same instructions in the same order, be it one or many: these round in ways of
//! their own (numbers too small for a normal f32 count as zero), so no level mixes them with others.

#[cfg(target_arch = "x86_64")]
mod pairs;
#[cfg(target_arch = "x86_64")]
mod tiles;

#[cfg(target_arch = "x86_64")]
use crate::dispatch::PanelLevel;
use crate::dispatch::SimdOp;
use crate::element::{Bf16, Element};
use crate::gemm::{Epilogue, Input, PackedMatrix, gemm};
#[cfg(target_arch = "x86_64")]
use crate::gemm::{PANEL, for_each_panel};
use crate::level::Level;
use crate::parallel::Pool;
use crate::simd::Simd;

/// Inputs that rows are padded to in memory: as many as an instruction takes at most.
const STEP: usize = 32;

/// Rows rounded to bf16, in the form in which a level multiplies them.
#[derive(Clone, Copy, Debug)]
pub struct RoundedRows<'a> {
    row_len: usize,
    values: RoundedValues<'a>,
}

#[derive(Clone, Copy, Debug)]
enum RoundedValues<'a> {
    /// `[rows, row_len]`, bf16 values widened.
    Wide(&'a [f32]),
    /// `[rows, padded_len]`, zeros after each row.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no such level multiplies bf16"))]
    Narrow(&'a [Bf16]),
}

fn padded_len(row_len: usize) -> usize {
    row_len.next_multiple_of(STEP)
}

/// Values that [`round_rows`] needs for `n_rows` rows of `row_len`.
#[must_use]
pub fn rounded_len(n_rows: usize, row_len: usize) -> usize {
    n_rows * padded_len(row_len)
}

/// Whether the level has products of bf16, which read bf16.
fn multiplies_bf16(level: Level) -> bool {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16(_) | Level::Amx(_) => true,
        _ => false,
    }
}

/// Rounds `x` (`[rows, row_len]`) to the nearest bf16, ties to even, in `buffer` of [`rounded_len`] values.
///
/// # Panics
/// If the lengths do not fit.
pub fn round_rows<'a>(level: Level, x: &[f32], row_len: usize, buffer: &'a mut [f32]) -> RoundedRows<'a> {
    assert!(row_len > 0 && x.len().is_multiple_of(row_len), "the input is not whole rows of {row_len}");
    let n_rows = x.len() / row_len;
    assert_eq!(buffer.len(), rounded_len(n_rows, row_len), "a buffer of another size");
    let values = if multiplies_bf16(level) {
        let values = &mut Bf16::slice_in(buffer)[..rounded_len(n_rows, row_len)];
        level.run(Narrow { x, row_len, out: &mut *values });
        RoundedValues::Narrow(values)
    } else {
        let values = &mut buffer[..x.len()];
        level.run(Widened { x, out: &mut *values });
        RoundedValues::Wide(values)
    };
    RoundedRows { row_len, values }
}

/// `out[r, m]`, row `r` at `r * out_stride`.
///
/// # Panics
/// If the widths of `w`, `x`, the epilogue and `out` do not fit, if `w` is not bf16, or if the rows were rounded
/// for another level.
pub fn gemm_bf16(
    level: Level,
    pool: &Pool,
    w: &PackedMatrix,
    x: RoundedRows<'_>,
    epilogue: Epilogue<'_>,
    out: &mut [f32],
    out_stride: usize,
) {
    assert_eq!(x.row_len, w.in_features(), "the input is not as wide as the matrix");
    let panels = w.bf16_panels().expect("a matrix of bf16");
    match x.values {
        RoundedValues::Wide(values) => {
            assert!(!multiplies_bf16(level), "rows that were rounded for another level");
            gemm(level, pool, w, Input::rows(values, x.row_len), epilogue, out, out_stride);
        }
        #[cfg(target_arch = "x86_64")]
        RoundedValues::Narrow(values) => {
            let operands = Operands { panels, n_inputs: x.row_len, x: values, padded_len: padded_len(x.row_len) };
            operands.multiply(level, pool, w.out_features(), epilogue, (out, out_stride));
        }
        #[cfg(not(target_arch = "x86_64"))]
        RoundedValues::Narrow(_) => unreachable!("no such level multiplies bf16: {}", panels.len()),
    }
}

/// What the kernels that read bf16 multiply.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Operands<'a> {
    /// `[panels, n_inputs, PANEL]`.
    panels: &'a [Bf16],
    n_inputs: usize,
    /// `[rows, padded_len]`.
    x: &'a [Bf16],
    padded_len: usize,
}

#[cfg(target_arch = "x86_64")]
impl<'a> Operands<'a> {
    fn multiply(
        self,
        level: Level,
        pool: &Pool,
        out_features: usize,
        epilogue: Epilogue<'_>,
        out: (&mut [f32], usize),
    ) {
        let n_rows = self.x.len() / self.padded_len;
        let work = n_rows * out_features * self.n_inputs;
        for_each_panel(pool, (n_rows, out_features), work, epilogue, out, |panel, task| {
            let (operands, weights) = (self, self.panel(panel));
            // SAFETY: the task is one of `for_each_panel`.
            unsafe {
                match level {
                    Level::Avx512Bf16(token) => token.write(&pairs::PairsPanel { token, operands, weights }, task),
                    Level::Amx(token) => token.write(&tiles::TilePanel { token, operands, weights }, task),
                    _ => panic!("rows that were rounded for another level"),
                }
            }
        });
    }

    /// The rows of 32 weights of a panel, one an input.
    #[inline(always)]
    fn panel(&self, panel: usize) -> &'a [[Bf16; PANEL]] {
        let (rows, _) = self.panels.as_chunks();
        &rows[panel * self.n_inputs..(panel + 1) * self.n_inputs]
    }
}

struct Widened<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
}

impl SimdOp for Widened<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, _: S) {
        // The compiler vectorises the bit operations for each level.
        self.eval_scalar();
    }

    #[inline(always)]
    fn eval_scalar(self) {
        for (out, &x) in self.out.iter_mut().zip(self.x) {
            *out = Bf16::from_f32(x).to_f32();
        }
    }
}

struct Narrow<'a> {
    x: &'a [f32],
    row_len: usize,
    out: &'a mut [Bf16],
}

impl SimdOp for Narrow<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, _: S) {
        self.eval_scalar();
    }

    #[inline(always)]
    fn eval_scalar(self) {
        let rows = self.out.chunks_exact_mut(padded_len(self.row_len));
        for (out, x) in rows.zip(self.x.chunks_exact(self.row_len)) {
            for (out, &x) in out.iter_mut().zip(x) {
                *out = Bf16::from_f32(x);
            }
            out[self.row_len..].fill(Bf16::default());
        }
    }
}

#[cfg(test)]
mod tests;
