#![expect(clippy::float_cmp, reason = "values read from text are exact")]

use super::*;
use crate::ErrorKind;

/// The smallest configuration with every required key.
pub(crate) const MINIMAL: &str = "\
flow_lm:
  dtype: float32
  flow: {dim: 64, depth: 4}
  transformer: {d_model: 112, hidden_scale: 1, max_period: 10000, num_heads: 4, num_layers: 8}
  lookup_table: {dim: 112, n_bins: 4000, tokenizer: tokenizers, tokenizer_path: tokenizer.json}
mimi:
  dtype: float32
  sample_rate: 24000
  channels: 1
  frame_rate: 12.5
  seanet: &seanet
    dimension: 512
    channels: 1
    n_filters: 64
    n_residual_layers: 1
    ratios: [6, 5, 4]
    kernel_size: 7
    residual_kernel_size: 3
    last_kernel_size: 3
    dilation_base: 2
    pad_mode: constant
    compress: 2
  transformer:
    d_model: 512
    input_dimension: 512
    output_dimensions: [512]
    num_heads: 8
    num_layers: 2
    layer_scale: 0.01
    context: 250
    dim_feedforward: 2048
  quantizer: {dimension: 32, output_dimension: 512}
";

fn read(text: &str) -> Result<Config, Error> {
    Config::from_yaml_str(text, "c.yaml")
}

/// The minimal configuration with one piece of text replaced.
fn read_with(from: &str, to: &str) -> Result<Config, Error> {
    assert!(MINIMAL.contains(from), "{from}");
    read(&MINIMAL.replacen(from, to, 1))
}

#[test]
fn defaults_are_those_of_the_reference() {
    let config = read(MINIMAL).unwrap();
    assert_eq!(config.flow_lm.flow.flow_type, FlowType::Lsd);
    assert_eq!(config.flow_lm.transformer.num_kv_heads, None);
    assert!(!config.flow_lm.insert_bos_before_voice);
    assert_eq!(config.mimi.transformer.max_period, 10_000.0);
    assert_eq!(config.mimi.decoder_seanet, None);
    assert!(!config.pad_with_spaces_for_short_inputs && !config.remove_semicolons);
    assert!(config.append_terminal_punctuation && config.capitalize_first_letter);
    assert!(config.replace_characters.is_empty());
    assert_eq!((config.default_temperature, config.default_eos_threshold), (0.3, -4.0));
    assert_eq!(config.origin.unwrap(), Path::new("c.yaml"));
}

#[test]
fn types_convert_as_in_lax_pydantic() {
    let text = MINIMAL
        .replace("dim: 64,", "dim: ' 6_4.0 ',")
        .replace("depth: 4", "depth: 4.0, type: pointwise")
        .replace("channels: 1", "channels: true")
        .replace("frame_rate: 12.5", "frame_rate: '1.25e1'")
        .replace("n_bins: 4000", "n_bins: 0xFA0")
        + "remove_semicolons: 'oN'\npad_with_spaces_for_short_inputs: 1\n\
           append_terminal_punctuation: off\nweights_path: null\n\
           replace_characters: {'’': \"'\", '–': ''}\ndefault_eos_threshold: -1\n";
    let config = read(&text).unwrap();
    assert_eq!(config.flow_lm.flow.dim, 64);
    assert_eq!(config.flow_lm.flow.flow_type, FlowType::Pointwise);
    assert_eq!(config.flow_lm.lookup_table.n_bins, 4000);
    assert_eq!(config.mimi.channels, 1);
    assert_eq!(config.mimi.frame_rate, 12.5);
    assert!(config.remove_semicolons && config.pad_with_spaces_for_short_inputs);
    assert!(!config.append_terminal_punctuation);
    assert_eq!(config.weights_path, None);
    assert_eq!(config.default_eos_threshold, -1.0);
    assert_eq!(config.replace_characters, [('’', "'".to_owned()), ('–', String::new())]);
}

#[test]
fn zero_means_absent_where_the_reference_says_so() {
    let transformer = read_with("num_layers: 8}", "num_layers: 8, attn_dim: 0, num_kv_heads: 0}");
    let transformer = transformer.unwrap().flow_lm.transformer;
    assert_eq!((transformer.attn_dim, transformer.num_kv_heads), (None, None));
}

