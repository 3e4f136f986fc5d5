//! What to generate, and one stream's progress through it: chunks of text, frames, the end of speech.
//! Source: `pocket_tts.models.tts_model`.

use std::sync::Arc;

use pocket_nn::kv_cache::KvDType;
use pocket_nn::transformer::TransformerState;
use smallvec::SmallVec;

use crate::flow_head::Schedule;
use crate::sampler::noise_into;
use crate::voice::VoiceState;

/// The end of speech does not count before this frame.
const MIN_FRAMES_BEFORE_EOS: usize = 6;
const TOKENS_PER_SECOND: f64 = 3.0;
const EXTRA_SECONDS: f64 = 2.0;

/// How latents are sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Temperature: the noise has standard deviation `sqrt(temp)`.
    pub temp: f64,
    /// Steps of the flow head; heads without times always take one.
    pub decode_steps: usize,
    /// Noise is redrawn until within `±noise_clamp`.
    pub noise_clamp: Option<f64>,
    /// The logit above which speech ends.
    pub eos_threshold: f64,
}

/// Where the noise comes from.
#[derive(Clone, Debug)]
pub enum NoiseSource {
    /// Drawn, a function of the seed, the chunk and the frame.
    Seed(u64),
    /// Given standard normals `[draws, latent_dim]`, one row per frame in order, the frame after the
    /// last included; scaled by `sqrt(temp)`, not clamped.
    Given(Arc<[f32]>),
}

/// When a chunk ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// After exactly this many frames.
    Frames(usize),
    /// `frames_after_eos` frames after the end of speech, or after `max_frames`.
    UntilEos {
        /// Frames that follow the frame whose logit first crossed the threshold.
        frames_after_eos: usize,
        /// Most frames.
        max_frames: usize,
    },
}

impl Length {
    fn most_frames(self) -> usize {
        match self {
            Self::Frames(frames) => frames,
            Self::UntilEos { max_frames, .. } => max_frames,
        }
    }
}

/// The most frames that a chunk of `n_tokens` tokens may last: three tokens a second, plus two seconds.
#[must_use]
pub fn max_frames(n_tokens: usize, frame_rate: f64) -> usize {
    ((n_tokens as f64 / TOKENS_PER_SECOND + EXTRA_SECONDS) * frame_rate).ceil() as usize
}

/// One chunk of text.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// When it ends.
    pub length: Length,
}

/// Everything that a stream needs to know.
#[derive(Clone, Debug)]
pub struct Request {
    /// The voice to speak with.
    pub voice: VoiceState,
    /// Chunks, spoken one after the other.
    pub chunks: Vec<Chunk>,
    /// How to sample.
    pub sampling: Sampling,
    /// Where the noise comes from.
    pub noise: NoiseSource,
    /// Whether a chunk continues after the one before it instead of after the voice.
    pub continues: bool,
    /// Whether a chunk that reaches its longest length without an end of speech is an error.
    pub requires_eos: bool,
}

/// A latent, `[latent_dim]`; those of the family's models need no memory of their own.
pub type Latent = SmallVec<[f32; 32]>;

/// A finished frame on its way to the codec or the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Index of the chunk.
    pub chunk: usize,
    /// The latent, `[latent_dim]`, normalised.
    pub latent: Latent,
    /// The end-of-speech logit.
    pub eos_logit: f32,
}

/// Why a step produced no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Given noise has fewer rows than frames.
    OutOfNoise { rows: usize },
    /// A latent is infinite or not a number.
    NonFinite { chunk: usize, frame: usize },
}

/// What a step led to.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    /// The frame, unless it is the one after the last.
    pub(crate) frame: Option<Frame>,
    /// Whether the chunk is over.
    pub(crate) ends_chunk: bool,
    /// Whether it ended without an end of speech.
    pub(crate) is_cut: bool,
}

