//! Streaming multi-head attention with RoPE and grouped K/V heads.
//! Source: `pocket_tts.modules.attention`.

use pocket_kernels::attention::{AttentionShape, Queries, attend, scratch_len};
use pocket_kernels::parallel::Pool;
use pocket_kernels::rope::rotate;

use crate::context::Context;
use crate::error::WeightsError;
use crate::kv_cache::KvCache;
use crate::linear::Linear;
use crate::timing::{Op, timed};
use crate::weights::Weights;

/// Rotations of the rows of one call: cosines and signed sines, `[rows, head_dim]` each.
#[derive(Clone, Copy, Debug)]
pub struct Rotations<'a> {
    /// Cosines.
    pub cos: &'a [f32],
    /// Sines, negative for the first of each pair.
    pub sin: &'a [f32],
}

/// Weights of an attention layer.
#[derive(Debug)]
pub struct Attention {
    in_proj: Linear,
    out_proj: Linear,
    shape: AttentionShape,
}

impl Attention {
    /// Loads `in_proj` `[query_width + 2 * kv_width, width]` (rows: q, then k, then v) and
    /// `out_proj` `[width, query_width]`, both without bias.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn load(weights: &Weights, pool: &Pool, width: usize, shape: AttentionShape) -> Result<Self, WeightsError> {
        let in_width = shape.query_width() + 2 * shape.kv_width();
        Ok(Self {
            in_proj: Linear::load(&weights.scope("in_proj"), pool, width, in_width, false)?,
            out_proj: Linear::load(&weights.scope("out_proj"), pool, shape.query_width(), width, false)?,
            shape,
        })
    }

    /// Head layout.
    #[must_use]
    pub fn shape(&self) -> AttentionShape {
        self.shape
    }

    /// Adds `scale * attention(x)` to `out`, both `[rows, width]`, and the rows' keys and values to
    /// the caches: `caches` yields every stream's number of rows and cache, in row order.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn accumulate<'a>(
        &self,
        ctx: Context<'_>,
        x: &[f32],
        rotations: Rotations<'_>,
        caches: impl Iterator<Item = (usize, &'a mut KvCache)>,
        scale: Option<&[f32]>,
        out: &mut [f32],
    ) {
        let n_rows = x.len() / self.in_proj.in_features();
        let (query_width, kv_width) = (self.shape.query_width(), self.shape.kv_width());
        let in_width = self.in_proj.out_features();
        let mut projected = ctx.arena.take(n_rows * in_width);
        timed(Op::PROJECTIONS, || self.in_proj.forward_into(ctx, x, &mut projected));

        let head_dim = self.shape.head_dim;
        for (row, projected) in projected.chunks_exact_mut(in_width).enumerate() {
            let at = row * head_dim..(row + 1) * head_dim;
            let rotated = &mut projected[..query_width + kv_width];
            rotate(ctx.level, rotated, &rotations.cos[at.clone()], &rotations.sin[at]);
        }

        let mut attended = ctx.arena.take(n_rows * query_width);
        let mut first = 0;
        for (n, cache) in caches {
            let rows = &projected[first * in_width..(first + n) * in_width];
            let out = &mut attended[first * query_width..(first + n) * query_width];
            timed(Op::ATTENTION, || self.attend_stream(ctx, rows, cache, out));
            first += n;
        }
        assert_eq!(first, n_rows, "the streams have as many rows as the input");
        timed(Op::PROJECTIONS, || self.out_proj.accumulate(ctx, &attended, scale, out));
    }

    /// Consecutive positions of one stream: all keys first, then every query.
    fn attend_stream(&self, ctx: Context<'_>, rows: &[f32], cache: &mut KvCache, out: &mut [f32]) {
        if rows.is_empty() {
            return;
        }
        let (query_width, kv_width) = (self.shape.query_width(), self.shape.kv_width());
        let in_width = query_width + 2 * kv_width;
        let start = cache.next_position();
        cache.reserve(rows.len() / in_width);
        for row in rows.chunks_exact(in_width) {
            let (key, value) = row[query_width..].split_at(kv_width);
            cache.push(key, value);
        }
        let cache = &*cache;
        let visible = |row: usize| cache.visible(start + row);
        // As much as the cache may ever need: the same in every step.
        let mut scratch = ctx.arena.take(scratch_len(self.shape, rows.len() / in_width, cache.capacity()));
        let queries = Queries::new(rows, in_width, query_width);
        attend(ctx.level, ctx.pool, self.shape, queries, &cache.segments(), &visible, &mut scratch, out);
    }
}
