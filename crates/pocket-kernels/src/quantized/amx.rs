//! Several rows through 8-bit weights in AMX tiles.

use std::ops::Range;

use crate::gemm::PANEL;
use crate::gemm::kernel::PanelSums;
use crate::simd::Simd;
use crate::simd::amx::{Amx, Quads, Sums, TILE_ROWS};
use crate::simd::avx512::Avx512;

use super::BLOCK;
use super::bytes::{Pairs, Product, STEP};
use super::kernel::add_scaled;

/// Rows from which tiles pay. By instruction counts (not measured): VNNI takes 64 cycles for a row and a block
/// of a panel; tiles take 8 for the row, and some 250 for the block, most of them to interleave its weights.
pub(super) const MIN_ROWS: usize = 8;

/// Groups of 4 inputs in a block.
const QUADS: usize = BLOCK / 4;

pub(super) struct TilePanel<'a> {
    pub(super) token: Amx,
    pub(super) product: &'a Product<'a>,
    pub(super) panel: usize,
}

impl PanelSums for TilePanel<'_> {
    type Simd = Avx512<true>;

    #[inline(always)]
    fn simd(&self) -> Avx512<true> {
        self.token.vectors()
    }

    #[inline(always)]
    fn sum(&self, rows: Range<usize>, totals: &mut [f32]) {
        let &Self { token, product, panel } = self;
        totals.fill(0.0);
        let n_tiles = rows.len().div_ceil(TILE_ROWS);
        // Tiles of the same size; the last one starts early if they do not come out even.
        let n_rows = rows.len().div_ceil(n_tiles);
        let tiles = token.configure(n_rows);
        let stride = product.x.row_stride * 2 * product.plane_len;
        let (mut quads, mut sums) = (Quads::<QUADS>([[[0; 4]; PANEL]; QUADS]), Sums([[[[0; 16]; TILE_ROWS]; 2]; 2]));
        for block in product.blocks(panel) {
            let n_steps = (block.pairs.len() * 2).div_ceil(STEP);
            interleave(block.pairs, &mut quads.0[..n_steps * STEP / 4]);
            for tile in 0..n_tiles {
                let first = (tile * n_rows).min(rows.len() - n_rows);
                let row = rows.start + first;
                let (high, last_low) =
                    (product.high(row, &block), product.high(row + n_rows - 1, &block) + product.plane_len);
                assert!(last_low + n_steps * STEP <= product.bytes.len(), "activations past their end");
                let high = product.bytes[high..].as_ptr();
                // SAFETY: the rows of the tile lie `stride` bytes apart; the last bytes read of the last row are
                // those of its low plane, which end within the buffer (asserted).
                unsafe { tiles.dot((high, high.add(product.plane_len)), stride, &quads, n_steps, &mut sums) };
                for i in tile * n_rows - first..n_rows {
                    let x_scale = product.x_scale(row + i, &block);
                    add_row(
                        token.vectors(),
                        &sums,
                        i,
                        block.scales,
                        x_scale,
                        &mut totals[(first + i) * PANEL..][..PANEL],
                    );
                }
            }
        }
    }
}

/// Two rows of pairs to one of groups of 4, zeros after the last.
#[inline(always)]
fn interleave(pairs: &[Pairs], quads: &mut [[[i8; 4]; PANEL]]) {
    const ZEROS: Pairs = [[0; 2]; PANEL];
    for (i, quad) in quads.iter_mut().enumerate() {
        let (first, second) = (pairs.get(2 * i).unwrap_or(&ZEROS), pairs.get(2 * i + 1).unwrap_or(&ZEROS));
        for m in 0..PANEL {
            quad[m] = [first[m][0], first[m][1], second[m][0], second[m][1]];
        }
    }
}

/// Adds row `row` of the tiles to its totals.
#[inline(always)]
fn add_row(s: Avx512<true>, sums: &Sums, row: usize, scales: &[f32], x_scale: f32, totals: &mut [f32]) {
    for half in 0..2 {
        let (high, low) = (&sums.0[0][half][row], &sums.0[1][half][row]);
        let acc: [i32; 16] = std::array::from_fn(|m| (high[m] << 8) + low[m]);
        // SAFETY: 16 integers of 32 bits are as many as 16 pairs of 16.
        let acc = unsafe { s.load_pairs_i16_ptr(acc.as_ptr().cast()) };
        let total = &mut totals[half * 16..];
        let w_scale = s.load(&scales[half * 16..]);
        s.store(add_scaled(s, acc, w_scale, s.splat(x_scale), s.load(total)), total);
    }
}
