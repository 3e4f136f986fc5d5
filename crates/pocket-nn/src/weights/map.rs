//! The tensors and the metadata of a safetensors file, by name.
//!
//! The header is parsed by the `safetensors` crate, which refuses overlapping ranges, holes and
//! sizes that disagree with type and shape. The header's length and the end of the data are
//! checked here, with arithmetic that cannot wrap.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, btree_map};
use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::{Dtype, Metadata, View};

use super::mmap::Buffer;
use super::tensor::{DType, Tensor};
use crate::error::WeightsError;

/// The header's length is a little-endian `u64` at the start of the file.
const LENGTH_BYTES: usize = 8;
/// The limit that the format sets to its header.
const MAX_HEADER_BYTES: usize = 100_000_000;

/// Tensors by name, in the order of their names, with the metadata of their file.
#[derive(Clone, Debug, Default)]
pub struct WeightMap {
    tensors: BTreeMap<String, Tensor>,
    metadata: BTreeMap<String, String>,
}

impl WeightMap {
    /// Makes an empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Maps the safetensors file at `path` and lists its tensors, of whatever type.
    ///
    /// The file must stay as it is while tensors of it are alive: one that is truncated afterwards
    /// ends the process with a bus error when the missing part is read. Replacing a file by
    /// renaming another over it is safe.
    ///
    /// # Errors
    /// When the file cannot be read or is not valid safetensors.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let buffer = Buffer::map(path).map_err(|source| WeightsError::Open { path: path.to_owned(), source })?;
        Self::from_buffer(buffer, &path.display().to_string())
    }

    /// Tells the system that the files will be read soon.
    pub(crate) fn prefetch(&self) {
        // The tensors of one file share a map.
        if let Some(tensor) = self.tensors.values().next() {
            tensor.prefetch_file();
        }
    }

    /// Lists the tensors of a safetensors file in memory; `origin` names it in messages.
    ///
    /// # Errors
    /// When the bytes are not valid safetensors.
    pub fn from_bytes(bytes: Vec<u8>, origin: &str) -> Result<Self, WeightsError> {
        Self::from_buffer(Buffer::Owned(bytes), origin)
    }

    fn from_buffer(buffer: Buffer, origin: &str) -> Result<Self, WeightsError> {
        let (data_start, header) =
            parse_header(&buffer).map_err(|reason| WeightsError::Format { origin: origin.to_owned(), reason })?;
        let buffer = Arc::new(buffer);
        let tensors = header
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let (start, end) = info.data_offsets;
                let dtype = DType::from_safetensors(info.dtype);
                let range = data_start + start..data_start + end;
                let tensor = Tensor::from_buffer(&name, &info.shape, dtype, &buffer, range);
                (name, tensor)
            })
            .collect();
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(Self { tensors, metadata })
    }

    /// Writes the map in the safetensors format.
    ///
    /// # Errors
    /// When a tensor has a type that is never written, or the header is too long.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WeightsError> {
        let mut views = Vec::with_capacity(self.tensors.len());
        for (name, tensor) in &self.tensors {
            let dtype = tensor.dtype().to_safetensors().ok_or_else(|| WeightsError::Type {
                name: name.clone(),
                origin: "memory".to_owned(),
                expected: "F32, BF16, F16 or I64",
                actual: tensor.dtype().to_string(),
            })?;
            views.push((name.as_str(), TensorView { tensor, dtype }));
        }
        let metadata: HashMap<_, _> = self.metadata.clone().into_iter().collect();
        safetensors::serialize(views, (!metadata.is_empty()).then_some(metadata))
            .map_err(|error| WeightsError::Format { origin: "memory".to_owned(), reason: error.to_string() })
    }

    /// Adds a tensor under its own name and returns the one it replaces.
    pub fn insert(&mut self, tensor: Tensor) -> Option<Tensor> {
        self.tensors.insert(tensor.name().to_owned(), tensor)
    }

    /// The tensor of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Takes the tensor of that name out of the map.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.tensors.remove(name)
    }

    /// Whether there is a tensor of that name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The names in ascending order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The tensors in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.values()
    }

    /// How many tensors there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no tensors.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The file's `__metadata__`.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The `__metadata__` to write.
    pub fn metadata_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.metadata
    }
}

impl IntoIterator for WeightMap {
    type Item = (String, Tensor);
    type IntoIter = btree_map::IntoIter<String, Tensor>;

    fn into_iter(self) -> Self::IntoIter {
        self.tensors.into_iter()
    }
}

/// Returns where the data starts and what the header says, or the fault.
fn parse_header(bytes: &[u8]) -> Result<(usize, Metadata), String> {
    let (length, rest) = bytes
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or_else(|| format!("{} bytes are too few for a header", bytes.len()))?;
    let length = u64::from_le_bytes(*length);
    let n_header = usize::try_from(length)
        .ok()
        .filter(|&n| n <= rest.len() && n <= MAX_HEADER_BYTES)
        .ok_or_else(|| format!("the header claims {length} bytes of the {} that follow", rest.len()))?;
    let (header, data) = rest.split_at(n_header);
    let header: Metadata =
        serde_json::from_slice(header).map_err(|error| format!("the header cannot be read ({error})"))?;
    // Ranges are contiguous from zero, so the largest end is the size of the data.
    let n_data = header.tensors().values().map(|info| info.data_offsets.1).max().unwrap_or(0);
    if n_data != data.len() {
        return Err(format!("the tensors take {n_data} bytes, but {} follow the header", data.len()));
    }
    Ok((LENGTH_BYTES + n_header, header))
}

/// A tensor as the `safetensors` crate wants to see it.
struct TensorView<'a> {
    tensor: &'a Tensor,
    dtype: Dtype,
}

impl View for TensorView<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        self.tensor.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.tensor.bytes())
    }

    fn data_len(&self) -> usize {
        self.tensor.bytes().len()
    }
}
