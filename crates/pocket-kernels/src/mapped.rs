//! Files mapped into memory, read-only: their pages come from the disk when they are read, are shared by
//! all processes, and can be given back.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};

/// Consecutive bytes of a file, mapped.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps `range` of a file, which must lie in it and not be empty.
    ///
    /// The file must stay as it is while it is mapped: one that is truncated ends the process with a bus
    /// error when the missing part is read. Replacing or removing it is safe.
    ///
    /// # Errors
    /// When the range is empty or ends past the file, or the system refuses.
    pub fn new(file: &File, range: Range<u64>) -> io::Result<Self> {
        let invalid = |reason| io::Error::new(io::ErrorKind::InvalidInput, reason);
        if range.is_empty() || range.end > file.metadata()?.len() {
            return Err(invalid("the range to map is empty or ends past the file"));
        }
        let len = usize::try_from(range.end - range.start).map_err(|_| invalid("the file is too large to map"))?;
        // SAFETY: the map is read-only. Its bytes are only ever read as numbers of which every bit pattern
        // is valid, and the file has them all. Another program that rewrites or truncates the file while
        // it is mapped is outside the contract stated above.
        let map = unsafe { MmapOptions::new().offset(range.start).len(len).map(file)? };
        Ok(Self(map))
    }

    /// Tells the system that all bytes will be read soon.
    pub fn prefetch(&self) {
        // Advice: where it cannot be given, reading is slower at first.
        #[cfg(unix)]
        let _ = self.0.advise(memmap2::Advice::WillNeed);
    }

    /// Asks for large pages, which cost fewer look-ups: a fifth more of the bandwidth for weights that are read
    /// once a step. The system has them for some file systems, and for files that were written in large pieces.
    pub fn prefer_large_pages(&self) {
        // Advice, as above.
        #[cfg(target_os = "linux")]
        let _ = self.0.advise(memmap2::Advice::HugePage);
    }

    /// Gives the memory of `range` back; it is read from the file again if it is needed again.
    ///
    /// # Panics
    /// If the range ends past the map.
    pub fn release(&self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.0.len(), "the range ends past the map");
        // SAFETY: the map is of a file and read-only, so that dropped pages hold nothing that the file
        // does not: the next access reads the same bytes.
        #[cfg(unix)]
        let _ = unsafe { self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Part of a mapped file, which it keeps mapped.
#[derive(Clone, Debug)]
pub struct FilePart {
    file: Arc<MappedFile>,
    range: Range<usize>,
}

impl FilePart {
    /// The bytes `range` of `file`; nothing if they end past it.
    #[must_use]
    pub fn new(file: &Arc<MappedFile>, range: Range<usize>) -> Option<Self> {
        file.get(range.clone())?;
        Some(Self { file: Arc::clone(file), range })
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.file[self.range.clone()]
    }

    /// Gives the memory back; it is read from the file again if it is needed again.
    pub fn release(&self) {
        self.file.release(self.range.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_mapped_released_and_read_again() {
        let path = std::env::temp_dir().join(format!("pocket-kernels-{}-mapped", std::process::id()));
        let bytes: Vec<u8> = (0..20_000_u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        for range in [0..20_000, 64..5000, 4096..4097, 19_999..20_000] {
            let mapped = Arc::new(MappedFile::new(&file, range.start as u64..range.end as u64).unwrap());
            assert_eq!(mapped[..], bytes[range.clone()]);
            mapped.prefer_large_pages();
            mapped.prefetch();
            mapped.release(0..mapped.len());
            let part = FilePart::new(&mapped, 0..1).unwrap();
            part.release();
            assert_eq!(part.bytes(), &bytes[range.start..=range.start]);
            assert_eq!(mapped[..], bytes[range]);
            assert!(FilePart::new(&mapped, 0..mapped.len() + 1).is_none());
        }
        for range in [0..20_001, 5..5, 20_000..20_001] {
            assert_eq!(MappedFile::new(&file, range).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
