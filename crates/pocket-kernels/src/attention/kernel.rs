//! One K/V head and the query heads that it serves.

use std::ops::Range;

use super::{AttentionShape, KEY_PANEL, KvSegment, KvSlices, Queries, TILE_ROWS, score_stride};
use crate::dispatch::SimdOp;
use crate::element::Element;
use crate::gemm::kernel::SharedOutput;
use crate::simd::{MAX_LANES, Simd};
use crate::softmax;

/// Attention of `rows` over one K/V head.
pub(super) struct Attend<'a> {
    pub(super) shape: AttentionShape,
    pub(super) queries: Queries<'a>,
    pub(super) segments: &'a [KvSegment<'a>],
    pub(super) visible: &'a (dyn Fn(usize) -> Range<usize> + Send + Sync),
    pub(super) rows: Range<usize>,
    pub(super) kv_head: usize,
    pub(super) scratch: &'a mut [f32],
    pub(super) out: SharedOutput<'a>,
}

/// One query head of one row.
#[derive(Clone, Copy)]
struct Query<'a> {
    /// `[head_dim]`.
    values: &'a [f32],
    row: usize,
    /// Where its output starts in the output row.
    column: usize,
    /// The positions that it sees.
    visible: (usize, usize),
}

impl<'a> Attend<'a> {
    /// The query with this index, in the order of rows, then heads.
    fn query(&self, index: usize) -> Query<'a> {
        let AttentionShape { heads, kv_heads, head_dim } = self.shape;
        let group = heads / kv_heads;
        let (row, head) = (self.rows.start + index / group, self.kv_head * group + index % group);
        let visible = (self.visible)(row);
        let values = &self.queries.data[row * self.queries.stride + head * head_dim..][..head_dim];
        Query { values, row, column: head * head_dim, visible: (visible.start, visible.end) }
    }

    fn n_queries(&self) -> usize {
        self.rows.len() * (self.shape.heads / self.shape.kv_heads)
    }

    /// The output of a query.
    ///
    /// # Safety
    /// No other slice of it may exist.
    unsafe fn output(&self, query: Query<'_>) -> &'a mut [f32] {
        let columns = query.column..query.column + self.shape.head_dim;
        // SAFETY: `attend` checked that the output holds all rows; the caller promises the rest.
        unsafe { self.out.row(query.row, columns) }
    }

    /// The parts of the segments that lie in `positions`: the segment, the index of its first position, and
    /// the positions within it.
    fn parts(&self, positions: Range<usize>) -> impl Iterator<Item = (&'a KvSegment<'a>, usize, Range<usize>)> {
        let mut first = 0;
        let parts = self.segments.iter().map(move |segment| {
            let start = first;
            first += segment.len;
            let clamp = |position: usize| position.clamp(start, start + segment.len) - start;
            (segment, start, clamp(positions.start)..clamp(positions.end))
        });
        parts.filter(|(_, _, positions)| !positions.is_empty())
    }
}

/// Vectors of a tile of one row: as many chains as hide the latency of a multiply-add.
const ROW_TILE: usize = 8;
/// How far ahead of its use a single row asks for values.
const VALUES_AHEAD_BYTES: usize = 4096;

/// Calls `$run::<V, R>` for the number of vectors and rows, of which only those that occur are compiled.
macro_rules! with_tile {
    ($s:ty, $v:expr, $r:expr, $run:ident) => {
        match ($v, $r) {
            (1, 1) => $run!(1, 1),
            (2, 1) => $run!(2, 1),
            (4, 1) => $run!(4, 1),
            (8, 1) => $run!(8, 1),
            (1, TILE_ROWS) => $run!(1, TILE_ROWS),
            (2, TILE_ROWS) => $run!(2, TILE_ROWS),
            (4, TILE_ROWS) if const { <$s>::TILE >= 4 } => $run!(4, TILE_ROWS),
            (v, r) => unreachable!("a tile of {v} vectors and {r} rows"),
        }
    };
}

