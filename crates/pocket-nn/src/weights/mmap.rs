//! The bytes that tensors share: a mapped file, or a buffer of our own.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use pocket_kernels::mapped::MappedFile;

/// Bytes that tensors share.
#[derive(Debug)]
pub(super) enum Buffer {
    /// A whole file.
    Mapped(Arc<MappedFile>),
    /// Bytes in memory.
    Owned(Vec<u8>),
}

impl Buffer {
    /// Maps the whole file at `path`.
    pub(super) fn map(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
        }
        if metadata.len() == 0 {
            // Some systems refuse to map nothing; the parser has the better message.
            return Ok(Self::Owned(Vec::new()));
        }
        Ok(Self::Mapped(Arc::new(MappedFile::new(&file, 0..metadata.len())?)))
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file,
            Self::Owned(bytes) => bytes,
        }
    }
}
