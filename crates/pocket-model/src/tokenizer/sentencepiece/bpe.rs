//! Byte-pair encoding: neighbours are merged, the pair with the highest score first.
//!
//! Of equal scores the leftmost pair is merged first. Merges may pass through pieces that are marked
//! as unused; those are taken apart again in the end.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::normalizer::longest_symbol;
use super::proto::PieceKind;
use super::utf8::step_len;
use super::vocabulary::Vocabulary;
use super::{Cut, CutPiece};

/// Unused pieces are taken apart to this depth.
const MAX_DEPTH: usize = 100;

/// A stretch of the text that has not been merged into its left neighbour, if `end` is not `start`.
struct Symbol {
    start: usize,
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
    is_frozen: bool,
}

/// Two neighbours that make a piece of `n_bytes`.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    n_bytes: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        // The library compares the bits of the scores, which is the total order of IEEE 754.
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Pair {}

/// Cuts `text` into pieces.
pub(super) fn cut(vocabulary: &Vocabulary, text: &[u8]) -> Cut {
    Merger { vocabulary, text, symbols: symbols(vocabulary, text), agenda: BinaryHeap::new(), halves: HashMap::new() }
        .cut()
}

/// The characters of a text, and its user-defined symbols, which are never merged.
fn symbols(vocabulary: &Vocabulary, text: &[u8]) -> Vec<Symbol> {
    let mut symbols: Vec<Symbol> = Vec::with_capacity(text.len());
    let mut start = 0;
    while start < text.len() {
        let rest = &text[start..];
        let symbol = vocabulary.symbols.as_ref().and_then(|symbols| longest_symbol(symbols, rest));
        let end = start + symbol.unwrap_or_else(|| step_len(rest));
        let index = symbols.len();
        let next = (end < text.len()).then_some(index + 1);
        symbols.push(Symbol { start, end, previous: index.checked_sub(1), next, is_frozen: symbol.is_some() });
        start = end;
    }
    symbols
}

struct Merger<'a> {
    vocabulary: &'a Vocabulary,
    text: &'a [u8],
    symbols: Vec<Symbol>,
    agenda: BinaryHeap<Pair>,
    /// How many bytes the left part of each unused piece had when it was merged last.
    halves: HashMap<&'a [u8], usize>,
}

impl Merger<'_> {
    fn cut(mut self) -> Cut {
        for left in 1..self.symbols.len() {
            self.propose(left - 1, left);
        }
        while let Some(pair) = self.agenda.pop() {
            let (left, right) = (&self.symbols[pair.left], &self.symbols[pair.right]);
            let n_left = left.end - left.start;
            let n_right = right.end - right.start;
            if n_left == 0 || n_right == 0 || n_left + n_right != pair.n_bytes {
                continue; // one of them has been merged since
            }
            let (end, next) = (right.end, right.next);
            self.symbols[pair.right].end = self.symbols[pair.right].start;
            self.symbols[pair.left].end = end;
            self.symbols[pair.left].next = next;
            if let Some(next) = next {
                self.symbols[next].previous = Some(pair.left);
            }
            if let Some(previous) = self.symbols[pair.left].previous {
                self.propose(previous, pair.left);
            }
            if let Some(next) = next {
                self.propose(pair.left, next);
            }
        }
        let mut cut = Vec::new();
        let mut index = (!self.symbols.is_empty()).then_some(0);
        while let Some(symbol) = index.map(|index| &self.symbols[index]) {
            self.take_apart(&self.text[symbol.start..symbol.end], 0, &mut cut);
            index = symbol.next;
        }
        cut
    }

    /// Puts two neighbours on the agenda if they make a piece.
    fn propose(&mut self, left: usize, right: usize) {
        let (first, second) = (&self.symbols[left], &self.symbols[right]);
        if first.is_frozen || second.is_frozen {
            return;
        }
        let text = &self.text[first.start..second.end];
        let Some(id) = self.vocabulary.find(text) else { return };
        if self.vocabulary.kind(id) == PieceKind::Unused {
            self.halves.insert(text, first.end - first.start);
        }
        self.agenda.push(Pair { score: self.vocabulary.score(id), left, right, n_bytes: text.len() });
    }

    fn take_apart(&self, text: &[u8], depth: usize, cut: &mut Cut) {
        let id = self.vocabulary.find(text);
        let is_unused = id.is_some_and(|id| self.vocabulary.kind(id) == PieceKind::Unused);
        let id = match self.halves.get(text) {
            _ if !is_unused || depth > MAX_DEPTH => id,
            Some(&n_left) => {
                self.take_apart(&text[..n_left], depth + 1, cut);
                self.take_apart(&text[n_left..], depth + 1, cut);
                return;
            }
            None => None,
        };
        cut.push(CutPiece { n_bytes: text.len(), id: id.or(self.vocabulary.unknown) });
    }
}
