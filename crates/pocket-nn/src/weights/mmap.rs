//! The bytes of a file as a read-only memory map: the one place outside the kernels with `unsafe`.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

/// Bytes that tensors share: a mapped file, or a buffer of our own.
#[derive(Debug)]
pub(super) enum Buffer {
    /// A whole file.
    Mapped(Mmap),
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
        #[expect(unsafe_code, reason = "mapping a file is the only way to load weights lazily")]
        // SAFETY: the map is read-only and private to this process. Its bytes are only ever read as
        // `&[u8]`, for which every bit pattern is valid. Another process that rewrites or truncates
        // the file while it is mapped is outside the contract stated at `WeightMap::open`.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self::Mapped(map))
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}
