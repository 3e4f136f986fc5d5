//! A loaded model: what the bindings call. Immutable, shared by any number of threads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pocket_kernels::parallel::Pool;
use pocket_kernels::{Level, heap};
use pocket_nn::{Arena, Rows, timing};

use crate::audio::{AudioInput, Prompt, PromptFormat};
use crate::bundle::{checkpoint, load_weights};
use crate::config::{Config, Source};
use crate::engine::stats::Snapshot;
use crate::engine::{Engine, Next, Output, Parts, Stream};
use crate::error::Error;
use crate::fingerprint::{Fingerprint, Fingerprints};
use crate::flow_lm::FlowLm;
use crate::generation::{Chunk, Length, NoiseSource, Request, Sampling, max_frames};
use crate::mimi::{ENCODER_FRAMES_PER_CALL, MimiDecoder, MimiEncoder};
use crate::packed_cache::{Packing, Pages};
use crate::precision::Precision;
use crate::text::{default_frames_after_eos, overlong_chunks, prepare_text, split_text};
use crate::tokenizer::Tokenizer;
use crate::voice::VoiceState;

/// The reference fades a chunk in over 1/200 s.
const FADE_IN_PER_SECOND: usize = 200;

/// Frames decoded in one call: a second's worth is large enough for full products.
const MAX_FRAMES_PER_CALL: usize = 32;

/// A loaded model.
#[derive(Debug)]
pub struct TtsModel {
    config: Config,
    precision: Precision,
    tokenizer: Tokenizer,
    encoder: MimiEncoder,
    pages: Pages,
    engine: Engine,
    fingerprints: Fingerprints,
    load_notes: Vec<String>,
}

/// How a model is to be loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The arithmetic.
    pub precision: Precision,
    /// Instruction-set level; the one that `POCKET_SIMD` names or else the widest when `None`.
    pub level: Option<Level>,
    /// Threads for packing, text passes and encoding; the CPUs that this process may use when `None`.
    pub num_threads: Option<usize>,
    /// Folder where packed weights are kept for the next load; they are packed in memory when `None`.
    pub packed_cache: Option<PathBuf>,
}

/// Latents of one utterance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GeneratedLatents {
    /// `[frames, latent_dim]`, normalised.
    pub latents: Vec<f32>,
    /// The end-of-speech logit of every frame, `[frames]`.
    pub eos_logits: Vec<f32>,
    /// Whether the utterance reached its longest length without an end of speech.
    pub is_cut: bool,
}

/// How a text is to be spoken.
#[derive(Clone, Debug)]
pub struct Speech {
    /// Most tokens of a chunk, where the text has a place to split.
    pub max_tokens: usize,
    /// Frames that follow the end of speech; the configuration's or the text's choice when `None`.
    pub frames_after_eos: Option<usize>,
    /// How latents are sampled.
    pub sampling: Sampling,
    /// Where the noise comes from.
    pub noise: NoiseSource,
    /// Whether a chunk continues after the one before it (`copy_state=False`).
    pub continues: bool,
    /// Whether a chunk that reaches its longest length without an end of speech is an error.
    pub requires_eos: bool,
    /// Most frames that are decoded in one call; 0 for whatever is there.
    pub max_frames_per_call: usize,
}

/// The number of threads that a model takes unless told otherwise: the physical cores, at most as many as the CPUs
/// that this process may use. Two threads of one core share the units that products keep busy.
#[must_use]
pub fn default_num_threads() -> usize {
    let n_cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    n_cpus.min(num_cpus::get_physical()).max(1)
}

/// What this build is and what it found on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    /// The instruction-set level that a model loaded next runs at.
    pub simd_level: &'static str,
    /// Levels that this CPU can run.
    pub simd_levels_available: Vec<&'static str>,
    /// CPU features that kernels look for and that this CPU has.
    pub cpu_features: Vec<&'static str>,
    /// Threads that a model takes unless told otherwise.
    pub num_threads: usize,
}

/// Looks at the CPU and the environment, again at every call.
///
/// # Errors
/// When `POCKET_SIMD` names a level that the CPU lacks.
pub fn build_info() -> Result<BuildInfo, Error> {
    Ok(BuildInfo {
        simd_level: Level::from_env()?.name(),
        simd_levels_available: Level::available().into_iter().map(Level::name).collect(),
        cpu_features: pocket_kernels::cpu_features(),
        num_threads: default_num_threads(),
    })
}

