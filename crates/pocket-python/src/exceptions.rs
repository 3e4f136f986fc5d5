//! The exception classes, which live in Python: `pocket_tts_native.exceptions`.
//!
//! Classes written in Python can have two bases (`ModelFormatError` is a `ValueError` too), are
//! pickled by name and need no stub.

use pyo3::import_exception;

import_exception!(pocket_tts_native.exceptions, InternalError);
import_exception!(pocket_tts_native.exceptions, ModelFormatError);
import_exception!(pocket_tts_native.exceptions, UnsupportedError);
import_exception!(pocket_tts_native.exceptions, VoiceStateError);
