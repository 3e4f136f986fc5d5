//! The arithmetic that a model computes with, chosen when it is loaded.
//!
//! | precision | matrices of FlowLM and flow head | codec's transformer | codec's convolutions | K/V cache |
//! |---|---|---|---|---|
//! | `f32` | as stored: f32, or bf16 widened when read | the same | the same | f32 |
//! | `bf16` | bf16, activations too | bf16, widened when read | the same | bf16, widened when read |
//! | `int8` | 8 bits, activations 16 | 12 bits, activations 14 | the same | the same |
//!
//! Whatever the precision, each row of a product is computed by itself: results never depend on other rows,
//! streams or threads. Integers have a scale per 128 inputs, of weights per output and of activations per row,
//! and are summed exactly (`pocket_kernels::quantized`). The voice encoder, norms, embeddings and
//! time embeddings stay as stored; with fewer than 64 inputs or outputs integers do so too, and bf16 multiplies f32.

use std::fmt;

use pocket_kernels::quantized::QuantFormat;
use pocket_nn::MatrixFormat;

/// The arithmetic of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// The stored weights, exactly.
    #[default]
    F32,
    /// Weights and the language model's activations rounded to bf16: half the memory.
    Bf16,
    /// Weights of 8 and 12 bits: a quarter of the memory, and faster.
    Int8,
}

impl Precision {
    /// All precisions, the exact one first.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// The name that users give it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// The precision that `name` names.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name)
    }

    /// How the matrices under each prefix of names are kept.
    #[must_use]
    pub fn formats(self) -> &'static [(&'static str, MatrixFormat)] {
        const I8: MatrixFormat = MatrixFormat::Quantized(QuantFormat::I8);
        const I12: MatrixFormat = MatrixFormat::Quantized(QuantFormat::I12);
        match self {
            Self::F32 => &[],
            Self::Bf16 => &[
                ("flow_lm.transformer.", MatrixFormat::Bf16Products),
                ("flow_lm.flow_net.", MatrixFormat::Bf16Products),
                ("flow_lm.flow_net.time_embed.", MatrixFormat::Stored),
                ("mimi.decoder_transformer.", MatrixFormat::Bf16),
                ("mimi.decoder.", MatrixFormat::Bf16),
            ],
            Self::Int8 => &[
                ("flow_lm.transformer.", I8),
                ("flow_lm.flow_net.", I8),
                ("flow_lm.flow_net.time_embed.", MatrixFormat::Stored),
                ("mimi.decoder_transformer.", I12),
                ("mimi.decoder.", I12),
            ],
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
