//! 8-bit weights through NEON's matrix product of bytes: 32 multiply-adds an instruction, for several rows.
//!
//! The sums are the integers of [`super::dot`], so that a level may use both.

use std::arch::aarch64::*;
use std::ops::Range;

use crate::gemm::PANEL;
use crate::gemm::kernel::PanelSums;
use crate::simd::Simd;
use crate::simd::neon::{Neon, NeonI8mm};

use super::bytes::{Block, Pairs, Product};
use super::dot::load_pairs;
use super::kernel::add_scaled;

/// Inputs of one instruction.
const STEP: usize = 8;
/// Outputs of a tile: two vectors of sums for each of two rows.
const OUTPUTS: usize = 8;

pub(super) struct MatrixPanel<'a> {
    pub(super) token: NeonI8mm,
    pub(super) product: &'a Product<'a>,
    pub(super) panel: usize,
}

impl PanelSums for MatrixPanel<'_> {
    type Simd = Neon<true>;

    #[inline(always)]
    fn simd(&self) -> Neon<true> {
        self.token.dot()
    }

    #[inline(always)]
    fn sum(&self, rows: Range<usize>, totals: &mut [f32]) {
        totals.fill(0.0);
        for block in self.product.blocks(self.panel) {
            for first in (0..PANEL).step_by(OUTPUTS) {
                let mut row = rows.start;
                for totals in totals.chunks_mut(4 * PANEL) {
                    let n_rows = (rows.end - row).min(4);
                    match n_rows {
                        1 | 2 => self.tile::<1>(&block, first, row, n_rows, totals),
                        _ => self.tile::<2>(&block, first, row, n_rows, totals),
                    }
                    row += n_rows;
                }
            }
        }
    }
}

impl MatrixPanel<'_> {
    /// 8 outputs from `first` on and `n_rows` rows from `row` on in R twos; a row without a second stands twice.
    #[inline(always)]
    fn tile<const R: usize>(&self, block: &Block<'_>, first: usize, row: usize, n_rows: usize, totals: &mut [f32]) {
        let (s, product) = (self.token.dot(), self.product);
        let last = row + n_rows - 1;
        let mut sums = [[[s.zero_i32(); OUTPUTS / 2]; R]; 2];
        let (steps, rest) = block.pairs.as_chunks::<{ STEP / 2 }>();
        let mut padded = [[[0; 2]; PANEL]; STEP / 2];
        padded[..rest.len()].copy_from_slice(rest);
        let padded = std::iter::once(&padded).take(usize::from(!rest.is_empty()));
        for (i, pairs) in steps.iter().chain(padded).enumerate() {
            let w = load_weights(pairs, first);
            for (plane, sums) in sums.iter_mut().enumerate() {
                for (r, sums) in sums.iter_mut().enumerate() {
                    let bytes = |row: usize| {
                        let at = product.high(row, block) + plane * product.plane_len + i * STEP;
                        let bytes = &product.bytes[at..at + STEP];
                        // SAFETY: the slice holds 8 bytes.
                        unsafe { vld1_s8(bytes.as_ptr()) }
                    };
                    let first_row = row + 2 * r;
                    // SAFETY: the token proves the instructions.
                    let x = unsafe { vcombine_s8(bytes(first_row), bytes(last.min(first_row + 1))) };
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = self.token.matrix_bytes(w, x, *sum);
                    }
                }
            }
        }
        for r in 0..n_rows {
            let x_scale = s.splat(product.x_scale(row + r, block));
            let [high, low] = [0, 1].map(|plane| of_row(&sums[plane][r / 2], r % 2));
            for half in 0..2 {
                let m = first + half * Neon::<true>::LANES;
                // SAFETY: the token proves the instructions.
                let acc = unsafe { vaddq_s32(vshlq_n_s32::<8>(high[half]), low[half]) };
                let total = &mut totals[r * PANEL + m..];
                let w_scale = s.load(&block.scales[m..]);
                s.store(add_scaled(s, acc, w_scale, x_scale, s.load(total)), total);
            }
        }
    }
}

/// 8 weights of each of 8 outputs, two outputs a vector.
#[inline(always)]
fn load_weights(pairs: &[Pairs; STEP / 2], first: usize) -> [int16x8_t; OUTPUTS / 2] {
    let [a, b, c, d] = pairs.each_ref().map(|pairs| load_pairs(pairs, first));
    // SAFETY: the callers are compiled for NEON.
    unsafe {
        let (even, odd) = ([vzip1q_s16(a, c), vzip2q_s16(a, c)], [vzip1q_s16(b, d), vzip2q_s16(b, d)]);
        [
            vzip1q_s16(even[0], odd[0]),
            vzip2q_s16(even[0], odd[0]),
            vzip1q_s16(even[1], odd[1]),
            vzip2q_s16(even[1], odd[1]),
        ]
    }
}

/// The sums of the first or second row, 8 outputs.
#[inline(always)]
fn of_row(sums: &[int32x4_t; OUTPUTS / 2], row: usize) -> [int32x4_t; 2] {
    [0, 2].map(|i| {
        // SAFETY: the callers are compiled for NEON.
        unsafe { if row == 0 { vuzp1q_s32(sums[i], sums[i + 1]) } else { vuzp2q_s32(sums[i], sums[i + 1]) } }
    })
}
