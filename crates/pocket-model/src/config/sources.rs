//! The files that a configuration names, and where they are on this machine.
//!
//! A configuration keeps the addresses as they were written; what a download has brought is put
//! beside them, because an address also decides the kind of a tokenizer.

use std::path::PathBuf;

use super::Config;
use crate::error::Error;

/// A setting that names a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `flow_lm.lookup_table.tokenizer_path`.
    Tokenizer,
    /// `flow_lm.weights_path`.
    FlowLmWeights,
    /// `mimi.weights_path`.
    MimiWeights,
    /// `weights_path`.
    Weights,
    /// `weights_path_without_voice_cloning`: what [`Source::Weights`] falls back to.
    WeightsWithoutVoiceCloning,
}

impl Source {
    /// All of them, in the order in which a model needs them.
    pub const ALL: [Self; 5] =
        [Self::Tokenizer, Self::FlowLmWeights, Self::MimiWeights, Self::Weights, Self::WeightsWithoutVoiceCloning];

    /// The full path of the key.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Tokenizer => "flow_lm.lookup_table.tokenizer_path",
            Self::FlowLmWeights => "flow_lm.weights_path",
            Self::MimiWeights => "mimi.weights_path",
            Self::Weights => "weights_path",
            Self::WeightsWithoutVoiceCloning => "weights_path_without_voice_cloning",
        }
    }
}

impl Config {
    /// The address that the configuration gives for a file, if it names one that is needed.
    ///
    /// With a checkpoint only the tokenizer is, and a codec where the checkpoint has none.
    #[must_use]
    pub fn address(&self, source: Source) -> Option<&str> {
        if let Some(checkpoint) = &self.checkpoint {
            let has_codec = checkpoint.mimi.is_some();
            let is_needed = match source {
                Source::Tokenizer => true,
                Source::FlowLmWeights => false,
                Source::MimiWeights => !has_codec,
                Source::Weights | Source::WeightsWithoutVoiceCloning => !has_codec && self.mimi.weights_path.is_none(),
            };
            if !is_needed {
                return None;
            }
        }
        match source {
            Source::Tokenizer => Some(&self.flow_lm.lookup_table.tokenizer_path),
            Source::FlowLmWeights => self.flow_lm.weights_path.as_deref(),
            Source::MimiWeights => self.mimi.weights_path.as_deref(),
            Source::Weights => self.weights_path.as_deref(),
            Source::WeightsWithoutVoiceCloning => self.weights_path_without_voice_cloning.as_deref(),
        }
    }

    /// Tells where the file of an address is on this machine; the address itself stays.
    pub fn set_local(&mut self, source: Source, path: PathBuf) {
        self.local.insert(source, path);
    }

    /// Where a file is on this machine, if the configuration names it.
    ///
    /// # Errors
    /// When it is an address that was not fetched.
    pub fn local_path(&self, source: Source) -> Result<Option<PathBuf>, Error> {
        let Some(address) = self.address(source) else { return Ok(None) };
        match self.local.get(&source) {
            Some(path) => Ok(Some(path.clone())),
            None => crate::bundle::local_path(address, source.key()).map(Some),
        }
    }

    /// Checks that the settings name the weights of a whole model.
    ///
    /// # Errors
    /// When a part of the weights is named without the other, or none at all.
    pub fn check_weights(&self) -> Result<(), Error> {
        let is_set = |source| self.address(source).is_some();
        if let Some(checkpoint) = &self.checkpoint {
            let has_codec = checkpoint.mimi.is_some() || is_set(Source::MimiWeights) || is_set(Source::Weights);
            return if has_codec { Ok(()) } else { Err(Error::NoWeights) };
        }
        match (is_set(Source::FlowLmWeights), is_set(Source::MimiWeights), is_set(Source::Weights)) {
            (true, false, _) => Err(Error::FlowLmWithoutMimi),
            (false, true, false) => Err(Error::MimiWithoutFlowLm),
            (false, false, false) => Err(Error::NoWeights),
            _ => Ok(()),
        }
    }
}
