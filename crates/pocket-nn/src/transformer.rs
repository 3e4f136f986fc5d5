//! A causal pre-norm transformer with a K/V cache per layer.
//!
//! `x += ls1 * out_proj(attention(norm1(x)))`; `x += ls2 * linear2(gelu_tanh(linear1(norm2(x))))`.
//! Rows are `[rows, width]`. Source: `pocket_tts.modules.transformer`.

use std::sync::Arc;

use pocket_kernels::attention::AttentionShape;
use pocket_kernels::parallel::Pool;
use pocket_kernels::rope::Rope;

use crate::attention::{Attention, Rotations};
use crate::context::{Context, Rows, total_rows};
use crate::error::WeightsError;
use crate::kv_cache::{KvBlock, KvCache, KvDType};
use crate::mlp::FeedForward;
use crate::norm::LayerNorm;
use crate::timing::{Op, timed};
use crate::weights::Weights;

const NORM_EPS: f32 = 1e-5;

/// Sizes of a transformer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TransformerConfig {
    /// Width of the residual stream.
    pub width: usize,
    /// Head layout.
    pub attention: AttentionShape,
    /// Hidden width of the feed-forward blocks.
    pub feed_forward: usize,
    /// Number of layers.
    pub n_layers: usize,
    /// Positions that a position sees, itself included; all when `None`.
    pub context: Option<usize>,
    /// Longest RoPE period in positions.
    pub max_period: f64,
    /// Whether the layers have `layer_scale_1` and `layer_scale_2`.
    pub has_layer_scale: bool,
}

#[derive(Debug)]
struct Block {
    norm1: LayerNorm,
    attention: Attention,
    layer_scale_1: Option<Vec<f32>>,
    norm2: LayerNorm,
    feed_forward: FeedForward,
    layer_scale_2: Option<Vec<f32>>,
}

/// Weights of a transformer.
#[derive(Debug)]
pub struct Transformer {
    config: TransformerConfig,
    layers: Vec<Block>,
    rope: Rope,
    kv_dtype: KvDType,
}

/// What one stream carries from step to step: a K/V cache per layer.
#[derive(Clone, Debug)]
pub struct TransformerState {
    caches: Vec<KvCache>,
}

impl TransformerState {
    /// A state that starts with a shared prefix per layer and the number of its leading positions that
    /// are never seen; what follows is kept as `dtype`.
    pub fn with_prefix(prefix: impl IntoIterator<Item = (Arc<KvBlock>, usize)>, dtype: KvDType) -> Self {
        let caches = prefix.into_iter().map(|(block, pad)| KvCache::with_prefix(block, pad, dtype));
        Self { caches: caches.collect() }
    }

    /// The absolute index of the next position.
    #[must_use]
    pub fn next_position(&self) -> usize {
        self.caches.first().map_or(0, KvCache::next_position)
    }

    /// Makes room for `n` more positions at once.
    pub fn reserve(&mut self, n: usize) {
        for cache in &mut self.caches {
            cache.reserve(n);
        }
    }

    /// All positions so far, one block per layer, to share with other streams, each with the number
    /// of leading positions that are never seen.
    #[must_use]
    pub fn freeze(&self) -> Vec<(Arc<KvBlock>, usize)> {
        self.caches.iter().map(|cache| (cache.freeze(), cache.pad())).collect()
    }
}

impl Transformer {
    /// Loads `layers.N.*`.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn load(weights: &Weights, pool: &Pool, config: TransformerConfig) -> Result<Self, WeightsError> {
        let layers = (0..config.n_layers)
            .map(|i| {
                let weights = weights.scope("layers").scope(i);
                let layer_scale = |name: &str| {
                    let load = || weights.scope(name).get("scale", &[config.width]);
                    config.has_layer_scale.then(load).transpose().map(|scale| scale.map(|scale| scale.to_f32()))
                };
                Ok(Block {
                    norm1: LayerNorm::load(&weights.scope("norm1"), config.width, NORM_EPS)?,
                    attention: Attention::load(&weights.scope("self_attn"), pool, config.width, config.attention)?,
                    layer_scale_1: layer_scale("layer_scale_1")?,
                    norm2: LayerNorm::load(&weights.scope("norm2"), config.width, NORM_EPS)?,
                    feed_forward: FeedForward::load(&weights, pool, config.width, config.feed_forward)?,
                    layer_scale_2: layer_scale("layer_scale_2")?,
                })
            })
            .collect::<Result<_, WeightsError>>()?;
        let rope = Rope::new(config.attention.head_dim, config.max_period);
        Ok(Self { config, layers, rope, kv_dtype: weights.format().kv_dtype() })
    }

    /// Sizes.
    #[must_use]
    pub fn config(&self) -> &TransformerConfig {
        &self.config
    }

    /// The type that keys and values are kept in.
    #[must_use]
    pub fn kv_dtype(&self) -> KvDType {
        self.kv_dtype
    }

    /// A state before the first position.
    #[must_use]
    pub fn new_state(&self) -> TransformerState {
        let cache = || KvCache::new(self.config.attention, self.kv_dtype, self.config.context);
        TransformerState { caches: self.layers.iter().map(|_| cache()).collect() }
    }

    /// Advances the streams by their rows: replaces `x` `[rows, width]` by the last layer's output.
    ///
    /// Every stream has `rows.n * per_row` positions; `select` finds this transformer's state in the
    /// stream's.
    ///
    /// Allocates nothing once the caches have room and the arena has seen the sizes.
    ///
    /// # Panics
    /// If the rows of `x` and of the streams differ.
    pub fn step<S>(
        &self,
        ctx: Context<'_>,
        x: &mut [f32],
        per_row: usize,
        streams: &mut [Rows<'_, S>],
        select: impl Fn(&mut S) -> &mut TransformerState,
    ) {
        let n_rows = total_rows(streams) * per_row;
        assert_eq!(x.len(), n_rows * self.config.width, "one row per position");
        if n_rows == 0 {
            return;
        }
        let head_dim = self.config.attention.head_dim;
        let mut cos = ctx.arena.take(n_rows * head_dim);
        let mut sin = ctx.arena.take(n_rows * head_dim);
        let mut rotations = cos.chunks_exact_mut(head_dim).zip(sin.chunks_exact_mut(head_dim));
        for rows in &mut *streams {
            let start = select(rows.state).next_position();
            for (position, (cos, sin)) in (start..start + rows.n * per_row).zip(&mut rotations) {
                self.rope.rotation_into(position, cos, sin);
            }
        }
        let rotations = Rotations { cos: &cos, sin: &sin };
        let mut normed = ctx.arena.take(x.len());
        for (i, layer) in self.layers.iter().enumerate() {
            timed(Op::NORMS, || layer.norm1.forward_into(ctx, x, &mut normed));
            let caches = streams.iter_mut().map(|rows| (rows.n * per_row, &mut select(rows.state).caches[i]));
            layer.attention.accumulate(ctx, &normed, rotations, caches, layer.layer_scale_1.as_deref(), x);
            timed(Op::NORMS, || layer.norm2.forward_into(ctx, x, &mut normed));
            let scale = layer.layer_scale_2.as_deref();
            timed(Op::FEED_FORWARD, || layer.feed_forward.accumulate(ctx, &normed, scale, x));
        }
    }
}
