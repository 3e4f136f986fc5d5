//! Plain values to [`Config`]: which keys there are, and which type and range each has.
//!
//! Types convert as in pydantic's lax mode, which the reference uses: `"8"` and `8.0` are
//! integers, `"yes"` is a boolean, and text is never made from anything else. Ranges are our own:
//! they keep every product of sizes far from overflow.

use std::collections::BTreeMap;
use std::path::Path;

use super::convert::{
    MAX_COUNT, MAX_POSITIONS, MAX_SIZE, boolean, float32, flow_type, integer_in, number, number_where, pad_mode, size,
    sizes, text, unknown_key,
};
use super::yaml::{self, Mapping, Value};
use super::{
    Config, FlowConfig, FlowLmConfig, FlowLmTransformerConfig, FlowType, LookupTableConfig, MimiConfig,
    MimiTransformerConfig, QuantizerConfig, SeanetConfig,
};
use crate::error::Error;

/// Reads a configuration from YAML text; `origin` is the file that it came from.
pub(super) fn config_from_yaml(text: &str, origin: &Path) -> Result<Config, Error> {
    let value = yaml::parse(text).map_err(|error| Error::Yaml {
        origin: origin.to_owned(),
        line: error.line,
        reason: error.reason,
    })?;
    let config = config(&value).map_err(|fault| Error::Config {
        origin: origin.to_owned(),
        key: fault.key,
        reason: fault.reason,
    })?;
    Ok(Config { origin: Some(origin.to_owned()), ..config })
}

/// What is wrong with which key.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) key: String,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}

type Read<T> = Result<T, Fault>;

/// One mapping of the file, whose keys were checked.
struct Section<'a> {
    path: String,
    mapping: &'a Mapping,
}

impl<'a> Section<'a> {
    fn open(value: &'a Value, path: &str, required: &[&str], optional: &[&str]) -> Read<Self> {
        let name = if path.is_empty() { "the file" } else { path };
        let Value::Mapping(mapping) = value else {
            let found = value.describe();
            return Err(Fault::new(name, format!("expected a mapping of keys, found {found}")));
        };
        if let Some(key) = &mapping.odd_key {
            return Err(Fault::new(name, format!("a key is {key}; quote it to make it text")));
        }
        let section = Self { path: path.to_owned(), mapping };
        let known: Vec<&str> = required.iter().chain(optional).copied().collect();
        for (key, _) in mapping.iter() {
            if !known.contains(&key) {
                return Err(Fault::new(section.key(key), unknown_key(key, &known)));
            }
        }
        let missing: Vec<String> =
            required.iter().filter(|key| mapping.get(key).is_none()).map(|key| section.key(key)).collect();
        if missing.is_empty() {
            return Ok(section);
        }
        Err(Fault::new(missing.join(", "), "required, but missing; add it"))
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn section(&self, key: &str, required: &[&str], optional: &[&str]) -> Read<Self> {
        Self::open(self.mapping.get(key).unwrap_or(&Value::Null), &self.key(key), required, optional)
    }

    /// The value of an optional key that is present and not null.
    fn optional(&self, key: &str) -> Option<&'a Value> {
        self.mapping.get(key).filter(|value| **value != Value::Null)
    }

    fn is_present(&self, key: &str) -> bool {
        self.mapping.get(key).is_some()
    }

    /// Converts the value of a key that is present.
    fn read<T>(&self, key: &str, convert: impl Fn(&Value) -> Result<T, String>) -> Read<T> {
        convert(self.mapping.get(key).unwrap_or(&Value::Null)).map_err(|reason| Fault::new(self.key(key), reason))
    }

    /// Converts the value of a key that may be absent, but not null.
    fn read_or<T>(&self, key: &str, default: T, convert: impl Fn(&Value) -> Result<T, String>) -> Read<T> {
        if self.is_present(key) { self.read(key, convert) } else { Ok(default) }
    }

    /// Converts the value of a key that may be absent or null.
    fn read_optional<T>(&self, key: &str, convert: impl Fn(&Value) -> Result<T, String>) -> Read<Option<T>> {
        self.optional(key).map(|_| self.read(key, convert)).transpose()
    }

    fn size(&self, key: &str) -> Read<usize> {
        self.read(key, size)
    }

    fn count(&self, key: &str) -> Read<usize> {
        self.read(key, |value| integer_in(value, 0, MAX_COUNT))
    }

    fn optional_size(&self, key: &str) -> Read<Option<usize>> {
        self.read_optional(key, size)
    }

