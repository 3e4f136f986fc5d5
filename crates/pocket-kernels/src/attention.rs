//! Attention of query rows over a K/V cache that lies in several segments.
//!
//! `out = softmax(q k^T / sqrt(head_dim)) v` per head; each K/V head serves `heads / kv_heads`
//! consecutive query heads.
//!
//! Keys lie in panels of [`KEY_PANEL`] positions, dimension by dimension, so that a score is one chain
//! of multiply-adds over the dimensions and an output one chain over the positions, whatever rows share a
//! pass over the cache and wherever one segment ends and the next begins.
//! Source: `torch.nn.functional.scaled_dot_product_attention`.

mod kernel;

use std::ops::Range;

use crate::element::{Bf16, Element};
use crate::gemm::kernel::SharedOutput;
use crate::level::Level;
use crate::parallel::Pool;
use crate::simd::MAX_LANES;

/// Positions of a panel of keys; the capacity of a segment is a multiple.
pub const KEY_PANEL: usize = 64;
/// Rows of one task where threads share a call: the keys of a head stay in L2 meanwhile.
const TASK_ROWS: usize = 48;
/// Rows that share a pass over the cache.
const TILE_ROWS: usize = 4;

/// Head layout of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl AttentionShape {
    /// Width of a query row and of an output row.
    #[must_use]
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of a key row and of a value row.
    #[must_use]
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Where a segment of `capacity` positions holds dimension `dim` of the key at `position`.
    #[must_use]
    pub fn key_index(&self, capacity: usize, kv_head: usize, position: usize, dim: usize) -> usize {
        let panel = position / KEY_PANEL * KEY_PANEL;
        (kv_head * capacity + panel) * self.head_dim + dim * KEY_PANEL + position % KEY_PANEL
    }
}

/// Keys and values of consecutive positions in the type that they are kept in.
#[derive(Clone, Copy, Debug)]
pub enum KvSlices<'a> {
    /// 32-bit floats: keys, values.
    F32(&'a [f32], &'a [f32]),
    /// bfloat16, widened to f32 when read: keys, values.
    Bf16(&'a [Bf16], &'a [Bf16]),
}

impl KvSlices<'_> {
    fn lens(&self) -> (usize, usize) {
        match self {
            Self::F32(keys, values) => (keys.len(), values.len()),
            Self::Bf16(keys, values) => (keys.len(), values.len()),
        }
    }

    fn key(&self, index: usize) -> f32 {
        match self {
            Self::F32(keys, _) => keys[index],
            Self::Bf16(keys, _) => keys[index].to_f32(),
        }
    }

    fn value(&self, index: usize) -> f32 {
        match self {
            Self::F32(_, values) => values[index],
            Self::Bf16(_, values) => values[index].to_f32(),
        }
    }
}

/// Consecutive positions of a K/V cache, of which the first `len` of each head are in use: keys
/// `[kv_heads, capacity / KEY_PANEL, head_dim, KEY_PANEL]`, values `[kv_heads, capacity, head_dim]`.
#[derive(Clone, Copy, Debug)]
pub struct KvSegment<'a> {
    data: KvSlices<'a>,
    len: usize,
    capacity: usize,
}

impl<'a> KvSegment<'a> {
    /// A segment of `len` positions.
    ///
    /// # Panics
    /// If keys or values are not `kv_heads * capacity * head_dim`, `len` exceeds `capacity`, or `capacity` is
    /// not whole panels.
    #[must_use]
    pub fn new(shape: AttentionShape, data: KvSlices<'a>, len: usize, capacity: usize) -> Self {
        assert!(len <= capacity, "more positions than the segment holds");
        assert!(capacity.is_multiple_of(KEY_PANEL), "a capacity is whole panels of keys");
        let n = shape.kv_width() * capacity;
        assert_eq!(data.lens(), (n, n), "keys are [kv_heads, panels, head_dim, KEY_PANEL], values as many");
        Self { data, len, capacity }
    }
}

