//! `Model`: one loaded model. Every method that computes releases the GIL.

use std::path::PathBuf;
use std::sync::Arc;

use numpy::{PyArray1, PyArray2};
use pocket_model::audio::AudioInput;
use pocket_model::{LoadOptions, NoiseSource, Precision, Sampling, Speech, TtsModel, verify};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::audio::AudioFile;
use crate::config::Config;
use crate::convert::{float32_array, matrix, mono_samples, rows_of, vector};
use crate::error::detached;
use crate::measure::{Ratios, counters};
use crate::stream::AudioStream;
use crate::voice::VoiceState;

/// Latents `[frames, latent_dim]` and end-of-speech logits `[frames]`.
type LatentsAndLogits<'py> = (Bound<'py, PyArray2<f32>>, Bound<'py, PyArray1<f32>>);

/// A loaded model: immutable, shared by any number of threads and voice states.
#[pyclass(frozen, module = "pocket_tts_native._native")]
pub(crate) struct Model {
    model: Arc<TtsModel>,
}

#[pymethods]
impl Model {
    /// Loads the model that a configuration describes, whose files are on this machine.
    #[staticmethod]
    #[pyo3(signature = (config, *, precision="f32", num_threads=None, packed_cache=None))]
    fn load(
        py: Python<'_>,
        config: &Config,
        precision: &str,
        num_threads: Option<usize>,
        packed_cache: Option<PathBuf>,
    ) -> PyResult<Self> {
        // The first array looks NumPy's version up in Python code, where a pending Ctrl-C would be
        // raised as a failure of NumPy: better here than at the first audio.
        vector(py, Vec::<f32>::new());
        let precision = Precision::from_name(precision).ok_or_else(|| {
            let names = Precision::ALL.map(Precision::name).join(", ");
            PyValueError::new_err(format!("precision is {precision:?}; give one of {names}"))
        })?;
        let options = LoadOptions { precision, num_threads, packed_cache, ..LoadOptions::default() };
        let config = config.config.clone();
        let model = detached(py, || TtsModel::load(config, options))?;
        Ok(Self { model: Arc::new(model) })
    }

