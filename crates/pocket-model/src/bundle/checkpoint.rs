//! The weights of a training checkpoint, in place of those that a configuration names.
//!
//! | tensors | come from |
//! |---|---|
//! | `flow_lm.*` | the checkpoint, names as they are |
//! | `mimi.*` | the checkpoint, if it holds any; else `mimi.weights_path`; else `weights_path` |

use std::path::Path;

use pocket_nn::{WeightMap, Weights};

use super::{FLOW_LM, MIMI, collect, mimi_from_file};
use crate::config::{Checkpoint, Config, Source};
use crate::error::Error;

/// Opens the checkpoint's tensors and the codec that goes with them.
pub(super) fn open(checkpoint: &Checkpoint, config: &Config) -> Result<Weights, Error> {
    let flow_lm = with_prefix(&checkpoint.flow_lm, FLOW_LM)?;
    let (mimi, mimi_name) = if let Some(path) = &checkpoint.mimi {
        (with_prefix(path, MIMI)?, checkpoint.name.clone())
    } else {
        let own = config.local_path(Source::MimiWeights)?;
        let path = own.map_or_else(|| config.local_path(Source::Weights), |path| Ok(Some(path)))?;
        let path = path.ok_or(Error::NoWeights)?;
        (mimi_from_file(&path)?, path.display().to_string())
    };
    let mut weights = WeightMap::new();
    for (_, tensor) in flow_lm.into_iter().chain(mimi) {
        weights.insert(tensor);
    }
    let sources = vec![(FLOW_LM.to_owned(), checkpoint.name.clone()), (MIMI.to_owned(), mimi_name)];
    Ok(Weights::with_sources(weights, sources))
}

/// Checks that every tensor was taken; what a checkpoint's codec holds besides its own is ignored,
/// as the reference does.
pub(crate) fn finish(weights: &Weights, config: &Config) -> Result<(), Error> {
    let is_codec_lenient = config.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.mimi.is_some());
    let strict = if is_codec_lenient { weights.scope("flow_lm") } else { weights.clone() };
    Ok(strict.finish()?)
}

fn with_prefix(path: &Path, prefix: &str) -> Result<WeightMap, Error> {
    let file = WeightMap::open(path)?;
    collect(file.iter().map(|tensor| Ok(tensor.with_name(format!("{prefix}{}", tensor.name())))), path)
}
