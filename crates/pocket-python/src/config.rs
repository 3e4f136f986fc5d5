//! `Config`: what a model is made of, before it is loaded. Downloads happen between the two, in Python.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pocket_model::config::{FlowLmConfig, FlowType, MimiConfig, MimiTransformerConfig, PadMode, SeanetConfig, Source};
use pocket_model::{Checkpoint, Config as ModelConfig};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::error::detached;

/// A model's configuration; immutable.
#[pyclass(frozen, module = "pocket_tts_native._native")]
pub(crate) struct Config {
    pub(crate) config: ModelConfig,
}

#[pymethods]
impl Config {
    /// Reads a local YAML file.
    #[staticmethod]
    fn from_file(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Ok(Self { config: detached(py, || ModelConfig::from_yaml_file(&path))? })
    }

    /// Reads YAML text; messages call it `origin`.
    #[staticmethod]
    fn from_yaml(py: Python<'_>, text: &str, origin: PathBuf) -> PyResult<Self> {
        Ok(Self { config: detached(py, || ModelConfig::from_yaml_str(text, &origin))? })
    }

    /// The configuration of a released model; None for other names.
    #[staticmethod]
    fn named(name: &str) -> Option<Self> {
        ModelConfig::named(name).map(|config| Self { config })
    }

    /// The names of the released models, sorted.
    #[staticmethod]
    fn names() -> Vec<&'static str> {
        ModelConfig::names().collect()
    }

    /// The addresses of the files that the model needs, by key, in the order of their use.
    fn sources<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        detached(py, || self.config.check_weights())?;
        let dict = PyDict::new(py);
        for source in Source::ALL {
            if let Some(address) = self.config.address(source) {
                dict.set_item(source.key(), address)?;
            }
        }
        Ok(dict)
    }

    /// The same configuration, told where files are on this machine.
    fn with_files(&self, files: BTreeMap<String, PathBuf>) -> PyResult<Self> {
        let mut config = self.config.clone();
        for (key, path) in files {
            let source = Source::ALL.into_iter().find(|source| source.key() == key);
            let source = source.ok_or_else(|| PyKeyError::new_err(format!("{key} names no file")))?;
            config.set_local(source, path);
        }
        Ok(Self { config })
    }

    /// The same configuration with the weights of a training checkpoint.
    fn with_checkpoint(&self, name: String, flow_lm: PathBuf, mimi: Option<PathBuf>) -> Self {
        let mut config = self.config.clone();
        config.checkpoint = Some(Checkpoint { name, flow_lm, mimi });
        Self { config }
    }

    /// All values, nested as in the file, with the reference's names.
    fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let config = &self.config;
        let replacements = PyDict::new(py);
        for (from, to) in &config.replace_characters {
            replacements.set_item(*from, to)?;
        }
        let dict = PyDict::new(py);
        dict.set_item("flow_lm", flow_lm(py, &config.flow_lm)?)?;
        dict.set_item("mimi", mimi(py, &config.mimi)?)?;
        dict.set_item("weights_path", &config.weights_path)?;
        dict.set_item("weights_path_without_voice_cloning", &config.weights_path_without_voice_cloning)?;
        dict.set_item("pad_with_spaces_for_short_inputs", config.pad_with_spaces_for_short_inputs)?;
        dict.set_item("remove_semicolons", config.remove_semicolons)?;
        dict.set_item("append_terminal_punctuation", config.append_terminal_punctuation)?;
        dict.set_item("capitalize_first_letter", config.capitalize_first_letter)?;
        dict.set_item("replace_characters", replacements)?;
        dict.set_item("model_recommended_frames_after_eos", config.model_recommended_frames_after_eos)?;
        dict.set_item("default_temperature", config.default_temperature)?;
        dict.set_item("default_eos_threshold", config.default_eos_threshold)?;
        Ok(dict)
    }
}

