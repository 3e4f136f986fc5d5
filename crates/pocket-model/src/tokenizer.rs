//! Text to token ids and back, with the files that Hugging Face `tokenizers` writes.
//!
//! Only single texts are encoded: the batch functions of the `tokenizers` crate start a thread
//! pool, which a forked process would wait for in vain.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use tokenizers::{Decoder as _, DecoderWrapper};

use crate::bundle::local_path;
use crate::config::LookupTableConfig;
use crate::error::Error;
use crate::files;

/// Any error of the `tokenizers` crate.
type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Vocabularies are a few megabytes; anything larger is another file.
const MAX_FILE_BYTES: u64 = 1 << 28;

/// How one token reads at the start of a text, and how elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) at_start: String,
    pub(crate) inside: String,
}

/// A tokenizer whose vocabulary fits the embedding table; immutable and shared by threads.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    path: PathBuf,
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Opens the tokenizer that a configuration names and checks the size of its vocabulary.
    ///
    /// The kind is `tokenizers` when the configuration says so or the path ends in `.json`, and
    /// `SentencePiece` otherwise.
    ///
    /// # Errors
    /// When the file is not local, unreadable, of the other kind, or of another vocabulary.
    pub fn from_config(config: &LookupTableConfig) -> Result<Self, Error> {
        let address = &config.tokenizer_path;
        let path = local_path(address, "flow_lm.lookup_table.tokenizer_path")?;
        // What follows an `@` is the revision of a download.
        let without_revision = address.split('@').next().unwrap_or_default();
        #[expect(clippy::case_sensitive_file_extension_comparisons, reason = "the reference tells the cases apart")]
        let is_json_path = without_revision.ends_with(".json");
        let is_json = matches!(config.tokenizer.as_str(), "tokenizers" | "json") || is_json_path;
        let bytes = files::read(&path, "tokenizer file", MAX_FILE_BYTES)?;
        if !is_json {
            return Err(Error::SentencePiece { path });
        }
        let tokenizer = Self::from_bytes(&bytes, &path)?;
        let (expected, actual) = (config.n_bins, tokenizer.vocab_size());
        if actual == expected {
            return Ok(tokenizer);
        }
        Err(Error::VocabularySize { path, expected, actual })
    }

    pub(crate) fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        let fault = |source| Error::Tokenizer { path: path.to_owned(), source };
        // The library panics on some texts that are no JSON, so these are refused first.
        serde_json::from_slice::<serde_json::Value>(bytes).map_err(|error| fault(error.into()))?;
        let inner = guarded(|| tokenizers::Tokenizer::from_bytes(bytes)).map_err(fault)?;
        Ok(Self { path: path.to_owned(), inner })
    }

    /// The token ids of a text, with the special tokens that the file prescribes.
    ///
    /// # Errors
    /// When the file's rules fail on the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = guarded(|| self.inner.encode(text, true)).map_err(|e| self.fault(e))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of token ids, without special tokens; unknown ids are left out.
    ///
    /// # Errors
    /// When the file's rules fail on the ids.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        guarded(|| self.inner.decode(ids, true)).map_err(|e| self.fault(e))
    }

    /// Whether [`Self::decode`] does no more than join the [`Self::piece`]s.
    pub(crate) fn joins_pieces(&self) -> bool {
        matches!(self.inner.get_decoder(), Some(DecoderWrapper::Metaspace(_)))
    }

    /// What [`Self::decode`] joins, if [`Self::joins_pieces`]; nothing for tokens that it leaves out.
    pub(crate) fn piece(&self, id: u32) -> Option<Piece> {
        let token = self.inner.id_to_token(id)?;
        if self.inner.get_added_vocabulary().is_special_token(&token) {
            return None;
        }
        // The decoder treats the first token in its own way.
        let mut texts = self.inner.get_decoder()?.decode_chain(vec![token.clone(), token]).ok()?.into_iter();
        Some(Piece { at_start: texts.next()?, inside: texts.next()? })
    }

    /// How many tokens there are, special ones included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    fn fault(&self, source: Fault) -> Error {
        Error::Tokenizer { path: self.path.clone(), source }
    }
}

