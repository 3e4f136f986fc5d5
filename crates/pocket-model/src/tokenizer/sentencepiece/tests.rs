//! Expected values are those of the `sentencepiece` package; `tests/reference/make_tokenizer_fixtures.py`
//! made the files. Every kind of model and option is compared live in `tests/parity`.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::trie::Trie;
use super::*;
use crate::testing::Random;

const EXPECTED: &str = include_str!("../../../testdata/sentencepiece.json");
pub(crate) const MODELS: [(&str, &[u8]); 3] = [
    ("bytes", include_bytes!("../../../testdata/sentencepiece_bytes.model")),
    ("unknown", include_bytes!("../../../testdata/sentencepiece_unknown.model")),
    ("bpe", include_bytes!("../../../testdata/sentencepiece_bpe.model")),
];

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn ids_and_texts_equal_those_of_the_library() {
    let expected: Value = serde_json::from_str(EXPECTED).unwrap();
    for (name, bytes) in MODELS {
        let model = SentencePiece::from_bytes(bytes).unwrap();
        assert_eq!(model.vocab_size() as u64, expected[name]["vocab_size"].as_u64().unwrap(), "{name}");
        let cases = expected[name]["cases"].as_array().unwrap();
        assert!(cases.len() > 40);
        for case in cases {
            let line = case[0].as_str().unwrap();
            let ids: Vec<u32> = serde_json::from_value(case[1].clone()).unwrap();
            assert_eq!(model.encode(line).unwrap(), ids, "{name}: {line:?}");
            assert_eq!(model.decode(&ids).unwrap(), case[2].as_str().unwrap(), "{name}: {line:?}");
        }
    }
}

#[test]
fn chunks_equal_those_of_the_reference() {
    let expected: Value = serde_json::from_str(EXPECTED).unwrap();
    let config = crate::Config::from_yaml_str(crate::config::tests::MINIMAL, "c.yaml").unwrap();
    for (name, bytes) in MODELS {
        let tokenizer = crate::Tokenizer::from_bytes(bytes, "t.model".as_ref(), false).unwrap();
        for case in expected[name]["cases"].as_array().unwrap() {
            let max_tokens = case[3].as_u64().unwrap() as usize;
            let chunks = crate::text::split_text(&config, &tokenizer, case[0].as_str().unwrap(), max_tokens);
            if case[4].is_null() {
                assert!(chunks.is_err(), "{name}: {:?}", case[0]);
            } else {
                assert_eq!(chunks.unwrap(), strings(&case[4]), "{name}: {:?}", case[0]);
            }
        }
    }
}

#[test]
fn pieces_join_to_decoded_texts() {
    let mut random = Random::new(8);
    for (name, bytes) in MODELS {
        let model = SentencePiece::from_bytes(bytes).unwrap();
        // The rules of `unknown` are applied to decoded texts as a whole.
        assert_eq!(model.joins_pieces(), name != "unknown");
        if !model.joins_pieces() {
            continue;
        }
        for _ in 0..2000 {
            let range = [8, 250][random.below(2)];
            let ids: Vec<u32> = (0..random.below(9)).map(|_| random.below(range) as u32).collect();
            let (mut text, mut run, mut is_start) = (String::new(), Vec::new(), true);
            for &id in &ids {
                let piece = model.piece(id);
                if let Piece::Byte(byte) = piece {
                    run.push(byte);
                    continue;
                }
                text.extend(lossy_chars(&run));
                is_start &= run.is_empty();
                run.clear();
                if let Piece::Text { at_start, inside, ends_start } = piece {
                    text.push_str(if is_start { &at_start } else { &inside });
                    is_start &= !ends_start;
                }
            }
            text.extend(lossy_chars(&run));
            assert_eq!(model.decode(&ids).unwrap(), text, "{name}: {ids:?}");
        }
    }
}