impl SimdOp for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(mut self, s: S) {
        let scratch = std::mem::take(&mut self.scratch);
        let n_queries = self.n_queries();
        let mut first = 0;
        while first < n_queries {
            // What does not fill a tile goes row by row.
            let n = if n_queries - first >= TILE_ROWS { TILE_ROWS } else { 1 };
            let mut queries = [self.query(first); TILE_ROWS];
            for (j, query) in queries.iter_mut().enumerate().take(n).skip(1) {
                *query = self.query(first + j);
            }
            self.tile(s, &queries[..n], scratch);
            first += n;
        }
    }

    fn eval_scalar(self) {
        let AttentionShape { head_dim, .. } = self.shape;
        let scale = 1.0 / (head_dim as f32).sqrt();
        for index in 0..self.n_queries() {
            let query = self.query(index);
            let scores = &mut self.scratch[..query.visible.1 - query.visible.0];
            // SAFETY: every query has an output of its own.
            let out = unsafe { self.out.row(query.row, query.column..query.column + head_dim) };
            let visible = query.visible.0..query.visible.1;
            let mut n = 0;
            let mut first = 0;
            for segment in self.segments {
                for position in 0..segment.len {
                    if visible.contains(&(first + position)) {
                        let index = |dim| self.shape.key_index(segment.capacity, self.kv_head, position, dim);
                        let key = |dim| segment.data.key(index(dim));
                        scores[n] = query.values.iter().enumerate().map(|(dim, q)| q * key(dim)).sum::<f32>() * scale;
                        n += 1;
                    }
                }
                first += segment.len;
            }
            softmax::scalar(scores);
            out.fill(0.0);
            let mut n = 0;
            let mut first = 0;
            for segment in self.segments {
                for position in 0..segment.len {
                    if visible.contains(&(first + position)) {
                        let start = (self.kv_head * segment.capacity + position) * head_dim;
                        for (dim, out) in out.iter_mut().enumerate() {
                            *out += scores[n] * segment.data.value(start + dim);
                        }
                        n += 1;
                    }
                }
                first += segment.len;
            }
        }
    }
}

