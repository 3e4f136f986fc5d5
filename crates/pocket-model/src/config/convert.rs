//! One plain value to one typed setting, by the rules of pydantic's lax mode, with ranges.

use super::yaml::Value;
use super::{FlowType, PadMode};

/// The largest width, kernel or number of rows; products of three fit 64 bits.
pub(super) const MAX_SIZE: usize = 1 << 20;
/// The largest number of layers or blocks.
pub(super) const MAX_COUNT: usize = 1 << 12;
/// The largest number of positions or of frames.
pub(super) const MAX_POSITIONS: usize = 1 << 31;

pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        other => Err(format!("expected text, found {}; quote it", other.describe())),
    }
}

pub(super) fn float32(value: &Value) -> Result<String, String> {
    match text(value)? {
        name if name == "float32" || name == "float" => Ok(name),
        other => Err(format!("{other:?} is not supported; the model runs in float32 only")),
    }
}

pub(super) fn flow_type(value: &Value) -> Result<FlowType, String> {
    match text(value)?.as_str() {
        "lsd" => Ok(FlowType::Lsd),
        "flow_matching" => Ok(FlowType::FlowMatching),
        "drifting" => Ok(FlowType::Drifting),
        "pointwise" => Ok(FlowType::Pointwise),
        other => Err(format!("unknown flow type {other:?}; use lsd, flow_matching, drifting or pointwise")),
    }
}

pub(super) fn pad_mode(value: &Value) -> Result<PadMode, String> {
    match text(value)?.as_str() {
        "constant" => Ok(PadMode::Constant),
        "replicate" => Ok(PadMode::Replicate),
        other => Err(format!("unknown padding {other:?}; use constant or replicate")),
    }
}

pub(super) fn sizes(value: &Value) -> Result<Vec<usize>, String> {
    let Value::Sequence(items) = value else {
        return Err(format!("expected a list of integers, found {}", value.describe()));
    };
    let item = |(i, item): (usize, _)| size(item).map_err(|reason| format!("item {i}: {reason}"));
    items.iter().map(|item| &**item).enumerate().map(item).collect()
}

pub(super) fn size(value: &Value) -> Result<usize, String> {
    integer_in(value, 1, MAX_SIZE)
}

pub(super) fn integer_in(value: &Value, min: usize, max: usize) -> Result<usize, String> {
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
pub(super) fn number(value: &Value) -> Result<f64, String> {
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

pub(super) fn number_where(value: &Value, condition: &str, is_allowed: impl Fn(f64) -> bool) -> Result<f64, String> {
    let x = number(value)?;
    if is_allowed(x) { Ok(x) } else { Err(format!("{x} is out of range; use a number {condition}")) }
}

/// Booleans, zero and one, and the words for them in any case.
pub(super) fn boolean(value: &Value) -> Result<bool, String> {
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

pub(super) fn unknown_key(key: &str, known: &[&str]) -> String {
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
