//! Whole files in and out: reads with a limit, writes that appear all at once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// Reads a file of at most `limit` bytes; `what` names it in messages.
pub(crate) fn read(path: &Path, what: &'static str, limit: u64) -> Result<Vec<u8>, Error> {
    let fault = |source| Error::Read { what, path: path.to_owned(), source };
    let file = File::open(path).map_err(fault)?;
    if file.metadata().map_err(fault)?.is_dir() {
        return Err(fault(io::Error::new(io::ErrorKind::IsADirectory, "is a directory")));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > limit {
        return Err(Error::TooLarge { what, path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// Writes a file so that others see the old content or the new, never a part.
///
/// The bytes go to a new file in the same folder, which is then renamed. Links are followed. A
/// destination that is no regular file, such as a pipe, is written directly.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    try_write(path, bytes).map_err(|source| Error::Write { path: path.to_owned(), source })
}

fn try_write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&target) {
        Ok(metadata) if metadata.is_dir() => {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
        }
        Ok(metadata) if !metadata.is_file() => {
            return OpenOptions::new().write(true).open(&target)?.write_all(bytes);
        }
        _ => {}
    }
    let scratch = scratch_beside(&target)?;
    let result = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&scratch)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&scratch, &target));
    if result.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&scratch);
    }
    result
}

/// A name in the same folder that no other write uses; `voice_cache.py` and `packed_cache.rs` know its form.
pub(crate) fn scratch_beside(target: &Path) -> io::Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name =
        target.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name"))?;
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    let suffix = format!(".{}-{n}.tmp", std::process::id());
    let mut scratch = std::ffi::OsString::from(".");
    scratch.push(name);
    scratch.push(suffix);
    Ok(target.with_file_name(scratch))
}
