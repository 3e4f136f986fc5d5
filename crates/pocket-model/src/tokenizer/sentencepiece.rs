//! `SentencePiece` models: text to token ids and back, exactly as the library of that name.
//!
//! A text is normalised ([`normalizer`]), cut into pieces ([`unigram`], [`bpe`], words or
//! characters), and the pieces are numbered. All of it works on bytes: pieces and rules of a file
//! need not be UTF-8. Source: `sentencepiece` 0.2.3, `sentencepiece_processor.cc`.

mod bpe;
mod charsmap;
mod normalizer;
mod proto;
#[cfg(test)]
pub(crate) mod tests;
mod trie;
mod unigram;
mod utf8;
mod vocabulary;

pub(crate) use utf8::first_char;

use normalizer::{Normalizer, SPACE_MARK, longest_symbol};
use proto::{ModelProto, ModelType, PieceKind};
use unigram::Unigram;
use utf8::{lossy_chars, step_len};
use vocabulary::{MAX_PIECE_BYTES, Vocabulary, byte_of};

use super::Piece;

/// A piece of a text: its length, and its id if it or the unknown piece has one.
#[derive(Clone, Copy, Debug)]
struct CutPiece {
    n_bytes: usize,
    id: Option<u32>,
}

/// The pieces of a text, in order.
type Cut = Vec<CutPiece>;

/// How a text is cut.
#[derive(Clone, Debug)]
enum Model {
    Unigram(Unigram),
    Bpe,
    Word,
    Char,
}

/// A `.model` file.
#[derive(Clone, Debug)]
pub(super) struct SentencePiece {
    vocabulary: Vocabulary,
    model: Model,
    normalizer: Normalizer,
    denormalizer: Option<Normalizer>,
    /// What an unknown token reads.
    unk_surface: Box<[u8]>,
    /// Whether decoding leaves out a space mark at the start of a text.
    strips_leading_mark: bool,
    /// Whether it leaves out the marks of all leading pieces, not only of the first.
    strips_all_leading_marks: bool,
}

