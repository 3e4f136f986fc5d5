//! A file of packed matrices, as it is read: a safetensors file whose arrays begin on cache lines.
//!
//! Its metadata holds a checksum of all arrays, of their names, types and shapes, and of the other metadata.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use pocket_kernels::mapped::FilePart;
use pocket_kernels::packed::Parts;
use pocket_kernels::parallel::Pool;
use twox_hash::XxHash3_64;

use super::array_name;
use crate::error::WeightsError;
use crate::weights::{Tensor, WeightMap};

/// The metadata's key of the checksum.
pub(super) const CHECKSUM_KEY: &str = "checksum";

/// A file of packed matrices, mapped and checked.
#[derive(Debug)]
pub struct PackedFile {
    map: WeightMap,
    is_unfit: AtomicBool,
}

impl PackedFile {
    /// Maps the file at `path` and checks that it is whole and its metadata holds `expected`, a key and its
    /// value. The memory of the matrices whose names `is_rare` is given back at once.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or is another one.
    pub fn open(
        path: &Path,
        expected: (&str, &str),
        pool: &Pool,
        is_rare: impl Fn(&str) -> bool + Sync,
    ) -> Result<Self, WeightsError> {
        let fault =
            |reason: &str| WeightsError::Format { origin: path.display().to_string(), reason: reason.to_owned() };
        let map = WeightMap::open(path)?;
        if map.metadata().get(expected.0).map(String::as_str) != Some(expected.1) {
            return Err(fault("it holds other matrices than its name says"));
        }
        map.prefetch();
        let tensors: Vec<&Tensor> = map.iter().collect();
        let hashes: Vec<OnceLock<u64>> = tensors.iter().map(|_| OnceLock::new()).collect();
        pool.for_each(tensors.len(), usize::MAX, |i| {
            // Each index is visited once.
            let _ = hashes[i].set(XxHash3_64::oneshot(tensors[i].bytes()));
            if is_rare(tensors[i].name()) {
                tensors[i].release();
            }
        });
        let mut checksum = Checksum::default();
        for (tensor, hash) in tensors.iter().zip(hashes) {
            let dtype = tensor.dtype().to_string();
            checksum.array(tensor.name(), &dtype, tensor.shape(), hash.into_inner().unwrap_or_default());
        }
        if map.metadata().get(CHECKSUM_KEY) != Some(&checksum.finish(map.metadata())) {
            return Err(fault("its checksum differs"));
        }
        Ok(Self { map, is_unfit: AtomicBool::new(false) })
    }

    /// The file's metadata.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        self.map.metadata()
    }

    /// Whether a matrix was asked for that the file does not hold, or holds otherwise.
    #[must_use]
    pub fn is_unfit(&self) -> bool {
        self.is_unfit.load(Ordering::Relaxed)
    }

    pub(super) fn set_unfit(&self) {
        self.is_unfit.store(true, Ordering::Relaxed);
    }

    pub(super) fn parts_of<'a>(&'a self, name: &'a str) -> StoredParts<'a> {
        StoredParts { map: &self.map, name, index: 0 }
    }

    pub(super) fn file_parts(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<FilePart> {
        self.map.iter().filter(|tensor| is_wanted(tensor.name())).filter_map(Tensor::file_part).collect()
    }
}

/// The arrays of one matrix.
pub(super) struct StoredParts<'a> {
    map: &'a WeightMap,
    name: &'a str,
    index: usize,
}

impl Parts for StoredParts<'_> {
    fn next(&mut self, dtype: &'static str, shape: &[usize]) -> Option<FilePart> {
        let tensor = self.map.get(&array_name(self.name, self.index))?;
        self.index += 1;
        (tensor.dtype().to_string() == dtype && tensor.shape() == shape).then(|| tensor.file_part())?
    }
}

/// XXH3 over parts that say their own length, so that none can pass for another.
#[derive(Default)]
pub(super) struct Checksum(XxHash3_64);

impl Checksum {
    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.write(text.as_bytes());
    }

    fn number(&mut self, n: u64) {
        self.0.write(&n.to_le_bytes());
    }

    /// Adds an array whose bytes have the XXH3 `hash`; arrays come in the order of their names.
    pub(super) fn array(&mut self, name: &str, dtype: &str, shape: &[usize], hash: u64) {
        self.text(name);
        self.text(dtype);
        self.number(shape.len() as u64);
        for &n in shape {
            self.number(n as u64);
        }
        self.number(hash);
    }

    /// Adds all metadata but the checksum itself.
    pub(super) fn finish(mut self, metadata: &BTreeMap<String, String>) -> String {
        for (key, value) in metadata.iter().filter(|(key, _)| *key != CHECKSUM_KEY) {
            self.text(key);
            self.text(value);
        }
        format!("{:016x}", self.0.finish())
    }
}