impl TtsModel {
    /// Loads tokenizer and weights and packs them, or maps what an earlier load packed.
    ///
    /// # Errors
    /// When a file is missing or unusable, does not fit the configuration, or `POCKET_SIMD` names a
    /// level that the CPU lacks.
    pub fn load(config: Config, options: LoadOptions) -> Result<Self, Error> {
        timing::enable_from_env();
        let LoadOptions { precision, level, num_threads, packed_cache } = options;
        let level = level.map_or_else(Level::from_env, Ok)?;
        let n_threads = num_threads.unwrap_or_else(default_num_threads);
        if n_threads == 0 {
            return Err(Error::Argument { name: "num_threads", reason: "is 0; give at least 1".to_owned() });
        }
        let tokenizer = open_tokenizer(&config)?;
        let pool = Pool::new(n_threads);
        let mut packing = Packing::begin(packed_cache.as_deref(), &config, precision);
        let weights = load_weights(&config)?.kept_as(precision.formats());
        packing.open(&config, &pool);
        let weights = weights.packed_in(&packing.packs);
        let codec = weights.scope("mimi");
        let lm = FlowLm::load(&weights.scope("flow_lm"), &pool, &config)?;
        let decoder = MimiDecoder::load(&codec, &pool, &config.mimi)?;
        let encoder = MimiEncoder::load(&codec, &pool, &config.mimi)?;
        checkpoint::finish(&weights, &config)?;
        let fingerprints =
            packing.fingerprints().unwrap_or_else(|| Fingerprints::of(&weights, &config, lm.transformer().config()));
        packing.finish(&config, &fingerprints);
        weights.release();
        heap::trim();
        let pages = packing.pages();
        let fade_in_samples = config.mimi.sample_rate / FADE_IN_PER_SECOND;
        let parts = Parts { level, pool, lm, decoder, fade_in_samples };
        let engine = Engine::new(Arc::new(parts));
        let load_notes = packing.notes;
        Ok(Self { config, precision, tokenizer, encoder, pages, engine, fingerprints, load_notes })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What this process has generated with the model so far, warm-ups left out.
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        self.engine.stats()
    }

    pub(crate) fn parts(&self) -> &Parts {
        self.engine.parts()
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The arithmetic that the model computes with.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// What became of the cache of packed weights at the load, a sentence each.
    #[must_use]
    pub fn load_notes(&self) -> &[String] {
        &self.load_notes
    }

    /// The instruction-set level that the model runs at.
    #[must_use]
    pub fn level(&self) -> Level {
        self.parts().level
    }

    /// What tells this model's voices from those of others; it does not depend on the level.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprints.backbone
    }

    /// Everything besides a recording that decides the bits of its voice, as a key for caches.
    #[must_use]
    pub fn cloning_key(&self) -> String {
        // The version stands for the arithmetic: any release may change bits.
        format!(
            "{} {} {} {}",
            env!("CARGO_PKG_VERSION"),
            self.fingerprints.cloning,
            self.level().name(),
            self.precision
        )
    }

    /// Width of a latent.
    #[must_use]
    pub fn latent_dim(&self) -> usize {
        self.parts().lm.latent_dim()
    }

    /// Width of an encoded voice row.
    #[must_use]
    pub fn voice_dim(&self) -> usize {
        self.encoder.voice_dim()
    }

    /// Samples per second in Hz.
    #[must_use]
    pub fn sample_rate_hz(&self) -> usize {
        self.config.mimi.sample_rate
    }

    /// Samples that one latent decodes to.
    #[must_use]
    pub fn samples_per_frame(&self) -> usize {
        self.parts().decoder.samples_per_frame()
    }

