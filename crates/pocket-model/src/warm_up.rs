//! Running every code path once, so that the first request finds everything ready.

use crate::engine::{Next, Output};
use crate::error::Error;
use crate::generation::{Chunk, Length, NoiseSource, Request};
use crate::mimi::ENCODER_FRAMES_PER_CALL;
use crate::model::TtsModel;

/// Longer than the codec's window at every released configuration, so that its caches begin to forget.
const N_FRAMES: usize = 24;
const N_TOKENS: usize = 16;
const TEXT: &str = "One, two and three. Four!";

impl TtsModel {
    /// Splits a text, encodes a recording of noise, and speaks two chunks with its voice.
    ///
    /// The engine's threads and the pool start, scratch memory gets its size, and every weight is read once.
    /// Neither [`Self::stats`] nor the results of other streams change.
    ///
    /// # Errors
    /// When the operating system gives no threads, or the model computes no finite audio.
    pub fn warm_up(&self) -> Result<(), Error> {
        self.engine().uncounted(|| {
            self.split_text(TEXT, N_TOKENS)?;
            let n_samples = ENCODER_FRAMES_PER_CALL * self.samples_per_frame();
            let noise: Vec<f32> = (0..n_samples).map(|i| 0.1 * ((i * i) as f32).sin()).collect();
            let voice = self.voice_from_latents(&self.encode_audio(&noise)?);
            let chunk = Chunk { tokens: vec![0; N_TOKENS], length: Length::Frames(N_FRAMES) };
            let request = Request {
                voice,
                chunks: vec![chunk.clone(), chunk],
                sampling: self.default_sampling(),
                noise: NoiseSource::Seed(0),
                continues: false,
                requires_eos: false,
            };
            let stream = self.start(request, Output::Audio { max_frames_per_call: 0 })?;
            while let Next::Audio(_) = stream.next(None)? {}
            Ok(())
        })?
    }
}
