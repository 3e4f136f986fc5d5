//! `VoiceState`: the language model's memory of a voice, opaque to Python.

use std::path::PathBuf;

use pyo3::prelude::*;

use crate::error::detached;

/// A voice as one model remembers it; immutable, so any number of calls may share it.
#[pyclass(frozen, module = "pocket_tts_native")]
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
    /// Positions of the language model that the voice takes up.
    #[getter]
    fn n_positions(&self) -> usize {
        self.state.n_positions()
    }

    /// Writes the state as safetensors.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        detached(py, || self.state.write(&path))
    }

    fn __repr__(&self) -> String {
        format!("VoiceState(n_positions={})", self.n_positions())
    }

    /// The state never changes, so a copy is the state itself.
    fn __copy__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    /// As `__copy__`.
    fn __deepcopy__<'py>(slf: PyRef<'py, Self>, _memo: &Bound<'py, PyAny>) -> PyRef<'py, Self> {
        slf
    }
}
