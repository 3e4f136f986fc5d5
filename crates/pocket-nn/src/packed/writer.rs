//! A file of packed matrices, as it is written: arrays one after the other, the header at last.

use std::collections::{BTreeMap, btree_map};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use pocket_kernels::mapped::{FilePart, MappedFile};
use pocket_kernels::packed::{Part, Parts};
use serde_json::{Map, Value, json};
use twox_hash::XxHash3_64;

use super::array_name;
use super::file::{CHECKSUM_KEY, Checksum};

/// Room for the header, which is written when all arrays are known: 200 bytes for each of a thousand arrays.
/// A multiple of a page, so that the arrays begin on cache lines.
const HEADER_BYTES: u64 = 1 << 18;
/// A large page.
const PIECE_BYTES: usize = 2 << 20;
/// The header's length comes before it.
const LENGTH_BYTES: usize = 8;

/// A file of packed matrices that is being written, under a name that is not final; removed when dropped.
#[derive(Debug)]
pub struct PackedWriter {
    path: PathBuf,
    /// Nothing once the file is complete, or writing failed.
    file: Option<File>,
    /// Why writing failed.
    fault: Option<io::Error>,
    end: u64,
    arrays: BTreeMap<String, Array>,
    is_complete: bool,
}

#[derive(Debug)]
struct Array {
    dtype: &'static str,
    shape: Vec<usize>,
    range: Range<u64>,
    hash: u64,
    part: FilePart,
}

impl PackedWriter {
    /// Makes the file `path`, which must not exist.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn create(path: PathBuf) -> io::Result<Self> {
        let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
        let arrays = BTreeMap::new();
        let end = file.seek(SeekFrom::Start(HEADER_BYTES));
        let mut writer = Self { path, file: Some(file), fault: None, end: HEADER_BYTES, arrays, is_complete: false };
        if let Err(fault) = end {
            writer.fail(fault);
        }
        Ok(writer)
    }

    /// Appends the arrays of a matrix and maps them; nothing where writing failed, now or before.
    pub(super) fn append(&mut self, name: &str, parts: &[Part<'_>]) -> Option<NewParts> {
        self.try_append(name, parts).map_err(|fault| self.fail(fault)).ok()?
    }

    fn try_append(&mut self, name: &str, parts: &[Part<'_>]) -> io::Result<Option<NewParts>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let start = self.end;
        for part in parts {
            file.write_all(part.bytes)?;
            self.end += part.bytes.len() as u64;
        }
        let mapped = Arc::new(MappedFile::new(file, start..self.end)?);
        let mut new = Vec::new();
        let mut at = 0;
        for (index, part) in parts.iter().enumerate() {
            let range = at..at + part.bytes.len();
            at = range.end;
            let file_part = FilePart::new(&mapped, range.clone()).ok_or(io::ErrorKind::UnexpectedEof)?;
            let array = Array {
                dtype: part.dtype,
                shape: part.shape.clone(),
                range: start + range.start as u64..start + range.end as u64,
                hash: XxHash3_64::oneshot(part.bytes),
                part: file_part.clone(),
            };
            match self.arrays.entry(array_name(name, index)) {
                btree_map::Entry::Vacant(entry) => entry.insert(array),
                btree_map::Entry::Occupied(entry) => {
                    let reason = format!("two matrices are named {}", entry.key());
                    return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
                }
            };
            new.push(NewPart { dtype: part.dtype, shape: part.shape.clone(), part: file_part });
        }
        Ok(Some(NewParts(new.into_iter())))
    }

    fn fail(&mut self, fault: io::Error) {
        self.file = None;
        self.fault.get_or_insert(fault);
    }

    pub(super) fn file_parts(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<FilePart> {
        let wanted = self.arrays.iter().filter(|(name, _)| is_wanted(name));
        wanted.map(|(_, array)| array.part.clone()).collect()
    }

    /// Writes the header, and lets `persist` give the file its name.
    pub(super) fn complete(
        &mut self,
        metadata: &[(&str, &str)],
        persist: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let header = self.header(metadata).to_string();
        let room = HEADER_BYTES as usize - LENGTH_BYTES;
        if header.len() > room {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the matrices are too many for the header"));
        }
        // White space may follow the header's object.
        let header = [&(room as u64).to_le_bytes(), header.as_bytes(), &vec![b' '; room - header.len()]].concat();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header)?;
        drop(file);
        self.copy_in_large_pieces()?;
        persist(&self.path)?;
        self.is_complete = true;
        Ok(())
    }

    /// Replaces the file by a copy that the system can keep in large pages ([`MappedFile::prefer_large_pages`]): the
    /// matrices came in pieces of any size. What is mapped already stays the first one.
    fn copy_in_large_pieces(&self) -> io::Result<()> {
        let copy = self.path.with_extension("copy.tmp");
        let result = (|| {
            let (mut from, mut to) =
                (File::open(&self.path)?, File::options().write(true).create_new(true).open(&copy)?);
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            while Read::by_ref(&mut from).take(PIECE_BYTES as u64).read_to_end(&mut piece)? > 0 {
                to.write_all(&piece)?;
                piece.clear();
            }
            fs::rename(&copy, &self.path)
        })();
        if result.is_err() {
            let _ = fs::remove_file(&copy);
        }
        result
    }

    fn header(&self, metadata: &[(&str, &str)]) -> Value {
        let mut metadata: BTreeMap<String, String> =
            metadata.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        let mut checksum = Checksum::default();
        let mut header = Map::new();
        for (name, array) in &self.arrays {
            checksum.array(name, array.dtype, &array.shape, array.hash);
            let offsets = [array.range.start - HEADER_BYTES, array.range.end - HEADER_BYTES];
            let entry = json!({ "dtype": array.dtype, "shape": array.shape, "data_offsets": offsets });
            header.insert(name.clone(), entry);
        }
        let checksum = checksum.finish(&metadata);
        metadata.insert(CHECKSUM_KEY.to_owned(), checksum);
        header.insert("__metadata__".to_owned(), json!(metadata));
        Value::Object(header)
    }
}

impl Drop for PackedWriter {
    fn drop(&mut self) {
        if !self.is_complete {
            // What cannot be removed here is removed with the leftovers of killed processes.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// An array that was just written.
#[derive(Debug)]
struct NewPart {
    dtype: &'static str,
    shape: Vec<usize>,
    part: FilePart,
}

/// The arrays of a matrix that was just written.
pub(super) struct NewParts(vec::IntoIter<NewPart>);

impl Parts for NewParts {
    fn next(&mut self, dtype: &'static str, shape: &[usize]) -> Option<FilePart> {
        let new = self.0.next()?;
        (new.dtype == dtype && new.shape == shape).then_some(new.part)
    }
}
