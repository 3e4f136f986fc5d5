//! The language model: text and voice rows in, one latent and one end-of-speech logit per frame out.
//!
//! A stream's sequence is the voice rows (a learnt row first, where the model has one), the text
//! rows, the row of the first (BOS) latent, then one row per latent.
//! Source: `pocket_tts.models.flow_lm`.

use pocket_kernels::attention::AttentionShape;
use pocket_kernels::parallel::Pool;
use pocket_nn::embedding::Embedding;
use pocket_nn::linear::Linear;
use pocket_nn::norm::LayerNorm;
use pocket_nn::timing::{Op, Phase, phase, timed};
use pocket_nn::transformer::{Transformer, TransformerConfig, TransformerState};
use pocket_nn::{Context, Rows, Weights, WeightsError};

use crate::config::{Config, FlowLmConfig};
use crate::flow_head::FlowHead;
use crate::voice::VoiceState;

const NORM_EPS: f32 = 1e-5;

/// Weights of the language model.
#[derive(Debug)]
pub struct FlowLm {
    embed: Embedding,
    /// Widens the rows of a low-rank table.
    embed_proj: Option<Linear>,
    speaker_proj: Linear,
    /// The row before the voice, `[width]`.
    bos_before_voice: Option<Vec<f32>>,
    /// The latent before the first, `[latent_dim]`.
    bos_latent: Vec<f32>,
    input_linear: Linear,
    transformer: Transformer,
    out_norm: LayerNorm,
    z_proj: Option<Linear>,
    out_eos: Linear,
    head: FlowHead,
    /// Latents are normalised: the codec takes `latent * std + mean`.
    latent_std: Vec<f32>,
    latent_mean: Vec<f32>,
}

/// What one step yields for every stream.
#[derive(Debug, Default)]
pub struct StepOutput {
    /// Conditions of the flow head, `[streams, cond_dim]`.
    pub conditions: Vec<f32>,
    /// End-of-speech logits, `[streams]`.
    pub eos_logits: Vec<f32>,
}

fn transformer_config(config: &FlowLmConfig) -> TransformerConfig {
    let transformer = &config.transformer;
    let attn_dim = transformer.attn_dim.unwrap_or(transformer.d_model);
    TransformerConfig {
        width: transformer.d_model,
        attention: AttentionShape {
            heads: transformer.num_heads,
            kv_heads: transformer.num_kv_heads.unwrap_or(transformer.num_heads),
            head_dim: attn_dim / transformer.num_heads,
        },
        feed_forward: transformer.dim_feedforward.unwrap_or(transformer.d_model * transformer.hidden_scale),
        n_layers: transformer.num_layers,
        context: None,
        max_period: transformer.max_period,
        has_layer_scale: false,
    }
}

