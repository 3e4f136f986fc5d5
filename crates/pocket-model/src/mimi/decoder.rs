//! The decoder: latents to samples, any number of frames at a time.

use pocket_kernels::conv1d::ConvShape;
use pocket_kernels::parallel::Pool;
use pocket_nn::conv::{ConvState, ConvTranspose1d};
use pocket_nn::linear::Linear;
use pocket_nn::timing::{Op, Phase, phase, timed};
use pocket_nn::transformer::TransformerState;
use pocket_nn::{Context, Rows, Weights, WeightsError, total_rows};

use super::positions_per_frame;
use super::projected::ProjectedTransformer;
use super::seanet::{Seanet, SeanetState};
use crate::config::MimiConfig;

/// Weights of the decoder.
#[derive(Debug)]
pub struct MimiDecoder {
    /// The quantizer's output projection.
    output_proj: Linear,
    upsample: Option<ConvTranspose1d>,
    transformer: ProjectedTransformer,
    seanet: Seanet,
    positions_per_frame: usize,
    samples_per_frame: usize,
}

/// What one stream carries from frame to frame.
#[derive(Clone, Debug)]
pub struct MimiDecoderState {
    upsample: Option<ConvState>,
    transformer: TransformerState,
    seanet: SeanetState,
}

impl MimiDecoderState {
    fn upsample(&mut self) -> &mut ConvState {
        self.upsample.as_mut().expect("the state of a decoder that upsamples has an upsampling state")
    }
}

impl MimiDecoder {
    /// Loads the decoder's part of the `mimi.*` tensors.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn load(weights: &Weights, pool: &Pool, config: &MimiConfig) -> Result<Self, WeightsError> {
        let seanet = config.decoder_seanet.as_ref().unwrap_or(&config.seanet);
        let transformer = config.decoder_transformer.as_ref().unwrap_or(&config.transformer);
        let positions_per_frame = positions_per_frame(config);
        let quantizer = &config.quantizer;
        let output_proj = weights
            .scope("quantizer")
            .scope("output_proj")
            .get("weight", &[quantizer.output_dimension, quantizer.dimension, 1])?
            .with_shape(&[quantizer.output_dimension, quantizer.dimension]);
        let upsample = (positions_per_frame > 1).then(|| {
            let shape = ConvShape {
                in_channels: config.outer_dim.unwrap_or(seanet.dimension),
                out_channels: seanet.dimension,
                kernel: 2 * positions_per_frame,
                stride: positions_per_frame,
                dilation: 1,
                groups: seanet.dimension,
            };
            ConvTranspose1d::load_depthwise(&weights.scope("upsample").scope("convtr").scope("convtr"), shape)
        });
        let hop: usize = seanet.ratios.iter().product();
        Ok(Self {
            output_proj: Linear::from_tensor(weights, pool, &output_proj),
            upsample: upsample.transpose()?,
            transformer: ProjectedTransformer::load(&weights.scope("decoder_transformer"), pool, transformer)?,
            seanet: Seanet::load_decoder(&weights.scope("decoder"), pool, seanet)?,
            positions_per_frame,
            samples_per_frame: positions_per_frame * hop,
        })
    }

    /// Samples that one latent decodes to.
    #[must_use]
    pub fn samples_per_frame(&self) -> usize {
        self.samples_per_frame
    }

    /// A state before the first frame.
    #[must_use]
    pub fn new_state(&self) -> MimiDecoderState {
        MimiDecoderState {
            upsample: self.upsample.as_ref().map(ConvTranspose1d::new_state),
            transformer: self.transformer.new_state(),
            seanet: self.seanet.new_state(),
        }
    }

    /// Decodes de-normalised latents `[frames, latent_dim]`, every stream's one after the other, into
    /// samples, `samples_per_frame` for each.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn step(
        &self,
        ctx: Context<'_>,
        latents: &[f32],
        streams: &mut [Rows<'_, MimiDecoderState>],
        samples: &mut [f32],
    ) {
        let _phase = phase(Phase::Codec);
        let n_frames = total_rows(streams);
        assert_eq!(latents.len(), n_frames * self.output_proj.in_features(), "one latent per frame");
        assert_eq!(samples.len(), n_frames * self.samples_per_frame, "one output frame per latent");
        let mut x = ctx.arena.take(n_frames * self.output_proj.out_features());
        timed(Op::EDGES, || self.output_proj.forward_into(ctx, latents, &mut x));
        if let Some(upsample) = &self.upsample {
            let mut out = ctx.arena.take(n_frames * self.positions_per_frame * upsample.shape().out_channels);
            timed(Op::UPSAMPLING, || upsample.step(ctx, &x, 1, streams, MimiDecoderState::upsample, &mut out));
            x = out;
        }
        let per_frame = self.positions_per_frame;
        let x = self.transformer.step(ctx, x, per_frame, streams, |state| &mut state.transformer);
        let x = self.seanet.step(ctx, &x, per_frame, streams, |state| &mut state.seanet);
        samples.copy_from_slice(&x);
    }
}