    /// A size for which the reference takes zero as absent.
    fn size_or_zero(&self, key: &str) -> Read<Option<usize>> {
        let size = self.read_optional(key, |value| integer_in(value, 0, MAX_SIZE))?;
        Ok(size.filter(|&n| n != 0))
    }
}

fn config(value: &Value) -> Read<Config> {
    let section = Section::open(
        value,
        "",
        &["flow_lm", "mimi"],
        &[
            "weights_path",
            "weights_path_without_voice_cloning",
            "pad_with_spaces_for_short_inputs",
            "remove_semicolons",
            "append_terminal_punctuation",
            "capitalize_first_letter",
            "replace_characters",
            "model_recommended_frames_after_eos",
            "default_temperature",
            "default_eos_threshold",
        ],
    )?;
    let config = Config {
        flow_lm: flow_lm(&section)?,
        mimi: mimi(&section)?,
        weights_path: section.read_optional("weights_path", text)?,
        weights_path_without_voice_cloning: section.read_optional("weights_path_without_voice_cloning", text)?,
        pad_with_spaces_for_short_inputs: section.read_or("pad_with_spaces_for_short_inputs", false, boolean)?,
        remove_semicolons: section.read_or("remove_semicolons", false, boolean)?,
        append_terminal_punctuation: section.read_or("append_terminal_punctuation", true, boolean)?,
        capitalize_first_letter: section.read_or("capitalize_first_letter", true, boolean)?,
        replace_characters: replace_characters(&section)?,
        model_recommended_frames_after_eos: section
            .read_optional("model_recommended_frames_after_eos", |value| integer_in(value, 0, MAX_POSITIONS))?,
        default_temperature: section.read_or("default_temperature", 0.3, |value| {
            number_where(value, "at least 0", |x| x >= 0.0 && x.is_finite())
        })?,
        default_eos_threshold: section.read_or("default_eos_threshold", -4.0, number)?,
        origin: None,
        local: BTreeMap::new(),
        checkpoint: None,
    };
    super::check::check(&config)?;
    Ok(config)
}

fn replace_characters(section: &Section<'_>) -> Read<Vec<(char, String)>> {
    let key = "replace_characters";
    if !section.is_present(key) {
        return Ok(Vec::new());
    }
    let value = section.mapping.get(key).unwrap_or(&Value::Null);
    let path = section.key(key);
    let Value::Mapping(mapping) = value else {
        let found = value.describe();
        return Err(Fault::new(path, format!("expected a mapping of characters, found {found}")));
    };
    if let Some(odd) = &mapping.odd_key {
        return Err(Fault::new(path, format!("a key is {odd}; quote it to make it text")));
    }
    let one = |(from, to): (&str, &Value)| {
        let path = format!("{path}[{from:?}]");
        let mut chars = from.chars();
        let (Some(from), None) = (chars.next(), chars.next()) else {
            return Err(Fault::new(path, "the key must be a single character"));
        };
        text(to).map(|to| (from, to)).map_err(|reason| Fault::new(path, reason))
    };
    mapping.iter().map(one).collect()
}

fn flow_lm(root: &Section<'_>) -> Read<FlowLmConfig> {
    let section = root.section(
        "flow_lm",
        &["dtype", "flow", "transformer", "lookup_table"],
        &["z_dim", "weights_path", "insert_bos_before_voice"],
    )?;
    let flow = section.section("flow", &["dim", "depth"], &["type"])?;
    let transformer = section.section(
        "transformer",
        &["hidden_scale", "max_period", "d_model", "num_heads", "num_layers"],
        &["attn_dim", "num_kv_heads", "dim_feedforward"],
    )?;
    let table = section.section("lookup_table", &["dim", "n_bins", "tokenizer", "tokenizer_path"], &["rank"])?;
    Ok(FlowLmConfig {
        dtype: section.read("dtype", float32)?,
        flow: FlowConfig {
            dim: flow.size("dim")?,
            depth: flow.count("depth")?,
            flow_type: flow.read_or("type", FlowType::Lsd, flow_type)?,
        },
        transformer: FlowLmTransformerConfig {
            hidden_scale: transformer.read("hidden_scale", |value| integer_in(value, 0, MAX_SIZE))?,
            max_period: transformer.read("max_period", |value| integer_in(value, 1, MAX_POSITIONS))? as f64,
            d_model: transformer.size("d_model")?,
            num_heads: transformer.size("num_heads")?,
            num_layers: transformer.read("num_layers", |value| integer_in(value, 1, MAX_COUNT))?,
            attn_dim: transformer.size_or_zero("attn_dim")?,
            num_kv_heads: transformer.size_or_zero("num_kv_heads")?,
            dim_feedforward: transformer.size_or_zero("dim_feedforward")?,
        },
        z_dim: section.optional_size("z_dim")?,
        lookup_table: LookupTableConfig {
            dim: table.size("dim")?,
            n_bins: table.size("n_bins")?,
            tokenizer: table.read("tokenizer", text)?,
            tokenizer_path: table.read("tokenizer_path", text)?,
            rank: table.optional_size("rank")?,
        },
        weights_path: section.read_optional("weights_path", text)?,
        insert_bos_before_voice: section.read_or("insert_bos_before_voice", false, boolean)?,
    })
}

