//! Telling the point of a decimal number, which ends no sentence.
//!
//! The question is whether the tokens before a cut, decoded by themselves, end in a digit and a point,
//! and those after it, decoded by themselves, begin with a digit. A space at the start is lost in
//! decoding with most files, so `2. 3` counts as a number with these.

use std::collections::HashMap;

use super::python;
use crate::error::Error;
use crate::tokenizer::{Piece, Tokenizer, first_char_lossy, lossy_chars};

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
        if !tokenizer.joins_pieces() {
            return Self::Decode { tokenizer, ids };
        }
        let mut by_id = HashMap::new();
        for &id in ids {
            by_id.entry(id).or_insert_with(|| tokenizer.piece(id));
        }
        let pieces: Vec<&Piece> = ids.iter().map(|id| &by_id[id]).collect();
        let is_known = pieces_end_in_decimal(&pieces).into_iter().zip(pieces_begin_with_digit(&pieces));
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

/// For every index: do the pieces before it, joined, end in a digit and a point?
fn pieces_end_in_decimal(pieces: &[&Piece]) -> Vec<bool> {
    let mut end = End::default();
    // The bytes at the end that a further one may complete to a character.
    let mut bytes: Vec<u8> = Vec::new();
    let mut is_start = true;
    let mut answers = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let mut end_here = end;
        lossy_chars(&bytes).for_each(|c| end_here.push(c));
        answers.push(end_here.is_decimal());
        if let Piece::Byte(byte) = piece {
            bytes.push(*byte);
            // Whatever follows, the first character of so many bytes is complete.
            if bytes.len() == MAX_CHAR_BYTES
                && let Some((c, length)) = first_char_lossy(&bytes)
            {
                end.push(c);
                bytes.drain(..length);
                is_start = false;
            }
            continue;
        }
        is_start &= bytes.is_empty();
        bytes.clear();
        end = end_here;
        if let Piece::Text { at_start, inside, ends_start } = piece {
            let text = if is_start { at_start } else { inside };
            text.chars().for_each(|c| end.push(c));
            is_start &= !ends_start;
        }
    }
    answers
}

/// For every index: do the pieces from there on, joined, begin with a digit?
fn pieces_begin_with_digit(pieces: &[&Piece]) -> Vec<bool> {
    // The first characters of what follows, when it stands at the start and when not.
    let (mut at_start, mut inside) = (None, None);
    // The bytes that follow at once, as many as a character may have.
    let mut bytes: Vec<u8> = Vec::new();
    let mut answers = vec![false; pieces.len()];
    for (answer, piece) in answers.iter_mut().zip(pieces).rev() {
        match piece {
            Piece::Text { at_start: first, inside: later, ends_start } => {
                at_start = first.chars().next().or(if *ends_start { inside } else { at_start });
                inside = later.chars().next().or(inside);
                bytes.clear();
            }
            Piece::Byte(byte) => {
                bytes.insert(0, *byte);
                bytes.truncate(MAX_CHAR_BYTES);
                at_start = first_char_lossy(&bytes).map(|(c, _)| c);
                inside = at_start;
            }
            Piece::Hidden => bytes.clear(),
        }
        *answer = at_start.is_some_and(python::is_digit);
    }
    answers
}
