//! Audio files from Python: decoded, and made into what the encoder gets.

use std::path::PathBuf;

use numpy::PyArray1;
use pocket_model::audio::{AudioInput, Prompt, PromptFormat};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::convert::{float32_array, mono_samples, vector};
use crate::error::detached;

/// An audio file: its bytes or its path.
#[derive(FromPyObject)]
pub(crate) enum AudioFile {
    /// The bytes, not copied.
    Bytes(PyBackedBytes),
    /// The path.
    Path(PathBuf),
}

impl AudioFile {
    /// What the engine reads.
    ///
    /// # Errors
    /// When the path is none of a file.
    pub(crate) fn input(&self, py: Python<'_>) -> PyResult<AudioInput<'_>> {
        match self {
            Self::Bytes(bytes) => Ok(AudioInput::from_bytes(bytes)),
            Self::Path(path) => detached(py, || AudioInput::from_path(path)),
        }
    }
}

/// Mono samples of an audio file, and its rate in Hz.
#[pyfunction]
pub(crate) fn decode_audio(py: Python<'_>, source: AudioFile) -> PyResult<(Bound<'_, PyArray1<f32>>, usize)> {
    let input = source.input(py)?;
    let (samples, sample_rate_hz) = detached(py, || input.decode())?;
    Ok((vector(py, samples), sample_rate_hz))
}

/// What the encoder gets of a prompt: an audio file, or mono samples with `sample_rate`.
#[pyfunction]
#[pyo3(signature = (source, *, sample_rate, model_rate, frame_size, truncate))]
pub(crate) fn prompt_samples<'py>(
    py: Python<'py>,
    source: &Bound<'py, PyAny>,
    sample_rate: Option<usize>,
    model_rate: usize,
    frame_size: usize,
    truncate: bool,
) -> PyResult<Bound<'py, PyArray1<f32>>> {
    let format = PromptFormat { sample_rate_hz: model_rate, frame_size: frame_size.max(1), is_truncated: truncate };
    let (array, file): (_, AudioFile);
    let input = if let Some(sample_rate) = sample_rate {
        array = float32_array(source, "source")?;
        AudioInput::from_samples(mono_samples(&array, "source")?, sample_rate)
    } else {
        file = source.extract()?;
        file.input(py)?
    };
    let samples = detached(py, || Prompt::measure(input, format)?.samples())?;
    Ok(vector(py, samples))
}