/// Turns a panic of the library, which broken files can cause, into an error.
fn guarded<T>(call: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // The library keeps only a cache behind its locks, and no lock is held across a panic that
    // would leave it half written: a tokenizer stays usable.
    std::panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err("its content is inconsistent".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::testing::{Random, ScratchFolder};

    const PLAIN: &str = include_str!("../testdata/tokenizer_plain.json");
    const WITH_BOS: &str = include_str!("../testdata/tokenizer_bos.json");
    const BOS: u32 = 1;

    /// A text, its ids without BOS, and the text that they decode to, from Python `tokenizers`.
    const CASES: &[(&str, &[u32], &str)] = &[
        ("", &[], ""),
        ("hello world.", &[5, 6, 7, 8, 9], "hello world."),
        ("the  the", &[4, 3, 4], "the  the"),
        ("U.S. 12", &[26, 9, 27, 9, 3, 28, 29], "U.S. 12"),
        ("é!?", &[3, 24, 11, 12], "é!?"),
        ("\u{0}x\u{7}", &[3, 0], "<unk>"),
        ("ﬁ", &[3, 0], "<unk>"),
        ("line\nfeed", &[3, 19, 0, 17, 0, 17, 17, 16], "l<unk>e<unk>eed"),
        ("<s> hello </s>", &[1, 5, 6, 3, 2], "hello "),
        ("日本", &[3, 0], "<unk>"),
        (" ", &[3], ""),
        ("a\tb", &[3, 13, 3, 14], "a b"),
    ];

    fn config(path: &Path, kind: &str, n_bins: usize) -> LookupTableConfig {
        LookupTableConfig {
            dim: 8,
            n_bins,
            tokenizer: kind.to_owned(),
            tokenizer_path: path.display().to_string(),
            rank: None,
        }
    }

    #[test]
    fn ids_and_texts_equal_those_of_python() {
        for (json, bos) in [(PLAIN, &[][..]), (WITH_BOS, &[BOS])] {
            let tokenizer = Tokenizer::from_bytes(json.as_bytes(), Path::new("t.json")).unwrap();
            for (text, ids, decoded) in CASES {
                let expected = [bos, ids].concat();
                assert_eq!(tokenizer.encode(text).unwrap(), expected, "{text:?}");
                assert_eq!(tokenizer.decode(&expected).unwrap(), *decoded, "{text:?}");
            }
            assert_eq!(tokenizer.decode(&[1, 5, 6, 999, 2]).unwrap(), "hello");
        }
    }

    #[test]
    fn the_kind_follows_the_setting_and_the_suffix() {
        let folder = ScratchFolder::new();
        let json = folder.write("t.json", PLAIN.as_bytes());
        let model = folder.write("t.model", PLAIN.as_bytes());
        assert_eq!(Tokenizer::from_config(&config(&json, "sentencepiece", 30)).unwrap().vocab_size(), 30);
        assert!(Tokenizer::from_config(&config(&model, "tokenizers", 30)).is_ok());
        let error = Tokenizer::from_config(&config(&model, "sentencepiece", 30)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("t.model"), "{error}");
    }

    #[test]
    fn faults_name_the_file() {
        let folder = ScratchFolder::new();
        let json = folder.write("t.json", PLAIN.as_bytes());
        let error = Tokenizer::from_config(&config(&json, "tokenizers", 4000)).unwrap_err();
        assert!(matches!(error, Error::VocabularySize { expected: 4000, actual: 30, .. }));
        let text = error.to_string();
        assert!(text.contains("t.json") && text.contains("4000") && text.contains("30"), "{text}");

        let garbage = folder.write("g.json", b"\xff\x00{");
        let error = Tokenizer::from_config(&config(&garbage, "json", 30)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ModelFormat);
        assert!(error.to_string().contains("g.json"), "{error}");

        let missing = Tokenizer::from_config(&config(&folder.path("no.json"), "json", 30));
        assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);

        let remote = config(Path::new("hf://a/b/t.json@1"), "tokenizers", 30);
        let error = Tokenizer::from_config(&remote).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn mutated_files_never_panic() {
        let mut random = Random::new(3);
        let mut n_opened = 0;
        for _ in 0..3000 {
            let mut bytes = WITH_BOS.as_bytes().to_vec();
            for _ in 0..=random.below(2) {
                let at = random.below(bytes.len());
                match random.below(4) {
                    0 => bytes.truncate(at + 1),
                    1 => bytes[at] = random.below(128) as u8,
                    2 if bytes.len() > 1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, b"0123456789.-\"\\[]{}"[random.below(18)]),
                }
            }
            let Ok(tokenizer) = Tokenizer::from_bytes(&bytes, Path::new("t.json")) else {
                continue;
            };
            n_opened += 1;
            for (text, ids, _) in CASES {
                let _ = tokenizer.encode(text);
                let _ = tokenizer.decode(ids);
            }
        }
        assert!(n_opened > 30, "only {n_opened} files opened");
    }
}
