//! Errors of this crate, and the coarse kinds that callers map to their own exceptions.

use std::io;
use std::path::PathBuf;

/// What sort of fault an error is, for callers that have one exception per sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A file does not exist.
    NotFound,
    /// A file exists but may not be read or written.
    PermissionDenied,
    /// Any other fault of the operating system.
    Io,
    /// A value or a combination of settings is wrong.
    InvalidValue,
    /// A model file is damaged or does not fit its configuration.
    ModelFormat,
    /// A voice state is damaged or was made with another model.
    VoiceState,
    /// The input is legitimate, but this version cannot use it.
    Unsupported,
    /// The work went on to its limit without the end that it was to reach.
    Unfinished,
    /// A bug of ours.
    Internal,
}

impl ErrorKind {
    /// Sorts an I/O error.
    #[must_use]
    pub fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::PermissionDenied => Self::PermissionDenied,
            _ => Self::Io,
        }
    }
}

/// Why weights could not be opened or do not fit the model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The operating system refused the file.
    #[error("cannot read weights file {}: {source}; check the path and its permissions", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The content is not valid safetensors.
    #[error("{origin} is not a valid safetensors file: {reason}; download or export it again")]
    Format {
        /// The file, or a name for bytes in memory.
        origin: String,
        /// The first fault found.
        reason: String,
    },
    /// A tensor that the model needs is absent.
    #[error(
        "tensor {name} of shape {expected:?} is missing from {origin}; the weights belong to another model or configuration"
    )]
    Missing {
        /// Full name of the tensor.
        name: String,
        /// Where it was looked for.
        origin: String,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the configuration says.
    #[error(
        "tensor {name} in {origin} has shape {actual:?}, expected {expected:?}; the weights belong to another model or configuration"
    )]
    Shape {
        /// Full name of the tensor.
        name: String,
        /// Where it was found.
        origin: String,
        /// The shape it should have.
        expected: Vec<usize>,
        /// The shape it has.
        actual: Vec<usize>,
    },
    /// A tensor holds another type of number than is usable.
    #[error(
        "tensor {name} in {origin} has type {actual}, expected {expected}; convert the weights and export them again"
    )]
    Type {
        /// Full name of the tensor.
        name: String,
        /// Where it was found.
        origin: String,
        /// The types that are usable.
        expected: &'static str,
        /// The type it has.
        actual: String,
    },
    /// Tensors are left that no part of the model asked for.
    #[error("unexpected tensors in {origin}: {names}; the weights belong to another model or configuration")]
    Unexpected {
        /// Where they were found.
        origin: String,
        /// The first names, then a count of the others.
        names: String,
    },
}

impl WeightsError {
    /// Sorts the error for callers that have one exception per sort.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Open { source, .. } => ErrorKind::from_io(source),
            Self::Format { .. }
            | Self::Missing { .. }
            | Self::Shape { .. }
            | Self::Type { .. }
            | Self::Unexpected { .. } => ErrorKind::ModelFormat,
        }
    }
}
