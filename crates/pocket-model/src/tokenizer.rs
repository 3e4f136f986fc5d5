//! Text to token ids and back: `tokenizer.json` files and `SentencePiece` models.

mod json;
mod sentencepiece;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use json::{Fault, JsonTokenizer};
use sentencepiece::SentencePiece;
pub(crate) use sentencepiece::first_char;

use crate::bundle::local_path;
use crate::config::LookupTableConfig;
use crate::error::Error;
use crate::files;

/// Vocabularies are a few megabytes; anything larger is another file.
const MAX_JSON_BYTES: u64 = 1 << 28;
/// The largest known is 5 MB; the tables in memory take up to twenty times as much.
const MAX_SENTENCE_PIECE_BYTES: u64 = 1 << 24;

/// What a token adds to a decoded text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text, which differs at the start of the whole.
    Text {
        at_start: String,
        inside: String,
        /// Whether the token that follows one at the start is inside.
        ends_start: bool,
    },
    /// A byte; neighbouring ones are UTF-8 together, as [`ByteRuns`] tells.
    Byte(u8),
    /// Nothing.
    Hidden,
}

/// How neighbouring [`Piece::Byte`]s are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteRuns {
    /// Character by character, U+FFFD for every byte that belongs to none; hidden pieces end a run.
    EachChar,
    /// As a whole, U+FFFD for every byte if anything is no UTF-8; hidden pieces are skipped.
    WholeRun,
}

#[derive(Clone, Debug)]
enum Kind {
    Json(Box<JsonTokenizer>),
    SentencePiece(Box<SentencePiece>),
}

/// A tokenizer whose vocabulary fits the embedding table; immutable and shared by threads.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    path: PathBuf,
    kind: Kind,
}

impl Tokenizer {
    /// Opens the tokenizer that a configuration names and checks the size of its vocabulary.
    ///
    /// # Errors
    /// When the file is not local, and as [`Self::open`].
    pub fn from_config(config: &LookupTableConfig) -> Result<Self, Error> {
        let path = local_path(&config.tokenizer_path, "flow_lm.lookup_table.tokenizer_path")?;
        Self::open(&path, Self::is_json(&config.tokenizer, &config.tokenizer_path), config.n_bins)
    }

    /// Whether a tokenizer is a `tokenizer.json`, else a `SentencePiece` model.
    ///
    /// `kind` is `flow_lm.lookup_table.tokenizer` and `address` the configured address, not that of
    /// a downloaded copy: what follows an `@` in it is a revision.
    #[must_use]
    pub fn is_json(kind: &str, address: &str) -> bool {
        let without_revision = address.split('@').next().unwrap_or_default();
        #[expect(clippy::case_sensitive_file_extension_comparisons, reason = "the reference tells the cases apart")]
        let is_json_path = without_revision.ends_with(".json");
        matches!(kind, "tokenizers" | "json") || is_json_path
    }

    /// Opens a local file of the kind that [`Self::is_json`] tells, with a vocabulary of `n_bins`.
    ///
    /// # Errors
    /// When the file is unreadable, of the other kind, damaged, or of another vocabulary.
    pub fn open(path: &Path, is_json: bool, n_bins: usize) -> Result<Self, Error> {
        let limit = if is_json { MAX_JSON_BYTES } else { MAX_SENTENCE_PIECE_BYTES };
        let bytes = files::read(path, "tokenizer file", limit)?;
        let tokenizer = Self::from_bytes(&bytes, path, is_json)?;
        let actual = tokenizer.vocab_size();
        if actual == n_bins {
            return Ok(tokenizer);
        }
        Err(Error::VocabularySize { path: path.to_owned(), expected: n_bins, actual })
    }

    pub(crate) fn from_bytes(bytes: &[u8], path: &Path, is_json: bool) -> Result<Self, Error> {
        let kind = if is_json {
            let json = JsonTokenizer::from_bytes(bytes).map_err(|source| json_fault(path, source))?;
            Kind::Json(Box::new(json))
        } else {
            let model = SentencePiece::from_bytes(bytes).map_err(|reason| sentence_piece_fault(path, reason))?;
            Kind::SentencePiece(Box::new(model))
        };
        Ok(Self { path: path.to_owned(), kind })
    }

    /// The token ids of a text, with the special tokens that a `tokenizer.json` prescribes.
    ///
    /// # Errors
    /// When the file's rules fail on the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        match &self.kind {
            Kind::Json(json) => json.encode(text).map_err(|source| json_fault(&self.path, source)),
            Kind::SentencePiece(model) => model.encode(text).map_err(|reason| sentence_piece_fault(&self.path, reason)),
        }
    }

    /// The text of token ids, without special tokens; a `tokenizer.json` leaves unknown ids out.
    ///
    /// # Errors
    /// When the file's rules fail on the ids, or a `SentencePiece` model has not got one of them.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        match &self.kind {
            Kind::Json(json) => json.decode(ids).map_err(|source| json_fault(&self.path, source)),
            Kind::SentencePiece(model) => model.decode(ids).map_err(|reason| sentence_piece_fault(&self.path, reason)),
        }
    }

    /// How [`Self::decode`] joins the [`Self::piece`]s, if it does no more than that.
    pub(crate) fn joins_pieces(&self) -> Option<ByteRuns> {
        match &self.kind {
            Kind::Json(json) => json.joins_pieces().then_some(ByteRuns::WholeRun),
            Kind::SentencePiece(model) => model.joins_pieces().then_some(ByteRuns::EachChar),
        }
    }

    /// What [`Self::decode`] joins, if it [joins pieces](Self::joins_pieces).
    pub(crate) fn piece(&self, id: u32) -> Piece {
        match &self.kind {
            Kind::Json(json) => json.piece(id),
            Kind::SentencePiece(model) => model.piece(id),
        }
    }

    /// How many tokens there are, special ones included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        match &self.kind {
            Kind::Json(json) => json.vocab_size(),
            Kind::SentencePiece(model) => model.vocab_size(),
        }
    }
}

/// The models of the test data.
#[cfg(test)]
pub(crate) fn sentence_piece_models() -> Vec<Tokenizer> {
    let open = |bytes: &[u8]| Tokenizer::from_bytes(bytes, "t.model".as_ref(), false).expect("the test data is whole");
    sentencepiece::tests::MODELS.iter().map(|(_, bytes)| open(bytes)).collect()
}

fn json_fault(path: &Path, source: Fault) -> Error {
    Error::Tokenizer { path: path.to_owned(), source }
}

fn sentence_piece_fault(path: &Path, reason: String) -> Error {
    Error::SentencePiece { path: path.to_owned(), reason }
}
