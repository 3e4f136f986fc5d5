//! AVX-512 BF16: two inputs of 16 outputs an instruction.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::element::Bf16;
use crate::gemm::kernel::{PREFETCH_BYTES, PanelSums};
use crate::gemm::{K_BLOCK, PANEL};
use crate::simd::Simd;
use crate::simd::avx512::{Avx512, Avx512Bf16};

use super::Operands;

/// Most rows of a register tile: two sums each, beside two vectors of weights.
const MAX_ROWS: usize = 12;

pub(super) struct PairsPanel<'a> {
    pub(super) token: Avx512Bf16,
    pub(super) operands: Operands<'a>,
    pub(super) weights: &'a [[Bf16; PANEL]],
}

impl PanelSums for PairsPanel<'_> {
    type Simd = Avx512<true>;

    #[inline(always)]
    fn simd(&self) -> Avx512<true> {
        self.token.vectors()
    }

    #[inline(always)]
    fn sum(&self, rows: Range<usize>, totals: &mut [f32]) {
        totals.fill(0.0);
        for k_start in (0..self.operands.n_inputs).step_by(K_BLOCK) {
            let ks = k_start..(k_start + K_BLOCK).min(self.operands.n_inputs);
            let n_tiles = rows.len().div_ceil(MAX_ROWS);
            let mut first = 0;
            for tile in 0..n_tiles {
                let n_rows = (rows.len() - first).div_ceil(n_tiles - tile);
                let row = rows.start + first;
                let totals = &mut totals[first * PANEL..];
                macro_rules! run {
                    ($($r:literal)*) => {
                        match n_rows {
                            $($r => self.tile::<$r>(row, ks.clone(), totals),)*
                            _ => unreachable!("a tile of {n_rows} rows"),
                        }
                    };
                }
                run!(1 2 3 4 5 6 7 8 9 10 11 12);
                first += n_rows;
            }
        }
    }
}

impl PairsPanel<'_> {
    /// Adds the sums over the block `ks` of R rows from `row` on to `totals` (`[R, PANEL]`).
    #[inline(always)]
    fn tile<const R: usize>(&self, row: usize, ks: Range<usize>, totals: &mut [f32]) {
        let s = self.token.vectors();
        let (x, padded_len) = (self.operands.x, self.operands.padded_len);
        let x: [&[Bf16]; R] = std::array::from_fn(|r| &x[(row + r) * padded_len..][..padded_len]);
        assert!(ks.end <= padded_len && ks.start.is_multiple_of(2));
        let mut sums = [[s.zero(); 2]; R];
        for (i, pair) in self.weights[ks.clone()].chunks(2).enumerate() {
            if R == 1 {
                for weights in pair {
                    s.prefetch_near(weights.as_ptr().wrapping_byte_add(PREFETCH_BYTES));
                }
            }
            let w = interleaved(pair);
            for r in 0..R {
                // SAFETY: padded_len is even and so is k, which is below it: both values are of the row.
                let pair = unsafe { x[r].as_ptr().add(ks.start + 2 * i).cast::<i32>().read_unaligned() };
                // SAFETY: the token proves the instructions.
                let x = unsafe { _mm512_set1_epi32(pair) };
                for half in 0..2 {
                    sums[r][half] = self.token.dot_bf16(w[half], x, sums[r][half]);
                }
            }
        }
        for (sums, totals) in sums.into_iter().zip(totals.chunks_exact_mut(PANEL)) {
            add_interleaved(s, sums, totals);
        }
    }
}

/// One or two rows of 32 weights as pairs: of the outputs 0–3, 8–11, 16–19 and 24–27, then of the others. The
/// second weight is zero if there is one row.
#[inline(always)]
pub(super) fn interleaved(rows: &[[Bf16; PANEL]]) -> [__m512i; 2] {
    // SAFETY: the callers are compiled for AVX-512 F and BW, and a row has 64 bytes.
    unsafe {
        let first = _mm512_loadu_si512(rows[0].as_ptr().cast());
        let second = match rows.get(1) {
            Some(row) => _mm512_loadu_si512(row.as_ptr().cast()),
            None => _mm512_setzero_si512(),
        };
        [_mm512_unpacklo_epi16(first, second), _mm512_unpackhi_epi16(first, second)]
    }
}

/// Adds sums in the order of [`interleaved`] to totals in the order of the outputs.
#[inline(always)]
pub(super) fn add_interleaved(s: Avx512<true>, [low, high]: [__m512; 2], totals: &mut [f32]) {
    // SAFETY: the token proves the instructions.
    let sums = unsafe {
        let order = |first: i32| {
            let quarter = |at: i32| [at, at + 1, at + 2, at + 3];
            let quarters = [quarter(first), quarter(first + 16), quarter(first + 4), quarter(first + 20)];
            _mm512_loadu_si512(quarters.as_ptr().cast())
        };
        [_mm512_permutex2var_ps(low, order(0), high), _mm512_permutex2var_ps(low, order(8), high)]
    };
    for (sum, total) in sums.into_iter().zip(totals.chunks_exact_mut(PANEL / 2)) {
        s.store(s.add(s.load(total), sum), total);
    }
}
