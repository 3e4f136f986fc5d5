//! Fingerprints: which weights a voice belongs to, told apart without reading them all.
//!
//! A fingerprint is a SHA-256 over names, shapes and a fixed sample of the values of some tensors, as
//! floats and under their canonical names. It is the same for one bundle and separate files, for BF16
//! and the floats that it widens to, at every SIMD level and precision; any training changes it.
//!
//! | fingerprint | of | says |
//! |---|---|---|
//! | [`Fingerprints::backbone`] | the language model's transformer | which voice states a model understands |
//! | [`Fingerprints::cloning`] | that, the encoder, the rows before and of the voice | which voice a recording becomes |
//!
//! The encoder is no part of the first: a voice made with the weights that can clone is spoken by those
//! that cannot.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use pocket_nn::transformer::TransformerConfig;
use pocket_nn::{Tensor, Weights};
use sha2::{Digest, Sha256};

use crate::config::Config;

/// Names the way in which fingerprints are computed; others cannot be compared.
const SCHEME: &str = "1-";
const N_BYTES: usize = 16;
/// Larger tensors are sampled: runs of neighbours, since each place costs a page of the file.
const N_RUNS: usize = 4;
const RUN_LEN: usize = 32;

/// A fingerprint of weights; its text is `1-` and 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; N_BYTES]);

/// The fingerprints of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprints {
    /// Of the language model's transformer.
    pub backbone: Fingerprint,
    /// Of all weights and settings that take part in making a voice of a recording.
    pub cloning: Fingerprint,
}

impl Fingerprints {
    /// Looks at the weights `flow_lm.*` and `mimi.*` of a model, at a few pages of each.
    ///
    /// # Panics
    /// If a tensor holds no floats, which [`Weights::finish`] rules out once all were taken.
    #[must_use]
    pub fn of(weights: &Weights, config: &Config, backbone: &TransformerConfig) -> Self {
        let transformer = weights.scope("flow_lm").scope("transformer");
        let mut hasher = Hasher::default();
        let attention = backbone.attention;
        for n in [backbone.n_layers, attention.heads, attention.kv_heads, attention.head_dim] {
            hasher.number(n as u64);
        }
        hasher.number(backbone.max_period.to_bits());
        transformer.tensors().for_each(|tensor| hasher.tensor(tensor));
        let backbone = hasher.finish();

        let mut hasher = Hasher::default();
        hasher.text(&backbone.to_string());
        let mut codec = config.mimi.clone();
        codec.weights_path = None;
        hasher.text(&format!("{codec:?} {}", config.flow_lm.insert_bos_before_voice));
        weights.tensors().filter(|tensor| is_used_in_cloning(tensor.name())).for_each(|tensor| hasher.tensor(tensor));
        Self { backbone, cloning: hasher.finish() }
    }
}

/// Whether only making a voice of a recording needs the tensor.
pub(crate) fn is_used_in_cloning(name: &str) -> bool {
    ["mimi.encoder.", "mimi.encoder_transformer.", "mimi.downsample."].iter().any(|prefix| name.starts_with(prefix))
        || ["flow_lm.speaker_proj_weight", "flow_lm.bos_before_voice"].contains(&name)
}

