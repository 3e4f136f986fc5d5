//! The model configuration: the YAML schema of the reference, as plain structs.
//!
//! Same keys, defaults and lax number types as `pocket_tts.utils.config` (reference 4.0.1).

mod catalog;
mod check;
mod convert;
mod read;
mod sources;
#[cfg(test)]
pub(crate) mod tests;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use sources::Source;

use crate::error::Error;
use crate::files;

/// Configurations are a few kilobytes; anything larger is another file.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Which sampler the flow head was trained for (`flow_lm.flow.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowType {
    /// Lagrangian self distillation: two time conditions.
    Lsd,
    /// Euler integration of a conditional flow: one time condition.
    FlowMatching,
    /// One step, no time condition: the output is the sample.
    Drifting,
    /// One step, no time condition: the noise plus the output.
    Pointwise,
}

impl FlowType {
    /// Number of time conditions that the head takes.
    #[must_use]
    pub fn num_time_conds(self) -> usize {
        match self {
            Self::Lsd => 2,
            Self::FlowMatching => 1,
            Self::Drifting | Self::Pointwise => 0,
        }
    }
}

/// `flow_lm.flow`: the flow head.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowConfig {
    /// Hidden width.
    pub dim: usize,
    /// Number of residual blocks.
    pub depth: usize,
    /// Kind of sampler; `lsd` by default.
    pub flow_type: FlowType,
}

/// `flow_lm.transformer`.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowLmTransformerConfig {
    /// Feed-forward width as a multiple of `d_model`, used where `dim_feedforward` is absent.
    pub hidden_scale: usize,
    /// Longest `RoPE` period in positions.
    pub max_period: f64,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Layers.
    pub num_layers: usize,
    /// Width of the queries; `d_model` by default.
    pub attn_dim: Option<usize>,
    /// Key/value heads; `num_heads` by default.
    pub num_kv_heads: Option<usize>,
    /// Feed-forward width; `d_model * hidden_scale` by default.
    pub dim_feedforward: Option<usize>,
}

/// `flow_lm.lookup_table`: the text embedding table and its tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub struct LookupTableConfig {
    /// Width of an embedding.
    pub dim: usize,
    /// Vocabulary size; the table has one row more.
    pub n_bins: usize,
    /// Kind of tokenizer: `tokenizers`, `json` or `sentencepiece`.
    pub tokenizer: String,
    /// Where the tokenizer is: a local path, an `https://` or an `hf://` address.
    pub tokenizer_path: String,
    /// Width of a low-rank table; full when absent.
    pub rank: Option<usize>,
}

/// `flow_lm`.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowLmConfig {
    /// Only `float32` works in the reference.
    pub dtype: String,
    /// Flow head.
    pub flow: FlowConfig,
    /// Backbone.
    pub transformer: FlowLmTransformerConfig,
    /// Width after `z_proj`; no projection when absent.
    pub z_dim: Option<usize>,
    /// Text embedding.
    pub lookup_table: LookupTableConfig,
    /// Separate weights of the language model.
    pub weights_path: Option<String>,
    /// Whether a learnt row precedes the voice.
    pub insert_bos_before_voice: bool,
}

/// How a streaming convolution fills the samples before the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PadMode {
    /// Zeros.
    Constant,
    /// The first sample, repeated.
    Replicate,
}

/// `mimi.seanet`, `mimi.decoder_seanet`.
#[derive(Clone, Debug, PartialEq)]
pub struct SeanetConfig {
    /// Width at the latent side.
    pub dimension: usize,
    /// Audio channels.
    pub channels: usize,
    /// Filters at the audio side.
    pub n_filters: usize,
    /// Residual blocks per ratio.
    pub n_residual_layers: usize,
    /// Upsampling ratios, in decoder order.
    pub ratios: Vec<usize>,
    /// Kernel of the first convolution.
    pub kernel_size: usize,
    /// Kernel of the first convolution of a residual block.
    pub residual_kernel_size: usize,
    /// Kernel of the last convolution.
    pub last_kernel_size: usize,
    /// Base of the dilation of residual block `j`: `dilation_base^j`.
    pub dilation_base: usize,
    /// Padding before the first sample.
    pub pad_mode: PadMode,
    /// Narrowing inside a residual block.
    pub compress: usize,
}

