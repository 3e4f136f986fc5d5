//! The pieces of a model, checked as the library checks them, and the ways to find one.

use super::proto::{ModelProto, ModelType, PieceKind};
use super::trie::Trie;

/// Pieces are shorter than this many bytes.
pub(super) const MAX_PIECE_BYTES: usize = 8000;

/// One piece of the vocabulary.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) text: Box<[u8]>,
    pub(super) score: f32,
    pub(super) kind: PieceKind,
}

/// A checked vocabulary; immutable.
#[derive(Clone, Debug)]
pub(super) struct Vocabulary {
    pub(super) entries: Vec<Entry>,
    /// Pieces that text may match; for BPE all of them, as the library does.
    pub(super) matched: Trie,
    /// Symbols that neither the normaliser nor the model takes apart.
    pub(super) symbols: Option<Trie>,
    /// The piece for unknown characters; there may be none if there are byte pieces.
    pub(super) unknown: Option<u32>,
    /// The piece of every byte, where unknown characters are spelt by them.
    pub(super) bytes: Option<Vec<u32>>,
}

impl Vocabulary {
    /// The error says what is wrong with the pieces.
    pub(super) fn new(model: &ModelProto<'_>) -> Result<Self, String> {
        let has_byte_fallback = model.trainer.has_byte_fallback;
        let is_bpe = model.trainer.model_type == ModelType::Bpe;
        let (mut matched, mut reserved, mut symbols) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = vec![None; 256];
        let mut unknown = None;
        let mut entries = Vec::with_capacity(model.pieces.len());
        for (id, piece) in (0_u32..).zip(&model.pieces) {
            let (text, mut kind) = (piece.text, piece.kind);
            if text == b"\0" && has_byte_fallback {
                kind = PieceKind::Unused; // a leftover of converters
            }
            entries.push(Entry { text: text.into(), score: piece.score, kind });
            if text.is_empty() || text.len() >= MAX_PIECE_BYTES {
                let n_bytes = text.len();
                return Err(format!("piece {id} has {n_bytes} bytes, expected 1 to {}", MAX_PIECE_BYTES - 1));
            }
            if text == b"\0" && kind == PieceKind::Unused {
                continue;
            }
            if text.contains(&0) {
                return Err(format!("piece {id} contains a zero byte"));
            }
            if kind.is_text() || is_bpe { &mut matched } else { &mut reserved }.push((text, id));
            match kind {
                PieceKind::UserDefined => symbols.push((text, id)),
                PieceKind::Unknown if unknown.is_some() => return Err("it has two unknown pieces".to_owned()),
                PieceKind::Unknown => unknown = Some(id),
                PieceKind::Byte => {
                    let byte = byte_of(text).filter(|_| has_byte_fallback);
                    let byte = byte.ok_or_else(|| format!("byte piece {id} is not expected"))?;
                    bytes[usize::from(byte)] = Some(id);
                }
                _ => {}
            }
        }
        let twice = |text: &[u8]| format!("the piece {:?} occurs twice", String::from_utf8_lossy(text));
        // Only built to find strings that occur twice.
        Trie::new(&mut reserved).map_err(twice)?;
        let bytes = if has_byte_fallback {
            let all: Option<Vec<u32>> = bytes.into_iter().collect();
            Some(all.ok_or("it has byte_fallback but not a piece for every byte")?)
        } else {
            None
        };
        if unknown.is_none() && bytes.is_none() {
            return Err("it has no unknown piece".to_owned());
        }
        Ok(Self {
            entries,
            matched: Trie::new(&mut matched).map_err(twice)?,
            symbols: if symbols.is_empty() { None } else { Some(Trie::new(&mut symbols).map_err(twice)?) },
            unknown,
            bytes,
        })
    }

    pub(super) fn kind(&self, id: u32) -> PieceKind {
        self.entries[id as usize].kind
    }

    pub(super) fn score(&self, id: u32) -> f32 {
        self.entries[id as usize].score
    }

    /// The piece that text may match; None also for pieces that stand for no text.
    pub(super) fn find(&self, text: &[u8]) -> Option<u32> {
        self.matched.get(text).filter(|&id| self.kind(id).is_text())
    }
}

/// The byte that a piece like `<0x0A>` stands for.
pub(super) fn byte_of(piece: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(piece.strip_prefix(b"<0x")?.strip_suffix(b">")?).ok()?;
    let is_canonical = digits.len() == 2 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'));
    u8::from_str_radix(digits, 16).ok().filter(|_| is_canonical)
}