#[test]
fn a_separate_decoder_is_checked_by_itself() {
    let decoder = "  outer_dim: 128
  decoder_seanet: {<<: *seanet, dimension: 128, n_filters: 24}
  decoder_transformer: {d_model: 128, input_dimension: 128, output_dimensions: [128],
    num_heads: 4, num_layers: 4, layer_scale: 0.01, context: 50, dim_feedforward: 384}
";
    let text = MINIMAL.replace("output_dimension: 512}\n", "output_dimension: 128}\n") + decoder;
    let config = read(&text).unwrap();
    assert_eq!(config.mimi.decoder_seanet.unwrap().ratios, [6, 5, 4]);
    let error = read(&text.replace("outer_dim: 128", "outer_dim: 100")).unwrap_err().to_string();
    assert!(error.contains("mimi.outer_dim: 100 is no multiple"), "{error}");
}

/// A piece of the minimal configuration, what replaces it, and what the message then says.
const FAULTS: &[(&str, &str, &str)] = &[
    ("num_heads: 4,", "num_head: 4,", "flow_lm.transformer.num_head: unknown key; did you mean num_heads?"),
    ("mimi:", "mime:", "c.yaml: mime: unknown key; did you mean mimi?"),
    ("depth: 4", "depth: 4, kind: lsd", "flow_lm.flow.kind: unknown key; the keys here are dim, depth, type"),
    ("dim: 64, depth: 4", "", "flow_lm.flow.dim, flow_lm.flow.depth: required, but missing"),
    ("{dim: 64, depth: 4}", "lsd", "flow_lm.flow: expected a mapping of keys, found the text \"lsd\""),
    ("{dim: 64, depth: 4}", "", "flow_lm.flow: expected a mapping of keys, found null"),
    ("dim: 64,", "dim: 64.5,", "flow_lm.flow.dim: expected an integer, found the number 64.5"),
    ("dim: 64,", "dim: .inf,", "flow_lm.flow.dim: expected an integer"),
    ("dim: 64,", "dim: 6e1,", "flow_lm.flow.dim: expected an integer, found the text \"6e1\""),
    ("dim: 64,", "dim: null,", "flow_lm.flow.dim: expected an integer, found null"),
    ("dim: 64,", "dim: 0,", "flow_lm.flow.dim: 0 is out of range; use 1 to"),
    ("dim: 64,", "dim: -1,", "flow_lm.flow.dim: -1 is out of range"),
    ("dim: 64,", "dim: 99999999999999999999,", "flow_lm.flow.dim: 99999999999999999999 is out of range"),
    ("dim: 64,", "1: 64,", "flow_lm.flow: a key is the integer 1; quote it"),
    ("depth: 4", "depth: 4, type: lds", "unknown flow type \"lds\"; use lsd, flow_matching"),
    ("dtype: float32", "dtype: bfloat16", "flow_lm.dtype: \"bfloat16\" is not supported"),
    ("dtype: float32", "dtype: 32", "flow_lm.dtype: expected text, found the integer 32; quote it"),
    ("num_heads: 4,", "num_heads: 5,", "5 heads do not divide d_model = 112 evenly"),
    ("num_heads: 4,", "num_heads: 16,", "16 heads of width 7 leave no pairs"),
    ("num_layers: 8}", "num_layers: 8, num_kv_heads: 3}", "3 does not divide num_heads = 4"),
    ("hidden_scale: 1,", "hidden_scale: 1000000,", "hidden_scale: d_model * hidden_scale"),
    ("{dim: 112,", "{dim: 113,", "flow_lm.lookup_table.dim: 113 differs"),
    ("pad_mode: constant", "pad_mode: reflect", "mimi.seanet.pad_mode: unknown padding \"reflect\""),
    ("[6, 5, 4]", "6", "mimi.seanet.ratios: expected a list of integers"),
    ("[6, 5, 4]", "[6, x, 4]", "mimi.seanet.ratios: item 1: expected an integer"),
    ("[6, 5, 4]", "[1000000, 1000000]", "mimi.seanet.ratios: their product exceeds"),
    ("[6, 5, 4]", "[7, 5, 4]", "mimi.frame_rate: 12.5 is not the rate"),
    ("n_residual_layers: 1", "n_residual_layers: 4000", "mimi.seanet.dilation_base: the last dilation"),
    ("compress: 2", "compress: 65", "mimi.seanet.compress: 65 exceeds n_filters = 64"),
    ("    channels: 1", "    channels: 2", "mimi.seanet.channels: 2 channels are not supported"),
    ("output_dimensions: [512]", "output_dimensions: [512, 1]", "[512, 1] should be [512]"),
    ("frame_rate: 12.5", "frame_rate: 0", "mimi.frame_rate: 0 is out of range; use a number above 0"),
    ("frame_rate: 12.5", "frame_rate: .nan", "mimi.frame_rate: NaN is not a number"),
    ("sample_rate: 24000", "sample_rate: 2024-01-02", "expected an integer, found the date 2024-01-02"),
    ("output_dimension: 512", "output_dimension: 256", "mimi.quantizer.output_dimension: 256 differs"),
    ("mimi:", "replace_characters: {ab: c}\nmimi:", "replace_characters[\"ab\"]: the key must be a single"),
    ("mimi:", "replace_characters: {a: 1}\nmimi:", "replace_characters['a']: expected text"),
    ("mimi:", "replace_characters: {no: x}\nmimi:", "replace_characters: a key is the boolean false"),
    ("mimi:", "remove_semicolons: 2\nmimi:", "remove_semicolons: expected true or false"),
    ("mimi:", "default_temperature: -1\nmimi:", "default_temperature: -1 is out of range"),
    ("mimi:", "\tmimi:", "c.yaml is not valid YAML: line"),
];

