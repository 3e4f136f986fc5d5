//! Python bindings: the compiled module `pocket_tts_native._native`.
//!
//! Types and errors only. Every number is computed in `pocket-model`; arguments are checked and
//! defaults are chosen in `python/pocket_tts_native`.

#![expect(clippy::needless_pass_by_value, reason = "arguments extracted from Python objects are owned")]

mod audio;
mod config;
mod convert;
mod error;
mod exceptions;
mod measure;
mod model;
mod stream;
mod voice;

use pyo3::prelude::*;

/// The compiled half of `pocket_tts_native`.
#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::audio::{decode_audio, prompt_samples};
    #[pymodule_export]
    use crate::config::Config;
    #[pymodule_export]
    use crate::measure::{operator_times, reset_operator_times};
    #[pymodule_export]
    use crate::model::{Model, build_info};
    #[pymodule_export]
    use crate::stream::AudioStream;
    #[pymodule_export]
    use crate::voice::VoiceState;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
