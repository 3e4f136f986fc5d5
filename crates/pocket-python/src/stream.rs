//! `AudioStream`: one utterance being spoken, read piece by piece.

use std::time::Duration;

use numpy::PyArray1;
use pocket_model::{Next, Stream};
use pyo3::prelude::*;

use crate::error::detached;
use crate::voice::VoiceState;

/// How long a wait goes on before Ctrl-C and the stop event are looked at: less than a frame of the
/// released models takes, and too rare to be felt.
const SLICE: Duration = Duration::from_millis(5);

/// The audio of one utterance; usable from several threads, dropping it ends the work.
#[pyclass(frozen, module = "pocket_tts_native._native")]
pub(crate) struct AudioStream {
    stream: Stream,
}

impl AudioStream {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream }
    }
}

#[pymethods]
impl AudioStream {
    /// The next samples `[samples]`; `None` at the end, after `cancel`, and once `stop` is set.
    #[pyo3(signature = (stop))]
    fn next<'py>(
        &self,
        py: Python<'py>,
        stop: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyArray1<f32>>>> {
        loop {
            if let Err(interrupt) = py.check_signals() {
                self.stream.cancel();
                return Err(interrupt);
            }
            if let Some(stop) = stop
                && stop.call_method0("is_set")?.is_truthy()?
            {
                self.stream.cancel();
                return Ok(None);
            }
            match detached(py, || self.stream.next(Some(SLICE)))? {
                Next::Audio(samples) => {
                    let array = PyArray1::from_slice(py, &samples);
                    self.stream.recycle(samples);
                    return Ok(Some(array));
                }
                Next::Pending => {}
                // A stream of audio has no frames.
                Next::End | Next::Frame(_) => return Ok(None),
            }
        }
    }

    /// Ends the work: at most the frame that is being computed is still finished.
    fn cancel(&self) {
        self.stream.cancel();
    }

    /// Frames that the language model has generated so far.
    #[getter]
    fn n_frames_generated(&self) -> usize {
        self.stream.n_frames_generated()
    }

    /// Chunks that reached their longest length without an end of speech.
    #[getter]
    fn n_chunks_cut(&self) -> usize {
        self.stream.n_chunks_cut()
    }

    /// Chunks with more tokens than were asked for, as index and number of tokens.
    #[getter]
    fn overlong_chunks(&self) -> Vec<(usize, usize)> {
        self.stream.overlong_chunks().to_vec()
    }

    /// The voice state after the last chunk of a finished utterance that continues.
    fn final_state(&self) -> Option<VoiceState> {
        self.stream.final_state().map(VoiceState::new)
    }
}