/// `mimi.transformer`, `mimi.decoder_transformer`.
#[derive(Clone, Debug, PartialEq)]
pub struct MimiTransformerConfig {
    /// Width of the residual stream.
    pub d_model: usize,
    /// Width of the input; projected when it differs from `d_model`.
    pub input_dimension: usize,
    /// Widths of the outputs; only the first is used.
    pub output_dimensions: Vec<usize>,
    /// Heads.
    pub num_heads: usize,
    /// Layers.
    pub num_layers: usize,
    /// Initial layer scale; the weights hold the trained ones.
    pub layer_scale: f64,
    /// Keys that a position attends to, itself included.
    pub context: usize,
    /// Longest `RoPE` period in positions; 10000 by default.
    pub max_period: f64,
    /// Feed-forward width.
    pub dim_feedforward: usize,
}

/// `mimi.quantizer`: only its output projection exists.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizerConfig {
    /// Width of a latent.
    pub dimension: usize,
    /// Width after the projection.
    pub output_dimension: usize,
}

/// `mimi`: the codec.
#[derive(Clone, Debug, PartialEq)]
pub struct MimiConfig {
    /// Ignored, as in the reference.
    pub dtype: String,
    /// Sample rate in Hz.
    pub sample_rate: usize,
    /// Audio channels.
    pub channels: usize,
    /// Latents per second.
    pub frame_rate: f64,
    /// Encoder convolutions, and the decoder's unless `decoder_seanet` is given.
    pub seanet: SeanetConfig,
    /// Encoder transformer, and the decoder's unless `decoder_transformer` is given.
    pub transformer: MimiTransformerConfig,
    /// Output projection.
    pub quantizer: QuantizerConfig,
    /// Separate weights of the codec.
    pub weights_path: Option<String>,
    /// Width of an encoded voice row; `seanet.dimension` by default.
    pub inner_dim: Option<usize>,
    /// Width that the upsampling takes; the decoder's dimension by default.
    pub outer_dim: Option<usize>,
    /// Decoder convolutions when they differ.
    pub decoder_seanet: Option<SeanetConfig>,
    /// Decoder transformer when it differs.
    pub decoder_transformer: Option<MimiTransformerConfig>,
}

/// A whole configuration file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Language model.
    pub flow_lm: FlowLmConfig,
    /// Codec.
    pub mimi: MimiConfig,
    /// One bundle with all weights.
    pub weights_path: Option<String>,
    /// The bundle that serves when `weights_path` cannot be downloaded.
    pub weights_path_without_voice_cloning: Option<String>,
    /// Whether texts of fewer than five words are padded with spaces.
    pub pad_with_spaces_for_short_inputs: bool,
    /// Whether `;` becomes `,`.
    pub remove_semicolons: bool,
    /// Whether a text without a final mark gets one.
    pub append_terminal_punctuation: bool,
    /// Whether the first letter becomes a capital.
    pub capitalize_first_letter: bool,
    /// Characters to rewrite before tokenization, in file order.
    pub replace_characters: Vec<(char, String)>,
    /// Frames to generate after the end-of-speech frame.
    pub model_recommended_frames_after_eos: Option<usize>,
    /// Default sampling temperature, 0.3.
    pub default_temperature: f64,
    /// Default end-of-speech threshold, −4.0.
    pub default_eos_threshold: f64,
    /// The file that the configuration was read from.
    pub origin: Option<PathBuf>,
    /// Where files are on this machine whose addresses say otherwise.
    local: BTreeMap<Source, PathBuf>,
    /// Weights that count instead of those that the settings name; no key of the file.
    pub checkpoint: Option<Checkpoint>,
}

/// The weights of a training checkpoint, as safetensors files whose names have no prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// What messages call it.
    pub name: String,
    /// The language model.
    pub flow_lm: PathBuf,
    /// The codec, unless that is the configuration's.
    pub mimi: Option<PathBuf>,
}

impl Config {
    /// The configuration of a released model, one of [`Config::names`]; nothing for other names.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        catalog::config(name)
    }

    /// The names of the released models, sorted.
    pub fn names() -> impl Iterator<Item = &'static str> {
        catalog::names()
    }

    /// Reads and checks a YAML file.
    ///
    /// # Errors
    /// When the file cannot be read, is no YAML, or its keys or values are wrong.
    pub fn from_yaml_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let bytes = files::read(path, "config file", MAX_FILE_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|_| Error::ConfigEncoding { path: path.to_owned() })?;
        Self::from_yaml_str(&text, path)
    }

    /// Reads and checks YAML text; `origin` is the file that it came from, for messages.
    ///
    /// # Errors
    /// When the text is no YAML, or its keys or values are wrong.
    pub fn from_yaml_str(text: &str, origin: impl AsRef<Path>) -> Result<Self, Error> {
        read::config_from_yaml(text, origin.as_ref())
    }
}
