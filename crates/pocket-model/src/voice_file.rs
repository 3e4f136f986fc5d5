//! Voice states on disk: the K/V cache of the language model after a voice prompt.
//!
//! The format is the reference's, in safetensors, for every layer `N`:
//!
//! | tensor | type and shape |
//! |---|---|
//! | `transformer.layers.N.self_attn/cache` | f32 `[2, 1, positions, kv_heads, head_dim]`, keys after `RoPE`, then values |
//! | `…/offset` | i64 `[1]`: how many positions are filled; the cache may be longer |
//! | `…/pad` | i64 `[1]`, may be absent: how many leading positions are masked |
//! | `…/current_end` | of older files: its length is the offset |
//!
//! Facts of our own go into the metadata, since the reference fails on other tensor names:
//!
//! | key | value |
//! |---|---|
//! | `pocket_tts_native.model` | the [`Fingerprint`] of the model that made the voice |
//! | `pocket_tts_native.key`, `pocket_tts_native.sha256` | in the voice cache only, see [`crate::voice_cache`] |

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use pocket_nn::{DType, Tensor, WeightMap};

use crate::error::Error;
use crate::files;
use crate::fingerprint::Fingerprint;

/// The metadata's key of the model's fingerprint.
pub const MODEL_KEY: &str = "pocket_tts_native.model";

/// What the model expects of a voice state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoiceShape {
    /// Layers of the language model.
    pub num_layers: usize,
    /// Key/value heads of a layer.
    pub num_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

/// The filled positions of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct VoiceLayer {
    /// Keys after `RoPE`: `[n_positions, num_kv_heads, head_dim]`.
    pub keys: Vec<f32>,
    /// Values: `[n_positions, num_kv_heads, head_dim]`.
    pub values: Vec<f32>,
    /// How many positions are filled.
    pub n_positions: usize,
    /// How many leading positions are masked.
    pub pad: usize,
}

/// A voice state; its layers have the same number of positions.
#[derive(Clone, Debug, PartialEq)]
pub struct VoiceFile {
    /// Layers in order.
    pub layers: Vec<VoiceLayer>,
    /// Key/value heads of a layer.
    pub num_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// The file's metadata, such as a fingerprint of the model.
    pub metadata: BTreeMap<String, String>,
}

impl VoiceFile {
    /// Reads a voice state and checks it against the model that is to speak with it: by its sizes, and
    /// by its fingerprint where both are known.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or was made with another model.
    pub fn read(path: impl AsRef<Path>, expected: VoiceShape, model: Option<Fingerprint>) -> Result<Self, Error> {
        let path = path.as_ref();
        Self::from_map(&WeightMap::open(path)?, expected)
            .and_then(|file| file.check_model(model).map(|()| file))
            .map_err(|reason| Error::Voice { path: path.to_owned(), reason })
    }

    /// The fingerprint of the model that made the voice; `None` where the file does not tell, or tells
    /// it in a way that this version does not know.
    #[must_use]
    pub fn model(&self) -> Option<Fingerprint> {
        self.metadata.get(MODEL_KEY)?.parse().ok()
    }

    fn check_model(&self, expected: Option<Fingerprint>) -> Result<(), String> {
        match (expected, self.model()) {
            (Some(expected), Some(actual)) if actual != expected => Err(format!(
                "the voice state was made with another model: its fingerprint is {actual}, this model's is \
                 {expected}; export the voice again with this model"
            )),
            _ => Ok(()),
        }
    }

    /// Writes the voice state so that the reference reads it too; the file appears all at once.
    ///
    /// # Errors
    /// When the file cannot be written.
    ///
    /// # Panics
    /// When a layer's keys or values do not fill its positions.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        files::write(path.as_ref(), &self.to_map().to_bytes()?)
    }

    /// As [`Self::from_map`], for a model of the sizes that the tensors have.
    pub(crate) fn from_tensors(map: &WeightMap) -> Result<Self, String> {
        let num_layers = map.names().filter_map(layer_of).max().map_or(0, |last| last.saturating_add(1));
        let (num_kv_heads, head_dim) = match map.get(&name(0, "cache")).map(Tensor::shape) {
            Some(&[2, 1, _, num_kv_heads, head_dim]) if num_kv_heads > 0 && head_dim > 0 => (num_kv_heads, head_dim),
            Some(shape) => {
                return Err(format!(
                    "layer 0 has a cache of shape {shape:?}, expected [2, 1, positions, kv_heads, head_dim]; \
                     export the voice again"
                ));
            }
            None => (1, 1),
        };
        Self::from_map(map, VoiceShape { num_layers, num_kv_heads, head_dim })
    }

    pub(crate) fn from_map(file: &WeightMap, expected: VoiceShape) -> Result<Self, String> {
        check_names(file, expected.num_layers)?;
        let layers = (0..expected.num_layers).map(|i| read_layer(file, i, expected)).collect::<Result<Vec<_>, _>>()?;
        let first = layers.first().map_or(0, |layer| layer.n_positions);
        if let Some(i) = layers.iter().position(|layer| layer.n_positions != first) {
            let n = layers[i].n_positions;
            return Err(format!("layer {i} has {n} positions, layer 0 has {first}; export the voice again"));
        }
        Ok(Self {
            layers,
            num_kv_heads: expected.num_kv_heads,
            head_dim: expected.head_dim,
            metadata: file.metadata().clone(),
        })
    }

    pub(crate) fn to_map(&self) -> WeightMap {
        let mut map = WeightMap::new();
        map.metadata_mut().clone_from(&self.metadata);
        for (i, layer) in self.layers.iter().enumerate() {
            let shape = [2, 1, layer.n_positions, self.num_kv_heads, self.head_dim];
            assert_eq!(layer.keys.len(), layer.values.len(), "keys and values match");
            let cache = [layer.keys.as_slice(), layer.values.as_slice()].concat();
            map.insert(Tensor::from_f32(name(i, "cache"), &shape, cache));
            for (part, n) in [("offset", layer.n_positions), ("pad", layer.pad)] {
                let n = i64::try_from(n).expect("positions are counted in memory");
                map.insert(Tensor::from_i64(name(i, part), &[1], &[n]));
            }
        }
        map
    }
}

