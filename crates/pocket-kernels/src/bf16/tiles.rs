//! AMX: 32 inputs of 16 outputs and up to 16 rows an instruction.
//!
//! A single row goes through the tiles as well: `vdpbf16ps` would round its sums differently.

use std::arch::x86_64::_mm512_storeu_si512;
use std::ops::Range;

use crate::element::Bf16;
use crate::gemm::kernel::{PREFETCH_BYTES, PanelSums};
use crate::gemm::{K_BLOCK, PANEL};
use crate::simd::Simd;
use crate::simd::amx::{Amx, Bf16Sums, Pairs, TILE_ROWS};
use crate::simd::avx512::Avx512;

use super::pairs::{add_interleaved, interleaved};
use super::{Operands, STEP};

const PAIRS: usize = K_BLOCK / 2;

pub(super) struct TilePanel<'a> {
    pub(super) token: Amx,
    pub(super) operands: Operands<'a>,
    pub(super) weights: &'a [[Bf16; PANEL]],
}

impl PanelSums for TilePanel<'_> {
    type Simd = Avx512<true>;

    #[inline(always)]
    fn simd(&self) -> Avx512<true> {
        self.token.vectors()
    }

    #[inline(always)]
    fn sum(&self, rows: Range<usize>, totals: &mut [f32]) {
        let (s, padded_len) = (self.token.vectors(), self.operands.padded_len);
        totals.fill(0.0);
        let n_tiles = rows.len().div_ceil(TILE_ROWS);
        // Tiles of the same size; the last one starts early if they do not come out even.
        let n_rows = rows.len().div_ceil(n_tiles);
        let tiles = self.token.configure(n_rows);
        let (mut pairs, mut sums) = (Pairs::<PAIRS>([[0; 64]; PAIRS]), Bf16Sums([[[0.0; 16]; TILE_ROWS]; 2]));
        for k_start in (0..self.operands.n_inputs).step_by(K_BLOCK) {
            let ks = k_start..(k_start + K_BLOCK).min(self.operands.n_inputs);
            let n_steps = ks.len().div_ceil(STEP);
            self.interleave(ks.clone(), &mut pairs.0[..n_steps * STEP / 2]);
            for tile in 0..n_tiles {
                let first = (tile * n_rows).min(rows.len() - n_rows);
                let start = (rows.start + first) * padded_len + ks.start;
                let end = start + (n_rows - 1) * padded_len + n_steps * STEP;
                let x = self.operands.x[start..end].as_ptr();
                let stride = padded_len * size_of::<Bf16>();
                // SAFETY: the rows of the tile lie `stride` bytes apart, and the last one ends within the slice.
                unsafe { tiles.dot_bf16(x.cast(), stride, &pairs, n_steps, &mut sums) };
                for i in tile * n_rows - first..n_rows {
                    let of_row = [s.load(&sums.0[0][i]), s.load(&sums.0[1][i])];
                    add_interleaved(s, of_row, &mut totals[(first + i) * PANEL..][..PANEL]);
                }
            }
        }
    }
}

impl TilePanel<'_> {
    /// The weights of the inputs `ks` as pairs, zeros after the last.
    #[inline(always)]
    fn interleave(&self, ks: Range<usize>, pairs: &mut [[u16; 64]]) {
        let mut rest = self.weights[ks].chunks(2);
        for out in pairs {
            let Some(rows) = rest.next() else {
                out.fill(0);
                continue;
            };
            for weights in rows {
                self.token.vectors().prefetch_near(weights.as_ptr().wrapping_byte_add(PREFETCH_BYTES));
            }
            for (half, pairs) in interleaved(rows).into_iter().enumerate() {
                // SAFETY: this is compiled for AVX-512 F, and each half of `out` has 64 bytes.
                unsafe { _mm512_storeu_si512(out[half * 32..][..32].as_mut_ptr().cast(), pairs) };
            }
        }
    }
}
