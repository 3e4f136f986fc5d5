//! Expected values are those of the reference under Python 3.11.

use std::path::Path;

use super::*;
use crate::config::tests::MINIMAL;
use crate::testing::Random;
use crate::tokenizer::Tokenizer;

const PLAIN: &str = include_str!("../../testdata/tokenizer_plain.json");
const WITH_BOS: &str = include_str!("../../testdata/tokenizer_bos.json");

type Prepared<'a> = Option<(&'a str, usize)>;

fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::from_yaml_str(MINIMAL, "c.yaml").unwrap();
    change(&mut config);
    config
}

fn tokenizer(json: &str) -> Tokenizer {
    Tokenizer::from_bytes(json.as_bytes(), Path::new("t.json"), true).unwrap()
}

fn check(config: &Config, text: &str, expected: Prepared<'_>) {
    match prepare_text(config, text) {
        Ok((prepared, frames)) => assert_eq!(Some((prepared.as_str(), frames)), expected, "{text:?}"),
        Err(error) => {
            assert!(matches!(error, Error::EmptyText), "{error}");
            assert_eq!(None, expected, "{text:?}");
        }
    }
}

const BY_DEFAULT: &[(&str, Prepared<'_>)] = &[
    ("", None),
    (" \u{1c}\u{2028}\t", None),
    ("hello", Some(("Hello.", 5))),
    ("one two three four", Some(("One two three four.", 5))),
    ("one two three four five", Some(("One two three four five.", 3))),
    ("one\u{1f}two\u{3000}three four five", Some(("One\u{1f}two\u{3000}three four five.", 3))),
    ("  line\r\nfeed and    four spaces\n", Some(("Line feed and  four spaces.", 3))),
    ("¡hola!", Some(("¡hola!", 5))),
    ("ßig", Some(("SSig.", 5))),
    ("ǆ", Some(("Ǆ.", 5))),
    ("ǅ", Some(("Ǆ.", 5))),
    ("ﬁn", Some(("FIn.", 5))),
    ("éa", Some(("Éa.", 5))),
    ("ɤ", Some(("ɤ.", 5))),
    ("1st; 2nd;", Some(("1st; 2nd.", 5))),
    ("🙂", Some(("🙂.", 5))),
    ("Ends…", Some(("Ends…", 5))),
    ("Ends.\"", Some(("Ends.\"", 5))),
    ("Ends.’ )", Some(("Ends.’ )", 5))),
    ("ends,", Some(("Ends.", 5))),
    ("ends —, ", Some(("Ends.", 5))),
    ("she said, \"", Some(("She said.\"", 5))),
    ("(a - b -)", Some(("(a - b.)", 5))),
    ("\"quoted\"", Some(("\"quoted\".", 5))),
    ("'", Some(("'", 5))),
    ("...", Some(("...", 5))),
    ("-", Some((".", 5))),
    ("—,", Some((".", 5))),
    ("\u{200b}", Some(("\u{200b}.", 5))),
    ("\u{7} bell", Some(("\u{7} bell.", 5))),
    ("don’t", Some(("Don’t.", 5))),
    ("x\u{0}y", Some(("X\u{0}y.", 5))),
    ("end\u{3000}.\u{2003}", Some(("End\u{3000}.", 5))),
    ("U.S.A.", Some(("U.S.A.", 5))),
];

const WITH_REPLACEMENTS: &[(&str, Prepared<'_>)] = &[
    ("ab’ba", Some(("Ba'ab.", 5))),
    ("\"Hi?\", she said…  ;x.,, y !:;", Some(("Hi? she sbid...x., y !.", 3))),
    ("a ß b", Some(("B a.", 5))),
    ("ß\"", None),
    ("tab\tand\u{2003} space", Some(("Tba bnd spbce.", 5))),
    (".\u{a0};.", Some(("..", 5))),
    ("?!…,", Some(("?!...", 5))),
];

#[test]
fn texts_are_prepared_by_default() {
    let config = config(|_| ());
    for &(text, expected) in BY_DEFAULT {
        check(&config, text, expected);
    }
}

#[test]
fn characters_are_replaced_in_one_pass() {
    let pairs = [('’', "'"), ('"', ""), ('a', "b"), ('b', "a"), ('…', "..."), ('ß', " \n ")];
    let config = config(|config| config.replace_characters = pairs.map(|(from, to)| (from, to.to_owned())).to_vec());
    for &(text, expected) in WITH_REPLACEMENTS {
        check(&config, text, expected);
    }
}

#[test]
fn every_setting_counts() {
    let comma = config(|config| config.remove_semicolons = true);
    check(&comma, "a; b", Some(("A, b.", 5)));
    check(&comma, "a;", Some(("A.", 5)));
    check(&config(|config| config.capitalize_first_letter = false), "abc", Some(("abc.", 5)));
    check(&config(|config| config.append_terminal_punctuation = false), "abc,", Some(("Abc,", 5)));
    let padded = config(|config| config.pad_with_spaces_for_short_inputs = true);
    check(&padded, "a b c d", Some(("        A b c d.", 5)));
    check(&padded, "a b c d e", Some(("A b c d e.", 3)));
    check(&padded, "-", Some(("        .", 5)));
}

/// A text, the most tokens, the chunks, and the tokens of each.
type Split<'a> = (&'a str, usize, &'a [&'a str], &'a [usize]);

const SPLIT_PLAIN: &[Split<'_>] = &[
    ("the U.S.A. he bled.", 50, &["<unk>he U. S. <unk>. he bled."], &[19]),
    ("hello. hello world. the. hello!", 5, &["<unk>ello.", "hello world.", "the. hello!"], &[5, 5, 5]),
    ("hello. hello world. the. hello!", 0, &["<unk>", "ello.", "hello world.", "the.", "hello!"], &[2, 4, 5, 2, 3]),
    ("the 1.2 the. the 2. 1 the. he", 4, &["<unk>", "he 1.2 the.", "the 2. 1 the.", "he."], &[2, 7, 8, 2]),
    ("the 2.² the", 3, &["<unk>", "he 2.2 the."], &[2, 7]),
    ("hello, world, hello, the, wo", 6, &["<unk> ello,", "world, hello,", "the, wo."], &[6, 6, 6]),
    ("hello world hello world hello", 3, &["<unk>", "ello world hello world hello."], &[2, 12]),
    ("日本", 50, &["<unk>."], &[3]),
    ("日本. 日本!", 3, &["<unk>.", "<unk>!"], &[3, 3]),
    ("he?! ... the", 2, &["<unk>", "e?!", "...", "the."], &[2, 4, 4, 2]),
    ("a.b.c.d", 1, &["<unk>", ".", "b.", "c.", "d."], &[2, 2, 3, 3, 3]),
    ("</s>", 50, &["."], &[2]),
    ("he </s>", 50, &["<unk>e  ."], &[6]),
    ("<s> . <s>", 1, &[".", "."], &[2, 2]),
];

const SPLIT_WITH_BOS: &[Split<'_>] = &[
    ("the U.S.A. he bled.", 50, &["<unk>he U. S. <unk>. he  bled."], &[21]),
    ("hello. hello world. the. hello!", 5, &["<unk>ello.", "hello world.", "the. hello!"], &[6, 6, 6]),
    ("hello. hello world. the. hello!", 0, &["<unk>", "ello.", "hello world.", "the.", "hello!"], &[3, 5, 6, 3, 4]),
    ("the 1.2 the. the 2. 1 the. he", 4, &["<unk>he", "1.2 the.", "the", "2.", "1 the.", "he."], &[5, 7, 2, 4, 5, 3]),
    ("the 2.² the", 3, &["<unk>", "he", "2.2 the."], &[3, 2, 7]),
    ("hello, world, hello, the, wo", 6, &["<unk> ello,", "world, hello,", "the, wo."], &[7, 7, 7]),
    ("hello world hello world hello", 3, &["<unk>", "ello world hello world hello."], &[3, 13]),
    ("日本", 50, &["<unk>."], &[4]),
    ("日本. 日本!", 3, &["<unk>.", "<unk>!"], &[4, 4]),
    ("he?! ... the", 2, &["<unk>", "e?!", "...", "the."], &[3, 5, 5, 3]),
    ("a.b.c.d", 1, &["<unk>", ".", "b.", "c.", "d."], &[3, 3, 4, 4, 4]),
    ("</s>", 50, &["."], &[3]),
    ("he </s>", 50, &["<unk>e  ."], &[7]),
    ("<s> . <s>", 1, &[".", "."], &[3, 3]),
];

#[test]
fn texts_are_split_at_sentence_ends() {
    let config = config(|_| ());
    for (json, cases) in [(PLAIN, SPLIT_PLAIN), (WITH_BOS, SPLIT_WITH_BOS)] {
        let tokenizer = tokenizer(json);
        for &(text, max_tokens, expected, n_tokens) in cases {
            let chunks = split_text(&config, &tokenizer, text, max_tokens).unwrap();
            assert_eq!(chunks, expected, "{text:?}");
            let overlong: Vec<_> = n_tokens.iter().copied().enumerate().filter(|&(_, n)| n > max_tokens).collect();
            assert_eq!(overlong_chunks(&tokenizer, &chunks, max_tokens).unwrap(), overlong, "{text:?}");
        }
    }
}

#[test]
fn nothing_left_of_a_text_is_an_error() {
    let error = split_text(&config(|_| ()), &tokenizer(PLAIN), "\u{1c} \n", 50).unwrap_err();
    assert!(matches!(error, Error::EmptyText), "{error}");
}

/// A decoder that does not join pieces, so that prefix and suffix are decoded as a whole.
fn without_pieces() -> Tokenizer {
    let mut document: serde_json::Value = serde_json::from_str(PLAIN).unwrap();
    let metaspace = document["decoder"].take();
    document["decoder"] = serde_json::json!({"type": "Sequence", "decoders": [metaspace]});
    let tokenizer = tokenizer(&document.to_string());
    assert!(tokenizer.joins_pieces().is_none());
    tokenizer
}

#[test]
fn joined_pieces_and_whole_decodings_agree() {
    let config = config(|config| config.capitalize_first_letter = false);
    let (joined, whole) = (tokenizer(PLAIN), without_pieces());
    assert!(joined.joins_pieces().is_some());
    let mut random = Random::new(5);
    let alphabet = ["1", "2", ".", ".", " ", "a", "!", "<s>", "</s>", "the", "日", "²", "▁", ","];
    for _ in 0..3000 {
        let text: String = (0..=random.below(14)).map(|_| alphabet[random.below(alphabet.len())]).collect();
        let max_tokens = random.below(5);
        let expected = split_text(&config, &whole, &text, max_tokens).ok();
        assert_eq!(split_text(&config, &joined, &text, max_tokens).ok(), expected, "{text:?}");
    }
}

#[test]
fn long_texts_take_linear_time() {
    let (config, tokenizer) = (config(|_| ()), tokenizer(PLAIN));
    // Minutes if every one of the 200,000 candidates decoded what is before and after it.
    let chunks = split_text(&config, &tokenizer, &"1.a. 2".repeat(100_000), 50).unwrap();
    assert!(chunks.len() > 10_000);
    let spaces = ".".to_owned() + &" ".repeat(1_000_000) + ",";
    let config = self::config(|config| config.replace_characters = vec![('x', String::new())]);
    check(&config, &spaces, Some((".", 5)));
}

/// FNV-1a over code points.
fn fingerprint(code_points: impl Iterator<Item = char>) -> u64 {
    code_points.fold(0xcbf2_9ce4_8422_2325, |hash, c| (hash ^ u64::from(c)).wrapping_mul(0x100_0000_01b3))
}

/// The values are those of `str.isspace`, `str.isdigit` and `str.upper` of Python 3.11. A newer Rust
/// whose Unicode gives more letters a capital fails here.
#[test]
fn all_code_points_are_classified_as_in_python() {
    let all = || '\0'..=char::MAX;
    assert_eq!(fingerprint(all().filter(|&c| python::is_space(c))), 0x4386_d9a1_1e74_87c9);
    assert_eq!(fingerprint(all().filter(|&c| python::is_digit(c))), 0x52a3_78fb_a0bb_dd05);
    assert_eq!(fingerprint(all().flat_map(python::uppercase)), 0x10b5_1b4e_ac77_44a4);
}
