//! What is measured: an engine's counters, times per operator, how far precisions are apart.

use std::time::Duration;

use pocket_model::{Snapshot, Stage, timing};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Signal-to-error ratios of latents, end-of-speech logits and audio, in dB.
pub(crate) type Ratios = (f64, f64, f64);

/// A copy of the counters, with times in seconds; percentiles are None without any times.
pub(crate) fn counters<'py>(py: Python<'py>, counted: &Snapshot) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, n) in [
        ("n_started", counted.n_started),
        ("n_complete", counted.n_complete),
        ("n_cancelled", counted.n_cancelled),
        ("n_failed", counted.n_failed),
        ("n_audio_frames", counted.n_audio_frames),
        ("n_timed_frames", counted.n_timed_frames),
    ] {
        dict.set_item(name, n)?;
    }
    for (name, time) in [
        ("streaming_s", counted.streaming),
        ("busy_s", counted.busy),
        ("computing_s", counted.computing),
        ("text_pass_s", counted.stage(Stage::TextPass)),
        ("language_model_s", counted.stage(Stage::LanguageModel)),
        ("flow_head_s", counted.stage(Stage::FlowHead)),
        ("codec_s", counted.stage(Stage::Codec)),
    ] {
        dict.set_item(name, time.as_secs_f64())?;
    }
    for (name, histogram, q) in [
        ("first_audio_p50_s", &counted.first_audio, 0.5),
        ("first_audio_p95_s", &counted.first_audio, 0.95),
        ("frame_p50_s", &counted.frame, 0.5),
        ("frame_p95_s", &counted.frame, 0.95),
    ] {
        dict.set_item(name, histogram.quantile(q).as_ref().map(Duration::as_secs_f64))?;
    }
    Ok(dict)
}

/// Times per operator: phase, operator, calls and seconds; empty unless `POCKET_TIMING` is 1.
#[pyfunction]
pub(crate) fn operator_times() -> Vec<(&'static str, String, u64, f64)> {
    let rows = timing::table().into_iter();
    rows.map(|row| (row.phase, row.operator, row.n_calls, row.total.as_secs_f64())).collect()
}

/// Forgets the times per operator.
#[pyfunction]
pub(crate) fn reset_operator_times() {
    timing::reset();
}
