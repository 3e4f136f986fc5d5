//! YAML text to plain values, with the meaning that `PyYAML`'s `safe_load` gives to scalars.
//!
//! The `saphyr-parser` crate yields YAML 1.2 events; which plain scalars are numbers, booleans or
//! null is decided here by the YAML 1.1 rules, because configurations are written against a
//! reader that follows them: `yes` is a boolean, `010` is eight, `1e3` is text. Aliases share
//! their node, so nested ones cost no memory; depth is limited, so that dropping is safe. One
//! known difference: a tab after a value, which `PyYAML` refuses, is white space here.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

/// Deepest nesting of sequences and mappings.
const MAX_DEPTH: usize = 64;
/// The prefix of the tags written `!!name`.
const CORE_TAGS: &str = "tag:yaml.org,2002:";

/// A YAML value as Python would see it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    /// A date or time, which no configuration uses.
    Timestamp(String),
    Sequence(Vec<Rc<Value>>),
    Mapping(Mapping),
}

impl Value {
    /// The value in words, for messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => format!("the boolean {value}"),
            Self::Int(value) => format!("the integer {value}"),
            Self::Float(value) => format!("the number {value}"),
            Self::Text(text) => {
                let start: String = text.chars().take(40).collect();
                format!("the text {start:?}{}", if start.len() < text.len() { "…" } else { "" })
            }
            Self::Timestamp(text) => format!("the date {text}"),
            Self::Sequence(_) => "a list".to_owned(),
            Self::Mapping(_) => "a mapping".to_owned(),
        }
    }
}

/// Entries in file order; a repeated key keeps its place and takes the last value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Mapping {
    entries: Vec<(String, Rc<Value>)>,
    index: HashMap<String, usize>,
    /// The first key that is not text, in words.
    pub(super) odd_key: Option<String>,
}

impl Mapping {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&i| &*self.entries[i].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), &**value))
    }

    fn insert(&mut self, key: &Value, value: Rc<Value>) {
        let Value::Text(key) = key else {
            self.odd_key.get_or_insert_with(|| key.describe());
            return;
        };
        if let Some(&i) = self.index.get(key) {
            self.entries[i].1 = value;
        } else {
            self.index.insert(key.clone(), self.entries.len());
            self.entries.push((key.clone(), value));
        }
    }
}

/// A fault in the text, at a line counted from one.
#[derive(Debug)]
pub(super) struct YamlError {
    pub(super) line: usize,
    pub(super) reason: String,
}

/// A collection that is still open.
struct Frame {
    anchor: usize,
    line: usize,
    items: Items,
}

enum Items {
    Sequence(Vec<Rc<Value>>),
    /// The entries so far, the sources of `<<` keys, and a key that waits for its value.
    Mapping {
        mapping: Mapping,
        merged: Vec<Rc<Value>>,
        key: Option<Key>,
    },
}

enum Key {
    Merge,
    Value(Rc<Value>),
}

/// What one scalar stands for.
enum Scalar {
    Value(Value),
    Merge,
}

/// Parses a text that holds one document at most; an empty one is null.
pub(super) fn parse(text: &str) -> Result<Value, YamlError> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text.trim_start_matches('\u{feff}')) {
        let (event, span) =
            event.map_err(|error| YamlError { line: error.marker().line(), reason: error.info().to_owned() })?;
        let line = span.start.line();
        builder.event(event, line).map_err(|reason| YamlError { line, reason })?;
    }
    Ok(builder.root.map_or(Value::Null, |root| (*root).clone()))
}

