//! Plain values to [`Config`]: keys, types and ranges.
//!
//! Types convert as in pydantic's lax mode, which the reference uses: `"8"` and `8.0` are
//! integers, `"yes"` is a boolean, and text is never made from anything else. Ranges are our own:
//! they keep every product of sizes far from overflow.

use std::path::Path;

use super::yaml::{self, Mapping, Value};
use super::{
    Config, FlowConfig, FlowLmConfig, FlowLmTransformerConfig, FlowType, LookupTableConfig, MimiConfig,
    MimiTransformerConfig, PadMode, QuantizerConfig, SeanetConfig,
};
use crate::error::Error;

/// The largest width, kernel or number of rows; products of three fit 64 bits.
pub(super) const MAX_SIZE: usize = 1 << 20;
/// The largest number of layers or blocks.
const MAX_COUNT: usize = 1 << 12;
/// The largest number of positions or of frames.
const MAX_POSITIONS: usize = 1 << 31;

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

fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        other => Err(format!("expected text, found {}; quote it", other.describe())),
    }
}

fn float32(value: &Value) -> Result<String, String> {
    match text(value)? {
        name if name == "float32" || name == "float" => Ok(name),
        other => Err(format!("{other:?} is not supported; the model runs in float32 only")),
    }
}

fn flow_type(value: &Value) -> Result<FlowType, String> {
    match text(value)?.as_str() {
        "lsd" => Ok(FlowType::Lsd),
        "flow_matching" => Ok(FlowType::FlowMatching),
        "drifting" => Ok(FlowType::Drifting),
        "pointwise" => Ok(FlowType::Pointwise),
        other => Err(format!("unknown flow type {other:?}; use lsd, flow_matching, drifting or pointwise")),
    }
}

fn pad_mode(value: &Value) -> Result<PadMode, String> {
    match text(value)?.as_str() {
        "constant" => Ok(PadMode::Constant),
        "replicate" => Ok(PadMode::Replicate),
        other => Err(format!("unknown padding {other:?}; use constant or replicate")),
    }
}

fn sizes(value: &Value) -> Result<Vec<usize>, String> {
    let Value::Sequence(items) = value else {
        return Err(format!("expected a list of integers, found {}", value.describe()));
    };
    let item = |(i, item): (usize, _)| size(item).map_err(|reason| format!("item {i}: {reason}"));
    items.iter().map(|item| &**item).enumerate().map(item).collect()
}

fn size(value: &Value) -> Result<usize, String> {
    integer_in(value, 1, MAX_SIZE)
}

fn integer_in(value: &Value, min: usize, max: usize) -> Result<usize, String> {
    let n = integer(value)?;
    usize::try_from(n)
        .ok()
        .filter(|n| (min..=max).contains(n))
        .ok_or_else(|| format!("{n} is out of range; use {min} to {max}"))
}

/// Integers, whole floats, booleans, and text with digits and perhaps `.0`.
fn integer(value: &Value) -> Result<i128, String> {
    let expected = || format!("expected an integer, found {}", value.describe());
    match value {
        Value::Int(n) => Ok(*n),
        Value::Bool(b) => Ok(i128::from(*b)),
        // Larger ones are refused by pydantic too.
        Value::Float(x) if x.fract() == 0.0 && x.abs() < 9.2e18 => Ok(*x as i128),
        Value::Text(text) => integer_from_text(text.trim()).ok_or_else(expected),
        _ => Err(expected()),
    }
}

fn integer_from_text(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = whole.strip_prefix(['-', '+']).unwrap_or(whole);
    let is_whole = !fraction.is_empty() && fraction.chars().all(|c| c == '0');
    if !is_whole || !has_single_underscores(digits) {
        return None;
    }
    whole.replace('_', "").parse().ok()
}

/// Underscores stand between other characters only, one at a time.
fn has_single_underscores(text: &str) -> bool {
    !text.starts_with('_') && !text.ends_with('_') && !text.contains("__")
}

/// Numbers, integers, booleans, and text that is a number; infinity is one, NaN is not.
fn number(value: &Value) -> Result<f64, String> {
    let expected = || format!("expected a number, found {}", value.describe());
    let x = match value {
        Value::Int(n) => *n as f64,
        Value::Bool(b) => f64::from(u8::from(*b)),
        Value::Float(x) => *x,
        Value::Text(text) => {
            let text = text.trim();
            let plain = text.replace('_', "");
            plain.parse().ok().filter(|_| has_single_underscores(text)).ok_or_else(expected)?
        }
        _ => return Err(expected()),
    };
    if x.is_nan() { Err("NaN is not a number to use".to_owned()) } else { Ok(x) }
}

fn number_where(value: &Value, condition: &str, is_allowed: impl Fn(f64) -> bool) -> Result<f64, String> {
    let x = number(value)?;
    if is_allowed(x) { Ok(x) } else { Err(format!("{x} is out of range; use a number {condition}")) }
}

/// Booleans, zero and one, and the words for them in any case.
fn boolean(value: &Value) -> Result<bool, String> {
    let found = match value {
        Value::Bool(b) => Some(*b),
        Value::Int(0) | Value::Float(0.0) => Some(false),
        Value::Int(1) | Value::Float(1.0) => Some(true),
        Value::Text(text) => match text.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" | "y" | "yes" | "on" => Some(true),
            "0" | "f" | "false" | "n" | "no" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    };
    found.ok_or_else(|| format!("expected true or false, found {}", value.describe()))
}

fn unknown_key(key: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|known| (distance(key, known), known)).min();
    match nearest {
        Some((distance, nearest)) if distance <= 1 + nearest.len() / 4 => {
            format!("unknown key; did you mean {nearest}?")
        }
        _ => format!("unknown key; the keys here are {}", known.join(", ")),
    }
}

/// Edits between two words (Levenshtein); long words count as far away.
fn distance(a: &str, b: &str) -> usize {
    const MAX_LEN: usize = 100;
    if a.len() > MAX_LEN {
        return a.len();
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
