//! The released models by name: the 27 configurations that come with the reference 4.0.1.
//!
//! They come in a few shapes and five sets of rules for characters; a row of [`ROWS`] names its own
//! and tells the revisions of its files. The weights with the codec's encoder are in a repository
//! whose terms must be accepted, those without it and the tokenizers in a public one.

use std::collections::BTreeMap;

use super::{
    Config, FlowConfig, FlowLmConfig, FlowLmTransformerConfig, FlowType, LookupTableConfig, MimiConfig,
    MimiTransformerConfig, PadMode, QuantizerConfig, SeanetConfig,
};

/// One released model.
struct Row {
    name: &'static str,
    shape: Shape,
    characters: Characters,
    /// Revision of the gated repository that holds the whole model.
    gated: &'static str,
    /// Revision of the public repository that holds the model without voice cloning.
    public: &'static str,
    /// Folder of the tokenizer under `languages`; its file is in the repository's root when empty.
    tokenizer: &'static str,
    /// Revision of the public repository that holds the tokenizer.
    tokenizer_revision: &'static str,
}

/// Sizes, and what else goes with them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// 1024 wide, 6 layers.
    Large,
    /// 1024 wide, 24 layers.
    Large24,
    /// As `Large`, from before voices were preceded by a learnt row.
    First,
    /// As `Large`, with a drifting head.
    Drifting,
    /// 512 wide; 18.2 million parameters.
    M18,
    /// 224 wide; 6.9 million parameters.
    M7,
    /// 112 wide; 1.9 million parameters.
    M2,
}

/// Which characters are rewritten because the training texts had none of them.
#[derive(Clone, Copy)]
enum Characters {
    English,
    EnglishSmall,
    Common,
    French,
    German,
    Spanish,
}

// Revisions of kyutai/pocket-tts.
const G19F9: &str = "19f95fe2df36e79fbd9f10008595cc4c977a0fcc";
const G2DD9: &str = "2dd944b099d06bb9edbd221fef138685711d9bf0";
const G3959: &str = "39592ff23c9ef80098bb74895d104c26275fe2c9";
const G3E82: &str = "3e82814a68665eec246ff649b14c71331f955c06";
const G4925: &str = "492522650173a0653b7575cdc25ae09810e5d741";
const G75CF: &str = "75cfe24e3142233bb81887fed3482e9652bb4a6e";
const G7F36: &str = "7f364c05d1be3faf2b234cdbe4cbb68a026d4218";
const G9831: &str = "983151f13aaeab1b13c1e5e3c2c383d49a9edf3f";
const GDB04: &str = "db04f0e653473e5c7333c69686ac92b7460b0c1d";

// Revisions of kyutai/pocket-tts-without-voice-cloning.
const P00EA: &str = "00eac05ed3d16bdc3f6b5d598874019c34a89214";
const P08FF: &str = "08ffc58775e62aad9409511b9591c9af626270f3";
const P1E08: &str = "1e08e6a23401048648a9fdcfde2f89348215c2a7";
const P4E1E: &str = "4e1e0a3e611c51c0b4ed8174fc10f32a54644303";
const P575D: &str = "575d14372df89a4534bcb989870a34e77544b09f";
const P8843: &str = "8843db76457a91db32077edf8dfcd1c0e3e755fd";
const PA5CE: &str = "a5ce31f3eba7a3b0cb9c24ba2015b098f278eaae";
const PA705: &str = "a7056f505a4a8ca72d8b5fb1440071d6f1a35739";
const PD29D: &str = "d29db7978e464fb90cb3359ee0c69a273b9142cc";
const PE720: &str = "e7205b6ee50e654a5ea19f0e9df2b0813b05e921";
const PE81D: &str = "e81d79e8194ad4c7ce879c87a4258ef20cbf2487";