fn name(layer: usize, part: &str) -> String {
    format!("transformer.layers.{layer}.self_attn/{part}")
}

/// The layer that a tensor belongs to; `None` for names of no voice state.
fn layer_of(name: &str) -> Option<usize> {
    let (module, part) = name.split_once('/')?;
    let layer = module.strip_prefix("transformer.layers.")?.strip_suffix(".self_attn")?;
    if part.contains('/') { None } else { layer.parse().ok() }
}

/// Checks that the file has tensors of the model's layers and of nothing else.
fn check_names(file: &WeightMap, num_layers: usize) -> Result<(), String> {
    let mut n_found = 0;
    for name in file.names() {
        let layer = layer_of(name)
            .ok_or_else(|| format!("it is no voice state: it holds the tensor {name:.100}; give an exported voice"))?;
        n_found = n_found.max(layer.saturating_add(1));
    }
    if n_found == 0 {
        return Err("it is no voice state: it holds no tensors; give an exported voice".to_owned());
    }
    if n_found == num_layers {
        return Ok(());
    }
    Err(format!(
        "the voice state was made with another model: it has {n_found} layers, expected \
         {num_layers}; export the voice again with this model"
    ))
}

fn read_layer(file: &WeightMap, layer: usize, expected: VoiceShape) -> Result<VoiceLayer, String> {
    let damaged = |what: &str| format!("layer {layer}: {what}; export the voice again");
    let cache = file
        .get(&name(layer, "cache"))
        .ok_or_else(|| damaged("its cache is missing, or the voice was made with another model"))?;
    if cache.dtype() != DType::F32 {
        return Err(damaged(&format!("its cache has type {}, expected F32", cache.dtype())));
    }
    let row_len = expected.num_kv_heads * expected.head_dim;
    let capacity = match *cache.shape() {
        [2, 1, capacity, kv_heads, head_dim] if (kv_heads, head_dim) == (expected.num_kv_heads, expected.head_dim) => {
            capacity
        }
        ref shape => {
            let (kv_heads, head_dim) = (expected.num_kv_heads, expected.head_dim);
            return Err(format!(
                "the voice state was made with another model: layer {layer} has a cache of shape \
                 {shape:?}, expected [2, 1, positions, {kv_heads}, {head_dim}]; export the voice \
                 again with this model"
            ));
        }
    };
    let count = |part: &str| -> Result<Option<usize>, String> {
        let Some(tensor) = file.get(&name(layer, part)) else {
            return Ok(None);
        };
        let value = tensor.to_i64().filter(|values| values.len() == 1).ok_or_else(|| {
            let found = format!("{} {:?}", tensor.dtype(), tensor.shape());
            damaged(&format!("its {part} should be one integer, I64 [1], found {found}"))
        })?[0];
        let value = usize::try_from(value);
        value.map(Some).map_err(|_| damaged(&format!("its {part} is negative")))
    };
    let older = file.get(&name(layer, "current_end")).map(|tensor| tensor.shape().first().copied());
    let n_positions = count("offset")?.or(older.flatten()).ok_or_else(|| damaged("its offset is missing"))?;
    let pad = count("pad")?.unwrap_or(0);
    if n_positions > capacity {
        let what = format!("its offset is {n_positions}, but the cache holds {capacity} positions");
        return Err(damaged(&what));
    }
    if pad > n_positions {
        return Err(damaged(&format!("its pad is {pad}, but its offset is {n_positions}")));
    }
    let mut keys = cache.to_f32();
    let mut values = keys.split_off(capacity * row_len);
    keys.truncate(n_positions * row_len);
    values.truncate(n_positions * row_len);
    for (rows, part) in [(&keys, "keys"), (&values, "values")] {
        if let Some(i) = rows.iter().position(|x| !x.is_finite()) {
            let what = format!("{} among the {part} of position {}", rows[i], i / row_len);
            return Err(damaged(&what));
        }
    }
    Ok(VoiceLayer { keys, values, n_positions, pad })
}
