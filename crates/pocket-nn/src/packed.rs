//! Where layers get their packed matrices from: packed anew, or mapped from a file of packed matrices.
//!
//! Such a file is made while a model loads: each matrix is packed, appended, and used from the file from
//! then on, so that one of them at a time is in memory of its own. The next load maps the file and reads
//! nothing of the tensors that were packed. Matrices go by the name of the tensor that they were packed of.

mod file;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use pocket_kernels::conv1d::{ConvMatrix, ConvTransposeMatrix};
use pocket_kernels::mapped::FilePart;
use pocket_kernels::packed::{Part, Parts};

pub use file::PackedFile;
pub use writer::PackedWriter;

/// Where packed matrices come from.
#[derive(Debug, Default)]
pub enum Packs {
    /// Packed anew, in memory.
    #[default]
    Memory,
    /// From a file.
    Stored(PackedFile),
    /// Packed anew, written to a file and used from there.
    New(Mutex<PackedWriter>),
}

/// A matrix that consists of arrays.
pub(crate) trait HasParts {
    fn parts(&self) -> Vec<Part<'_>>;
}

impl HasParts for ConvMatrix {
    fn parts(&self) -> Vec<Part<'_>> {
        self.parts()
    }
}

impl HasParts for ConvTransposeMatrix {
    fn parts(&self) -> Vec<Part<'_>> {
        self.parts()
    }
}

impl Packs {
    /// The matrix `name`, made by `from_parts` of its arrays in a file, or else by `pack`.
    pub(crate) fn matrix<M: HasParts>(
        &self,
        name: &str,
        from_parts: impl FnOnce(&mut dyn Parts) -> Option<M>,
        pack: impl FnOnce() -> M,
    ) -> M {
        match self {
            Self::Memory => pack(),
            Self::Stored(file) => from_parts(&mut file.parts_of(name)).unwrap_or_else(|| {
                file.set_unfit();
                pack()
            }),
            Self::New(writer) => {
                let matrix = pack();
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                let stored = writer.append(name, &matrix.parts());
                stored.and_then(|mut parts| from_parts(&mut parts)).unwrap_or(matrix)
            }
        }
    }

    /// The mapped arrays of the matrices whose names `is_wanted`.
    #[must_use]
    pub fn file_parts(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<FilePart> {
        match self {
            Self::Memory => Vec::new(),
            Self::Stored(file) => file.file_parts(is_wanted),
            Self::New(writer) => writer.lock().unwrap_or_else(PoisonError::into_inner).file_parts(is_wanted),
        }
    }

    /// Completes a new file, which gets `metadata`, and hands it over: nothing if the matrices are in memory or
    /// the file exists.
    ///
    /// # Errors
    /// When the file could not be written.
    pub fn complete(&self, metadata: &[(&str, &str)], persist: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::Memory | Self::Stored(_) => Ok(()),
            Self::New(writer) => writer.lock().unwrap_or_else(PoisonError::into_inner).complete(metadata, persist),
        }
    }
}

/// The name of array `index` of the matrix `name` in a file.
fn array_name(name: &str, index: usize) -> String {
    format!("{name}#{index}")
}
