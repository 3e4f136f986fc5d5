//! What happens to a text before it is cut into pieces: rules, white space, the space in front.

use super::charsmap::Charsmap;
use super::proto::NormalizerSpec;
use super::trie::Trie;
use super::utf8::first_char;

/// Stands for a space inside of pieces: U+2581.
pub(super) const SPACE_MARK: &[u8] = "▁".as_bytes();
/// A rule may make a text longer, but not without end: no more than `GROWTH · n + SLACK` bytes.
const MAX_GROWTH: usize = 256;
const MAX_GROWTH_SLACK: usize = 1 << 20;
/// Longer symbols are not looked for once so many shorter ones match.
const MAX_SYMBOL_MATCHES: usize = 64;

/// Where the space that words begin or end with is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DummySpace {
    None,
    Before,
    After,
}

/// A normaliser; immutable.
#[derive(Clone, Debug)]
pub(super) struct Normalizer {
    charsmap: Option<Charsmap>,
    dummy_space: DummySpace,
    removes_extra_whitespaces: bool,
    space: &'static [u8],
}

impl Normalizer {
    /// The error says what is wrong with the rules.
    pub(super) fn new(spec: &NormalizerSpec<'_>, treats_whitespace_as_suffix: bool) -> Result<Self, String> {
        let blob = spec.precompiled_charsmap;
        Ok(Self {
            charsmap: if blob.is_empty() { None } else { Some(Charsmap::parse(blob)?) },
            dummy_space: match (spec.adds_dummy_prefix, treats_whitespace_as_suffix) {
                (false, _) => DummySpace::None,
                (true, false) => DummySpace::Before,
                (true, true) => DummySpace::After,
            },
            removes_extra_whitespaces: spec.removes_extra_whitespaces,
            space: if spec.escapes_whitespaces { SPACE_MARK } else { b" " },
        })
    }

    /// The text as the model cuts it; `symbols` are kept as they are.
    ///
    /// The error says that the text became too long.
    pub(super) fn normalize(&self, text: &[u8], symbols: Option<&Trie>) -> Result<Vec<u8>, String> {
        let mut rest = text;
        if self.removes_extra_whitespaces {
            while let (b" ", length @ 1..) = self.next(rest, symbols) {
                rest = &rest[length..];
            }
        }
        if rest.is_empty() {
            return Ok(Vec::new());
        }
        let mut normalized = Vec::with_capacity(rest.len() + rest.len() / 2);
        if self.dummy_space == DummySpace::Before {
            normalized.extend_from_slice(self.space);
        }
        let mut is_after_space = self.removes_extra_whitespaces;
        while !rest.is_empty() {
            let (mut part, length) = self.next(rest, symbols);
            if is_after_space {
                part = without_leading_spaces(part);
            }
            for &byte in part {
                match byte {
                    b' ' => normalized.extend_from_slice(self.space),
                    _ => normalized.push(byte),
                }
            }
            if let Some(&last) = part.last() {
                is_after_space = self.removes_extra_whitespaces && last == b' ';
            }
            rest = &rest[length..];
            if normalized.len() > MAX_GROWTH * text.len() + MAX_GROWTH_SLACK {
                return Err(format!("its rules turn a text of {} bytes into one without end", text.len()));
            }
        }
        if self.removes_extra_whitespaces {
            while normalized.ends_with(self.space) {
                normalized.truncate(normalized.len() - self.space.len());
            }
        }
        if self.dummy_space == DummySpace::After {
            normalized.extend_from_slice(self.space);
        }
        Ok(normalized)
    }

    /// What the start of `text` becomes, and how many of its bytes that stands for: 0 at the end only.
    fn next<'a>(&'a self, text: &'a [u8], symbols: Option<&Trie>) -> (&'a [u8], usize) {
        if let Some(length) = symbols.and_then(|symbols| longest_symbol(symbols, text)) {
            return (&text[..length], length);
        }
        if let Some((length, replacement)) = self.charsmap.as_ref().and_then(|rules| rules.longest_match(text)) {
            return (replacement, length);
        }
        match first_char(text) {
            Some(c) => (&text[..c.len_utf8()], c.len_utf8()),
            None => ("\u{fffd}".as_bytes(), text.len().min(1)),
        }
    }
}

/// The length of the longest symbol that `text` begins with.
pub(super) fn longest_symbol(symbols: &Trie, text: &[u8]) -> Option<usize> {
    symbols.prefixes(text).take(MAX_SYMBOL_MATCHES).last().map(|(length, _)| length)
}

fn without_leading_spaces(bytes: &[u8]) -> &[u8] {
    let n_spaces = bytes.iter().take_while(|&&byte| byte == b' ').count();
    &bytes[n_spaces..]
}