#[derive(Default)]
struct Builder {
    open: Vec<Frame>,
    anchors: HashMap<usize, Rc<Value>>,
    n_documents: usize,
    root: Option<Rc<Value>>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, line: usize) -> Result<(), String> {
        match event {
            Event::DocumentStart(_) => {
                self.n_documents += 1;
                if self.n_documents > 1 {
                    return Err("a second document starts; keep one".to_owned());
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let scalar = scalar(&text, style, tag.as_deref())?;
                match scalar {
                    Scalar::Merge if self.expects_key() => {
                        if let Some(Items::Mapping { key, .. }) = self.open.last_mut().map(|frame| &mut frame.items) {
                            *key = Some(Key::Merge);
                        }
                        Ok(())
                    }
                    Scalar::Merge => Err("`<<` is only a key; quote it".to_owned()),
                    Scalar::Value(value) => self.value(Rc::new(value), anchor),
                }
            }
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned();
                self.value(value.ok_or("an alias points at a node that contains it")?, 0)
            }
            Event::SequenceStart(anchor, tag) => {
                check_collection_tag(tag.as_deref(), "seq")?;
                self.start(anchor, line, Items::Sequence(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                check_collection_tag(tag.as_deref(), "map")?;
                let (mapping, merged) = (Mapping::default(), Vec::new());
                self.start(anchor, line, Items::Mapping { mapping, merged, key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn expects_key(&self) -> bool {
        let items = self.open.last().map(|frame| &frame.items);
        matches!(items, Some(Items::Mapping { key: None, .. }))
    }

    fn start(&mut self, anchor: usize, line: usize, items: Items) -> Result<(), String> {
        if self.open.len() == MAX_DEPTH {
            return Err(format!("nested more than {MAX_DEPTH} deep"));
        }
        if self.expects_key() {
            return Err("a list or mapping cannot be a key".to_owned());
        }
        self.open.push(Frame { anchor, line, items });
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        let Some(frame) = self.open.pop() else {
            return Err("a collection ends that never started".to_owned());
        };
        let value = match frame.items {
            Items::Sequence(items) => Value::Sequence(items),
            Items::Mapping { mapping, merged, .. } if merged.is_empty() => Value::Mapping(mapping),
            Items::Mapping { mapping, merged, .. } => merge(&mapping, &merged)
                .ok_or_else(|| format!("`<<` in line {} takes a mapping or a list", frame.line))?,
        };
        self.value(Rc::new(value), frame.anchor)
    }

    fn value(&mut self, value: Rc<Value>, anchor: usize) -> Result<(), String> {
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&value));
        }
        match self.open.last_mut().map(|frame| &mut frame.items) {
            None => self.root = Some(value),
            Some(Items::Sequence(items)) => items.push(value),
            Some(Items::Mapping { mapping, merged, key }) => match key.take() {
                None if matches!(*value, Value::Sequence(_) | Value::Mapping(_)) => {
                    return Err("a list or mapping cannot be a key".to_owned());
                }
                None => *key = Some(Key::Value(value)),
                Some(Key::Value(key)) => mapping.insert(&key, value),
                Some(Key::Merge) => merged.push(value),
            },
        }
        Ok(())
    }
}

/// Puts merged entries before a mapping's own, which win; among the sources the first wins.
fn merge(own: &Mapping, sources: &[Rc<Value>]) -> Option<Value> {
    let mut mapping = Mapping::default();
    let mut add = |source: &Mapping| {
        mapping.odd_key = mapping.odd_key.take().or_else(|| source.odd_key.clone());
        for (key, value) in &source.entries {
            mapping.insert(&Value::Text(key.clone()), Rc::clone(value));
        }
    };
    for source in sources {
        match &**source {
            Value::Mapping(source) => add(source),
            Value::Sequence(sources) => {
                for source in sources.iter().rev() {
                    let Value::Mapping(source) = &**source else {
                        return None;
                    };
                    add(source);
                }
            }
            _ => return None,
        }
    }
    add(own);
    Some(Value::Mapping(mapping))
}

/// The tag's name after `!!`, the whole tag of others, or nothing without one.
fn tag_name(tag: Option<&Tag>) -> Option<String> {
    let tag = tag.map(|tag| format!("{}{}", tag.handle, tag.suffix))?;
    Some(tag.strip_prefix(CORE_TAGS).map_or_else(|| tag.clone(), str::to_owned))
}

fn check_collection_tag(tag: Option<&Tag>, expected: &str) -> Result<(), String> {
    match tag_name(tag) {
        Some(name) if name != expected && name != "!" => Err(format!("the tag {name} is not supported; remove it")),
        _ => Ok(()),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Scalar, String> {
    let invalid = |name: &str| format!("{text:?} is no {name}");
    let value = match tag_name(tag).as_deref() {
        None if style == ScalarStyle::Plain => return plain(text),
        None | Some("!" | "str") => Value::Text(text.to_owned()),
        Some("null") => Value::Null,
        Some("bool") => Value::Bool(boolean(text).ok_or_else(|| invalid("boolean"))?),
        Some("int") => Value::Int(integer(text).ok_or_else(|| invalid("integer"))?),
        Some("float") => {
            float(text).or_else(|| text.parse().ok()).map(Value::Float).ok_or_else(|| invalid("number"))?
        }
        Some(name) => return Err(format!("the tag {name} is not supported; remove it")),
    };
    Ok(Scalar::Value(value))
}

/// Resolves a plain scalar as YAML 1.1 does.
fn plain(text: &str) -> Result<Scalar, String> {
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "<<" => return Ok(Scalar::Merge),
        "=" => return Err("`=` has a special meaning; quote it".to_owned()),
        _ => {
            if let Some(value) = boolean(text) {
                Value::Bool(value)
            } else if let Some(value) = float(text) {
                Value::Float(value)
            } else if let Some(value) = integer(text) {
                Value::Int(value)
            } else if is_integer_text(text) {
                // Too long for 128 bits.
                Value::Float(text.replace('_', "").parse().unwrap_or(f64::INFINITY))
            } else if is_timestamp(text) {
                Value::Timestamp(text.to_owned())
            } else {
                Value::Text(text.to_owned())
            }
        }
    };
    Ok(Scalar::Value(value))
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn split_sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn all(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    text.chars().all(allowed)
}

fn is_digit_or_underscore(c: char) -> bool {
    c.is_ascii_digit() || c == '_'
}

/// Digits and underscores with a digit first.
fn is_digits(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && all(text, is_digit_or_underscore)
}

fn is_integer_text(text: &str) -> bool {
    let digits = split_sign(text).1;
    is_digits(digits) && (digits == "0" || !digits.starts_with('0'))
}

/// Binary, octal (with a leading zero), decimal, hexadecimal or base-60 integers.
fn integer(text: &str) -> Option<i128> {
    let (is_negative, digits) = split_sign(text);
    let plain = digits.replace('_', "");
    let magnitude = if let Some(digits) = plain.strip_prefix("0b") {
        from_radix(digits, 2)
    } else if let Some(digits) = plain.strip_prefix("0x") {
        from_radix(digits, 16)
    } else if digits.contains(':') {
        (!digits.starts_with('0')).then(|| base_60(digits)).flatten().map(|value| value as i128)
    } else if !is_digits(digits) {
        None
    } else if plain.len() > 1 && plain.starts_with('0') {
        from_radix(&plain, 8)
    } else {
        from_radix(&plain, 10)
    }?;
    Some(if is_negative { -magnitude } else { magnitude })
}

fn from_radix(digits: &str, radix: u32) -> Option<i128> {
    // `from_str_radix` takes a sign, which may not stand here.
    all(digits, |c| c.is_digit(radix)).then(|| i128::from_str_radix(digits, radix).ok()).flatten()
}

/// The value of `h:m:s` groups of which all but the first are below sixty.
fn base_60(text: &str) -> Option<f64> {
    let mut groups = text.split(':');
    let first = groups.next().filter(|group| is_digits(group))?;
    groups.try_fold(first.replace('_', "").parse().ok()?, |sum: f64, group| {
        let value: f64 =
            group.parse().ok().filter(|_| matches!(group.len(), 1 | 2) && all(group, |c| c.is_ascii_digit()))?;
        (value < 60.0).then_some(sum * 60.0 + value)
    })
}

/// Floats need a dot, and a sign in the exponent.
fn float(text: &str) -> Option<f64> {
    let (is_negative, digits) = split_sign(text);
    let sign = if is_negative { -1.0 } else { 1.0 };
    match digits {
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" if digits.len() == text.len() => return Some(f64::NAN),
        _ => {}
    }
    let (whole, fraction) = digits.split_once('.')?;
    if whole.contains(':') {
        let fraction = all(fraction, is_digit_or_underscore).then(|| fraction.replace('_', ""))?;
        let fraction: f64 = format!("0.{fraction}0").parse().ok()?;
        return Some(sign * (base_60(whole)? + fraction));
    }
    let mantissa = match fraction.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let digits = exponent.strip_prefix(['-', '+'])?;
            (!digits.is_empty() && all(digits, |c| c.is_ascii_digit())).then_some(mantissa)?
        }
        None => fraction,
    };
    let is_number = if whole.is_empty() {
        digits.len() == text.len() && is_digits(mantissa)
    } else {
        is_digits(whole) && all(mantissa, is_digit_or_underscore)
    };
    is_number.then(|| text.replace('_', "").parse().ok()).flatten()
}

/// `YYYY-MM-DD`, alone or followed by a time.
fn is_timestamp(text: &str) -> bool {
    let (date, time) = text.split_at(text.find(['T', 't', ' ', '\t']).unwrap_or(text.len()));
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts[..] else {
        return false;
    };
    let is_number = |part: &str| all(part, |c| c.is_ascii_digit());
    let is_short = |part: &str| matches!(part.len(), 1 | 2) && is_number(part);
    if year.len() != 4 || !is_number(year) || !is_short(month) || !is_short(day) {
        return false;
    }
    if time.is_empty() {
        return month.len() == 2 && day.len() == 2;
    }
    time.contains(':') && all(time, |c| c.is_ascii_digit() || "Tt \t:.Z+-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of(text: &str) -> Value {
        parse(text).unwrap()
    }

    #[test]
    fn plain_scalars_follow_yaml_1_1() {
        let cases: &[(&str, Value)] = &[
            ("yes", Value::Bool(true)),
            ("Off", Value::Bool(false)),
            ("y", Value::Text("y".to_owned())),
            ("~", Value::Null),
            ("", Value::Null),
            ("# nothing", Value::Null),
            ("010", Value::Int(8)),
            ("08", Value::Text("08".to_owned())),
            ("0x1F", Value::Int(31)),
            ("0b101", Value::Int(5)),
            ("0o17", Value::Text("0o17".to_owned())),
            ("1_000", Value::Int(1000)),
            ("-5", Value::Int(-5)),
            ("+5", Value::Int(5)),
            ("1:30", Value::Int(90)),
            ("1:30.5", Value::Float(90.5)),
            ("1:99", Value::Text("1:99".to_owned())),
            ("1.", Value::Float(1.0)),
            (".5", Value::Float(0.5)),
            ("-.5", Value::Text("-.5".to_owned())),
            ("1.5e+3", Value::Float(1500.0)),
            ("1.5e3", Value::Text("1.5e3".to_owned())),
            ("1e3", Value::Text("1e3".to_owned())),
            ("-.inf", Value::Float(f64::NEG_INFINITY)),
            ("2024-01-02", Value::Timestamp("2024-01-02".to_owned())),
            ("2024-1-2", Value::Text("2024-1-2".to_owned())),
            ("'yes'", Value::Text("yes".to_owned())),
            ("\"1\"", Value::Text("1".to_owned())),
            ("!!str 1", Value::Text("1".to_owned())),
            ("! 1", Value::Text("1".to_owned())),
            ("!!int '7'", Value::Int(7)),
            ("!!float 7", Value::Float(7.0)),
            ("\u{feff}1", Value::Int(1)),
        ];
        for (text, expected) in cases {
            assert_eq!(value_of(text), *expected, "{text}");
        }
    }

    #[test]
    fn collections_merge_and_repeat_as_in_python() {
        let Value::Mapping(mapping) =
            value_of("base: &b {x: 1, y: 2}\nboth: {<<: *b, y: 3}\nlist: {<<: [*b, {y: 9, z: 4}]}\nbase: 5")
        else {
            panic!("a mapping");
        };
        let entry = |key: &str, inner: &str| match mapping.get(key) {
            Some(Value::Mapping(mapping)) => mapping.get(inner).cloned(),
            _ => None,
        };
        assert_eq!(mapping.get("base"), Some(&Value::Int(5)));
        assert_eq!(mapping.iter().next().unwrap().0, "base");
        assert_eq!(entry("both", "x"), Some(Value::Int(1)));
        assert_eq!(entry("both", "y"), Some(Value::Int(3)));
        assert_eq!(entry("list", "y"), Some(Value::Int(2)));
        assert_eq!(entry("list", "z"), Some(Value::Int(4)));
    }

    #[test]
    fn hostile_texts_end_in_an_error() {
        for text in [
            "a: &a [*a]",
            "a: *nothing",
            "a: 1\n---\nb: 2",
            "? [a]\n: 1",
            "a: =",
            "a: !!binary aGk=",
            "a: !python/object:os.system x",
            "a: {<<: 5}",
            "a: [",
            "a: 'x",
            "\t- a:\n b",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&"- ".repeat(100_000)).is_err());
        assert!(parse(&"{a: ".repeat(100_000)).is_err());
    }

    #[test]
    fn nested_aliases_cost_nothing() {
        let lists = (1..60).map(|i| format!("a{i}: &a{i} [*a{0}, *a{0}]\n", i - 1));
        let text: String = std::iter::once("a0: &a0 [x]\n".to_owned()).chain(lists).collect();
        let merges = (1..60).map(|i| format!("m{i}: &m{i} {{<<: [*m{0}, *m{0}]}}\n", i - 1));
        let merges: String = std::iter::once("m0: &m0 {k: v}\n".to_owned()).chain(merges).collect();
        parse(&text).unwrap();
        parse(&merges).unwrap();
    }
}
