//! A transformer between optional projections. Source: `pocket_tts.modules.transformer.ProjectedTransformer`.

use pocket_kernels::attention::AttentionShape;
use pocket_kernels::parallel::Pool;
use pocket_nn::linear::Linear;
use pocket_nn::timing::{Op, timed};
use pocket_nn::transformer::{Transformer, TransformerConfig, TransformerState};
use pocket_nn::{ArenaBuf, Context, Rows, Weights, WeightsError};

use crate::config::MimiTransformerConfig;

#[derive(Debug)]
pub(super) struct ProjectedTransformer {
    input_proj: Option<Linear>,
    transformer: Transformer,
    output_proj: Option<Linear>,
}

impl ProjectedTransformer {
    pub(super) fn load(weights: &Weights, pool: &Pool, config: &MimiTransformerConfig) -> Result<Self, WeightsError> {
        let width = config.d_model;
        let output = config.output_dimensions[0];
        let input_proj = weights.scope("input_proj");
        let output_proj = weights.scope("output_projs").scope(0);
        let transformer = TransformerConfig {
            width,
            attention: AttentionShape {
                heads: config.num_heads,
                kv_heads: config.num_heads,
                head_dim: width / config.num_heads,
            },
            feed_forward: config.dim_feedforward,
            n_layers: config.num_layers,
            context: Some(config.context),
            max_period: config.max_period,
            has_layer_scale: true,
        };
        let project = |weights: &Weights, from: usize, to: usize| {
            (from != to).then(|| Linear::load(weights, pool, from, to, false)).transpose()
        };
        Ok(Self {
            input_proj: project(&input_proj, config.input_dimension, width)?,
            transformer: Transformer::load(&weights.scope("transformer"), pool, transformer)?,
            output_proj: project(&output_proj, width, output)?,
        })
    }

    pub(super) fn new_state(&self) -> TransformerState {
        self.transformer.new_state()
    }

    /// The output rows for input rows `x`; streams as in [`Transformer::step`].
    pub(super) fn step<'a, S>(
        &self,
        ctx: Context<'a>,
        x: ArenaBuf<'a>,
        per_row: usize,
        streams: &mut [Rows<'_, S>],
        select: impl Fn(&mut S) -> &mut TransformerState,
    ) -> ArenaBuf<'a> {
        let mut x = project(ctx, self.input_proj.as_ref(), x);
        self.transformer.step(ctx, &mut x, per_row, streams, select);
        project(ctx, self.output_proj.as_ref(), x)
    }
}

fn project<'a>(ctx: Context<'a>, proj: Option<&Linear>, x: ArenaBuf<'a>) -> ArenaBuf<'a> {
    let Some(proj) = proj else { return x };
    let mut out = ctx.arena.take(x.len() / proj.in_features() * proj.out_features());
    timed(Op::EDGES, || proj.forward_into(ctx, &x, &mut out));
    out
}