#[rustfmt::skip]
const ROWS: [Row; 27] = {
    use Characters::{Common, English, EnglishSmall, French, German, Spanish};
    use Shape::{Drifting, First, Large, Large24, M2, M7, M18};
    [
        row("dutch",                   Large,    Common,       G3E82, P1E08, "dutch",                   P4E1E),
        row("dutch_24l",               Large24,  Common,       G2DD9, P4E1E, "dutch_24l",               P4E1E),
        row("english",                 Large,    English,      GDB04, PA705, "english",                 P00EA),
        row("english_18m_2026-10",     M18,      EnglishSmall, GDB04, PA705, "english_18m_2026-10",     P08FF),
        row("english_18m_refl_2026-10", M18,     EnglishSmall, GDB04, PA705, "english_18m_refl_2026-10", P08FF),
        row("english_2026-01",         First,    English,      G3959, PD29D, "",                        P00EA),
        row("english_2026-04",         Large,    English,      G19F9, PD29D, "english_2026-04",         P00EA),
        row("english_2026-04_24l",     Large24,  English,      G4925, PE81D, "english_2026-04_24l",     P00EA),
        row("english_2026-09",         Large,    English,      G9831, PE720, "english_2026-09",         P00EA),
        row("english_2026-09_2",       Large,    English,      G7F36, P575D, "english_2026-09",         P00EA),
        row("english_2026-09_24l",     Large24,  English,      G9831, PE720, "english_2026-09_24l",     P00EA),
        row("english_2026-10",         Large,    English,      GDB04, PA705, "english_2026-09",         P00EA),
        row("english_2m_2026-10",      M2,       EnglishSmall, GDB04, PA705, "english_2m_2026-10",      P08FF),
        row("english_2m_refl_2026-10", M2,       EnglishSmall, GDB04, PA705, "english_2m_refl_2026-10", P08FF),
        row("english_7m_2026-10",      M7,       EnglishSmall, GDB04, PA705, "english_7m_2026-10",      P08FF),
        row("english_7m_refl_2026-10", M7,       EnglishSmall, GDB04, PA705, "english_7m_refl_2026-10", P08FF),
        row("english_drifting_26-09",  Drifting, English,      G75CF, PA5CE, "english_2026-09",         P00EA),
        row("french",                  Large,    French,       G3E82, P1E08, "french",                  P8843),
        row("french_24l",              Large24,  French,       G3E82, P1E08, "french_24l",              P8843),
        row("german",                  Large,    German,       G3E82, P1E08, "german",                  P4E1E),
        row("german_24l",              Large24,  German,       G2DD9, P4E1E, "german_24l",              P4E1E),
        row("italian",                 Large,    Common,       G3E82, P1E08, "italian",                 P4E1E),
        row("italian_24l",             Large24,  Common,       G3E82, P1E08, "italian_24l",             P4E1E),
        row("portuguese",              Large,    Common,       G3E82, P1E08, "portuguese",              P4E1E),
        row("portuguese_24l",          Large24,  Common,       G2DD9, P4E1E, "portuguese_24l",          P4E1E),
        row("spanish",                 Large,    Spanish,      G3E82, P1E08, "spanish",                 P4E1E),
        row("spanish_24l",             Large24,  Spanish,      G2DD9, P4E1E, "spanish_24l",             P4E1E),
    ]
};

const fn row(
    name: &'static str,
    shape: Shape,
    characters: Characters,
    gated: &'static str,
    public: &'static str,
    tokenizer: &'static str,
    tokenizer_revision: &'static str,
) -> Row {
    Row { name, shape, characters, gated, public, tokenizer, tokenizer_revision }
}

/// The names of the released models, sorted.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name)
}

/// The configuration of a released model; nothing for other names.
pub(super) fn config(name: &str) -> Option<Config> {
    ROWS.iter().find(|row| row.name == name).map(Row::config)
}

impl Row {
    fn config(&self) -> Config {
        let model = format!("languages/{}/model.safetensors", self.name);
        Config {
            flow_lm: self.flow_lm(),
            mimi: mimi(self.shape),
            weights_path: Some(format!("hf://kyutai/pocket-tts/{model}@{}", self.gated)),
            weights_path_without_voice_cloning: Some(public_address(&model, self.public)),
            pad_with_spaces_for_short_inputs: self.shape == Shape::First,
            remove_semicolons: matches!(self.characters, Characters::French | Characters::German),
            append_terminal_punctuation: true,
            capitalize_first_letter: true,
            replace_characters: self.characters.replacements(),
            model_recommended_frames_after_eos: None,
            default_temperature: 0.3,
            default_eos_threshold: if self.shape.is_small() { -1.0 } else { -4.0 },
            origin: None,
            local: BTreeMap::new(),
            checkpoint: None,
        }
    }

