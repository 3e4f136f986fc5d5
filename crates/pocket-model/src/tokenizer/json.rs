//! Tokenizers of the files that Hugging Face `tokenizers` writes.
//!
//! Only single texts are encoded: the batch functions of the `tokenizers` crate start a thread
//! pool, which a forked process would wait for in vain.

use std::panic::AssertUnwindSafe;

use tokenizers::{Decoder as _, DecoderWrapper};

use super::Piece;

/// Any error of the `tokenizers` crate.
pub(super) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// A `tokenizer.json`.
#[derive(Clone, Debug)]
pub(super) struct JsonTokenizer(tokenizers::Tokenizer);

impl JsonTokenizer {
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        // The library panics on some texts that are no JSON, so these are refused first.
        serde_json::from_slice::<serde_json::Value>(bytes)?;
        guarded(|| tokenizers::Tokenizer::from_bytes(bytes)).map(Self)
    }

    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, Fault> {
        Ok(guarded(|| self.0.encode(text, true))?.get_ids().to_vec())
    }

    pub(super) fn decode(&self, ids: &[u32]) -> Result<String, Fault> {
        guarded(|| self.0.decode(ids, true))
    }

    pub(super) fn joins_pieces(&self) -> bool {
        matches!(self.0.get_decoder(), Some(DecoderWrapper::Metaspace(_))) || self.byte_decoder().is_some()
    }

    /// What rewrites each token, where the decoder then does no more than read bytes and join: the
    /// decoder of the released models.
    fn byte_decoder(&self) -> Option<&DecoderWrapper> {
        let Some(DecoderWrapper::Sequence(sequence)) = self.0.get_decoder() else { return None };
        match sequence.get_decoders() {
            [rewrite @ DecoderWrapper::Replace(_), DecoderWrapper::ByteFallback(_), DecoderWrapper::Fuse(_)] => {
                Some(rewrite)
            }
            _ => None,
        }
    }

    pub(super) fn piece(&self, id: u32) -> Piece {
        self.text_piece(id).unwrap_or(Piece::Hidden)
    }

    fn text_piece(&self, id: u32) -> Option<Piece> {
        let token = self.0.id_to_token(id)?;
        if self.0.get_added_vocabulary().is_special_token(&token) {
            return None;
        }
        if let Some(rewrite) = self.byte_decoder() {
            let text = rewrite.decode_chain(vec![token]).ok()?.pop()?;
            return Some(match byte_of(&text) {
                Some(byte) => Piece::Byte(byte),
                None => Piece::Text { at_start: text.clone(), inside: text, ends_start: true },
            });
        }
        // The decoder treats the first token in its own way, whatever it leaves of it.
        let mut texts = self.0.get_decoder()?.decode_chain(vec![token.clone(), token]).ok()?.into_iter();
        Some(Piece::Text { at_start: texts.next()?, inside: texts.next()?, ends_start: true })
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.0.get_vocab_size(true)
    }
}

/// The byte that a token stands for, by the rule of the library's decoder.
fn byte_of(token: &str) -> Option<u8> {
    let is_byte = token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
    u8::from_str_radix(token.get(3..5).filter(|_| is_byte)?, 16).ok()
}

/// Turns a panic of the library, which broken files can cause, into an error.
fn guarded<T>(call: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // The library keeps only a cache behind its locks, and no lock is held across a panic that
    // would leave it half written: a tokenizer stays usable.
    std::panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err("its content is inconsistent".into()))
}
