//! Both kinds of files: opening, faults, mutations.

use super::*;
use crate::ErrorKind;
use crate::testing::{Random, ScratchFolder};

const PLAIN: &str = include_str!("../../testdata/tokenizer_plain.json");
const WITH_BOS: &str = include_str!("../../testdata/tokenizer_bos.json");
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
        let tokenizer = Tokenizer::from_bytes(json.as_bytes(), Path::new("t.json"), true).unwrap();
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
        let Ok(tokenizer) = Tokenizer::from_bytes(&bytes, Path::new("t.json"), true) else {
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
