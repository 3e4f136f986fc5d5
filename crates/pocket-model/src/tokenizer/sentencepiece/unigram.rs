//! The most probable sequence of pieces (the Viterbi algorithm).
//!
//! For every position the best way to reach it is kept: its score, and the piece that it ends with.
//! Scores are f32, added from the left, and the first of equals wins, as in the library: another
//! order would choose other pieces now and then. Sums beyond [`MAX_SCORE`] start again at zero, so
//! that long texts do not lose the scores of single pieces to rounding.

use super::proto::PieceKind;
use super::utf8::step_len;
use super::vocabulary::Vocabulary;
use super::{Cut, CutPiece};

/// An unknown character scores this much less than the least probable piece.
const UNKNOWN_PENALTY: f32 = 10.0;
const MAX_SCORE: f32 = 100_000.0;

/// Cuts texts by the scores of a vocabulary.
#[derive(Clone, Debug)]
pub(super) struct Unigram {
    unknown_score: f32,
}

/// The best way to a position.
#[derive(Clone, Copy)]
struct Best {
    score: f32,
    start: usize,
    id: Option<u32>,
}

impl Unigram {
    /// The error says what is wrong with the pieces.
    pub(super) fn new(vocabulary: &Vocabulary) -> Result<Self, String> {
        let entries = &vocabulary.entries;
        if let Some(id) = entries.iter().position(|entry| !entry.score.is_finite()) {
            return Err(format!("piece {id} has the score {}, expected a finite number", entries[id].score));
        }
        if !entries.iter().any(|entry| entry.kind.is_text()) {
            return Err("no piece of it matches text".to_owned());
        }
        let normal = entries.iter().filter(|entry| entry.kind == PieceKind::Normal);
        let min_score = normal.map(|entry| entry.score).fold(f32::MAX, f32::min);
        Ok(Self { unknown_score: min_score - UNKNOWN_PENALTY })
    }

    pub(super) fn cut(&self, vocabulary: &Vocabulary, text: &[u8]) -> Cut {
        let mut best: Vec<Option<Best>> = vec![None; text.len() + 1];
        best[0] = Some(Best { score: 0.0, start: 0, id: None });
        // The last position that has been reached.
        let mut frontier = 0;
        let mut start = 0;
        while start < text.len() {
            let mut score_here = best[start].map_or(0.0, |best| best.score);
            if score_here.abs() > MAX_SCORE {
                for reached in best[start..=frontier.max(start)].iter_mut().flatten() {
                    reached.score -= score_here;
                }
                score_here = 0.0;
            }
            let mut reach = |end: usize, score: f32, id: Option<u32>| {
                frontier = frontier.max(end);
                let score = score + score_here;
                if best[end].is_none_or(|best| score > best.score) {
                    best[end] = Some(Best { score, start, id });
                }
            };
            let n_step = step_len(&text[start..]);
            let mut is_char_known = false;
            for (length, id) in vocabulary.matched.prefixes(&text[start..]) {
                let score = match vocabulary.kind(id) {
                    PieceKind::Unused => continue,
                    // A bonus for each byte makes the symbol win over its parts.
                    PieceKind::UserDefined => (0.1 * (length as f64 - 1.0)) as f32,
                    _ => vocabulary.score(id),
                };
                reach(start + length, score, Some(id));
                is_char_known |= length == n_step;
            }
            if !is_char_known {
                reach(start + n_step, self.unknown_score, vocabulary.unknown);
            }
            start += n_step;
        }
        let mut cut = Vec::new();
        let mut end = text.len();
        while let Some(last) = best[end].filter(|_| end > 0) {
            cut.push(CutPiece { n_bytes: end - last.start, id: last.id });
            end = last.start;
        }
        cut.reverse();
        cut
    }
}
