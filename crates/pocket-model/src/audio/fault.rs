//! Why audio cannot be used, before it is known where it came from.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::error::Error;

/// What is wrong with audio.
#[derive(Debug)]
pub(super) enum Fault {
    /// A format that is not read; the text says what to convert to.
    Unsupported(String),
    /// Nothing that a voice can be made of; the text says what to do.
    Damaged(String),
    /// The operating system refused to read.
    Read(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// Where audio came from, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// An audio file in memory.
    Bytes,
    /// Samples in memory.
    Samples,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "audio file {}", path.display()),
            Self::Bytes => f.write_str("audio_conditioning (bytes of an audio file)"),
            Self::Samples => f.write_str("audio_conditioning (samples)"),
        }
    }
}

impl Origin {
    pub(super) fn error(&self, fault: Fault) -> Error {
        let origin = self.clone();
        match fault {
            Fault::Unsupported(reason) => Error::UnsupportedAudio { origin, reason },
            Fault::Damaged(reason) => Error::Audio { origin, reason },
            Fault::Read(source) => match origin {
                Self::File(path) => Error::Read { what: "audio file", path, source },
                origin => Error::Audio { origin, reason: format!("it cannot be read: {source}; give a whole file") },
            },
        }
    }
}