    /// The arithmetic: `f32`, `bf16` or `int8`.
    #[getter]
    fn precision(&self) -> &'static str {
        self.model.precision().name()
    }

    /// What became of the cache of packed weights at the load, a sentence each.
    #[getter]
    fn load_notes(&self) -> Vec<String> {
        self.model.load_notes().to_vec()
    }

    /// Samples per second of all audio, in Hz.
    #[getter]
    fn sample_rate(&self) -> usize {
        self.model.sample_rate_hz()
    }

    /// Samples per latent frame.
    #[getter]
    fn frame_size(&self) -> usize {
        self.model.samples_per_frame()
    }

    /// Width of a latent.
    #[getter]
    fn latent_dim(&self) -> usize {
        self.model.latent_dim()
    }

    /// Width of an encoded voice row.
    #[getter]
    fn voice_dim(&self) -> usize {
        self.model.voice_dim()
    }

    /// What tells this model's voices from those of others.
    #[getter]
    fn fingerprint(&self) -> String {
        self.model.fingerprint().to_string()
    }

    /// Everything besides a recording that decides the bits of its voice.
    #[getter]
    fn cloning_key(&self) -> String {
        self.model.cloning_key()
    }

    /// The sampling temperature that the configuration recommends.
    #[getter]
    fn default_temperature(&self) -> f64 {
        self.model.config().default_temperature
    }

    /// The end-of-speech threshold that the configuration recommends.
    #[getter]
    fn default_eos_threshold(&self) -> f64 {
        self.model.config().default_eos_threshold
    }

    /// Token ids of `text`.
    fn tokenize(&self, py: Python<'_>, text: &str) -> PyResult<Vec<u32>> {
        detached(py, || self.model.tokenize(text))
    }

    /// The text of token ids.
    fn detokenize(&self, py: Python<'_>, tokens: Vec<u32>) -> PyResult<String> {
        detached(py, || self.model.detokenize(&tokens))
    }

    /// `text` prepared for the tokenizer, and the frames that follow its end of speech.
    fn prepare_text(&self, py: Python<'_>, text: &str) -> PyResult<(String, usize)> {
        detached(py, || self.model.prepare_text(text))
    }

    /// The chunks of `text` that are spoken one at a time.
    #[pyo3(signature = (text, *, max_tokens))]
    fn split_text(&self, py: Python<'_>, text: &str, max_tokens: usize) -> PyResult<Vec<String>> {
        detached(py, || self.model.split_text(text, max_tokens))
    }

    /// Voice rows `[frames, voice_dim]` of mono samples at the model's rate.
    fn encode_audio<'py>(&self, py: Python<'py>, pcm: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let array = float32_array(pcm, "pcm")?;
        let samples = mono_samples(&array, "pcm")?;
        let rows = detached(py, || self.model.encode_audio(samples))?;
        matrix(py, rows, self.model.voice_dim())
    }

    /// Voice state of mono samples at `sample_rate` Hz; never truncated, as in the reference. `warn` is
    /// called with each sentence that the user should read.
    #[pyo3(signature = (pcm, sample_rate, *, warn))]
    fn voice_from_pcm(
        &self,
        py: Python<'_>,
        pcm: &Bound<'_, PyAny>,
        sample_rate: usize,
        warn: &Bound<'_, PyAny>,
    ) -> PyResult<VoiceState> {
        let array = float32_array(pcm, "audio_conditioning")?;
        let samples = mono_samples(&array, "audio_conditioning")?;
        self.voice_from_input(py, AudioInput::from_samples(samples, sample_rate), false, warn)
    }

    /// Voice state of an audio file: its path, or its bytes. `warn` as in `voice_from_pcm`.
    #[pyo3(signature = (source, *, truncate, warn))]
    fn voice_from_audio(
        &self,
        py: Python<'_>,
        source: AudioFile,
        truncate: bool,
        warn: &Bound<'_, PyAny>,
    ) -> PyResult<VoiceState> {
        let input = source.input(py)?;
        self.voice_from_input(py, input, truncate, warn)
    }

    /// Voice state saved as safetensors.
    fn voice_from_file(&self, py: Python<'_>, path: PathBuf) -> PyResult<VoiceState> {
        let state = detached(py, || self.model.voice_from_file(&path))?;
        Ok(VoiceState::new(state))
    }

    /// Voice state in the entry of `key` in the voice cache.
    fn voice_from_cache(&self, py: Python<'_>, path: PathBuf, key: &str) -> PyResult<VoiceState> {
        let state = detached(py, || self.model.voice_from_cache(&path, key))?;
        Ok(VoiceState::new(state))
    }

    /// Samples of latents `[frames, latent_dim]`, decoded in groups of `frames_per_call` frames.
    fn decode_latents<'py>(
        &self,
        py: Python<'py>,
        latents: &Bound<'py, PyAny>,
        frames_per_call: Vec<usize>,
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let array = float32_array(latents, "latents")?;
        let rows = rows_of(&array, self.model.latent_dim(), "latents")?;
        let samples = detached(py, || self.model.decode_latents(rows, &frames_per_call))?;
        Ok(vector(py, samples))
    }

    /// Latents `[frames, latent_dim]` and end-of-speech logits `[frames]` for `text`.
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of one call; Python has no options struct")]
    #[pyo3(signature = (state, text, *, temp, decode_steps, noise_clamp, eos_threshold, frames,
                        noise, seed))]
    fn generate_latents<'py>(
        &self,
        py: Python<'py>,
        state: &VoiceState,
        text: &str,
        temp: f64,
        decode_steps: usize,
        noise_clamp: Option<f64>,
        eos_threshold: f64,
        frames: Option<usize>,
        noise: Option<&Bound<'py, PyAny>>,
        seed: u64,
    ) -> PyResult<LatentsAndLogits<'py>> {
        let sampling = Sampling { temp, decode_steps, noise_clamp, eos_threshold };
        let noise = self.noise_source(noise, seed)?;
        let generated = detached(py, || self.model.generate_latents(&state.state, text, sampling, frames, noise))?;
        Ok((matrix(py, generated.latents, self.model.latent_dim())?, vector(py, generated.eos_logits)))
    }

    /// Starts to speak `text`, split into chunks, with the voice `state`.
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of one call; Python has no options struct")]
    #[pyo3(signature = (state, text, *, max_tokens, frames_after_eos, temp, decode_steps, noise_clamp,
                        eos_threshold, noise, seed, continues, requires_eos, max_frames_per_call))]
    fn speak<'py>(
        &self,
        py: Python<'py>,
        state: &VoiceState,
        text: &str,
        max_tokens: usize,
        frames_after_eos: Option<usize>,
        temp: f64,
        decode_steps: usize,
        noise_clamp: Option<f64>,
        eos_threshold: f64,
        noise: Option<&Bound<'py, PyAny>>,
        seed: u64,
        continues: bool,
        requires_eos: bool,
        max_frames_per_call: usize,
    ) -> PyResult<AudioStream> {
        let speech = Speech {
            max_tokens,
            frames_after_eos,
            sampling: Sampling { temp, decode_steps, noise_clamp, eos_threshold },
            noise: self.noise_source(noise, seed)?,
            continues,
            requires_eos,
            max_frames_per_call,
        };
        detached(py, || self.model.speak(&state.state, text, speech)).map(AudioStream::new)
    }

    /// Runs every code path once.
    fn warm_up(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || self.model.warm_up())
    }

    /// What this process has generated with the model so far.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counted = py.detach(|| self.model.stats());
        counters(py, &counted)
    }

    /// Latents and logits of each frame if those before it were `latents`.
    fn forced_latents<'py>(
        &self,
        py: Python<'py>,
        state: &VoiceState,
        text: &str,
        latents: &Bound<'_, PyAny>,
        noise: &Bound<'_, PyAny>,
        decode_steps: usize,
    ) -> PyResult<LatentsAndLogits<'py>> {
        let (latents, noise) = (float32_array(latents, "latents")?, float32_array(noise, "noise")?);
        let latents = rows_of(&latents, self.model.latent_dim(), "latents")?;
        let noise = rows_of(&noise, self.model.latent_dim(), "noise")?;
        let made =
            detached(py, || verify::forced_latents(&self.model, &state.state, text, latents, noise, decode_steps))?;
        Ok((matrix(py, made.latents, self.model.latent_dim())?, vector(py, made.eos_logits)))
    }

    /// How far `other` is from this model on the same latents and noise, in dB.
    fn fidelity(
        &self,
        py: Python<'_>,
        other: &Self,
        state: &VoiceState,
        text: &str,
        latents: &Bound<'_, PyAny>,
        noise: &Bound<'_, PyAny>,
    ) -> PyResult<Ratios> {
        let (latents, noise) = (float32_array(latents, "latents")?, float32_array(noise, "noise")?);
        let latents = rows_of(&latents, self.model.latent_dim(), "latents")?;
        let noise = rows_of(&noise, self.model.latent_dim(), "noise")?;
        let (exact, model) = ((&*self.model, &state.state), (&*other.model, &state.state));
        let fidelity = detached(py, || verify::compare(exact, model, text, latents, noise))?;
        Ok((fidelity.latents_db, fidelity.eos_db, fidelity.audio_db))
    }
}

