//! Named tensors read from safetensors files, and a cursor that checks names and shapes.
//!
//! [`WeightMap`] is what a file holds, [`Weights`] is what layers take their tensors from. Files
//! are mapped, not read: a tensor's bytes come from the disk when a layer converts them.

mod map;
mod mmap;
mod tensor;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use pocket_kernels::quantized::QuantFormat;

use crate::error::WeightsError;
use crate::kv_cache::KvDType;
use crate::packed::Packs;

pub use map::WeightMap;
pub use tensor::{DType, Tensor};

/// How many unexpected names an error lists before it only counts.
const MAX_LISTED_NAMES: usize = 8;

/// A cloneable cursor over a [`WeightMap`] that records which tensors were taken.
///
/// All cursors made by [`scope`](Self::scope) share the record, so that the root's
/// [`finish`](Self::finish) finds the tensors that no layer asked for.
///
/// ```
/// use pocket_nn::{Tensor, WeightMap, Weights};
///
/// let mut map = WeightMap::new();
/// map.insert(Tensor::from_f32("layers.0.weight", &[2, 1], vec![1.0, 2.0]));
/// let weights = Weights::new(map, "model.safetensors");
/// let weight = weights.scope("layers").scope(0).get("weight", &[2, 1])?;
/// assert_eq!(weight.to_f32(), [1.0, 2.0]);
/// weights.finish()?;
/// # Ok::<(), pocket_nn::WeightsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Weights {
    shared: Arc<Shared>,
    /// Full name of the scope with its final dot; empty at the root.
    prefix: String,
    /// Prefix of full names → how such matrices are kept; the longest match counts.
    formats: Arc<[(String, MatrixFormat)]>,
    packs: Arc<Packs>,
}

/// How layers keep the matrices that they multiply with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MatrixFormat {
    /// As in the file: f32, or bf16.
    #[default]
    Stored,
    /// Rounded to bf16, which saves memory; the arithmetic is f32.
    Bf16,
    /// Rounded to bf16, and in fully connected layers with many inputs and outputs the activations too.
    Bf16Products,
    /// Integers; matrices with few inputs or outputs as in the file.
    Quantized(QuantFormat),
}

impl MatrixFormat {
    pub(crate) fn quantized(self) -> Option<QuantFormat> {
        match self {
            Self::Quantized(format) => Some(format),
            Self::Stored | Self::Bf16 | Self::Bf16Products => None,
        }
    }

    /// How a transformer with such matrices keeps its keys and values.
    pub(crate) fn kv_dtype(self) -> KvDType {
        match self {
            Self::Stored => KvDType::F32,
            Self::Bf16 | Self::Bf16Products | Self::Quantized(_) => KvDType::Bf16,
        }
    }
}

#[derive(Debug)]
struct Shared {
    map: WeightMap,
    /// Prefix of full names → where such tensors come from; the longest match counts.
    sources: Vec<(String, String)>,
    taken: Mutex<BTreeSet<String>>,
}

impl Weights {
    /// Makes a cursor at the root of `map`; `source` is the file's name for messages.
    #[must_use]
    pub fn new(map: WeightMap, source: impl Into<String>) -> Self {
        Self::with_sources(map, vec![(String::new(), source.into())])
    }

    /// Makes a cursor over tensors of several files: `(prefix of names, file)` pairs.
    #[must_use]
    pub fn with_sources(map: WeightMap, sources: Vec<(String, String)>) -> Self {
        let shared = Shared { map, sources, taken: Mutex::default() };
        Self { shared: Arc::new(shared), prefix: String::new(), formats: Arc::default(), packs: Arc::default() }
    }

    /// The cursor for names that start with `name` and a dot.
    #[must_use]
    pub fn scope(&self, name: impl Display) -> Self {
        Self { prefix: format!("{}{name}.", self.prefix), ..self.clone() }
    }

