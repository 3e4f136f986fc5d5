//! From the engine's errors to Python exceptions, in one exhaustive match.

use std::any::Any;
use std::error::Error as _;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pocket_model::{Error, ErrorKind};
use pyo3::exceptions::{PyFileNotFoundError, PyOSError, PyPermissionError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::exceptions::{InternalError, ModelFormatError, UnsupportedError, VoiceStateError};

/// Runs `compute` without the GIL; an error or a panic of the engine becomes a Python exception.
///
/// A panic is a bug of ours. It must not surface as `PanicException`, which `except Exception`
/// does not catch.
///
/// # Errors
/// The exception that stands for the engine's error.
pub(crate) fn detached<T: Send>(py: Python<'_>, compute: impl FnOnce() -> Result<T, Error> + Send) -> PyResult<T> {
    // The engine's shared parts are immutable during a call, so nothing half-written is seen
    // after the unwinding.
    match py.detach(|| catch_unwind(AssertUnwindSafe(compute))) {
        Ok(result) => result.map_err(|error| exception_from_error(&error)),
        Err(panic) => Err(InternalError::new_err(format!(
            "internal error: {}; please report it with the call that led here",
            panic_message(panic.as_ref())
        ))),
    }
}

/// The Python exception of the natural class for `error`; its message ends with the causes.
fn exception_from_error(error: &Error) -> PyErr {
    let message = message_with_causes(error);
    match error.kind() {
        ErrorKind::NotFound => PyFileNotFoundError::new_err(message),
        ErrorKind::PermissionDenied => PyPermissionError::new_err(message),
        ErrorKind::Io => PyOSError::new_err(message),
        ErrorKind::InvalidValue => PyValueError::new_err(message),
        ErrorKind::ModelFormat => ModelFormatError::new_err(message),
        ErrorKind::VoiceState => VoiceStateError::new_err(message),
        ErrorKind::Unsupported => UnsupportedError::new_err(message),
        ErrorKind::Unfinished => PyRuntimeError::new_err(message),
        ErrorKind::Internal => InternalError::new_err(message),
    }
}

/// The message of `error`, then those of its sources that it does not already quote.
fn message_with_causes(error: &Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            // Writing to a string cannot fail.
            let _ = write!(message, ": {text}");
        }
        source = cause.source();
    }
    message
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}
