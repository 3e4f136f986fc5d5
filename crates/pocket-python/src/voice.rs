//! `VoiceState`: the language model's memory of a voice, and its tensors.

use std::collections::BTreeMap;
use std::path::PathBuf;

use numpy::{IntoPyArray, PyArray5, PyArrayMethods};
use pocket_model::WeightMap;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;

use crate::convert::tensor_from_array;
use crate::error::detached;

/// A voice as one model remembers it; immutable, so any number of calls may share it.
#[pyclass(frozen, module = "pocket_tts_native._native")]
pub(crate) struct VoiceState {
    pub(crate) state: pocket_model::VoiceState,
}

impl VoiceState {
    pub(crate) fn new(state: pocket_model::VoiceState) -> Self {
        Self { state }
    }
}

#[pymethods]
impl VoiceState {
    /// The voice of the tensors of a voice state file, by name, made by the model of that fingerprint.
    #[staticmethod]
    #[pyo3(signature = (tensors, fingerprint=None))]
    fn from_tensors(
        py: Python<'_>,
        tensors: BTreeMap<String, Bound<'_, PyAny>>,
        fingerprint: Option<&str>,
    ) -> PyResult<Self> {
        // As in files, one of another kind tells nothing.
        let model = fingerprint.and_then(|text| text.parse().ok());
        let mut map = WeightMap::new();
        for (name, array) in &tensors {
            map.insert(tensor_from_array(array, name)?);
        }
        let state = detached(py, || pocket_model::VoiceState::from_tensors(&map))?;
        Ok(Self::new(state.with_model(model)))
    }

    /// A copy of a layer's keys and values `[2, 1, positions, kv_heads, head_dim]`, and how many of its
    /// leading positions are masked.
    fn layer<'py>(&self, py: Python<'py>, index: usize) -> PyResult<(Bound<'py, PyArray5<f32>>, usize)> {
        if index >= self.state.n_layers() {
            return Err(PyIndexError::new_err("there is no such layer"));
        }
        let (cache, shape) = detached(py, || Ok(self.state.cache(index)))?;
        Ok((cache.into_pyarray(py).reshape(shape)?, self.state.pad(index)))
    }

    /// Layers of the language model.
    #[getter]
    fn n_layers(&self) -> usize {
        self.state.n_layers()
    }

    /// Positions of the language model that the voice takes up.
    #[getter]
    fn n_positions(&self) -> usize {
        self.state.n_positions()
    }

    /// The fingerprint of the model that made the voice, where it is known.
    #[getter]
    fn fingerprint(&self) -> Option<String> {
        self.state.model().map(|model| model.to_string())
    }

    /// Writes the state as the entry of `key` in the voice cache.
    fn save_cached(&self, py: Python<'_>, path: PathBuf, key: &str) -> PyResult<()> {
        detached(py, || self.state.write_cached(&path, key))
    }

    /// Writes the state as safetensors.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        detached(py, || self.state.write(&path))
    }
}
