//! Several rows through 8-bit weights in AMX tiles: the same integers, and so the same bits, as one row.
//!
//! Activations are split into bytes, `x = 256 * high + low` with `high` signed and `low` unsigned, and the
//! sums of a block are `256 * sum(high * w) + sum(low * w)`. Tiles want 4 consecutive weights of an output
//! together where panels have 2: each block is rearranged on its way, once for all rows of a chunk.

use std::cell::Cell;
use std::ops::Range;

use crate::gemm::kernel::SharedOutput;
use crate::gemm::{Epilogue, PANEL, ROW_CHUNK};
use crate::simd::Simd;
use crate::simd::amx::{Amx, Quads, Sums, TILE_BYTES, TILE_ROWS};
use crate::simd::avx512::Avx512;

use super::kernel::add_scaled;
use super::{BLOCK, QuantizedInput, QuantizedMatrix};

/// Rows from which tiles pay for the rearranged weights: one row takes VNNI as long as 64 k of a tile's 16.
pub(super) const MIN_ROWS: usize = 8;

/// Groups of 4 inputs in a block.
const QUADS: usize = BLOCK / 4;

thread_local! {
    /// Activations as bytes, kept for the next product of the thread.
    static BYTES: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The operands of a product.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    token: Amx,
    w: &'a QuantizedMatrix,
    weights: &'a [i8],
    x: QuantizedInput<'a>,
    /// `[positions, high and low, plane_len]`.
    bytes: &'a [u8],
    plane_len: usize,
}

