//! A voice: what the language model remembers of a prompt, shared read-only between streams.

use std::path::Path;
use std::sync::Arc;

use pocket_kernels::attention::AttentionShape;
use pocket_nn::WeightMap;
use pocket_nn::kv_cache::{KvBlock, KvDType};
use pocket_nn::transformer::{TransformerConfig, TransformerState};

use crate::error::Error;
use crate::fingerprint::Fingerprint;
use crate::voice_file::{MODEL_KEY, VoiceFile, VoiceLayer, VoiceShape};

/// Keys and values of every layer after a voice pass; cloning shares them.
#[derive(Clone, Debug)]
pub struct VoiceState {
    /// Per layer: the block, and how many of its leading positions are masked.
    layers: Arc<[(Arc<KvBlock>, usize)]>,
    /// The model that made it, where that is known: the reference's files do not tell.
    model: Option<Fingerprint>,
}

pub(crate) fn voice_shape(config: &TransformerConfig) -> VoiceShape {
    VoiceShape {
        num_layers: config.n_layers,
        num_kv_heads: config.attention.kv_heads,
        head_dim: config.attention.head_dim,
    }
}

impl VoiceState {
    /// The state of a stream as a voice for others; which model made it is not known yet.
    #[must_use]
    pub fn freeze(state: &TransformerState) -> Self {
        Self { layers: state.freeze().into(), model: None }
    }

    /// The same voice, made by the model of that fingerprint.
    #[must_use]
    pub fn with_model(self, model: Option<Fingerprint>) -> Self {
        Self { model, ..self }
    }

    /// The fingerprint of the model that made the voice, where it is known.
    #[must_use]
    pub fn model(&self) -> Option<Fingerprint> {
        self.model
    }

    /// A stream's state that continues after this voice, and keeps what follows as `dtype`.
    #[must_use]
    pub fn begin(&self, dtype: KvDType) -> TransformerState {
        TransformerState::with_prefix(self.layers.iter().cloned(), dtype)
    }

    /// The same voice kept as `dtype`.
    #[must_use]
    pub fn to_dtype(&self, dtype: KvDType) -> Self {
        let convert = |block: &Arc<KvBlock>| {
            if block.dtype() == dtype { Arc::clone(block) } else { Arc::new(block.to_dtype(dtype)) }
        };
        Self { layers: self.layers.iter().map(|(block, pad)| (convert(block), *pad)).collect(), model: self.model }
    }

    /// Layers of the language model.
    #[must_use]
    pub fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// Positions of the language model that the voice takes up.
    #[must_use]
    pub fn n_positions(&self) -> usize {
        self.layers.first().map_or(0, |(block, _)| block.len())
    }

    /// Keys and values of one layer, `[positions, kv_heads, head_dim]` each.
    ///
    /// # Panics
    /// If there is no such layer.
    #[must_use]
    pub fn layer(&self, layer: usize) -> (Vec<f32>, Vec<f32>) {
        let (block, _) = &self.layers[layer];
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for position in 0..block.len() {
            let (key, value) = block.row(position);
            keys.extend(key);
            values.extend(value);
        }
        (keys, values)
    }

    /// Keys and then values of one layer, and their shape `[2, 1, positions, kv_heads, head_dim]`.
    ///
    /// # Panics
    /// If there is no such layer.
    #[must_use]
    pub fn cache(&self, layer: usize) -> (Vec<f32>, [usize; 5]) {
        let (keys, values) = self.layer(layer);
        let block = &self.layers[layer].0;
        ([keys, values].concat(), [2, 1, block.len(), block.shape().kv_heads, block.shape().head_dim])
    }

    /// Leading positions of one layer that are never seen.
    ///
    /// # Panics
    /// If there is no such layer.
    #[must_use]
    pub fn pad(&self, layer: usize) -> usize {
        self.layers[layer].1
    }

    /// Checks that the voice was made by a model of these sizes, and by this one where that is known.
    ///
    /// # Errors
    /// [`Error::VoiceShape`] with both sizes, [`Error::VoiceModel`] with both fingerprints.
    pub fn check(&self, config: &TransformerConfig, model: Fingerprint) -> Result<(), Error> {
        let expected = voice_shape(config);
        let attention = self.layers.first().map(|(block, _)| block.shape());
        let actual = VoiceShape {
            num_layers: self.layers.len(),
            num_kv_heads: attention.map_or(0, |shape| shape.kv_heads),
            head_dim: attention.map_or(0, |shape| shape.head_dim),
        };
        if actual != expected {
            return Err(Error::VoiceShape { expected, actual });
        }
        match self.model {
            Some(actual) if actual != model => Err(Error::VoiceModel { expected: model, actual }),
            _ => Ok(()),
        }
    }

    /// Reads a voice state file, the reference's or ours, for the model of that fingerprint.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or was made with another model as far as sizes and,
    /// in our files, the fingerprint tell.
    pub fn read(path: impl AsRef<Path>, config: &TransformerConfig, model: Fingerprint) -> Result<Self, Error> {
        Ok(Self::from_voice_file(&VoiceFile::read(path, voice_shape(config), Some(model))?))
    }

    /// The voice that the tensors of a voice state file describe; its sizes are those of the tensors.
    ///
    /// # Errors
    /// When a tensor is missing, unknown, damaged or does not fit the others.
    pub fn from_tensors(tensors: &WeightMap) -> Result<Self, Error> {
        let file = VoiceFile::from_tensors(tensors).map_err(|reason| Error::VoiceTensors { reason })?;
        Ok(Self::from_voice_file(&file))
    }

    pub(crate) fn from_voice_file(file: &VoiceFile) -> Self {
        // Nothing that is stored depends on the number of query heads.
        let heads = file.num_kv_heads;
        let shape = AttentionShape { heads, kv_heads: heads, head_dim: file.head_dim };
        let block = |layer: &VoiceLayer| Arc::new(KvBlock::from_rows(shape, KvDType::F32, &layer.keys, &layer.values));
        Self { layers: file.layers.iter().map(|layer| (block(layer), layer.pad)).collect(), model: file.model() }
    }

    /// Writes a voice state file that the reference reads too; it appears all at once.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.to_voice_file().write(path)
    }

    pub(crate) fn to_voice_file(&self) -> VoiceFile {
        let attention = self.layers.first().map(|(block, _)| block.shape());
        let layers = self.layers.iter().enumerate().map(|(i, (block, pad))| {
            let (keys, values) = self.layer(i);
            VoiceLayer { keys, values, n_positions: block.len(), pad: *pad }
        });
        VoiceFile {
            layers: layers.collect(),
            num_kv_heads: attention.map_or(0, |shape| shape.kv_heads),
            head_dim: attention.map_or(0, |shape| shape.head_dim),
            metadata: self.model.map(|model| (MODEL_KEY.to_owned(), model.to_string())).into_iter().collect(),
        }
    }
}
