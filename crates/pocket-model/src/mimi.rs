//! Mimi, the codec: latents at 12.5 Hz to samples and back.
//!
//! Audio is mono, `[samples]`; inside the codec data is `[positions, channels]`.
//! Source: `pocket_tts.models.mimi`.

mod decoder;
mod encoder;
mod projected;
mod seanet;

pub use decoder::{MimiDecoder, MimiDecoderState};
pub use encoder::{ENCODER_FRAMES_PER_CALL, MimiEncoder, MimiEncoderState};

use crate::config::MimiConfig;

/// Positions of the codec's transformers per latent; 1 means that nothing is resampled.
fn positions_per_frame(config: &MimiConfig) -> usize {
    let hop: usize = config.seanet.ratios.iter().product();
    let encoder_rate = config.sample_rate as f64 / hop as f64;
    ((encoder_rate / config.frame_rate) as usize).max(1)
}

/// Samples per latent.
#[must_use]
pub fn frame_size(config: &MimiConfig) -> usize {
    (config.sample_rate as f64 / config.frame_rate) as usize
}
