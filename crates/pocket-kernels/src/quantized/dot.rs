//! 8-bit weights through NEON's dot product of bytes: 16 multiply-adds an instruction.
//!
//! Of 32 multiply-adds (8 outputs, 4 inputs, one row) the kernel of pairs makes 20 instructions beside its
//! loads, this one 2 to interleave the weights and 4 to multiply.

use std::arch::aarch64::*;
use std::ops::Range;

use crate::gemm::PANEL;
use crate::gemm::kernel::PanelSums;
use crate::simd::Simd;
use crate::simd::neon::Neon;

use super::bytes::{Block, Pairs, Product};
use super::kernel::add_scaled;

/// Inputs of one step: as many activations as a vector holds.
const STEP: usize = 16;
const LANES: usize = 4;

pub(super) struct DotPanel<'a> {
    pub(super) token: Neon<true>,
    pub(super) product: &'a Product<'a>,
    pub(super) panel: usize,
}

impl PanelSums for DotPanel<'_> {
    type Simd = Neon<true>;

    #[inline(always)]
    fn simd(&self) -> Neon<true> {
        self.token
    }

    #[inline(always)]
    fn sum(&self, rows: Range<usize>, totals: &mut [f32]) {
        totals.fill(0.0);
        for block in self.product.blocks(self.panel) {
            sum_block(self.token, self.product, &block, rows.clone(), totals);
        }
    }
}

#[inline(always)]
fn sum_block(s: Neon<true>, product: &Product<'_>, block: &Block<'_>, rows: Range<usize>, totals: &mut [f32]) {
    let mut row = rows.start;
    for totals in totals.chunks_mut(2 * PANEL) {
        match rows.end - row {
            0 => return,
            1 => tile::<8, 1>(s, product, block, 0, row, totals),
            _ => {
                tile::<4, 2>(s, product, block, 0, row, totals);
                tile::<4, 2>(s, product, block, PANEL / 2, row, totals);
            }
        }
        row = rows.end.min(row + 2);
    }
}

/// The sums of a tile: of the high bytes' products and of the low ones'.
type Sums<const V: usize, const R: usize> = [[[int32x4_t; V]; R]; 2];

/// V vectors of outputs from `first` on, R rows from `row` on.
#[inline(always)]
fn tile<const V: usize, const R: usize>(
    s: Neon<true>,
    product: &Product<'_>,
    block: &Block<'_>,
    first: usize,
    row: usize,
    totals: &mut [f32],
) {
    let mut sums: Sums<V, R> = [[[s.zero_i32(); V]; R]; 2];
    let (steps, rest) = block.pairs.as_chunks::<{ STEP / 2 }>();
    let mut last = [[[0; 2]; PANEL]; STEP / 2];
    last[..rest.len()].copy_from_slice(rest);
    let last = std::iter::once(&last).take(usize::from(!rest.is_empty()));
    for (i, pairs) in steps.iter().chain(last).enumerate() {
        let x: [[int8x16_t; R]; 2] = std::array::from_fn(|plane| {
            std::array::from_fn(|r| {
                let at = product.high(row + r, block) + plane * product.plane_len + i * STEP;
                let bytes = &product.bytes[at..at + STEP];
                // SAFETY: the slice holds 16 bytes.
                unsafe { vld1q_s8(bytes.as_ptr()) }
            })
        });
        step::<0, V, R>(s, pairs, first, &x, &mut sums);
        step::<1, V, R>(s, pairs, first, &x, &mut sums);
        step::<2, V, R>(s, pairs, first, &x, &mut sums);
        step::<3, V, R>(s, pairs, first, &x, &mut sums);
    }
    for r in 0..R {
        let x_scale = s.splat(product.x_scale(row + r, block));
        for v in 0..V {
            let m = first + v * LANES;
            // SAFETY: the token proves the instructions.
            let acc = unsafe { vaddq_s32(vshlq_n_s32::<8>(sums[0][r][v]), sums[1][r][v]) };
            let total = &mut totals[r * PANEL + m..];
            let w_scale = s.load(&block.scales[m..]);
            s.store(add_scaled(s, acc, w_scale, x_scale, s.load(total)), total);
        }
    }
}

/// The 4 inputs that lie in lane `LANE` of the activations.
#[inline(always)]
fn step<const LANE: usize, const V: usize, const R: usize>(
    s: Neon<true>,
    pairs: &[Pairs; STEP / 2],
    first: usize,
    x: &[[int8x16_t; R]; 2],
    sums: &mut Sums<V, R>,
) {
    for v in (0..V).step_by(2) {
        let (low, high) =
            (load_pairs(&pairs[2 * LANE], first + v * LANES), load_pairs(&pairs[2 * LANE + 1], first + v * LANES));
        // SAFETY: the token proves the instructions.
        let w = unsafe { [vzip1q_s16(low, high), vzip2q_s16(low, high)] };
        for (i, w) in w.into_iter().enumerate() {
            for (sums, x) in sums.iter_mut().zip(x) {
                for r in 0..R {
                    sums[r][v + i] = s.dot_bytes::<LANE>(w, x[r], sums[r][v + i]);
                }
            }
        }
    }
}

/// The pairs of 8 outputs.
#[inline(always)]
pub(super) fn load_pairs(pairs: &Pairs, first: usize) -> int16x8_t {
    let pairs = &pairs.as_flattened()[2 * first..][..16];
    // SAFETY: the slice holds 16 bytes.
    unsafe { vreinterpretq_s16_s8(vld1q_s8(pairs.as_ptr())) }
}