#[test]
fn damaged_utf8_is_replaced_byte_by_byte() {
    let cases: [(&[u8], &str); 8] = [
        (b"", ""),
        (b"a\xc3\xa9", "aé"),
        (b"\xe6\x97\xa5\xe6\x97", "日\u{fffd}\u{fffd}"),
        (b"\xf0\x9f\x99\x82", "🙂"),
        (b"\xf0\x9f\x99x", "\u{fffd}\u{fffd}\u{fffd}x"),
        (b"\xc0\x80\xed\xa0\x80", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        (b"\xf4\x90\x80\x80\xff", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        ("\u{fffd}".as_bytes(), "\u{fffd}"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(lossy_chars(bytes).collect::<String>(), expected, "{bytes:?}");
    }
}

#[test]
fn a_trie_finds_every_prefix() {
    let keys: [&[u8]; 6] = [b"a", b"ab", b"abc", b"b\xff", b"abd", b"\x01"];
    let mut entries: Vec<_> = keys.into_iter().zip(0..).collect();
    let trie = Trie::new(&mut entries).unwrap();
    assert_eq!(trie.prefixes(b"abcd").collect::<Vec<_>>(), [(1, 0), (2, 1), (3, 2)]);
    assert_eq!(trie.prefixes(b"b").count(), 0);
    assert_eq!((trie.get(b"b\xff"), trie.get(b"b"), trie.get(b""), trie.get(b"ab")), (Some(3), None, None, Some(1)));
    assert_eq!(Trie::new(&mut [(b"x", 0), (b"y", 1), (b"x", 2)]).unwrap_err(), b"x");
    assert_eq!(Trie::new(&mut []).unwrap().prefixes(b"a").count(), 0);
}

/// A model of text pieces with scores and kinds, as protocol buffer bytes.
fn model(pieces: &[(&str, f32, u8)], trainer: &[u8], normalizer: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (text, score, kind) in pieces {
        let mut piece = vec![0x0a, text.len() as u8];
        piece.extend(text.as_bytes());
        piece.push(0x15);
        piece.extend(score.to_le_bytes());
        piece.extend([0x18, *kind]);
        bytes.extend([0x0a, piece.len() as u8]);
        bytes.extend(piece);
    }
    for (tag, message) in [(0x12, trainer), (0x1a, normalizer)] {
        bytes.extend([tag, message.len() as u8]);
        bytes.extend(message);
    }
    bytes
}

const UNK: (&str, f32, u8) = ("<unk>", 0.0, 2);

#[test]
fn faults_are_told() {
    let broken_charsmap = [0x12, 4, 1, 0, 0, 0];
    let cases: &[(Vec<u8>, &str)] = &[
        (Vec::new(), "no pieces"),
        (b"version https://git-lfs.github.com/spec/v1".to_vec(), "no protocol buffer"),
        (b"{\"version\": \"1.0\"}".to_vec(), "no protocol buffer"),
        (model(&[("a", 0.0, 1)], &[], &[]), "no unknown piece"),
        (model(&[UNK, ("", 0.0, 1)], &[], &[]), "piece 1 has 0 bytes"),
        (model(&[UNK, ("a\0", 0.0, 1)], &[], &[]), "piece 1 contains a zero byte"),
        (model(&[UNK, ("a", 0.0, 1), ("a", 0.0, 4)], &[], &[]), "\"a\" occurs twice"),
        (model(&[UNK, ("<x>", 0.0, 3), ("<x>", 0.0, 3)], &[], &[]), "\"<x>\" occurs twice"),
        (model(&[UNK, ("u", 0.0, 2)], &[], &[]), "two unknown pieces"),
        (model(&[UNK, ("a", f32::NAN, 1)], &[], &[]), "piece 1 has the score NaN"),
        (model(&[UNK], &[], &[]), "no piece of it matches text"),
        (model(&[UNK, ("<0x41>", 0.0, 6)], &[], &[]), "byte piece 1 is not expected"),
        (model(&[UNK, ("a", 0.0, 1)], &[0x98, 2, 1], &[]), "not a piece for every byte"),
        (model(&[UNK, ("a", 0.0, 1)], &[], &broken_charsmap), "rules of its normaliser are damaged"),
    ];
    for (bytes, expected) in cases {
        let reason = SentencePiece::from_bytes(bytes).unwrap_err();
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn unknown_fields_and_values_are_skipped() {
    let mut bytes = model(&[UNK, ("▁", -1.0, 1), ("a", -2.0, 77)], &[0x18, 9], &[]);
    // A number, a group within a group, 8 bytes and a string, of unknown fields.
    bytes.extend([0xc8, 0x0c, 0x96, 1, 0xcb, 0x0c, 0xd3, 0x0c, 0x08, 1, 0xd4, 0x0c, 0xcc, 0x0c]);
    bytes.extend([0xc9, 0x0c, 1, 2, 3, 4, 5, 6, 7, 8, 0xca, 0x0c, 2, 0xff, 0xfe]);
    let model = SentencePiece::from_bytes(&bytes).unwrap();
    assert_eq!(model.encode("a b").unwrap(), [1, 2, 1, 0]);
    // The same without the end of the outer group, and with a group that ends another.
    let end = bytes.len() - 17;
    assert!(SentencePiece::from_bytes(&bytes[..end]).is_err());
    bytes[end] = 0xdc;
    assert!(SentencePiece::from_bytes(&bytes).is_err());
}

#[test]
fn words_characters_and_unused_pieces() {
    let pieces = [UNK, ("▁ab", -1.0, 1), ("a", -2.0, 1), ("b", -3.0, 1), ("ab", -0.5, 5), ("▁", -1.0, 1)];
    let word = SentencePiece::from_bytes(&model(&pieces, &[0x18, 3], &[])).unwrap();
    assert_eq!(word.encode("ab abc ab").unwrap(), [1, 0, 1]);
    let char = SentencePiece::from_bytes(&model(&pieces, &[0x18, 4], &[])).unwrap();
    assert_eq!(char.encode("abxyb").unwrap(), [5, 2, 3, 0, 3]);
    // `ab` is merged first, then taken apart.
    let bpe = SentencePiece::from_bytes(&model(&pieces, &[0x18, 2], &[])).unwrap();
    assert_eq!(bpe.encode("abb").unwrap(), [1, 3]);
    assert_eq!(bpe.encode("b aba").unwrap(), [5, 3, 1, 2]);
    assert_eq!(bpe.encode("bab").unwrap(), [5, 3, 2, 3]);
}

/// Texts and scores that would cost quadratic time or lose all precision if they were not handled.
#[test]
fn long_texts_take_linear_time() {
    let started = Instant::now();
    for (_, bytes) in MODELS {
        let model = SentencePiece::from_bytes(bytes).unwrap();
        for unit in ["a", " ", "日", "the 1.2 ", "▁"] {
            let text = unit.repeat(200_000);
            let ids = model.encode(&text).unwrap();
            model.decode(&ids).unwrap();
        }
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    // Six characters of score -30000 reach the limit of sums again and again.
    let pieces = [UNK, ("a", -30_000.0, 1), ("b", -30_000.0, 1), ("ab", -60_000.5, 1), ("▁", -1.0, 1)];
    let model = SentencePiece::from_bytes(&model(&pieces, &[], &[])).unwrap();
    let ids = model.encode(&"ab".repeat(50_000)).unwrap();
    assert_eq!(ids.len(), 100_001);
}
