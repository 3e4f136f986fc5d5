//! From a text to the chunks that the model speaks one at a time.
//!
//! A text is prepared as a whole ([`prepare_text`]), cut at sentence ends into chunks ([`split_text`]),
//! and each chunk is prepared once more: one that was cut at a comma gets a capital and a full stop.
//! Source: `pocket_tts.models.text_chunking`. Python's rules for white space, digits and case hold
//! (`text/python.rs`).

mod decimals;
mod python;
mod split;
#[cfg(test)]
mod tests;

pub use split::{overlong_chunks, split_text};

use std::collections::HashMap;

use crate::config::Config;
use crate::error::Error;

/// What ends a sentence.
const SENTENCE_MARKS: &[char] = &['.', '!', '?', '…'];
/// What cannot follow a sentence mark.
const CLAUSE_MARKS: &[char] = &[',', ';', ':'];
/// What gives way to a full stop at the end of a text.
const WEAK_MARKS: &[char] = &[',', ';', ':', '-', '–', '—'];
/// What may stand behind the mark that ends a sentence.
const CLOSERS: &[char] = &['"', '\'', '”', '’', ')', ']', '»'];

/// Texts of fewer words are padded, where the configuration asks for it.
const MIN_WORDS_UNPADDED: usize = 5;
const PADDING: &str = "        ";

/// Texts of at most this many words are followed by more frames.
const MAX_SHORT_WORDS: usize = 4;
const FRAMES_AFTER_SHORT_TEXT: usize = 5;
const FRAMES_AFTER_TEXT: usize = 3;

/// Prepares a text for the tokenizer as the configuration says: the text, and the frames that follow
/// the end of speech.
///
/// # Errors
/// [`Error::EmptyText`] when nothing is left.
pub fn prepare_text(config: &Config, text: &str) -> Result<(String, usize), Error> {
    let mut text = python::strip(text).to_owned();
    if !config.replace_characters.is_empty() {
        text = without_clause_marks_after_sentences(&replaced(&text, &config.replace_characters));
    }
    if text.is_empty() {
        return Err(Error::EmptyText);
    }
    // One pass over the double spaces: of four spaces two are left.
    text = text.replace(['\n', '\r'], " ").replace("  ", " ");
    if config.remove_semicolons {
        text = text.replace(';', ",");
    }
    let frames_after_eos = default_frames_after_eos(&text);
    if config.capitalize_first_letter {
        text = capitalized(&text);
    }
    if config.append_terminal_punctuation {
        text = with_terminal_mark(text);
    }
    if config.pad_with_spaces_for_short_inputs && python::words(&text).count() < MIN_WORDS_UNPADDED {
        text.insert_str(0, PADDING);
    }
    Ok((text, frames_after_eos))
}

/// The frames after the end of speech that the reference chooses by itself for a text.
#[must_use]
pub(crate) fn default_frames_after_eos(text: &str) -> usize {
    if python::words(text).count() <= MAX_SHORT_WORDS { FRAMES_AFTER_SHORT_TEXT } else { FRAMES_AFTER_TEXT }
}

/// Rewrites characters, none of them twice, then joins the words by single spaces.
fn replaced(text: &str, replacements: &[(char, String)]) -> String {
    let replacements: HashMap<char, &str> = replacements.iter().map(|(from, to)| (*from, to.as_str())).collect();
    let mut rewritten = String::with_capacity(text.len());
    for c in text.chars() {
        match replacements.get(&c) {
            Some(to) => rewritten.push_str(to),
            None => rewritten.push(c),
        }
    }
    let mut joined = String::with_capacity(rewritten.len());
    for word in python::words(&rewritten) {
        if !joined.is_empty() {
            joined.push(' ');
        }
        joined.push_str(word);
    }
    joined
}

/// Drops the first clause mark behind each sentence mark, with the white space between them: deleted
/// quotes leave such pairs. One pass, as by `re.sub(r"([.!?…])\s*[,;:]", r"\1", text)`.
fn without_clause_marks_after_sentences(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        result.push(c);
        rest = &rest[c.len_utf8()..];
        if SENTENCE_MARKS.contains(&c) {
            let behind = python::strip_start(rest);
            rest = behind.strip_prefix(CLAUSE_MARKS).unwrap_or(rest);
        }
    }
    result
}

/// The text with its first character in upper case, which may be several characters (`ß`).
fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return String::new() };
    python::uppercase(first).chain(chars).collect()
}

/// Makes a text end with a sentence mark, which closing quotes and brackets may follow.
fn with_terminal_mark(mut text: String) -> String {
    let core = text.trim_end_matches(is_space_or(CLOSERS));
    if core.is_empty() || core.ends_with(SENTENCE_MARKS) {
        return text;
    }
    if core.ends_with(WEAK_MARKS) {
        let closers = text[core.len()..].trim_matches(' ');
        return format!("{}.{closers}", core.trim_end_matches(is_space_or(WEAK_MARKS)));
    }
    text.push('.');
    text
}

fn is_space_or(marks: &[char]) -> impl Fn(char) -> bool {
    |c| c == ' ' || marks.contains(&c)
}