fn flow_lm<'py>(py: Python<'py>, config: &FlowLmConfig) -> PyResult<Bound<'py, PyDict>> {
    let flow = PyDict::new(py);
    flow.set_item("dim", config.flow.dim)?;
    flow.set_item("depth", config.flow.depth)?;
    let flow_type = match config.flow.flow_type {
        FlowType::Lsd => "lsd",
        FlowType::FlowMatching => "flow_matching",
        FlowType::Drifting => "drifting",
        FlowType::Pointwise => "pointwise",
    };
    flow.set_item("type", flow_type)?;

    let transformer = PyDict::new(py);
    let sizes = &config.transformer;
    transformer.set_item("hidden_scale", sizes.hidden_scale)?;
    // An integer in the schema.
    transformer.set_item("max_period", sizes.max_period as u64)?;
    transformer.set_item("d_model", sizes.d_model)?;
    transformer.set_item("num_heads", sizes.num_heads)?;
    transformer.set_item("num_layers", sizes.num_layers)?;
    transformer.set_item("attn_dim", sizes.attn_dim)?;
    transformer.set_item("num_kv_heads", sizes.num_kv_heads)?;
    transformer.set_item("dim_feedforward", sizes.dim_feedforward)?;

    let table = PyDict::new(py);
    table.set_item("dim", config.lookup_table.dim)?;
    table.set_item("n_bins", config.lookup_table.n_bins)?;
    table.set_item("tokenizer", &config.lookup_table.tokenizer)?;
    table.set_item("tokenizer_path", &config.lookup_table.tokenizer_path)?;
    table.set_item("rank", config.lookup_table.rank)?;

    let dict = PyDict::new(py);
    dict.set_item("dtype", &config.dtype)?;
    dict.set_item("flow", flow)?;
    dict.set_item("transformer", transformer)?;
    dict.set_item("z_dim", config.z_dim)?;
    dict.set_item("lookup_table", table)?;
    dict.set_item("weights_path", &config.weights_path)?;
    dict.set_item("insert_bos_before_voice", config.insert_bos_before_voice)?;
    Ok(dict)
}

fn mimi<'py>(py: Python<'py>, config: &MimiConfig) -> PyResult<Bound<'py, PyDict>> {
    let quantizer = PyDict::new(py);
    quantizer.set_item("dimension", config.quantizer.dimension)?;
    quantizer.set_item("output_dimension", config.quantizer.output_dimension)?;

    let dict = PyDict::new(py);
    dict.set_item("dtype", &config.dtype)?;
    dict.set_item("sample_rate", config.sample_rate)?;
    dict.set_item("channels", config.channels)?;
    dict.set_item("frame_rate", config.frame_rate)?;
    dict.set_item("seanet", seanet(py, &config.seanet)?)?;
    dict.set_item("transformer", mimi_transformer(py, &config.transformer)?)?;
    dict.set_item("quantizer", quantizer)?;
    dict.set_item("weights_path", &config.weights_path)?;
    dict.set_item("inner_dim", config.inner_dim)?;
    dict.set_item("outer_dim", config.outer_dim)?;
    let decoder_seanet = config.decoder_seanet.as_ref().map(|config| seanet(py, config)).transpose()?;
    dict.set_item("decoder_seanet", decoder_seanet)?;
    let decoder_transformer =
        config.decoder_transformer.as_ref().map(|config| mimi_transformer(py, config)).transpose()?;
    dict.set_item("decoder_transformer", decoder_transformer)?;
    Ok(dict)
}

fn seanet<'py>(py: Python<'py>, config: &SeanetConfig) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("dimension", config.dimension)?;
    dict.set_item("channels", config.channels)?;
    dict.set_item("n_filters", config.n_filters)?;
    dict.set_item("n_residual_layers", config.n_residual_layers)?;
    dict.set_item("ratios", &config.ratios)?;
    dict.set_item("kernel_size", config.kernel_size)?;
    dict.set_item("residual_kernel_size", config.residual_kernel_size)?;
    dict.set_item("last_kernel_size", config.last_kernel_size)?;
    dict.set_item("dilation_base", config.dilation_base)?;
    let pad_mode = match config.pad_mode {
        PadMode::Constant => "constant",
        PadMode::Replicate => "replicate",
    };
    dict.set_item("pad_mode", pad_mode)?;
    dict.set_item("compress", config.compress)?;
    Ok(dict)
}

fn mimi_transformer<'py>(py: Python<'py>, config: &MimiTransformerConfig) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("d_model", config.d_model)?;
    dict.set_item("input_dimension", config.input_dimension)?;
    dict.set_item("output_dimensions", PyTuple::new(py, &config.output_dimensions)?)?;
    dict.set_item("num_heads", config.num_heads)?;
    dict.set_item("num_layers", config.num_layers)?;
    dict.set_item("layer_scale", config.layer_scale)?;
    dict.set_item("context", config.context)?;
    dict.set_item("max_period", config.max_period)?;
    dict.set_item("dim_feedforward", config.dim_feedforward)?;
    Ok(dict)
}
