//! The weight layouts in the wild, mapped to one set of names: `flow_lm.*` and `mimi.*`.
//!
//! | settings | language model | codec |
//! |---|---|---|
//! | `weights_path` | the bundle's `flow_lm.*` | the bundle's `mimi.*` |
//! | `weights_path`, `mimi.weights_path` | the bundle's `flow_lm.*` | the codec file |
//! | `flow_lm.weights_path`, `mimi.weights_path` | the language model's file | the codec file |
//! | all three | the bundle's; the other file must have the same tensors | the codec file |
//!
//! The separate files use older names without prefix; a codec file may also hold `mimi.*`.
//! Nothing is read here but headers: the tensors convert when layers take them.

pub(crate) mod checkpoint;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use pocket_nn::weights::listed_names;
use pocket_nn::{Tensor, WeightMap, Weights, WeightsError};

use crate::config::{Config, Source};
use crate::error::Error;

const FLOW_LM: &str = "flow_lm.";
const MIMI: &str = "mimi.";

/// Opens the weights that a configuration names, under canonical names.
///
/// Take every tensor through the cursor, then call [`Weights::finish`]: names are strict both ways.
///
/// # Errors
/// When the settings do not name a whole model, an address is not local, or a file is unusable.
pub fn load_weights(config: &Config) -> Result<Weights, Error> {
    config.check_weights()?;
    if let Some(checkpoint) = &config.checkpoint {
        return checkpoint::open(checkpoint, config);
    }
    let open = |source, read: fn(&Path) -> Result<WeightMap, Error>| {
        let Some(path) = config.local_path(source)? else { return Ok(None) };
        Ok::<_, Error>(Some((read(&path)?, path)))
    };
    let flow_lm = open(Source::FlowLmWeights, flow_lm_from_file)?;
    let mimi = open(Source::MimiWeights, mimi_from_file)?;
    let bundle = open(Source::Weights, |path| Ok(WeightMap::open(path)?))?;

    let mut sources = Vec::new();
    let mut weights = WeightMap::new();
    let mut add = |map: WeightMap, path: &Path, prefix: &str| {
        sources.push((prefix.to_owned(), path.display().to_string()));
        for (_, tensor) in map {
            weights.insert(tensor);
        }
    };
    match (&bundle, &flow_lm) {
        (Some((bundle, path)), flow_lm) => {
            if let Some((flow_lm, flow_lm_path)) = flow_lm {
                check_same_tensors(flow_lm, flow_lm_path, bundle, path)?;
            }
            add(bundle_without_replaced(bundle, mimi.is_some()), path, "");
        }
        (None, Some((flow_lm, path))) => add(flow_lm.clone(), path, ""),
        (None, None) => {}
    }
    if let Some((mimi, path)) = &mimi {
        add(mimi.clone(), path, MIMI);
    }
    Ok(Weights::with_sources(weights, sources))
}

/// Refuses addresses that would have to be downloaded; `key` is the setting that holds `path`.
pub(crate) fn local_path(path: &str, key: &str) -> Result<PathBuf, Error> {
    let is_remote = ["hf://", "http://", "https://"].iter().any(|scheme| path.starts_with(scheme));
    if is_remote {
        return Err(Error::RemoteAddress { key: key.to_owned(), address: path.to_owned() });
    }
    Ok(PathBuf::from(path))
}

/// The bundle's tensors, less its codec where another file replaces that.
fn bundle_without_replaced(bundle: &WeightMap, is_mimi_replaced: bool) -> WeightMap {
    let mut kept = WeightMap::new();
    for tensor in bundle.iter().filter(|t| !is_mimi_replaced || !t.name().starts_with(MIMI)) {
        kept.insert(tensor.clone());
    }
    kept
}