/// Query rows of one stream: row `r` starts at `r * stride`.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    data: &'a [f32],
    stride: usize,
    n_rows: usize,
}

impl<'a> Queries<'a> {
    /// The rows of width `query_width` at the front of every `stride` values of `data`.
    ///
    /// # Panics
    /// If `data` is not whole strides, or a stride is shorter than a row.
    #[must_use]
    pub fn new(data: &'a [f32], stride: usize, query_width: usize) -> Self {
        assert!(stride > 0 && query_width <= stride, "query rows overlap");
        assert!(data.len().is_multiple_of(stride), "the queries are not whole rows");
        Self { data, stride, n_rows: data.len() / stride }
    }

    /// Number of rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }
}

/// Values of scratch that [`attend`] needs for `n_rows` rows that see at most `longest` positions in all:
/// as much for every task, since they may run at the same time.
#[must_use]
pub fn scratch_len(shape: AttentionShape, n_rows: usize, longest: usize) -> usize {
    shape.kv_heads * n_rows.div_ceil(TASK_ROWS) * task_scratch_len(longest)
}

fn task_scratch_len(n_positions: usize) -> usize {
    TILE_ROWS * score_stride(n_positions)
}

/// Distance of two rows of scores: vectors may begin before the first and end after the last position.
fn score_stride(n_positions: usize) -> usize {
    n_positions + 2 * MAX_LANES
}

/// Attends from query rows to the keys that each sees: `visible` of a row, counted from the first position
/// of the first segment, begins and ends no earlier than that of the row before. Writes `out`
/// (`[rows, query_width]`), on several threads if that pays.
///
/// `scratch` is [`scratch_len`] of the rows and the positions from the first that the first row sees to the
/// last that the last row sees.
///
/// # Panics
/// If the widths do not fit `shape`, a row sees nothing, or `visible` ends past the segments.
#[expect(clippy::too_many_arguments, reason = "the operands of attention and where it runs")]
pub fn attend(
    level: Level,
    pool: &Pool,
    shape: AttentionShape,
    queries: Queries<'_>,
    segments: &[KvSegment<'_>],
    visible: &(dyn Fn(usize) -> Range<usize> + Send + Sync),
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let width = shape.query_width();
    let n_rows = queries.n_rows;
    assert!(width <= queries.stride && out.len() == n_rows * width, "the output is as large as the queries");
    assert!(shape.kv_heads > 0 && shape.heads.is_multiple_of(shape.kv_heads), "K/V heads divide the heads");
    if n_rows == 0 {
        return;
    }
    let n_positions: usize = segments.iter().map(|segment| segment.len).sum();
    let (mut seen, mut work) = (0..0, 0);
    for row in 0..n_rows {
        let next = visible(row);
        assert!(!next.is_empty(), "a query sees at least itself");
        assert!(next.start >= seen.start && next.end >= seen.end, "later rows see later positions");
        work += 2 * width * next.len();
        seen = next;
    }
    assert!(seen.end <= n_positions, "visible keys end past the cache");
    let union = seen.end - visible(0).start;
    let out = SharedOutput::new(out, width);
    let n_chunks = n_rows.div_ceil(TASK_ROWS);
    let run = |task: usize, scratch: &mut [f32]| {
        let first = task % n_chunks * TASK_ROWS;
        let rows = first..(first + TASK_ROWS).min(n_rows);
        let kv_head = task / n_chunks;
        level.run(kernel::Attend { shape, queries, segments, visible, rows, kv_head, scratch, out });
    };
    let n_tasks = shape.kv_heads * n_chunks;
    let n_scratch = task_scratch_len(union);
    if pool.is_shared(work) {
        pool.for_each_chunk(&mut scratch[..n_tasks * n_scratch], n_scratch, work, run);
    } else {
        for task in 0..n_tasks {
            run(task, &mut scratch[..n_scratch]);
        }
    }
}

#[cfg(test)]
mod tests;