impl Model {
    fn voice_from_input(
        &self,
        py: Python<'_>,
        input: AudioInput<'_>,
        truncate: bool,
        warn: &Bound<'_, PyAny>,
    ) -> PyResult<VoiceState> {
        let (prompt, warnings) = detached(py, || self.model.prompt(input, truncate))?;
        for warning in warnings {
            warn.call1((warning,))?;
        }
        let state = detached(py, || self.model.voice_from_prompt(&prompt))?;
        Ok(VoiceState::new(state))
    }

    /// The given noise `[draws, latent_dim]`, copied, or that of the seed.
    fn noise_source(&self, noise: Option<&Bound<'_, PyAny>>, seed: u64) -> PyResult<NoiseSource> {
        let Some(noise) = noise else { return Ok(NoiseSource::Seed(seed)) };
        let array = float32_array(noise, "noise")?;
        Ok(NoiseSource::Given(rows_of(&array, self.model.latent_dim(), "noise")?.into()))
    }
}

/// What this build is and what it found on this machine.
#[pyfunction]
pub(crate) fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let info = detached(py, pocket_model::build_info)?;
    let dict = PyDict::new(py);
    dict.set_item("version", env!("CARGO_PKG_VERSION"))?;
    dict.set_item("simd_level", info.simd_level)?;
    dict.set_item("simd_levels_available", info.simd_levels_available)?;
    dict.set_item("cpu_features", info.cpu_features)?;
    dict.set_item("num_threads", info.num_threads)?;
    Ok(dict)
}