impl SentencePiece {
    /// Reads a file; the error says what is wrong with it.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let proto = ModelProto::parse(bytes)?;
        if proto.pieces.is_empty() {
            return Err("it has no pieces".to_owned());
        }
        let vocabulary = Vocabulary::new(&proto)?;
        let (trainer, normalizer, denormalizer) = (&proto.trainer, &proto.normalizer, &proto.denormalizer);
        if trainer.unk_surface.len() >= MAX_PIECE_BYTES {
            let n_bytes = trainer.unk_surface.len();
            return Err(format!("its unk_surface has {n_bytes} bytes, expected less than {MAX_PIECE_BYTES}"));
        }
        Ok(Self {
            model: match trainer.model_type {
                ModelType::Unigram => Model::Unigram(Unigram::new(&vocabulary)?),
                ModelType::Bpe => Model::Bpe,
                ModelType::Word => Model::Word,
                ModelType::Char => Model::Char,
            },
            normalizer: Normalizer::new(normalizer, trainer.treats_whitespace_as_suffix)?,
            denormalizer: if denormalizer.precompiled_charsmap.is_empty() {
                None
            } else {
                Some(Normalizer::new(denormalizer, false)?)
            },
            unk_surface: trainer.unk_surface.into(),
            strips_leading_mark: normalizer.adds_dummy_prefix || normalizer.removes_extra_whitespaces,
            strips_all_leading_marks: normalizer.removes_extra_whitespaces,
            vocabulary,
        })
    }

    /// The error says what the file's rules do with the text.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        let normalized = self.normalizer.normalize(text.as_bytes(), self.vocabulary.symbols.as_ref())?;
        let mut ids = Vec::with_capacity(normalized.len() / 4 + 1);
        let mut rest = normalized.as_slice();
        let mut is_after_unknown = false;
        for piece in self.cut(&normalized) {
            let (text, behind) = rest.split_at(piece.n_bytes);
            rest = behind;
            let is_unknown = piece.id.is_none_or(|id| self.vocabulary.kind(id) == PieceKind::Unknown);
            match (&self.vocabulary.bytes, piece.id) {
                (Some(bytes), _) if is_unknown => ids.extend(text.iter().map(|&byte| bytes[usize::from(byte)])),
                // Neighbouring unknown characters are one token.
                (None, Some(id)) if !(is_unknown && is_after_unknown) => ids.push(id),
                (Some(_), Some(id)) => ids.push(id),
                _ => {}
            }
            is_after_unknown = is_unknown;
        }
        Ok(ids)
    }

    fn cut(&self, text: &[u8]) -> Cut {
        match &self.model {
            Model::Unigram(unigram) => unigram.cut(&self.vocabulary, text),
            Model::Bpe => bpe::cut(&self.vocabulary, text),
            Model::Word => self.numbered(text, |rest| {
                let mut end = step_len(rest);
                while end < rest.len() && !rest[end..].starts_with(SPACE_MARK) {
                    end += step_len(&rest[end..]);
                }
                end
            }),
            Model::Char => self.numbered(text, |rest| {
                let symbol = self.vocabulary.symbols.as_ref().and_then(|symbols| longest_symbol(symbols, rest));
                symbol.unwrap_or_else(|| step_len(rest))
            }),
        }
    }

    /// Pieces of the lengths that `length` gives for the rest of the text, looked up one by one.
    fn numbered(&self, text: &[u8], length: impl Fn(&[u8]) -> usize) -> Cut {
        let mut cut = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(length(rest));
            let id = self.vocabulary.find(piece).filter(|&id| self.vocabulary.kind(id) != PieceKind::Unused);
            cut.push(CutPiece { n_bytes: piece.len(), id: id.or(self.vocabulary.unknown) });
            rest = behind;
        }
        cut
    }

    /// The error says which id or piece has no text.
    pub(super) fn decode(&self, ids: &[u32]) -> Result<String, String> {
        let mut text = Vec::new();
        let mut bytes = Vec::new();
        let mut is_at_start = true;
        for &id in ids {
            let entry = self.vocabulary.entries.get(id as usize);
            let entry = entry.ok_or_else(|| format!("it has no token {id}, only {}", self.vocab_size()))?;
            if let Some(byte) = byte_of(&entry.text).filter(|_| entry.kind == PieceKind::Byte) {
                bytes.push(byte);
                continue;
            }
            text.extend(lossy_chars(&bytes).collect::<String>().into_bytes());
            bytes.clear();
            is_at_start &= text.is_empty();
            if entry.kind != PieceKind::Control {
                is_at_start &= !self.append_piece(id, is_at_start, &mut text) && text.is_empty();
            }
        }
        text.extend(lossy_chars(&bytes).collect::<String>().into_bytes());
        if let Some(denormalizer) = &self.denormalizer {
            text = denormalizer.normalize(&text, None)?;
        }
        String::from_utf8(text).map_err(|_| "its pieces are not UTF-8".to_owned())
    }

    /// Appends what a piece reads; whether the start of the text is over though it may read nothing.
    fn append_piece(&self, id: u32, is_at_start: bool, text: &mut Vec<u8>) -> bool {
        let entry = &self.vocabulary.entries[id as usize];
        let stripped = entry.text.strip_prefix(SPACE_MARK).filter(|_| is_at_start && self.strips_leading_mark);
        if entry.kind == PieceKind::Unknown {
            text.extend_from_slice(&self.unk_surface);
        } else {
            let mut rest = stripped.unwrap_or(&entry.text);
            while let Some((&byte, behind)) = rest.split_first() {
                let (part, behind) = match rest.strip_prefix(SPACE_MARK) {
                    Some(behind) => (b' ', behind),
                    None => (byte, behind),
                };
                text.push(part);
                rest = behind;
            }
        }
        stripped.is_some() && !self.strips_all_leading_marks
    }

    /// Whether [`Self::decode`] does no more than join [`Self::piece`]s.
    pub(super) fn joins_pieces(&self) -> bool {
        let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
        self.denormalizer.is_none()
            && is_text(&self.unk_surface)
            && self.vocabulary.entries.iter().all(|entry| is_text(&entry.text))
    }

    pub(super) fn piece(&self, id: u32) -> Piece {
        let Some(entry) = self.vocabulary.entries.get(id as usize) else { return Piece::Hidden };
        match entry.kind {
            PieceKind::Control => Piece::Hidden,
            PieceKind::Byte => byte_of(&entry.text).map_or(Piece::Hidden, Piece::Byte),
            _ => {
                let (mut at_start, mut inside) = (Vec::new(), Vec::new());
                let is_start_over = self.append_piece(id, true, &mut at_start);
                self.append_piece(id, false, &mut inside);
                Piece::Text {
                    ends_start: is_start_over || !at_start.is_empty(),
                    at_start: String::from_utf8_lossy(&at_start).into_owned(),
                    inside: String::from_utf8_lossy(&inside).into_owned(),
                }
            }
        }
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.vocabulary.entries.len()
    }
}