impl<'a> Product<'a> {
    /// Calls `run` with the product of `w`, whose integers are `weights`, and `x`.
    ///
    /// Allocates nothing once a thread has seen its largest input.
    pub(super) fn with<R>(
        token: Amx,
        (w, weights): (&'a QuantizedMatrix, &'a [i8]),
        x: QuantizedInput<'a>,
        run: impl FnOnce(Product<'_>) -> R,
    ) -> R {
        let plane_len = w.layout().padded_len().next_multiple_of(TILE_BYTES);
        let n_positions = x.positions.n_rows();
        let mut bytes = BYTES.take();
        if bytes.len() < n_positions * 2 * plane_len {
            bytes.resize(n_positions * 2 * plane_len, 0);
        }
        // SAFETY: the token proves the instructions.
        unsafe { split(&x, plane_len, &mut bytes) };
        let result = run(Product { token, w, weights, x, bytes: &bytes, plane_len });
        BYTES.set(bytes);
        result
    }

    /// The outputs of `rows` and one panel.
    pub(super) fn run_panel(&self, panel: usize, rows: Range<usize>, epilogue: Epilogue<'_>, out: SharedOutput<'_>) {
        // SAFETY: the token proves the instructions.
        unsafe { enter(self, self.token.vectors(), panel, rows, epilogue, out) }
    }

    #[inline(always)]
    fn sum_chunk(&self, s: Avx512<true>, panel: usize, rows: Range<usize>, totals: &mut [f32; ROW_CHUNK * PANEL]) {
        let (n_tiles, n_blocks) = (rows.len().div_ceil(TILE_ROWS), self.w.layout().n_blocks());
        // Tiles of the same size; the last one starts early if they do not come out even.
        let n_rows = rows.len().div_ceil(n_tiles);
        let tiles = self.token.configure(n_rows);
        let stride = self.x.row_stride * 2 * self.plane_len;
        let (mut quads, mut sums) = (Quads::<QUADS>([[[0; 4]; PANEL]; QUADS]), Sums([[[[0; 16]; TILE_ROWS]; 2]; 2]));
        for tap in 0..self.w.n_taps() {
            for block in 0..n_blocks {
                let n_steps = self.quads(panel, tap, block, &mut quads).div_ceil(TILE_BYTES);
                let scales = &self.w.scales.as_slice()[((panel * self.w.n_taps() + tap) * n_blocks + block) * PANEL..];
                for tile in 0..n_tiles {
                    let first = (tile * n_rows).min(rows.len() - n_rows);
                    let position = self.x.position(rows.start + first, tap);
                    let last = self.x.position(rows.start + first + n_rows - 1, tap);
                    let (at, end) = (block * BLOCK, block * BLOCK + n_steps * TILE_BYTES);
                    assert!(end <= self.plane_len && (last + 1) * 2 * self.plane_len <= self.bytes.len());
                    let high = self.bytes[position * 2 * self.plane_len + at..].as_ptr();
                    let low = self.bytes[(position * 2 + 1) * self.plane_len + at..].as_ptr();
                    // SAFETY: the rows of the tile are the positions from `position` to `last`, `stride`
                    // bytes apart, all of them in the buffer, and so are the steps of each (asserted).
                    unsafe { tiles.dot((high, low), stride, &quads, n_steps, &mut sums) };
                    for i in tile * n_rows - first..n_rows {
                        let position = self.x.position(rows.start + first + i, tap);
                        let x_scale = s.splat(self.x.positions.row(position).1[block]);
                        let totals = &mut totals[(first + i) * PANEL..][..PANEL];
                        for half in 0..2 {
                            let (high, low) = (&sums.0[0][half][i], &sums.0[1][half][i]);
                            let acc: [i32; 16] = std::array::from_fn(|m| (high[m] << 8) + low[m]);
                            // SAFETY: 16 integers of 32 bits are 16 pairs of 16.
                            let acc = unsafe { s.load_pairs_i16_ptr(acc.as_ptr().cast()) };
                            let total = &mut totals[half * 16..];
                            let w_scale = s.load(&scales[half * 16..]);
                            s.store(add_scaled(s, acc, w_scale, x_scale, s.load(total)), total);
                        }
                    }
                }
            }
        }
    }

    /// Rearranges the weights of a block, zeros after its end, and tells how many inputs it has.
    #[inline(always)]
    fn quads(&self, panel: usize, tap: usize, block: usize, quads: &mut Quads<QUADS>) -> usize {
        let padded_len = self.w.layout().padded_len();
        let values = block * BLOCK..((block + 1) * BLOCK).min(padded_len);
        let weights = &self.weights[(panel * self.w.n_taps() + tap) * padded_len * PANEL..][..padded_len * PANEL];
        let (pairs, _) = weights[values.start * PANEL..values.end * PANEL].as_chunks::<2>();
        let (pairs, _) = pairs.as_chunks::<PANEL>();
        for (i, quad) in quads.0.iter_mut().enumerate() {
            let zeros = [[0; 2]; PANEL];
            let (first, second) = (pairs.get(2 * i).unwrap_or(&zeros), pairs.get(2 * i + 1).unwrap_or(&zeros));
            for m in 0..PANEL {
                quad[m] = [first[m][0], first[m][1], second[m][0], second[m][1]];
            }
        }
        values.len()
    }
}

/// Writes the high and the low bytes of every position.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn split(x: &QuantizedInput<'_>, plane_len: usize, bytes: &mut [u8]) {
    for (position, planes) in bytes.chunks_exact_mut(2 * plane_len).take(x.positions.n_rows()).enumerate() {
        let (values, _) = x.positions.row(position);
        let (high, low) = planes.split_at_mut(plane_len);
        for ((high, low), &value) in high.iter_mut().zip(&mut *low).zip(values) {
            *high = (value >> 8) as u8;
            *low = value as u8;
        }
        high[values.len()..].fill(0);
        low[values.len()..].fill(0);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
fn enter(
    product: &Product<'_>,
    s: Avx512<true>,
    panel: usize,
    mut rows: Range<usize>,
    epilogue: Epilogue<'_>,
    out: SharedOutput<'_>,
) {
    let outputs = panel * PANEL..((panel + 1) * PANEL).min(product.w.out_features());
    while !rows.is_empty() {
        let chunk = rows.start..rows.end.min(rows.start + ROW_CHUNK);
        let mut totals = [0.0; ROW_CHUNK * PANEL];
        product.sum_chunk(s, panel, chunk.clone(), &mut totals);
        for (row, totals) in chunk.clone().zip(totals.chunks_exact_mut(PANEL)) {
            // SAFETY: `for_each_panel` checked that `out` holds all rows and outputs, and gives every pair
            // of a row and a panel to one call only.
            let out = unsafe { out.row(row, outputs.clone()) };
            epilogue.write(outputs.start, &mut totals[..outputs.len()], out);
        }
        rows.start = chunk.end;
    }
}