/// SHA-256 over parts that say their own length, so that none can pass for another.
#[derive(Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn number(&mut self, n: u64) {
        self.0.update(n.to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn shape(&mut self, shape: &[usize]) {
        self.number(shape.len() as u64);
        for &n in shape {
            self.number(n as u64);
        }
    }

    /// Name, shape and a sample of the values: all of a small tensor, else runs from its start to its end.
    fn tensor(&mut self, tensor: &Tensor) {
        self.text(tensor.name());
        self.shape(tensor.shape());
        let n = tensor.numel();
        let mut run = [0.0; N_RUNS * RUN_LEN];
        if n <= run.len() {
            self.floats(tensor, 0, &mut run[..n]);
        } else {
            for i in 0..N_RUNS {
                self.floats(tensor, (n - RUN_LEN) * i / (N_RUNS - 1), &mut run[..RUN_LEN]);
            }
        }
    }

    fn floats(&mut self, tensor: &Tensor, start: usize, values: &mut [f32]) {
        tensor.values_into(start, values);
        for value in values {
            self.0.update(value.to_le_bytes());
        }
    }

    /// All 64 hexadecimal digits.
    pub(crate) fn finish_hex(self) -> String {
        hex(&self.0.finalize())
    }

    fn finish(self) -> Fingerprint {
        let digest = self.0.finalize();
        Fingerprint(*digest.first_chunk().expect("SHA-256 has 32 bytes"))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The text is no fingerprint that this version computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is {SCHEME} and {} hexadecimal digits", 2 * N_BYTES)]
pub struct NoFingerprint;

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let digits = text.strip_prefix(SCHEME).ok_or(NoFingerprint)?.as_bytes();
        let (pairs, rest) = digits.as_chunks::<2>();
        if pairs.len() != N_BYTES || !rest.is_empty() {
            return Err(NoFingerprint);
        }
        let digit = |c: u8| char::from(c).to_digit(16).ok_or(NoFingerprint);
        let mut bytes = [0; N_BYTES];
        for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = (16 * digit(high)? + digit(low)?) as u8;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use pocket_kernels::attention::AttentionShape;
    use pocket_nn::{DType, WeightMap};

    use super::*;
    use crate::config::tests::MINIMAL;
    use crate::testing::noise;

    const BACKBONE: TransformerConfig = TransformerConfig {
        width: 8,
        attention: AttentionShape { heads: 2, kv_heads: 2, head_dim: 4 },
        feed_forward: 16,
        n_layers: 2,
        context: None,
        max_period: 10_000.0,
        has_layer_scale: false,
    };
    const NAMES: [&str; 8] = [
        "flow_lm.bos_before_voice",
        "flow_lm.flow_net.input_proj.weight",
        "flow_lm.speaker_proj_weight",
        "flow_lm.transformer.layers.0.self_attn.in_proj.weight",
        "mimi.decoder.model.0.conv.weight",
        "mimi.downsample.conv.conv.weight",
        "mimi.encoder.model.0.conv.weight",
        "mimi.encoder_transformer.transformer.layers.0.linear1.weight",
    ];

    fn config() -> Config {
        Config::from_yaml_str(MINIMAL, "c.yaml").unwrap()
    }

    fn map(n: usize) -> WeightMap {
        let mut map = WeightMap::new();
        for (i, name) in NAMES.into_iter().enumerate() {
            let values = noise(n + i).split_off(i);
            map.insert(Tensor::from_f32(name, &[n], values).to_dtype(DType::Bf16));
        }
        map
    }

    fn of(map: WeightMap) -> Fingerprints {
        Fingerprints::of(&Weights::new(map, "m"), &config(), &BACKBONE)
    }

    /// Whether (backbone, cloning) differ once `change` is made to one tensor.
    fn differs(n: usize, name: &str, change: impl FnOnce(&mut Vec<f32>)) -> (bool, bool) {
        let mut changed = map(n);
        let mut values = changed.get(name).unwrap().to_f32();
        change(&mut values);
        changed.insert(Tensor::from_f32(name, &[values.len()], values));
        let (before, after) = (of(map(n)), of(changed));
        (before.backbone != after.backbone, before.cloning != after.cloning)
    }

    #[test]
    fn each_covers_the_weights_that_it_should() {
        let expected = [
            (false, true),
            (false, false),
            (false, true),
            (true, true),
            (false, false),
            (false, true),
            (false, true),
            (false, true),
        ];
        for (name, expected) in NAMES.into_iter().zip(expected) {
            for n in [1, 128, 129, 5000] {
                assert_eq!(differs(n, name, |values| values[n - 1] += 0.5), expected, "{name} {n}");
                assert_eq!(differs(n, name, |values| values[0] += 0.5), expected, "{name} {n}");
                assert_eq!(differs(n, name, |values| values.push(0.0)), expected, "{name} {n}");
            }
        }
    }

    #[test]
    fn stored_types_and_other_names_do_not_matter() {
        let mut wide = WeightMap::new();
        for tensor in map(300).iter() {
            wide.insert(tensor.to_dtype(DType::F32));
        }
        assert_eq!(of(wide), of(map(300)));
        let mut renamed = WeightMap::new();
        for tensor in map(300).iter() {
            renamed.insert(tensor.with_name(tensor.name().replace("layers.0", "layers.1")));
        }
        assert_ne!(of(renamed).backbone, of(map(300)).backbone);
    }

    #[test]
    fn settings_that_change_the_meaning_count() {
        let weights = Weights::new(map(300), "m");
        let base = Fingerprints::of(&weights, &config(), &BACKBONE);
        let other = TransformerConfig { max_period: 5000.0, ..BACKBONE };
        assert_ne!(Fingerprints::of(&weights, &config(), &other).backbone, base.backbone);
        let attention = AttentionShape { heads: 4, kv_heads: 4, head_dim: 2 };
        let other = TransformerConfig { attention, ..BACKBONE };
        assert_ne!(Fingerprints::of(&weights, &config(), &other).backbone, base.backbone);
        let mut config = config();
        config.mimi.weights_path = Some("elsewhere".to_owned());
        config.weights_path = Some("elsewhere".to_owned());
        assert_eq!(Fingerprints::of(&weights, &config, &BACKBONE), base);
        config.mimi.sample_rate += 1;
        let other = Fingerprints::of(&weights, &config, &BACKBONE);
        assert_eq!(other.backbone, base.backbone);
        assert_ne!(other.cloning, base.cloning);
    }

    #[test]
    fn texts_read_back() {
        let fingerprint = of(map(300)).backbone;
        let text = fingerprint.to_string();
        assert_eq!(text.len(), 34);
        assert_eq!(text.parse(), Ok(fingerprint));
        assert_eq!(text.to_uppercase().parse(), Ok(fingerprint));
        for wrong in ["", "1-", "1-0", &text[..33], &text[2..], &text.replacen("1-", "2-", 1), &format!("{text}0")] {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(NoFingerprint), "{wrong}");
        }
        let wrong = format!("1-{}", "g".repeat(32));
        assert_eq!(wrong.parse::<Fingerprint>(), Err(NoFingerprint));
        let wrong = format!("1-{}", "é".repeat(16));
        assert_eq!(wrong.parse::<Fingerprint>(), Err(NoFingerprint));
    }
}