#[test]
fn faults_name_the_key_and_what_to_do() {
    for (from, to, expected) in FAULTS {
        let error = read_with(from, to).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ModelFormat);
        let message = error.to_string().replace("[\"a\"]", "['a']");
        assert!(message.starts_with("config file c.yaml"), "{message}");
        assert!(message.contains(expected), "{expected}\n{message}");
    }
}

#[test]
fn files_that_are_no_mapping_are_refused() {
    for (text, found) in [("", "null"), ("- 1", "a list"), ("hello", "the text \"hello\"")] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.ends_with(&format!("expected a mapping of keys, found {found}")), "{error}");
    }
    let missing = Config::from_yaml_file("no/such.yaml").unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.to_string().contains("config file no/such.yaml"), "{missing}");
}

#[test]
fn mutated_texts_never_panic() {
    read_mutations(3_000, 7);
}

#[test]
#[ignore = "long: a sweep"]
fn many_mutated_texts_never_panic() {
    read_mutations(50_000, 8);
}

fn read_mutations(n_mutations: usize, seed: u64) {
    let mut random = crate::testing::Random::new(seed);
    let tokens =
        ["*seanet", "&a ", "<<: ", "[", "{", "}", "- ", ": ", "\n", "!!int ", "'", "1e400", "-", "\t", "| ", "? "];
    let mut n_read = 0;
    for _ in 0..n_mutations {
        let mut text: Vec<char> = MINIMAL.chars().collect();
        for _ in 0..=random.below(3) {
            let at = random.below(text.len());
            match random.below(4) {
                0 => text.truncate(at + 1),
                1 => text[at] = char::from(random.below(128) as u8),
                2 if text.len() > 1 => drop(text.remove(at)),
                _ => {
                    let token = tokens[random.below(tokens.len())];
                    text.splice(at..at, token.chars());
                }
            }
        }
        n_read += usize::from(read(&text.into_iter().collect::<String>()).is_ok());
    }
    assert!(n_read > n_mutations / 100, "only {n_read} texts were read");
}

#[test]
fn released_models_are_sorted_and_consistent() {
    let names: Vec<_> = Config::names().collect();
    assert_eq!(names.len(), 27);
    assert!(names.is_sorted());
    for name in names {
        let config = Config::named(name).unwrap();
        check::check(&config).unwrap();
        config.check_weights().unwrap();
        for source in [Source::Tokenizer, Source::Weights, Source::WeightsWithoutVoiceCloning] {
            let address = config.address(source).unwrap();
            let (start, revision) = address.split_once('@').unwrap();
            assert!(start.starts_with("hf://kyutai/pocket-tts"), "{name}: {address}");
            assert!(revision.len() == 40 && revision.chars().all(|c| c.is_ascii_hexdigit()), "{name}: {address}");
        }
    }
    assert_eq!(Config::named("English"), None);
}

#[test]
fn a_fetched_file_stands_beside_its_address() {
    let mut config = Config::named("english_2m_2026-10").unwrap();
    let error = config.local_path(Source::Tokenizer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().starts_with("flow_lm.lookup_table.tokenizer_path: hf://kyutai"), "{error}");
    assert_eq!(config.local_path(Source::MimiWeights).unwrap(), None);

    config.set_local(Source::Tokenizer, "cache/t.json".into());
    assert_eq!(config.local_path(Source::Tokenizer).unwrap().unwrap(), Path::new("cache/t.json"));
    assert!(config.address(Source::Tokenizer).unwrap().contains("tokenizer.model@"));
}