/// The language model's side of one stream.
pub(crate) struct Generation {
    pub(crate) request: Request,
    kv_dtype: KvDType,
    pub(crate) state: TransformerState,
    pub(crate) schedule: Schedule,
    /// The latent that the next step takes, `[latent_dim]`.
    pub(crate) latent: Vec<f32>,
    chunk: usize,
    frame: usize,
    eos_frame: Option<usize>,
    n_draws: usize,
}

impl Generation {
    pub(crate) fn new(request: Request, schedule: Schedule, kv_dtype: KvDType) -> Self {
        let state = request.voice.begin(kv_dtype);
        Self { request, kv_dtype, state, schedule, latent: Vec::new(), chunk: 0, frame: 0, eos_frame: None, n_draws: 0 }
    }

    /// The chunk whose text pass is due, if any.
    pub(crate) fn pending_chunk(&self) -> Option<&Chunk> {
        if self.latent.is_empty() { self.request.chunks.get(self.chunk) } else { None }
    }

    /// Whether all chunks are over.
    pub(crate) fn is_finished(&self) -> bool {
        self.chunk >= self.request.chunks.len()
    }

    /// Prepares the state for the text pass of the pending chunk.
    pub(crate) fn begin_chunk(&mut self) -> &mut TransformerState {
        if self.chunk > 0 && !self.request.continues {
            self.state = self.request.voice.begin(self.kv_dtype);
        }
        let chunk = &self.request.chunks[self.chunk];
        // The frame after the last is computed too.
        self.state.reserve(chunk.tokens.len() + chunk.length.most_frames() + 1);
        self.frame = 0;
        self.eos_frame = None;
        &mut self.state
    }

    /// Writes the noise of the next frame, `[latent_dim]`.
    pub(crate) fn noise_into(&mut self, out: &mut [f32]) -> Result<(), Fault> {
        let std = self.request.sampling.temp.sqrt();
        match &self.request.noise {
            NoiseSource::Seed(seed) => {
                noise_into(*seed, self.chunk, self.frame, std, self.request.sampling.noise_clamp, out);
            }
            NoiseSource::Given(rows) => {
                let n_rows = rows.len() / out.len();
                let row = rows.chunks_exact(out.len()).nth(self.n_draws).ok_or(Fault::OutOfNoise { rows: n_rows })?;
                for (out, normal) in out.iter_mut().zip(row) {
                    *out = normal * std as f32;
                }
            }
        }
        self.n_draws += 1;
        Ok(())
    }

    /// Takes the latent and the logit of a step.
    pub(crate) fn advance(&mut self, latent: &[f32], eos_logit: f32) -> Result<Outcome, Fault> {
        let (chunk, frame) = (self.chunk, self.frame);
        if !latent.iter().all(|x| x.is_finite()) {
            return Err(Fault::NonFinite { chunk, frame });
        }
        let mut outcome = Outcome { frame: None, ends_chunk: false, is_cut: false };
        match self.request.chunks[chunk].length {
            Length::Frames(frames) => outcome.ends_chunk = frame + 1 >= frames,
            Length::UntilEos { frames_after_eos, max_frames } => {
                let is_eos = eos_logit > self.request.sampling.eos_threshold as f32;
                if is_eos && self.eos_frame.is_none() && frame >= MIN_FRAMES_BEFORE_EOS {
                    self.eos_frame = Some(frame);
                }
                if self.eos_frame.is_some_and(|eos| frame >= eos + frames_after_eos) {
                    self.end_chunk();
                    return Ok(Outcome { ends_chunk: true, ..outcome });
                }
                outcome.is_cut = frame + 1 >= max_frames;
                outcome.ends_chunk = outcome.is_cut;
            }
        }
        outcome.frame = Some(Frame { chunk, latent: Latent::from_slice(latent), eos_logit });
        self.latent.copy_from_slice(latent);
        self.frame += 1;
        if outcome.ends_chunk {
            self.end_chunk();
        }
        Ok(outcome)
    }

    fn end_chunk(&mut self) {
        self.chunk += 1;
        self.latent.clear();
    }
}
