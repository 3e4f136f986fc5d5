//! The flow head: an MLP with adaptive layer norms that turns noise and a condition into a latent.
//!
//! `y = cond_embed(c) + mean of the time embeddings`; each block computes
//! `x += gate * mlp(norm(x) * (1 + scale) + shift)` with `shift, scale, gate` linear in `silu(y)`.
//! Rows are one stream each. Source: `pocket_tts.modules.mlp.SimpleMLPAdaLN`.

use pocket_kernels::activation::Activation;
use pocket_kernels::norm::variance_norm_into;
use pocket_kernels::parallel::Pool;
use pocket_nn::linear::Linear;
use pocket_nn::norm::LayerNorm;
use pocket_nn::timing::{Op, Phase, phase, timed};
use pocket_nn::{Context, Weights, WeightsError};

use crate::config::{FlowConfig, FlowType};

/// Width of the sinusoidal time embedding, fixed in the reference.
const TIME_FREQUENCIES: usize = 256;
const TIME_NORM_EPS: f32 = 1e-5;
const NORM_EPS: f32 = 1e-6;

#[derive(Debug)]
struct TimeEmbedding {
    frequencies: Vec<f32>,
    linear1: Linear,
    linear2: Linear,
    alpha: Vec<f32>,
}

impl TimeEmbedding {
    fn load(weights: &Weights, pool: &Pool, width: usize) -> Result<Self, WeightsError> {
        let mlp = weights.scope("mlp");
        Ok(Self {
            frequencies: weights.get("freqs", &[TIME_FREQUENCIES / 2])?.to_f32(),
            linear1: Linear::load(&mlp.scope(0), pool, TIME_FREQUENCIES, width, true)?,
            linear2: Linear::load(&mlp.scope(2), pool, width, width, true)?,
            alpha: mlp.scope(3).get("alpha", &[width])?.to_f32(),
        })
    }

    /// The embedding of time `t`.
    fn forward(&self, ctx: Context<'_>, t: f32) -> Vec<f32> {
        let angles = self.frequencies.iter().map(|frequency| f64::from(t * frequency));
        let embedding: Vec<f32> =
            angles.clone().map(|x| x.cos() as f32).chain(angles.map(|x| x.sin() as f32)).collect();
        let width = self.linear1.out_features();
        let (mut hidden, mut out) = (vec![0.0; width], vec![0.0; width]);
        self.linear1.forward_into(ctx, &embedding, &mut hidden);
        Activation::Silu.apply(ctx.level, &mut hidden);
        self.linear2.forward_into(ctx, &hidden, &mut out);
        variance_norm_into(ctx.level, &out, width, &self.alpha, TIME_NORM_EPS, &mut hidden);
        hidden
    }
}

#[derive(Debug)]
struct Block {
    norm: LayerNorm,
    linear1: Linear,
    linear2: Linear,
}

/// Weights of the flow head.
#[derive(Debug)]
pub struct FlowHead {
    flow_type: FlowType,
    width: usize,
    time_embeddings: Vec<TimeEmbedding>,
    cond_embed: Linear,
    input_proj: Linear,
    blocks: Vec<Block>,
    final_norm: LayerNorm,
    final_linear: Linear,
    /// `shift, scale, gate` of every block, then `shift, scale` of the end: one product a step.
    modulation: Linear,
}

/// The steps of the sampler: how many, and their time conditions, which are constants.
#[derive(Clone, Debug)]
pub struct Schedule {
    n_steps: usize,
    /// The mean of the time embeddings of every step, `[n_steps, width]`; empty without times.
    conditions: Vec<f32>,
}

impl Schedule {
    /// Number of sampler steps.
    #[must_use]
    pub fn n_steps(&self) -> usize {
        self.n_steps
    }
}

