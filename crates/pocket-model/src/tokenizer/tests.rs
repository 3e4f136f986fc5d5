//! Both kinds of files: opening, faults, mutations.

use super::sentencepiece::tests::MODELS;
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
    assert_eq!(error.kind(), ErrorKind::ModelFormat);
    let text = error.to_string();
    assert!(text.contains("t.model") && text.contains("tokenizer.json"), "{text}");
    let sentence_piece = folder.write("s.model", MODELS[0].1);
    assert_eq!(Tokenizer::from_config(&config(&sentence_piece, "sentencepiece", 400)).unwrap().vocab_size(), 400);
    // What is not known is a SentencePiece model too.
    assert!(Tokenizer::from_config(&config(&sentence_piece, "words", 400)).is_ok());
    assert!(Tokenizer::from_config(&config(&sentence_piece, "json", 400)).is_err());
    for (kind, address, expected) in [
        ("sentencepiece", "hf://a/b/tokenizer.json@0a1b", true),
        ("sentencepiece", "hf://a/b/tokenizer.model@v1.json", false),
        ("sentencepiece", "a@b/tokenizer.json", false),
        ("sentencepiece", "tokenizer.JSON", false),
        ("json", "tokenizer.model", true),
        ("tokenizers", "tokenizer.model", true),
        ("Tokenizers", "tokenizer.model", false),
    ] {
        assert_eq!(Tokenizer::is_json(kind, address), expected, "{kind} {address}");
    }
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

/// Opens mutations of a file, and encodes and decodes with those that open.
fn check_mutations(original: &[u8], is_json: bool, n_mutations: usize, seed: u64) {
    let mut random = Random::new(seed);
    let mut n_opened = 0;
    for _ in 0..n_mutations {
        let mut bytes = original.to_vec();
        for _ in 0..=random.below(2) {
            let at = random.below(bytes.len());
            match random.below(5) {
                0 => bytes.truncate(at + 1),
                1 if is_json => bytes[at] = random.below(128) as u8,
                1 => bytes[at] = random.below(256) as u8,
                2 if bytes.len() > 1 => drop(bytes.remove(at)),
                3 => bytes[at] ^= 1 << random.below(if is_json { 7 } else { 8 }),
                _ if is_json => bytes.insert(at, b"0123456789.-\"\\[]{}"[random.below(18)]),
                _ => bytes.insert(at, random.below(256) as u8),
            }
        }
        let Ok(tokenizer) = Tokenizer::from_bytes(&bytes, Path::new("t"), is_json) else {
            continue;
        };
        n_opened += 1;
        for (text, ids, _) in CASES {
            let _ = tokenizer.encode(text);
            let _ = tokenizer.decode(ids);
            if tokenizer.joins_pieces().is_some() {
                ids.iter().for_each(|&id| drop(tokenizer.piece(id)));
            }
        }
        if let Ok(ids) = tokenizer.encode("AAB<laugh> Mr. é 日本🙂...\u{200b}a\u{3000}b") {
            let _ = tokenizer.decode(&ids);
        }
    }
    assert!(n_opened > n_mutations / 100, "only {n_opened} files opened");
}

#[test]
fn mutated_files_never_panic() {
    check_mutations(WITH_BOS.as_bytes(), true, 3000, 3);
    for (_, bytes) in MODELS {
        check_mutations(bytes, false, 1500, 4);
    }
}

#[test]
#[ignore = "long; `make test-long` runs it"]
fn many_mutated_files_never_panic() {
    check_mutations(WITH_BOS.as_bytes(), true, 15_000, 5);
    check_mutations(PLAIN.as_bytes(), true, 15_000, 6);
    for (_, bytes) in MODELS {
        check_mutations(bytes, false, 15_000, 7);
    }
}
