//! The instruction-set level: detected once, then passed down as proof that it may be used.

use std::fmt;

#[cfg(target_arch = "aarch64")]
use crate::simd::neon::{Neon, NeonI8mm};
#[cfg(target_arch = "x86_64")]
use crate::simd::{
    amx::Amx,
    avx2::Avx2,
    avx512::{Avx512, Avx512Bf16},
    sse4::Sse4,
};

/// An instruction-set level of this CPU.
///
/// A variant other than `Scalar` holds a token that only detection makes, so a `Level` that exists
/// can run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Plain loops: the specification of every kernel.
    Scalar,
    /// SSE4.1, 128 bits, no fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Sse4(Sse4),
    /// AVX2 with FMA and F16C, 256 bits.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX2 and AVX-VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx2Vnni(Avx2<true>),
    /// AVX-512 F, BW, DQ and VL, 512 bits.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// AVX-512 with VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512<true>),
    /// AVX-512 with VNNI and BF16.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(Avx512Bf16),
    /// AVX-512 with VNNI, and AMX tiles for products of several rows with 8-bit weights and of bf16.
    #[cfg(target_arch = "x86_64")]
    Amx(Amx),
    /// NEON, 128 bits with fused multiply-add.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// NEON, with the dot product of bytes for 8-bit weights.
    #[cfg(target_arch = "aarch64")]
    NeonDot(Neon<true>),
    /// NEON, with the dot product and the matrix product of bytes for 8-bit weights.
    #[cfg(target_arch = "aarch64")]
    NeonI8mm(NeonI8mm),
}

/// The value of `POCKET_SIMD` names no level that this CPU has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelError {
    requested: String,
    available: Vec<&'static str>,
}

impl fmt::Display for LevelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "POCKET_SIMD={} is not a level of this CPU: use one of {} or unset it",
            self.requested,
            self.available.join(", ")
        )
    }
}

impl std::error::Error for LevelError {}

impl Level {
    /// Every level name of every architecture, widest last.
    pub const ALL_NAMES: [&'static str; 11] = [
        "scalar",
        "sse4",
        "avx2",
        "avx2vnni",
        "avx512",
        "avx512vnni",
        "avx512bf16",
        "amx",
        "neon",
        "neondot",
        "neoni8mm",
    ];

    /// Levels that this CPU can run, narrowest first; `scalar` always is.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut levels = vec![Self::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend(Sse4::detect().map(Self::Sse4));
            levels.extend(Avx2::detect().map(Self::Avx2));
            levels.extend(Avx2::detect().map(Self::Avx2Vnni));
            levels.extend(Avx512::detect().map(Self::Avx512));
            levels.extend(Avx512::detect().map(Self::Avx512Vnni));
            levels.extend(Avx512Bf16::detect().map(Self::Avx512Bf16));
            levels.extend(Amx::detect().map(Self::Amx));
        }
        #[cfg(target_arch = "aarch64")]
        {
            levels.extend(Neon::detect().map(Self::Neon));
            levels.extend(Neon::detect().map(Self::NeonDot));
            levels.extend(NeonI8mm::detect().map(Self::NeonI8mm));
        }
        levels
    }

    /// The widest level of this CPU.
    #[must_use]
    pub fn detect() -> Self {
        Self::available().pop().unwrap_or(Self::Scalar)
    }

    /// The level that `name` names, if this CPU has it.
    ///
    /// # Errors
    /// [`LevelError`] names the levels that the CPU has.
    pub fn from_name(name: &str) -> Result<Self, LevelError> {
        let available = Self::available();
        available.iter().copied().find(|level| level.name() == name).ok_or_else(|| LevelError {
            requested: name.to_owned(),
            available: available.iter().map(|level| level.name()).collect(),
        })
    }

    /// The level that the environment variable `POCKET_SIMD` forces, else the widest one.
    ///
    /// # Errors
    /// [`LevelError`] when the variable names a level that this CPU lacks.
    pub fn from_env() -> Result<Self, LevelError> {
        match std::env::var("POCKET_SIMD") {
            Ok(name) if !name.is_empty() => Self::from_name(&name),
            _ => Ok(Self::detect()),
        }
    }

    /// The name that `POCKET_SIMD` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Sse4(_) => "sse4",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Vnni(_) => "avx2vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(_) => "avx512vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16(_) => "avx512bf16",
            #[cfg(target_arch = "x86_64")]
            Self::Amx(_) => "amx",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "neon",
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot(_) => "neondot",
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm(_) => "neoni8mm",
        }
    }
}

/// The CPU features that this crate's levels look for, and others that tell CPUs apart, of those that the CPU has.
#[must_use]
pub fn cpu_features() -> Vec<&'static str> {
    let mut found = Vec::new();
    macro_rules! look_for {
        ($detected:ident: $($name:tt)*) => {
            $(if std::arch::$detected!($name) {
                found.push($name);
            })*
        };
    }
    #[cfg(target_arch = "x86_64")]
    look_for!(is_x86_feature_detected:
        "sse4.1" "avx2" "fma" "f16c" "avxvnni"
        "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx512vnni" "avx512bf16");
    #[cfg(target_arch = "aarch64")]
    look_for!(is_aarch64_feature_detected: "neon" "dotprod" "i8mm" "bf16");
    found
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalar_is_always_available_and_names_round_trip() {
        let levels = Level::available();
        assert_eq!(levels[0], Level::Scalar);
        for level in levels {
            assert_eq!(Level::from_name(level.name()), Ok(level));
            assert!(Level::ALL_NAMES.contains(&level.name()));
        }
    }

    #[test]
    fn unknown_name_lists_the_available_levels() {
        let message = Level::from_name("mmx").unwrap_err().to_string();
        assert!(message.contains("POCKET_SIMD=mmx"), "{message}");
        assert!(message.contains("scalar"), "{message}");
    }
}