impl FlowHead {
    /// Loads the head; `latent_dim` is the width of a latent, `cond_dim` that of a condition.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn load(
        weights: &Weights,
        pool: &Pool,
        config: &FlowConfig,
        latent_dim: usize,
        cond_dim: usize,
    ) -> Result<Self, WeightsError> {
        let width = config.dim;
        let time_embeddings = (0..config.flow_type.num_time_conds())
            .map(|i| TimeEmbedding::load(&weights.scope("time_embed").scope(i), pool, width))
            .collect::<Result<_, _>>()?;
        let mut modulations = Vec::new();
        let blocks = (0..config.depth)
            .map(|i| {
                let weights = weights.scope("res_blocks").scope(i);
                modulations.push((weights.scope("adaLN_modulation").scope(1), 3 * width));
                let mlp = weights.scope("mlp");
                Ok(Block {
                    norm: LayerNorm::load(&weights.scope("in_ln"), width, NORM_EPS)?,
                    linear1: Linear::load(&mlp.scope(0), pool, width, width, true)?,
                    linear2: Linear::load(&mlp.scope(2), pool, width, width, true)?,
                })
            })
            .collect::<Result<_, WeightsError>>()?;
        let end = weights.scope("final_layer");
        modulations.push((end.scope("adaLN_modulation").scope(1), 2 * width));
        Ok(Self {
            flow_type: config.flow_type,
            width,
            time_embeddings,
            cond_embed: Linear::load(&weights.scope("cond_embed"), pool, cond_dim, width, true)?,
            input_proj: Linear::load(&weights.scope("input_proj"), pool, latent_dim, width, true)?,
            blocks,
            final_norm: LayerNorm::plain(width, NORM_EPS),
            final_linear: Linear::load(&end.scope("linear"), pool, width, latent_dim, true)?,
            modulation: Linear::load_stacked(&modulations, pool, width)?,
        })
    }

    /// Width of a latent.
    #[must_use]
    pub fn latent_dim(&self) -> usize {
        self.final_linear.out_features()
    }

    /// Width of a condition.
    #[must_use]
    pub fn cond_dim(&self) -> usize {
        self.cond_embed.in_features()
    }

    /// The constants of `n_steps` sampler steps; heads without times always take one.
    #[must_use]
    pub fn schedule(&self, ctx: Context<'_>, n_steps: usize) -> Schedule {
        let n_steps = if self.time_embeddings.is_empty() { 1 } else { n_steps };
        let mut conditions = Vec::new();
        for step in 0..n_steps {
            // The step's start and, for two conditions, its end; both rounded to f32 as tensors are.
            let time = |step: usize| (step as f64 / n_steps as f64) as f32;
            let mut sum = vec![0.0; self.width];
            for (i, embedding) in self.time_embeddings.iter().enumerate() {
                for (sum, x) in sum.iter_mut().zip(embedding.forward(ctx, time(step + i))) {
                    *sum += x;
                }
            }
            let count = self.time_embeddings.len() as f32;
            if !self.time_embeddings.is_empty() {
                conditions.extend(sum.iter().map(|sum| sum / count));
            }
        }
        Schedule { n_steps, conditions }
    }

    /// Replaces the noise `x` `[rows, latent_dim]` by latents, given conditions `[rows, cond_dim]`.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn sample(&self, ctx: Context<'_>, schedule: &Schedule, conditions: &[f32], x: &mut [f32]) {
        let _phase = phase(Phase::FlowHead);
        let n_rows = x.len() / self.latent_dim();
        let mut cond = ctx.arena.take(n_rows * self.width);
        timed(Op::EDGES, || self.cond_embed.forward_into(ctx, conditions, &mut cond));
        let mut y = ctx.arena.take(cond.len());
        let mut velocity = ctx.arena.take(x.len());
        for step in 0..schedule.n_steps {
            y.copy_from_slice(&cond);
            if let Some(time) = schedule.conditions.chunks_exact(self.width).nth(step) {
                for row in y.chunks_exact_mut(self.width) {
                    for (y, time) in row.iter_mut().zip(time) {
                        *y += time;
                    }
                }
            }
            self.forward_into(ctx, &mut y, x, &mut velocity);
            let n_steps = schedule.n_steps as f32;
            match self.flow_type {
                FlowType::Drifting => x.copy_from_slice(&velocity),
                FlowType::Pointwise => x.iter_mut().zip(&*velocity).for_each(|(x, v)| *x += v),
                FlowType::Lsd | FlowType::FlowMatching => {
                    x.iter_mut().zip(&*velocity).for_each(|(x, v)| *x += v / n_steps);
                }
            }
        }
    }

    /// One evaluation of the network; `y` is overwritten.
    fn forward_into(&self, ctx: Context<'_>, y: &mut [f32], x: &[f32], out: &mut [f32]) {
        let width = self.width;
        let n_rows = y.len() / width;
        Activation::Silu.apply(ctx.level, y);
        let mut modulation = ctx.arena.take(n_rows * self.modulation.out_features());
        timed(Op::MODULATION, || self.modulation.forward_into(ctx, y, &mut modulation));
        // The part of every row's modulation that starts at `offset`.
        let part = |row: usize, offset: usize| &modulation[row * self.modulation.out_features() + offset..][..width];

        let mut hidden = ctx.arena.take(n_rows * width);
        timed(Op::EDGES, || self.input_proj.forward_into(ctx, x, &mut hidden));
        let mut normed = ctx.arena.take(n_rows * width);
        let mut update = ctx.arena.take(n_rows * width);
        for (i, block) in self.blocks.iter().enumerate() {
            let offset = i * 3 * width;
            block.norm.forward_into(ctx, &hidden, &mut normed);
            for (row, normed) in normed.chunks_exact_mut(width).enumerate() {
                modulate(normed, part(row, offset), part(row, offset + width));
            }
            timed(Op::FEED_FORWARD, || {
                block.linear1.forward_into(ctx, &normed, &mut update);
                Activation::Silu.apply(ctx.level, &mut update);
                block.linear2.forward_into(ctx, &update, &mut normed);
            });
            for (row, (hidden, update)) in hidden.chunks_exact_mut(width).zip(normed.chunks_exact(width)).enumerate() {
                let gate = part(row, offset + 2 * width);
                for ((hidden, update), gate) in hidden.iter_mut().zip(update).zip(gate) {
                    *hidden += gate * update;
                }
            }
        }
        let offset = self.blocks.len() * 3 * width;
        self.final_norm.forward_into(ctx, &hidden, &mut normed);
        for (row, normed) in normed.chunks_exact_mut(width).enumerate() {
            modulate(normed, part(row, offset), part(row, offset + width));
        }
        timed(Op::EDGES, || self.final_linear.forward_into(ctx, &normed, out));
    }
}

/// `x = x * (1 + scale) + shift`.
fn modulate(x: &mut [f32], shift: &[f32], scale: &[f32]) {
    for ((x, shift), scale) in x.iter_mut().zip(shift).zip(scale) {
        *x = *x * (1.0 + scale) + shift;
    }
}
