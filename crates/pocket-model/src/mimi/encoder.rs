//! The encoder: samples to voice rows, in pieces of a few frames so that memory stays flat.

use pocket_kernels::conv1d::ConvShape;
use pocket_kernels::parallel::Pool;
use pocket_nn::conv::{Conv1d, ConvState, Padding};
use pocket_nn::timing::{Phase, phase};
use pocket_nn::transformer::TransformerState;
use pocket_nn::{Context, Rows, Weights, WeightsError};

use super::projected::ProjectedTransformer;
use super::seanet::{Seanet, SeanetState};
use super::{frame_size, positions_per_frame};
use crate::config::MimiConfig;

/// Frames to encode at once: enough for full products (96 rows at the lowest rate, two times the rows that share
/// a panel), few enough for a small memory, 2 MB of it a frame. The result does not depend on it.
pub const ENCODER_FRAMES_PER_CALL: usize = 6;

/// Weights of the encoder.
#[derive(Debug)]
pub struct MimiEncoder {
    seanet: Seanet,
    transformer: ProjectedTransformer,
    downsample: Option<Conv1d>,
    positions_per_frame: usize,
    frame_size: usize,
    voice_dim: usize,
}

/// What the encoder carries from one call to the next.
#[derive(Debug)]
pub struct MimiEncoderState {
    seanet: SeanetState,
    transformer: TransformerState,
    downsample: Option<ConvState>,
}

impl MimiEncoderState {
    fn downsample(&mut self) -> &mut ConvState {
        self.downsample.as_mut().expect("the state of an encoder that downsamples has a downsampling state")
    }
}

impl MimiEncoder {
    /// Loads the encoder's part of the `mimi.*` tensors.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn load(weights: &Weights, pool: &Pool, config: &MimiConfig) -> Result<Self, WeightsError> {
        let positions_per_frame = positions_per_frame(config);
        let voice_dim = config.inner_dim.unwrap_or(config.seanet.dimension);
        let downsample = (positions_per_frame > 1).then(|| {
            let shape = ConvShape {
                in_channels: config.seanet.dimension,
                out_channels: voice_dim,
                kernel: 2 * positions_per_frame,
                stride: positions_per_frame,
                dilation: 1,
                groups: 1,
            };
            let weights = weights.scope("downsample").scope("conv").scope("conv");
            Conv1d::load(&weights, pool, shape, false, Padding::Replicate)
        });
        Ok(Self {
            seanet: Seanet::load_encoder(&weights.scope("encoder"), pool, &config.seanet)?,
            transformer: ProjectedTransformer::load(&weights.scope("encoder_transformer"), pool, &config.transformer)?,
            downsample: downsample.transpose()?,
            positions_per_frame,
            frame_size: frame_size(config),
            voice_dim,
        })
    }

    /// Width of a voice row.
    #[must_use]
    pub fn voice_dim(&self) -> usize {
        self.voice_dim
    }

    /// Samples of a frame.
    #[must_use]
    pub fn frame_size(&self) -> usize {
        self.frame_size
    }

    /// A state before the first sample.
    #[must_use]
    pub fn new_state(&self) -> MimiEncoderState {
        MimiEncoderState {
            seanet: self.seanet.new_state(),
            transformer: self.transformer.new_state(),
            downsample: self.downsample.as_ref().map(Conv1d::new_state),
        }
    }

    /// Encodes mono samples at the model's rate, zeros appended to whole frames, to
    /// `[frames, voice_dim]`.
    #[must_use]
    pub fn encode(&self, ctx: Context<'_>, samples: &[f32]) -> Vec<f32> {
        let n_frames = samples.len().div_ceil(self.frame_size);
        let mut voice = Vec::with_capacity(n_frames * self.voice_dim);
        let mut state = self.new_state();
        for samples in samples.chunks(ENCODER_FRAMES_PER_CALL * self.frame_size) {
            self.step(ctx, samples, &mut state, &mut voice);
        }
        voice
    }

    /// Encodes the next samples, zeros appended to whole frames, and appends their rows
    /// `[frames, voice_dim]` to `voice`.
    pub fn step(&self, ctx: Context<'_>, samples: &[f32], state: &mut MimiEncoderState, voice: &mut Vec<f32>) {
        let _phase = phase(Phase::Encoder);
        let n = samples.len().div_ceil(self.frame_size);
        let start = voice.len();
        voice.resize(start + n * self.voice_dim, 0.0);
        let voice = &mut voice[start..];
        let mut x = ctx.arena.take(n * self.frame_size);
        x[..samples.len()].copy_from_slice(samples);
        x[samples.len()..].fill(0.0);
        let streams = &mut [Rows::new(n, state)];
        let x = self.seanet.step(ctx, &x, self.frame_size, streams, |state| &mut state.seanet);
        let per_frame = self.positions_per_frame;
        let x = self.transformer.step(ctx, x, per_frame, streams, |state| &mut state.transformer);
        match &self.downsample {
            Some(downsample) => {
                downsample.step(ctx, &x, per_frame, streams, MimiEncoderState::downsample, false, voice);
            }
            None => voice.copy_from_slice(&x),
        }
    }
}