impl Attend<'_> {
    /// Queries that share their passes over the cache.
    #[inline(always)]
    fn tile<S: Simd>(&self, s: S, queries: &[Query<'_>], scratch: &mut [f32]) {
        let n = queries.len();
        let union = queries[0].visible.0..queries[n - 1].visible.1;
        let stride = score_stride(union.len());
        let scores = &mut scratch[..n * stride];
        self.scores(s, queries, union.clone(), scores, stride);
        // Where the score of a position lies in the row of a query.
        let at = |query: usize, position: usize| query * stride + MAX_LANES + position - union.start;
        for (i, query) in queries.iter().enumerate() {
            softmax::softmax_row(s, &mut scores[at(i, query.visible.0)..at(i, query.visible.1)]);
            // SAFETY: every query has an output of its own, and no slice of it exists here.
            unsafe { self.output(*query) }.fill(0.0);
        }
        // Every output is one chain over its positions: those before the common ones, those that all
        // queries see, those after.
        let common = queries[n - 1].visible.0..queries[0].visible.1;
        if n == 1 || common.is_empty() {
            for (i, query) in queries.iter().enumerate() {
                let visible = query.visible.0..query.visible.1;
                self.mix(s, &queries[i..=i], visible, &scores[at(i, query.visible.0)..], stride);
            }
            return;
        }
        for (i, query) in queries.iter().enumerate() {
            let before = query.visible.0..common.start;
            self.mix(s, &queries[i..=i], before, &scores[at(i, query.visible.0)..], stride);
        }
        self.mix(s, queries, common.clone(), &scores[at(0, common.start)..], stride);
        for (i, query) in queries.iter().enumerate() {
            let after = common.end..query.visible.1;
            self.mix(s, &queries[i..=i], after, &scores[at(i, common.end)..], stride);
        }
    }

    /// Writes the scaled scores of all positions of `union` to the rows of `scores`, from `MAX_LANES` on;
    /// what surrounds them is overwritten with anything.
    #[inline(always)]
    fn scores<S: Simd>(&self, s: S, queries: &[Query<'_>], union: Range<usize>, scores: &mut [f32], stride: usize) {
        for (segment, first, positions) in self.parts(union.clone()) {
            // Where the score of the segment's first position would lie.
            let column = MAX_LANES + first;
            let all = self.kv_head * segment.capacity * self.shape.head_dim;
            let all = all..all + segment.capacity * self.shape.head_dim;
            match segment.data {
                KvSlices::F32(keys, _) => {
                    self.scores_of(s, queries, &keys[all], positions, scores, (column, union.start, stride));
                }
                KvSlices::Bf16(keys, _) => {
                    self.scores_of(s, queries, &keys[all], positions, scores, (column, union.start, stride));
                }
            }
        }
    }

    /// The scores of `positions` of one segment, position `p` at `column + p - start` of a row.
    #[inline(always)]
    fn scores_of<S: Simd, T: Element>(
        &self,
        s: S,
        queries: &[Query<'_>],
        keys: &[T],
        positions: Range<usize>,
        scores: &mut [f32],
        (column, start, stride): (usize, usize, usize),
    ) {
        let head_dim = self.shape.head_dim;
        let scale = s.splat(1.0 / (head_dim as f32).sqrt());
        let widest = if queries.len() == 1 { ROW_TILE } else { S::TILE };
        // The first vector may begin before the first position.
        let mut position = positions.start / S::LANES * S::LANES;
        while position < positions.end {
            let in_panel = position % KEY_PANEL;
            let n_left = (positions.end - position).min(KEY_PANEL - in_panel).div_ceil(S::LANES);
            let v: usize = 1 << n_left.min(widest).ilog2();
            let panel = &keys[position / KEY_PANEL * KEY_PANEL * head_dim..][..KEY_PANEL * head_dim];
            let scores = &mut scores[column + position - start..];
            macro_rules! run {
                ($v:expr, $r:expr) => {
                    score_tile::<S, T, { $v }, { $r }>(s, panel, in_panel, queries, scale, scores, stride)
                };
            }
            with_tile!(S, v, queries.len(), run);
            position += v * S::LANES;
        }
    }

    /// Adds the values at `positions`, weighted by the rows of `weights`, to the outputs of `queries`.
    #[inline(always)]
    fn mix<S: Simd>(&self, s: S, queries: &[Query<'_>], positions: Range<usize>, weights: &[f32], stride: usize) {
        let head_dim = self.shape.head_dim;
        for (segment, first, part) in self.parts(positions.clone()) {
            let weights = &weights[first + part.start - positions.start..];
            let start = (self.kv_head * segment.capacity + part.start) * head_dim;
            let all = start..start + part.len() * head_dim;
            match segment.data {
                KvSlices::F32(_, values) => self.mix_of(s, queries, &values[all], weights, stride),
                KvSlices::Bf16(_, values) => self.mix_of(s, queries, &values[all], weights, stride),
            }
        }
    }

    /// Adds consecutive values of one segment.
    #[inline(always)]
    fn mix_of<S: Simd, T: Element>(&self, s: S, queries: &[Query<'_>], values: &[T], weights: &[f32], stride: usize) {
        let head_dim = self.shape.head_dim;
        let widest = if queries.len() == 1 { ROW_TILE } else { S::TILE };
        let mut column = 0;
        while head_dim - column >= S::LANES {
            let v: usize = 1 << ((head_dim - column) / S::LANES).min(widest).ilog2();
            macro_rules! run {
                ($v:expr, $r:expr) => {
                    self.mix_tile::<S, T, { $v }, { $r }>(s, values, column, queries, weights, stride)
                };
            }
            with_tile!(S, v, queries.len(), run);
            column += v * S::LANES;
        }
        if column == head_dim {
            return;
        }
        for (i, query) in queries.iter().enumerate() {
            // SAFETY: every query has an output of its own, and no other slice of it exists here.
            let out = unsafe { self.output(*query) };
            for (value, weight) in values.chunks_exact(head_dim).zip(&weights[i * stride..]) {
                for (out, value) in out[column..].iter_mut().zip(&value[column..]) {
                    *out += weight * value.to_f32();
                }
            }
        }
    }

    /// V vectors of the outputs of R queries, from `column` on.
    #[inline(always)]
    fn mix_tile<S: Simd, T: Element, const V: usize, const R: usize>(
        &self,
        s: S,
        values: &[T],
        column: usize,
        queries: &[Query<'_>],
        weights: &[f32],
        stride: usize,
    ) {
        let head_dim = self.shape.head_dim;
        let n = values.len() / head_dim;
        assert!(column + V * S::LANES <= head_dim && queries.len() == R);
        assert!(weights.len() >= (R - 1) * stride + n);
        let mut acc = [[s.zero(); V]; R];
        for r in 0..R {
            // SAFETY: every query has an output of its own, and the slice ends here.
            let out = unsafe { self.output(queries[r]) };
            for v in 0..V {
                acc[r][v] = s.load(&out[column + v * S::LANES..]);
            }
        }
        for i in 0..n {
            if R == 1 {
                let at = values.as_ptr().wrapping_add(i * head_dim + column);
                ask_ahead(s, at.wrapping_byte_add(VALUES_AHEAD_BYTES), V);
            }
            let mut x = [s.zero(); V];
            for v in 0..V {
                // SAFETY: `values` holds n rows of head_dim, in which column + V * LANES ends (asserted).
                x[v] = unsafe { T::load(s, values.as_ptr().add(i * head_dim + column + v * S::LANES)) };
            }
            for r in 0..R {
                // SAFETY: `weights` holds n values from r * stride on (asserted).
                let weight = s.splat(unsafe { *weights.get_unchecked(r * stride + i) });
                for v in 0..V {
                    acc[r][v] = s.mul_add(weight, x[v], acc[r][v]);
                }
            }
        }
        for r in 0..R {
            // SAFETY: as above.
            let out = unsafe { self.output(queries[r]) };
            for v in 0..V {
                s.store(acc[r][v], &mut out[column + v * S::LANES..]);
            }
        }
    }
}

/// Asks for V vectors, which need not exist. A single row is bound by the reading of keys and values: of the panel
/// after this one, and of values so far ahead.
#[inline(always)]
fn ask_ahead<S: Simd, T>(s: S, at: *const T, n_vectors: usize) {
    for line in (0..n_vectors * S::LANES * size_of::<T>()).step_by(64) {
        s.prefetch_near(at.wrapping_byte_add(line));
    }
}

/// Scores of R queries and V vectors of positions of a panel, from `in_panel` on, row `r` at `r * stride` of
/// `scores`.
#[inline(always)]
fn score_tile<S: Simd, T: Element, const V: usize, const R: usize>(
    s: S,
    panel: &[T],
    in_panel: usize,
    queries: &[Query<'_>],
    scale: S::V,
    scores: &mut [f32],
    stride: usize,
) {
    let head_dim = panel.len() / KEY_PANEL;
    assert!(in_panel + V * S::LANES <= KEY_PANEL && queries.len() == R);
    let values: [&[f32]; R] = std::array::from_fn(|r| queries[r].values);
    assert!(values.iter().all(|values| values.len() == head_dim));
    let mut acc = [[s.zero(); V]; R];
    for dim in 0..head_dim {
        if R == 1 {
            ask_ahead(s, panel.as_ptr().wrapping_add((dim + head_dim) * KEY_PANEL + in_panel), V);
        }
        let mut k = [s.zero(); V];
        for v in 0..V {
            // SAFETY: the panel holds KEY_PANEL keys for every dimension, and in_panel + V * LANES is at
            // most KEY_PANEL (asserted).
            k[v] = unsafe { T::load(s, panel.as_ptr().add(dim * KEY_PANEL + in_panel + v * S::LANES)) };
        }
        for r in 0..R {
            // SAFETY: every query has head_dim values (asserted).
            let q = s.splat(unsafe { *values[r].get_unchecked(dim) });
            for v in 0..V {
                acc[r][v] = s.mul_add(q, k[v], acc[r][v]);
            }
        }
    }
    for r in 0..R {
        for v in 0..V {
            s.store(s.mul(acc[r][v], scale), &mut scores[r * stride + v * S::LANES..]);
        }
    }
}