impl FlowLm {
    /// Loads the `flow_lm.*` tensors.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn load(weights: &Weights, pool: &Pool, config: &Config) -> Result<Self, WeightsError> {
        let lm = &config.flow_lm;
        let width = lm.transformer.d_model;
        let latent_dim = config.mimi.quantizer.dimension;
        let voice_dim = config.mimi.inner_dim.unwrap_or(config.mimi.seanet.dimension);
        let cond_dim = lm.z_dim.unwrap_or(width);
        let table = &lm.lookup_table;
        let linear = |name: &str, from: usize, to: usize| Linear::load(&weights.scope(name), pool, from, to, false);
        let conditioner = weights.scope("conditioner");
        let bos_before_voice = || weights.get("bos_before_voice", &[1, 1, width]);
        Ok(Self {
            embed: Embedding::load(&conditioner.scope("embed"), table.n_bins + 1, table.rank.unwrap_or(table.dim))?,
            embed_proj: table
                .rank
                .map(|rank| Linear::load(&conditioner.scope("proj"), pool, rank, table.dim, false))
                .transpose()?,
            speaker_proj: Linear::from_tensor(weights, pool, &weights.get("speaker_proj_weight", &[width, voice_dim])?),
            bos_before_voice: lm.insert_bos_before_voice.then(bos_before_voice).transpose()?.map(|row| row.to_f32()),
            bos_latent: weights.get("bos_emb", &[latent_dim])?.to_f32(),
            input_linear: linear("input_linear", latent_dim, width)?,
            transformer: Transformer::load(&weights.scope("transformer"), pool, transformer_config(lm))?,
            out_norm: LayerNorm::load(&weights.scope("out_norm"), width, NORM_EPS)?,
            z_proj: lm.z_dim.map(|z_dim| linear("z_proj", width, z_dim)).transpose()?,
            out_eos: Linear::load(&weights.scope("out_eos"), pool, cond_dim, 1, true)?,
            head: FlowHead::load(&weights.scope("flow_net"), pool, &lm.flow, latent_dim, cond_dim)?,
            latent_std: weights.get("emb_std", &[latent_dim])?.to_f32(),
            latent_mean: weights.get("emb_mean", &[latent_dim])?.to_f32(),
        })
    }

    /// The flow head.
    #[must_use]
    pub fn head(&self) -> &FlowHead {
        &self.head
    }

    /// Width of a latent.
    #[must_use]
    pub fn latent_dim(&self) -> usize {
        self.bos_latent.len()
    }

    /// The latent that stands before the first frame's, `[latent_dim]`.
    #[must_use]
    pub fn bos_latent(&self) -> &[f32] {
        &self.bos_latent
    }

    /// Layers, head layout and widths of the backbone.
    #[must_use]
    pub fn transformer(&self) -> &Transformer {
        &self.transformer
    }

    /// Writes `latent * std + mean`, what the codec decodes, for rows of latents.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn denormalize_into(&self, latents: &[f32], out: &mut [f32]) {
        assert_eq!(latents.len(), out.len(), "the output is as long as the input");
        let rows = latents.chunks_exact(self.latent_dim()).zip(out.chunks_exact_mut(self.latent_dim()));
        for (latent, out) in rows {
            for (i, out) in out.iter_mut().enumerate() {
                *out = latent[i] * self.latent_std[i] + self.latent_mean[i];
            }
        }
    }

    /// Runs the voice pass over encoded audio `[frames, voice_dim]`.
    #[must_use]
    pub fn prompt_voice(&self, ctx: Context<'_>, voice: &[f32]) -> VoiceState {
        let _phase = phase(Phase::VoicePass);
        let width = self.transformer.config().width;
        let n_rows = voice.len() / self.speaker_proj.in_features();
        let bos = self.bos_before_voice.as_deref().unwrap_or_default();
        let mut rows = vec![0.0; bos.len() + n_rows * width];
        rows[..bos.len()].copy_from_slice(bos);
        self.speaker_proj.forward_into(ctx, voice, &mut rows[bos.len()..]);
        let mut state = self.transformer.new_state();
        self.advance(ctx, &mut rows, &mut state);
        VoiceState::freeze(&state)
    }

    /// Runs the text pass of one stream.
    ///
    /// # Panics
    /// If a token is outside the table.
    pub fn prompt_text(&self, ctx: Context<'_>, tokens: &[u32], state: &mut TransformerState) {
        let _phase = phase(Phase::TextPass);
        let mut embedded = vec![0.0; tokens.len() * self.embed.width()];
        self.embed.forward_into(tokens, &mut embedded);
        let mut rows = match &self.embed_proj {
            None => embedded,
            Some(proj) => {
                let mut rows = vec![0.0; tokens.len() * proj.out_features()];
                proj.forward_into(ctx, &embedded, &mut rows);
                rows
            }
        };
        self.advance(ctx, &mut rows, state);
    }

    /// Appends rows to one stream, a bounded number at a time.
    fn advance(&self, ctx: Context<'_>, rows: &mut [f32], state: &mut TransformerState) {
        // Bounds the scratch memory of a long voice; the result does not depend on it.
        const ROWS_PER_CALL: usize = 256;
        let width = self.transformer.config().width;
        state.reserve(rows.len() / width);
        for rows in rows.chunks_mut(ROWS_PER_CALL * width) {
            let n = rows.len() / width;
            self.transformer.step(ctx, rows, 1, &mut [Rows::new(n, &mut *state)], |state| state);
        }
    }

    /// One frame of every stream: takes the previous latents `[streams, latent_dim]`.
    ///
    /// # Panics
    /// If there are not as many latents as streams, or a stream has not exactly one row.
    pub fn step(
        &self,
        ctx: Context<'_>,
        latents: &[f32],
        streams: &mut [Rows<'_, TransformerState>],
        out: &mut StepOutput,
    ) {
        assert!(streams.iter().all(|rows| rows.n == 1), "a frame is one row per stream");
        let _phase = phase(Phase::LanguageModel);
        let width = self.transformer.config().width;
        let mut rows = ctx.arena.take(streams.len() * width);
        timed(Op::EDGES, || self.input_linear.forward_into(ctx, latents, &mut rows));
        self.transformer.step(ctx, &mut rows, 1, streams, |state| state);
        let mut normed = ctx.arena.take(rows.len());
        timed(Op::NORMS, || self.out_norm.forward_into(ctx, &rows, &mut normed));
        out.conditions.resize(streams.len() * self.head.cond_dim(), 0.0);
        match &self.z_proj {
            Some(z_proj) => timed(Op::EDGES, || z_proj.forward_into(ctx, &normed, &mut out.conditions)),
            None => out.conditions.copy_from_slice(&normed),
        }
        out.eos_logits.resize(streams.len(), 0.0);
        timed(Op::EDGES, || self.out_eos.forward_into(ctx, &out.conditions, &mut out.eos_logits));
    }
}
