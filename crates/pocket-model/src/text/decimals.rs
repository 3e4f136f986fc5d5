//! Telling the point of a decimal number, which ends no sentence.
//!
//! The question is whether the tokens before a cut, decoded by themselves, end in a digit and a point,
//! and those after it, decoded by themselves, begin with a digit. A space at the start is lost in
//! decoding with most files, so `2. 3` counts as a number with these.

use std::collections::HashMap;

use super::python;
use crate::error::Error;
use crate::tokenizer::{ByteRuns, Piece, Tokenizer, first_char};

/// The longest character in bytes.
const MAX_CHAR_BYTES: usize = 4;

/// Answers the question for the cuts of one text.
pub(super) enum Decimals<'a> {
    /// The answer for every index, found in two passes over the tokens.
    Known(Vec<bool>),
    /// To be decoded on demand: the decoder of the file does more than join pieces.
    Decode { tokenizer: &'a Tokenizer, ids: &'a [u32] },
}

impl<'a> Decimals<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, ids: &'a [u32]) -> Self {
        let Some(runs) = tokenizer.joins_pieces() else { return Self::Decode { tokenizer, ids } };
        let mut by_id = HashMap::new();
        for &id in ids {
            by_id.entry(id).or_insert_with(|| tokenizer.piece(id));
        }
        let pieces: Vec<&Piece> = ids.iter().map(|id| &by_id[id]).collect();
        let is_known = pieces_end_in_decimal(&pieces, runs).into_iter().zip(pieces_begin_with_digit(&pieces, runs));
        Self::Known(is_known.map(|(before, after)| before && after).collect())
    }

    /// Whether the cut before the token `cut` lies in a number.
    pub(super) fn are_around(&self, cut: usize) -> Result<bool, Error> {
        match self {
            Self::Known(answers) => Ok(answers[cut]),
            Self::Decode { tokenizer, ids } => {
                let before = tokenizer.decode(&ids[..cut])?;
                let mut end = End::default();
                before.chars().for_each(|c| end.push(c));
                Ok(end.is_decimal() && tokenizer.decode(&ids[cut..])?.starts_with(python::is_digit))
            }
        }
    }
}

/// The last two characters of a text.
#[derive(Clone, Copy, Default)]
struct End {
    second_last: Option<char>,
    last: Option<char>,
}

impl End {
    fn push(&mut self, c: char) {
        *self = Self { second_last: self.last, last: Some(c) };
    }

    fn is_decimal(self) -> bool {
        self.last == Some('.') && self.second_last.is_some_and(python::is_digit)
    }
}

/// The bytes at the end of a text, which further ones may follow.
#[derive(Clone)]
struct Run {
    runs: ByteRuns,
    /// Those that a further byte may complete to a character: fewer than such a one has.
    open: Vec<u8>,
    is_empty: bool,
    is_utf8: bool,
}

impl Run {
    fn new(runs: ByteRuns) -> Self {
        Self { runs, open: Vec::new(), is_empty: true, is_utf8: true }
    }

    /// Adds a byte; characters that no further byte can change go to `end`.
    fn push(&mut self, byte: u8, end: &mut End) {
        self.is_empty = false;
        self.open.push(byte);
        if self.open.len() == MAX_CHAR_BYTES || first_char(&self.open).is_some() {
            self.take_char(end);
        }
    }

    fn take_char(&mut self, end: &mut End) {
        let c = first_char(&self.open);
        self.is_utf8 &= c.is_some();
        self.open.drain(..c.map_or(1, char::len_utf8));
        end.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
    }

    /// Ends the run; `end` gets its last characters.
    fn finish(&mut self, end: &mut End) {
        while !self.open.is_empty() {
            self.take_char(end);
        }
        if self.runs == ByteRuns::WholeRun && !self.is_utf8 {
            // One or more, of which two at most could count.
            end.push(char::REPLACEMENT_CHARACTER);
        }
        *self = Self::new(self.runs);
    }
}

/// For every index: do the pieces before it, joined, end in a digit and a point?
fn pieces_end_in_decimal(pieces: &[&Piece], runs: ByteRuns) -> Vec<bool> {
    let mut end = End::default();
    let mut run = Run::new(runs);
    let mut is_start = true;
    let mut answers = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let mut end_here = end;
        run.clone().finish(&mut end_here);
        answers.push(end_here.is_decimal());
        match piece {
            Piece::Byte(byte) => run.push(*byte, &mut end),
            Piece::Hidden if runs == ByteRuns::WholeRun => {}
            Piece::Text { .. } | Piece::Hidden => {
                is_start &= run.is_empty;
                run.finish(&mut end);
            }
        }
        if let Piece::Text { at_start, inside, ends_start } = piece {
            let text = if is_start { at_start } else { inside };
            text.chars().for_each(|c| end.push(c));
            is_start &= !ends_start;
        }
    }
    answers
}