    fn flow_lm(&self) -> FlowLmConfig {
        let shape = self.shape;
        let (d_model, num_layers, num_heads) = match shape {
            Shape::Large24 => (1024, 24, 16),
            Shape::Large | Shape::First | Shape::Drifting => (1024, 6, 16),
            Shape::M18 => (512, 8, 8),
            Shape::M7 => (224, 8, 8),
            Shape::M2 => (112, 8, 3),
        };
        // Attention of another width than the rest, fewer key heads, and a table of low rank.
        let (attn_dim, num_kv_heads, rank) = match shape {
            Shape::M7 => (Some(512), Some(2), Some(64)),
            Shape::M2 => (Some(192), Some(1), Some(32)),
            _ => (None, None, None),
        };
        let (dim, depth, flow_type) = match shape {
            Shape::Large | Shape::Large24 | Shape::First => (512, 6, FlowType::Lsd),
            Shape::Drifting => (512, 6, FlowType::Drifting),
            Shape::M18 | Shape::M7 => (192, 4, FlowType::Drifting),
            Shape::M2 => (64, 4, FlowType::Pointwise),
        };
        let (tokenizer, file) =
            if shape.is_small() { ("sentencepiece", "tokenizer.model") } else { ("tokenizers", "tokenizer.json") };
        let file = match self.tokenizer {
            "" => file.to_owned(),
            folder => format!("languages/{folder}/{file}"),
        };
        FlowLmConfig {
            dtype: "float32".to_owned(),
            flow: FlowConfig { dim, depth, flow_type },
            transformer: FlowLmTransformerConfig {
                hidden_scale: if shape.is_small() { 1 } else { 4 },
                max_period: 10_000.0,
                d_model,
                num_heads,
                num_layers,
                attn_dim,
                num_kv_heads,
                dim_feedforward: (shape == Shape::M2).then_some(96),
            },
            z_dim: shape.is_small().then_some(64),
            lookup_table: LookupTableConfig {
                dim: d_model,
                n_bins: 4000,
                tokenizer: tokenizer.to_owned(),
                tokenizer_path: public_address(&file, self.tokenizer_revision),
                rank,
            },
            weights_path: None,
            insert_bos_before_voice: shape != Shape::First,
        }
    }
}

impl Shape {
    fn is_small(self) -> bool {
        matches!(self, Self::M18 | Self::M7 | Self::M2)
    }
}

impl Characters {
    fn replacements(self) -> Vec<(char, String)> {
        const QUOTES: [(char, &str); 8] =
            [('"', ""), ('“', ""), ('”', ""), ('„', ""), ('«', ""), ('»', ""), ('’', "'"), ('‘', "'")];
        const BRACKETS: [(char, &str); 4] = [('(', ""), (')', ""), ('[', ""), (']', "")];
        let parts: &[&[(char, &str)]] = match self {
            Self::English => &[&[('’', "'"), ('‘', "'")]],
            Self::EnglishSmall => &[&[('–', ","), ('—', ","), ('’', "'"), ('‘', "'")]],
            Self::Common => &[&QUOTES, &BRACKETS, &[('–', ",")]],
            Self::French => &[&QUOTES, &[(':', ",")], &BRACKETS, &[('–', ",")]],
            Self::German => &[&QUOTES, &BRACKETS, &[('–', ","), ('—', ",")]],
            Self::Spanish => &[&QUOTES, &BRACKETS, &[('¡', ""), ('¿', ""), ('–', ",")]],
        };
        parts.iter().copied().flatten().map(|&(from, to)| (from, to.to_owned())).collect()
    }
}

fn public_address(file: &str, revision: &str) -> String {
    format!("hf://kyutai/pocket-tts-without-voice-cloning/{file}@{revision}")
}

/// The codec: one encoder for all, and smaller decoders for the small models.
fn mimi(shape: Shape) -> MimiConfig {
    let seanet = SeanetConfig {
        dimension: 512,
        channels: 1,
        n_filters: 64,
        n_residual_layers: 1,
        ratios: vec![6, 5, 4],
        kernel_size: 7,
        residual_kernel_size: 3,
        last_kernel_size: 3,
        dilation_base: 2,
        pad_mode: PadMode::Constant,
        compress: 2,
    };
    let transformer = MimiTransformerConfig {
        d_model: 512,
        input_dimension: 512,
        output_dimensions: vec![512],
        num_heads: 8,
        num_layers: 2,
        layer_scale: 0.01,
        context: 250,
        max_period: 10_000.0,
        dim_feedforward: 2048,
    };
    let width = if shape.is_small() { 128 } else { 512 };
    let (n_filters, num_layers) = if shape == Shape::M2 { (24, 4) } else { (32, 12) };
    let decoder_seanet = SeanetConfig { dimension: width, n_filters, kernel_size: 3, ..seanet.clone() };
    let decoder_transformer = MimiTransformerConfig {
        d_model: width,
        input_dimension: width,
        output_dimensions: vec![width],
        num_heads: 4,
        num_layers,
        context: 50,
        dim_feedforward: 384,
        ..transformer.clone()
    };
    MimiConfig {
        dtype: "float32".to_owned(),
        sample_rate: 24_000,
        channels: 1,
        frame_rate: 12.5,
        seanet,
        transformer,
        quantizer: QuantizerConfig { dimension: 32, output_dimension: width },
        weights_path: None,
        inner_dim: Some(if shape == Shape::First { 512 } else { 32 }),
        outer_dim: Some(width),
        decoder_seanet: shape.is_small().then_some(decoder_seanet),
        decoder_transformer: shape.is_small().then_some(decoder_transformer),
    }
}