/// Checks the language model's file against the bundle, whose values then count.
fn check_same_tensors(
    flow_lm: &WeightMap,
    flow_lm_path: &Path,
    bundle: &WeightMap,
    bundle_path: &Path,
) -> Result<(), Error> {
    let origin = flow_lm_path.display().to_string();
    for expected in bundle.iter().filter(|tensor| tensor.name().starts_with(FLOW_LM)) {
        let name = expected.name().to_owned();
        let expected = expected.shape().to_vec();
        match flow_lm.get(&name) {
            None => {
                return Err(WeightsError::Missing { name, origin, expected }.into());
            }
            Some(found) if found.shape() != expected => {
                let actual = found.shape().to_vec();
                return Err(WeightsError::Shape { name, origin, expected, actual }.into());
            }
            Some(_) => {}
        }
    }
    let unknown: Vec<&str> = flow_lm.names().filter(|name| !bundle.contains(name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let origin = format!("{origin} (compared with {})", bundle_path.display());
    Err(WeightsError::Unexpected { origin, names: listed_names(&unknown) }.into())
}

/// Opens a language model's own file, whose names have no prefix.
fn flow_lm_from_file(path: &Path) -> Result<WeightMap, Error> {
    let file = WeightMap::open(path)?;
    let renamed = file.iter().filter_map(|tensor| {
        let name = flow_lm_name(tensor.name())?;
        Some(tensor.with_name(format!("{FLOW_LM}{name}")))
    });
    collect(renamed.map(Ok), path)
}

/// The present name of a tensor of the language model; `None` for those of no use.
fn flow_lm_name(name: &str) -> Option<String> {
    let conditioners = name.strip_prefix("condition_provider.conditioners.").unwrap_or_default();
    let name = match (name, conditioners) {
        ("num_ema_updates", _) | (_, "transcript_in_segment.learnt_padding" | "speaker_wavs.learnt_padding") => {
            return None;
        }
        // Look-up tables of a text front end.
        (name, _) if name.starts_with("flow.w_s_t.") => return None,
        (_, "transcript_in_segment.embed.weight") => "conditioner.embed.weight",
        (_, "speaker_wavs.output_proj.weight") => "speaker_proj_weight",
        ("fuser.padding_value", _) => "bos_before_voice",
        (name, _) => name,
    };
    Some(name.replace(".self_attn.in_proj_weight", ".self_attn.in_proj.weight"))
}

/// Opens a codec's file, with `mimi.*` or older names.
fn mimi_from_file(path: &Path) -> Result<WeightMap, Error> {
    let file = WeightMap::open(path)?;
    if file.names().any(|name| name.starts_with(MIMI)) {
        let own = file.iter().filter(|tensor| tensor.name().starts_with(MIMI));
        return collect(own.cloned().map(Ok), path);
    }
    let renamed = file.iter().filter(|tensor| !is_unused_by_mimi(tensor.name())).map(|tensor| {
        let Some(name) = tensor.name().strip_suffix("_g").filter(|n| n.ends_with(".weight")) else {
            return Ok(tensor.with_name(format!("{MIMI}{}", mimi_name(tensor.name()))));
        };
        // The reference keeps a `model.` prefix of such pairs, and then refuses the name.
        let weight = weight_from_pair(&file, name, path)?;
        Ok(weight.with_name(format!("{MIMI}{}", without_wrappers(name))))
    });
    collect(renamed, path)
}

/// Whether a tensor belongs to a part of the codec that speech synthesis has no use for.
fn is_unused_by_mimi(name: &str) -> bool {
    name.starts_with("model.quantizer.vq.")
        || name.contains("_codebook")
        || name.contains("wavlm_emb_downsample")
        // Read together with its `weight_g`.
        || name.ends_with(".weight_v")
        || matches!(
            name,
            "model.quantizer.logvar_proj.weight"
                | "quantizer.logvar_proj.weight"
                | "quantizer.logvar_param"
                | "wavlm_input_resample.kernel"
                | "wavlm_proj.weight"
        )
}

fn mimi_name(name: &str) -> String {
    let name = name.strip_prefix("model.").unwrap_or(name);
    without_wrappers(name).replace("in_proj_weight", "in_proj.weight")
}

fn without_wrappers(name: &str) -> String {
    name.replace(".conv.conv.", ".conv.").replace(".convtr.convtr.", ".convtr.")
}

/// The weight `g · v / ‖v‖` of a weight-normalised convolution, norms over all axes but the first.
fn weight_from_pair(file: &WeightMap, name: &str, path: &Path) -> Result<Tensor, Error> {
    let origin = || path.display().to_string();
    let part = |suffix: &str, expected: Vec<usize>| {
        let name = format!("{name}_{suffix}");
        let missing = || WeightsError::Missing { name: name.clone(), origin: origin(), expected };
        file.get(&name).ok_or_else(missing)
    };
    let g = part("g", Vec::new())?;
    let v = part("v", Vec::new())?;
    let mut g_shape = vec![1; v.shape().len()];
    if let (Some(first), Some(rows)) = (g_shape.first_mut(), v.shape().first()) {
        *first = *rows;
    }
    if g.shape() != g_shape {
        let (name, actual) = (g.name().to_owned(), g.shape().to_vec());
        return Err(WeightsError::Shape { name, origin: origin(), expected: g_shape, actual }.into());
    }
    let dtype = v.dtype();
    if !dtype.is_float() || g.dtype() != dtype {
        return Err(WeightsError::Type {
            name: g.name().to_owned(),
            origin: origin(),
            expected: "a float type, the same as its weight_v",
            actual: format!("{} with a weight_v of {dtype}", g.dtype()),
        }
        .into());
    }
    let mut values = v.to_f32();
    let row_len = values.len() / g.numel().max(1);
    for (row, g) in values.chunks_exact_mut(row_len.max(1)).zip(g.to_f32()) {
        let sum: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let scale = g / sum.sqrt() as f32;
        for x in row {
            *x *= scale;
        }
    }
    // PyTorch keeps the file's type here, so a half-precision weight is rounded once more.
    Ok(Tensor::from_f32(name, v.shape(), values).to_dtype(dtype))
}

/// Gathers renamed tensors; two that get one name are an error.
fn collect(tensors: impl Iterator<Item = Result<Tensor, Error>>, path: &Path) -> Result<WeightMap, Error> {
    let mut map = WeightMap::new();
    for tensor in tensors {
        if let Some(twin) = map.insert(tensor?) {
            let reason = format!("two tensors stand for {}", twin.name());
            return Err(WeightsError::Format { origin: path.display().to_string(), reason }.into());
        }
    }
    Ok(map)
}