fn mimi(root: &Section<'_>) -> Read<MimiConfig> {
    let section = root.section(
        "mimi",
        &["dtype", "sample_rate", "channels", "frame_rate", "seanet", "transformer", "quantizer"],
        &["weights_path", "inner_dim", "outer_dim", "decoder_seanet", "decoder_transformer"],
    )?;
    let quantizer = section.section("quantizer", &["dimension", "output_dimension"], &[])?;
    let decoder_seanet = section.optional("decoder_seanet");
    let decoder_transformer = section.optional("decoder_transformer");
    Ok(MimiConfig {
        dtype: section.read("dtype", text)?,
        sample_rate: section.size("sample_rate")?,
        // The reference never reads it.
        channels: section.read("channels", |value| integer_in(value, 0, MAX_SIZE))?,
        frame_rate: section.read("frame_rate", |value| number_where(value, "above 0", |x| x > 0.0 && x.is_finite()))?,
        seanet: seanet(&section, "seanet")?,
        transformer: mimi_transformer(&section, "transformer")?,
        quantizer: QuantizerConfig {
            dimension: quantizer.size("dimension")?,
            output_dimension: quantizer.size("output_dimension")?,
        },
        weights_path: section.read_optional("weights_path", text)?,
        inner_dim: section.optional_size("inner_dim")?,
        outer_dim: section.optional_size("outer_dim")?,
        decoder_seanet: decoder_seanet.map(|_| seanet(&section, "decoder_seanet")).transpose()?,
        decoder_transformer: decoder_transformer
            .map(|_| mimi_transformer(&section, "decoder_transformer"))
            .transpose()?,
    })
}

fn seanet(mimi: &Section<'_>, key: &str) -> Read<SeanetConfig> {
    let section = mimi.section(
        key,
        &[
            "dimension",
            "channels",
            "n_filters",
            "n_residual_layers",
            "ratios",
            "kernel_size",
            "residual_kernel_size",
            "last_kernel_size",
            "dilation_base",
            "pad_mode",
            "compress",
        ],
        &[],
    )?;
    Ok(SeanetConfig {
        dimension: section.size("dimension")?,
        channels: section.size("channels")?,
        n_filters: section.size("n_filters")?,
        n_residual_layers: section.count("n_residual_layers")?,
        ratios: section.read("ratios", sizes)?,
        kernel_size: section.size("kernel_size")?,
        residual_kernel_size: section.size("residual_kernel_size")?,
        last_kernel_size: section.size("last_kernel_size")?,
        dilation_base: section.size("dilation_base")?,
        pad_mode: section.read("pad_mode", pad_mode)?,
        compress: section.size("compress")?,
    })
}

fn mimi_transformer(mimi: &Section<'_>, key: &str) -> Read<MimiTransformerConfig> {
    let section = mimi.section(
        key,
        &[
            "d_model",
            "input_dimension",
            "output_dimensions",
            "num_heads",
            "num_layers",
            "layer_scale",
            "context",
            "dim_feedforward",
        ],
        &["max_period"],
    )?;
    Ok(MimiTransformerConfig {
        d_model: section.size("d_model")?,
        input_dimension: section.size("input_dimension")?,
        output_dimensions: section.read("output_dimensions", sizes)?,
        num_heads: section.size("num_heads")?,
        num_layers: section.count("num_layers")?,
        layer_scale: section.read("layer_scale", number)?,
        context: section.read("context", |value| integer_in(value, 1, MAX_POSITIONS))?,
        max_period: section
            .read_or("max_period", 10_000.0, |value| number_where(value, "above 0", |x| x > 0.0 && x.is_finite()))?,
        dim_feedforward: section.size("dim_feedforward")?,
    })
}