/// For every index: do the pieces from there on, joined, begin with a digit?
fn pieces_begin_with_digit(pieces: &[&Piece], runs: ByteRuns) -> Vec<bool> {
    // The first characters of what follows, when it stands at the start and when not.
    let (mut at_start, mut inside) = (None, None);
    // The bytes that follow at once, as many as a character may have, and for each whether the run
    // is UTF-8 from there on; the last entry is for its end.
    let (mut bytes, mut is_utf8_from) = (Vec::new(), vec![true]);
    let mut answers = vec![false; pieces.len()];
    for (answer, piece) in answers.iter_mut().zip(pieces).rev() {
        match piece {
            Piece::Byte(byte) => {
                bytes.insert(0, *byte);
                bytes.truncate(MAX_CHAR_BYTES);
                let c = first_char(&bytes);
                let is_utf8 = c.is_some_and(|c| is_utf8_from[c.len_utf8() - 1]);
                is_utf8_from.insert(0, is_utf8);
                is_utf8_from.truncate(MAX_CHAR_BYTES + 1);
                let c = c.filter(|_| is_utf8 || runs == ByteRuns::EachChar);
                at_start = Some(c.unwrap_or(char::REPLACEMENT_CHARACTER));
                inside = at_start;
            }
            Piece::Hidden if runs == ByteRuns::WholeRun => {}
            Piece::Text { .. } | Piece::Hidden => {
                bytes.clear();
                is_utf8_from = vec![true];
            }
        }
        if let Piece::Text { at_start: first, inside: later, ends_start } = piece {
            at_start = first.chars().next().or(if *ends_start { inside } else { at_start });
            inside = later.chars().next().or(inside);
        }
        *answer = at_start.is_some_and(python::is_digit);
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;
    use crate::tokenizer::sentence_piece_models;

    const PLAIN: &str = include_str!("../../testdata/tokenizer_plain.json");

    /// The plain tokenizer with byte tokens behind its own, and the decoder of the released models.
    fn json_with_bytes() -> Tokenizer {
        let mut document: serde_json::Value = serde_json::from_str(PLAIN).unwrap();
        let pieces = document["model"]["vocab"].as_array_mut().unwrap();
        pieces.extend((0..=255).map(|byte| serde_json::json!([format!("<0x{byte:02X}>"), -9.0])));
        document["model"]["byte_fallback"] = true.into();
        document["decoder"] = serde_json::json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
        ]});
        Tokenizer::from_bytes(document.to_string().as_bytes(), "t.json".as_ref(), true).unwrap()
    }

    #[test]
    fn joined_pieces_and_whole_decodings_agree() {
        let mut random = Random::new(9);
        let plain = Tokenizer::from_bytes(PLAIN.as_bytes(), "t.json".as_ref(), true).unwrap();
        let mut n_decimals = 0;
        // Each with the first of its byte tokens.
        let tokenizers = [(plain, 0), (json_with_bytes(), 30)].into_iter();
        for (tokenizer, first_byte) in tokenizers.chain(sentence_piece_models().into_iter().map(|model| (model, 3))) {
            let Some(_) = tokenizer.joins_pieces() else { continue };
            let n_tokens = tokenizer.vocab_size();
            let digits_and_points = tokenizer.encode("1 2. 3.4.5 . 7 ٣.٣ 日").unwrap();
            for _ in 0..4000 {
                let token = |_| match random.below(6) {
                    0 => random.below(n_tokens) as u32,
                    1 | 2 => digits_and_points[random.below(digits_and_points.len())],
                    3 => random.below(4) as u32,
                    _ => first_byte + u32::from(b"..112\xd9\xa3\xe6\x97\xa5\xf0 "[random.below(12)]),
                };
                let ids: Vec<u32> = (0..10).map(token).filter(|&id| (id as usize) < n_tokens).collect();
                let joined = Decimals::new(&tokenizer, &ids);
                assert!(matches!(joined, Decimals::Known(_)));
                let whole = Decimals::Decode { tokenizer: &tokenizer, ids: &ids };
                for cut in 0..ids.len() {
                    let expected = whole.are_around(cut).unwrap();
                    assert_eq!(joined.are_around(cut).unwrap(), expected, "{ids:?} at {cut}");
                    n_decimals += usize::from(expected);
                }
            }
        }
        assert!(n_decimals > 500, "only {n_decimals} cuts lie in a number");
    }
}