    /// Token ids of `text` as it is.
    ///
    /// # Errors
    /// When the tokenizer's rules fail on the text.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>, Error> {
        self.tokenizer.encode(text)
    }

    /// The text of token ids.
    ///
    /// # Errors
    /// When the tokenizer's rules fail on the ids.
    pub fn detokenize(&self, ids: &[u32]) -> Result<String, Error> {
        self.tokenizer.decode(ids)
    }

    /// The sampling that the configuration recommends.
    #[must_use]
    pub fn default_sampling(&self) -> Sampling {
        Sampling {
            temp: self.config.default_temperature,
            decode_steps: 1,
            noise_clamp: None,
            eos_threshold: self.config.default_eos_threshold,
        }
    }

    /// Encodes mono samples at the model's rate, nothing trimmed, to `[frames, voice_dim]`.
    ///
    /// # Errors
    /// When there are no samples or one is not finite.
    pub fn encode_audio(&self, samples: &[f32]) -> Result<Vec<f32>, Error> {
        if samples.is_empty() {
            return Err(Error::EmptyAudio);
        }
        if let Some(index) = samples.iter().position(|x| !x.is_finite()) {
            return Err(Error::NonFiniteAudio { index, value: samples[index] });
        }
        let arena = Arena::new();
        let voice = {
            let _turn = self.parts().pool.turn();
            self.encoder.encode(self.parts().context(&arena), samples)
        };
        self.pages.release_encoder();
        Ok(voice)
    }

    /// Listens to a recording once: decoded, resampled, ended on a pause; with `is_truncated` only its
    /// first 30 s. Also gives what the user should know of it, a sentence each.
    ///
    /// # Errors
    /// When the audio cannot be read or decoded, is empty, silent or not finite, or its rate is out of range.
    pub fn prompt<'a>(&self, input: AudioInput<'a>, is_truncated: bool) -> Result<(Prompt<'a>, Vec<String>), Error> {
        let format =
            PromptFormat { sample_rate_hz: self.sample_rate_hz(), frame_size: self.encoder.frame_size(), is_truncated };
        let prompt = Prompt::measure(input, format)?;
        let mut warnings = prompt.warnings().to_vec();
        if let Some((origin, seconds)) = prompt.long() {
            let n_frames = prompt.n_samples() / self.encoder.frame_size();
            let n_bytes = n_frames * self.voice_frame_bytes();
            warnings.push(format!(
                "{origin}: it is {seconds:.0} s long; the voice will take {} MB of memory, about twice that while it \
                 is made, and slow down every sentence; 30 s are enough, truncate=True takes the first",
                n_bytes.div_ceil(1_000_000)
            ));
        }
        Ok((prompt, warnings))
    }

    /// Bytes of the keys and values of one frame of a voice.
    fn voice_frame_bytes(&self) -> usize {
        let transformer = self.parts().lm.transformer().config();
        2 * transformer.n_layers * transformer.attention.kv_width() * size_of::<f32>()
    }

    /// The voice of a prompt: read again and encoded, a few frames at a time.
    ///
    /// # Errors
    /// When the audio has changed since [`Self::prompt`].
    pub fn voice_from_prompt(&self, prompt: &Prompt<'_>) -> Result<VoiceState, Error> {
        // Both parts in memory at once would be the most that the model ever takes. What other streams need
        // meanwhile is mapped again, within milliseconds, from the system's cache.
        self.pages.release_others();
        let arena = Arena::new();
        let ctx = self.parts().context(&arena);
        let frame_size = self.encoder.frame_size();
        let mut state = self.encoder.new_state();
        let mut voice = Vec::with_capacity(prompt.n_samples() / frame_size * self.voice_dim());
        let (mut reader, mut samples) = (prompt.read()?, Vec::new());
        while reader.next_block(ENCODER_FRAMES_PER_CALL * frame_size, &mut samples)? {
            // Other callers may have theirs in between.
            let _turn = ctx.pool.turn();
            self.encoder.step(ctx, &samples, &mut state, &mut voice);
        }
        drop((reader, state, arena));
        self.pages.release_encoder();
        let state = self.voice_from_latents(&voice);
        heap::trim();
        Ok(state)
    }

    /// The voice of encoded audio `[frames, voice_dim]`.
    #[must_use]
    pub fn voice_from_latents(&self, voice: &[f32]) -> VoiceState {
        let arena = Arena::new();
        let _turn = self.parts().pool.turn();
        let voice = self.parts().lm.prompt_voice(self.parts().context(&arena), voice);
        voice.with_model(Some(self.fingerprint()))
    }

    /// The voice in a state file.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or was made with a model of other sizes.
    pub fn voice_from_file(&self, path: impl AsRef<Path>) -> Result<VoiceState, Error> {
        let transformer = self.parts().lm.transformer();
        let voice = VoiceState::read(path, transformer.config(), self.fingerprint())?;
        Ok(voice.to_dtype(transformer.kv_dtype()))
    }

    /// The voice in an entry of the voice cache, which must be the one of `key` and intact.
    ///
    /// # Errors
    /// As [`Self::voice_from_file`], and when it is the entry of another key.
    pub fn voice_from_cache(&self, path: impl AsRef<Path>, key: &str) -> Result<VoiceState, Error> {
        let transformer = self.parts().lm.transformer();
        let voice = VoiceState::read_cached(path, key, transformer.config(), self.fingerprint())?;
        Ok(voice.to_dtype(transformer.kv_dtype()))
    }

    /// Decodes normalised latents `[frames, latent_dim]` to samples, without a fade.
    ///
    /// `frames_per_call` are the sizes of the groups, the last one repeated; without any, and above 32,
    /// groups of 32 keep the memory flat. The samples do not depend on it.
    ///
    /// # Errors
    /// When the latents are not whole frames, not finite, or a group is empty.
    pub fn decode_latents(&self, latents: &[f32], frames_per_call: &[usize]) -> Result<Vec<f32>, Error> {
        let latent_dim = self.latent_dim();
        let argument = |name, reason: String| Err(Error::Argument { name, reason });
        if !latents.len().is_multiple_of(latent_dim) {
            let reason = format!("has {} values, no multiple of the latent width {latent_dim}", latents.len());
            return argument("latents", reason);
        }
        if let Some(index) = latents.iter().position(|x| !x.is_finite()) {
            let reason = format!("of frame {} is {}; give finite values", index / latent_dim, latents[index]);
            return argument("latents", reason);
        }
        if frames_per_call.contains(&0) {
            return argument("frames_per_call", "holds 0; give groups of at least one frame".to_owned());
        }
        let parts = self.parts();
        let n_frames = latents.len() / latent_dim;
        let mut samples = vec![0.0; n_frames * self.samples_per_frame()];
        let mut state = parts.decoder.new_state();
        let arena = Arena::new();
        let mut sizes = frames_per_call
            .iter()
            .copied()
            .chain(std::iter::repeat(frames_per_call.last().copied().unwrap_or(usize::MAX)));
        let (mut latents, mut rest) = (latents, &mut samples[..]);
        while !latents.is_empty() {
            let left = latents.len() / latent_dim;
            let n = sizes.next().map_or(left, |n| n.min(left)).min(MAX_FRAMES_PER_CALL);
            let (group, others) = latents.split_at(n * latent_dim);
            let (out, others_out) = std::mem::take(&mut rest).split_at_mut(n * self.samples_per_frame());
            let mut denormalized = arena.take(group.len());
            parts.lm.denormalize_into(group, &mut denormalized);
            let _turn = parts.pool.turn();
            parts.decoder.step(parts.context(&arena), &denormalized, &mut [Rows::new(n, &mut state)], out);
            (latents, rest) = (others, others_out);
        }
        Ok(samples)
    }

    /// Starts generating.
    ///
    /// # Errors
    /// When an argument is out of range, the voice belongs to another model, or no thread starts.
    pub fn start(&self, request: Request, output: Output) -> Result<Stream, Error> {
        request.voice.check(self.parts().lm.transformer().config(), self.fingerprint())?;
        check_sampling(&request.sampling)?;
        for chunk in &request.chunks {
            if chunk.tokens.is_empty() {
                return Err(Error::EmptyText);
            }
            if chunk.length == Length::Frames(0) {
                return Err(Error::Argument { name: "frames", reason: "is 0; give at least 1".to_owned() });
            }
        }
        self.engine.start(request, output)
    }

    /// Prepares a text as the configuration says: the text, and the frames that follow its end of
    /// speech.
    ///
    /// # Errors
    /// When nothing is left of the text.
    pub fn prepare_text(&self, text: &str) -> Result<(String, usize), Error> {
        prepare_text(&self.config, text)
    }

    /// Splits a text into the chunks that are spoken one at a time, prepared but for the second pass
    /// that each gets by itself.
    ///
    /// # Errors
    /// When nothing is left of the text, or the tokenizer's rules fail on it.
    pub fn split_text(&self, text: &str, max_tokens: usize) -> Result<Vec<String>, Error> {
        split_text(&self.config, &self.tokenizer, text, max_tokens)
    }

    /// Speaks a text: splits it and streams the audio of all chunks, joined without a gap.
    ///
    /// # Errors
    /// When the text is empty or holds nothing that the tokenizer knows, and as [`Self::start`].
    pub fn speak(&self, voice: &VoiceState, text: &str, speech: Speech) -> Result<Stream, Error> {
        let frames_after_eos = speech.frames_after_eos.or(self.config.model_recommended_frames_after_eos);
        let chunk = |text: String| {
            let (text, own_frames_after_eos) = self.prepare_text(&text)?;
            let tokens = self.tokenize(&text)?;
            let length = Length::UntilEos {
                frames_after_eos: frames_after_eos.unwrap_or(own_frames_after_eos),
                max_frames: max_frames(tokens.len(), self.config.mimi.frame_rate),
            };
            Ok(Chunk { tokens, length })
        };
        let texts = self.split_text(text, speech.max_tokens)?;
        if texts.is_empty() {
            return Err(Error::EmptyText);
        }
        let overlong_chunks = overlong_chunks(&self.tokenizer, &texts, speech.max_tokens)?;
        let chunks = texts.into_iter().map(chunk).collect::<Result<_, Error>>()?;
        let request = Request {
            voice: voice.clone(),
            chunks,
            sampling: speech.sampling,
            noise: speech.noise,
            continues: speech.continues,
            requires_eos: speech.requires_eos,
        };
        let mut stream = self.start(request, Output::Audio { max_frames_per_call: speech.max_frames_per_call })?;
        stream.overlong_chunks = overlong_chunks;
        Ok(stream)
    }

    /// Generates the latents of `text` as it is, not split: `frames` of them, or as many as the end of
    /// speech decides.
    ///
    /// # Errors
    /// As [`Self::start`], and what goes wrong while generating.
    pub fn generate_latents(
        &self,
        voice: &VoiceState,
        text: &str,
        sampling: Sampling,
        frames: Option<usize>,
        noise: NoiseSource,
    ) -> Result<GeneratedLatents, Error> {
        let tokens = self.tokenize(text)?;
        let length = match frames {
            Some(frames) => Length::Frames(frames),
            None => Length::UntilEos {
                frames_after_eos: self
                    .config
                    .model_recommended_frames_after_eos
                    .unwrap_or_else(|| default_frames_after_eos(text)),
                max_frames: max_frames(tokens.len(), self.config.mimi.frame_rate),
            },
        };
        let request = Request {
            voice: voice.clone(),
            chunks: vec![Chunk { tokens, length }],
            sampling,
            noise,
            continues: false,
            requires_eos: false,
        };
        let stream = self.start(request, Output::Latents)?;
        let mut generated = GeneratedLatents::default();
        while let Next::Frame(frame) = stream.next(None)? {
            generated.latents.extend(frame.latent);
            generated.eos_logits.push(frame.eos_logit);
        }
        generated.is_cut = stream.n_chunks_cut() > 0;
        Ok(generated)
    }
}

fn open_tokenizer(config: &Config) -> Result<Tokenizer, Error> {
    let table = &config.flow_lm.lookup_table;
    // The kind follows the address as it was written, wherever its file is by now.
    let is_json = Tokenizer::is_json(&table.tokenizer, &table.tokenizer_path);
    let path = config.local_path(Source::Tokenizer)?.unwrap_or_default();
    Tokenizer::open(&path, is_json, table.n_bins)
}

fn check_sampling(sampling: &Sampling) -> Result<(), Error> {
    let argument = |name, reason: String| Err(Error::Argument { name, reason });
    if !(sampling.temp.is_finite() && sampling.temp >= 0.0) {
        return argument("temp", format!("is {}; give a number of at least 0", sampling.temp));
    }
    if sampling.decode_steps == 0 {
        return argument("sampler_decode_steps", "is 0; give at least 1".to_owned());
    }
    if let Some(clamp) = sampling.noise_clamp.filter(|clamp| !(clamp.is_finite() && *clamp > 0.0)) {
        return argument("noise_clamp", format!("is {clamp}; give a positive number or none"));
    }
    if sampling.eos_threshold.is_nan() {
        return argument("eos_threshold", "is NaN; give a number".to_owned());
    }
    Ok(())
}