    /// The same scope, its layers told how to keep their matrices: `(prefix of full names, format)` pairs,
    /// of which the longest that matches counts. Without a match they are kept as stored.
    #[must_use]
    pub fn kept_as(&self, formats: &[(&str, MatrixFormat)]) -> Self {
        let formats = formats.iter().map(|&(prefix, format)| (prefix.to_owned(), format)).collect();
        Self { formats, ..self.clone() }
    }

    /// The same scope, its layers told where their packed matrices are.
    #[must_use]
    pub fn packed_in(&self, packs: &Arc<Packs>) -> Self {
        Self { packs: Arc::clone(packs), ..self.clone() }
    }

    /// Where layers get their packed matrices from.
    pub(crate) fn packs(&self) -> &Packs {
        &self.packs
    }

    /// How layers of this scope keep their matrices.
    #[must_use]
    pub fn format(&self) -> MatrixFormat {
        longest_match(&self.formats, &self.prefix).copied().unwrap_or_default()
    }

    /// Takes the float tensor `name` of this scope, which must have `shape`.
    ///
    /// # Errors
    /// When the tensor is missing, has another shape, or holds no floats.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, WeightsError> {
        let full_name = self.full_name(name);
        let Some(tensor) = self.shared.map.get(&full_name) else {
            let origin = self.shared.source_of(&full_name);
            return Err(WeightsError::Missing { name: full_name, origin, expected: shape.to_vec() });
        };
        if tensor.shape() != shape {
            return Err(WeightsError::Shape {
                origin: self.shared.source_of(&full_name),
                name: full_name,
                expected: shape.to_vec(),
                actual: tensor.shape().to_vec(),
            });
        }
        if !tensor.dtype().is_float() {
            return Err(WeightsError::Type {
                origin: self.shared.source_of(&full_name),
                name: full_name,
                expected: "F32, BF16 or F16",
                actual: tensor.dtype().to_string(),
            });
        }
        let tensor = tensor.clone();
        let mut taken = self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.insert(full_name);
        Ok(tensor)
    }

    /// Whether this scope holds a tensor `name`; does not take it.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.shared.map.contains(&self.full_name(name))
    }

    /// The tensors of this scope in the order of their full names; does not take them.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.shared.map.iter().filter(|tensor| tensor.name().starts_with(&self.prefix))
    }

    /// Gives the memory of this scope's tensors back, which are read from their files again if they are needed
    /// again.
    pub fn release(&self) {
        self.tensors().for_each(Tensor::release);
    }

    /// Checks that every tensor of this scope was taken.
    ///
    /// # Errors
    /// When tensors are left, with their names.
    pub fn finish(&self) -> Result<(), WeightsError> {
        let taken = self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let left: Vec<&str> =
            self.shared.map.names().filter(|name| name.starts_with(&self.prefix) && !taken.contains(*name)).collect();
        let Some(first) = left.first() else {
            return Ok(());
        };
        Err(WeightsError::Unexpected { origin: self.shared.source_of(first), names: listed_names(&left) })
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Shared {
    fn source_of(&self, full_name: &str) -> String {
        longest_match(&self.sources, full_name).map_or_else(|| "the weights".to_owned(), Clone::clone)
    }
}

/// What belongs to the longest prefix of `name`.
fn longest_match<'a, T>(prefixes: &'a [(String, T)], name: &str) -> Option<&'a T> {
    prefixes
        .iter()
        .filter(|(prefix, _)| name.starts_with(prefix.as_str()))
        .max_by_key(|(prefix, _)| prefix.len())
        .map(|(_, value)| value)
}

/// The first names, then how many there are besides.
#[must_use]
pub fn listed_names(names: &[&str]) -> String {
    let text = names[..names.len().min(MAX_LISTED_NAMES)].join(", ");
    match names.len().saturating_sub(MAX_LISTED_NAMES) {
        0 => text,
        n_more => format!("{text} and {n_more} more"),
    }
}
