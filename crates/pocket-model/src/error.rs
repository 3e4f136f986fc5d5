//! Errors of this crate; [`Error::kind`] sorts them for callers with one exception per sort.

use std::io;
use std::path::PathBuf;

use pocket_kernels::LevelError;
use pocket_nn::{ErrorKind, WeightsError};

use crate::audio::Origin;
use crate::fingerprint::Fingerprint;
use crate::voice_file::VoiceShape;

/// Why a model, a voice or audio cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read a file.
    #[error("cannot read {what} {}: {source}; check the path and its permissions", path.display())]
    Read {
        /// What the file is: "config file", "audio file" and so on.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The operating system refused to write a file.
    #[error("cannot write {}: {source}; check the folder, its permissions and the free space", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is larger than any of its kind.
    #[error("{what} {} is larger than {limit} bytes; check that it is the right file", path.display())]
    TooLarge {
        /// What the file should be.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// A configuration is not valid YAML.
    #[error("config file {} is not valid YAML: line {line}: {reason}", origin.display())]
    Yaml {
        /// The file.
        origin: PathBuf,
        /// The line, counted from one.
        line: usize,
        /// The fault.
        reason: String,
    },
    /// A configuration is not UTF-8.
    #[error("config file {} is not UTF-8 text; save it as UTF-8", path.display())]
    ConfigEncoding {
        /// The file.
        path: PathBuf,
    },
    /// A value of a configuration is missing, unknown, of the wrong type or out of range.
    #[error("config file {}: {key}: {reason}", origin.display())]
    Config {
        /// The file.
        origin: PathBuf,
        /// Full path of the key.
        key: String,
        /// The fault and what to do.
        reason: String,
    },
    /// An address that would have to be downloaded.
    #[error("{key}: {address} is not a local file; download it first and give its local path")]
    RemoteAddress {
        /// The setting that holds the address.
        key: String,
        /// The address.
        address: String,
    },
    /// `flow_lm.weights_path` is set, `mimi.weights_path` is not.
    #[error("flow_lm.weights_path is set without a codec; set mimi.weights_path too")]
    FlowLmWithoutMimi,
    /// Only `mimi.weights_path` is set.
    #[error("mimi.weights_path is set without a language model; set flow_lm.weights_path or weights_path too")]
    MimiWithoutFlowLm,
    /// No path to weights is set.
    #[error("a config without weights cannot speak; set weights_path to a safetensors file")]
    NoWeights,
    /// A tokenizer file is unusable, or its rules fail on a text.
    #[error("tokenizer file {} cannot be used: {source}; check that it is a tokenizer.json", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What the tokenizer library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A `SentencePiece` model is unusable, or its rules fail on a text.
    #[error("tokenizer file {} cannot be used: {reason}; check that it is a SentencePiece model, or set flow_lm.lookup_table.tokenizer to tokenizers for a tokenizer.json", path.display())]
    SentencePiece {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The vocabulary does not fit the embedding table.
    #[error("tokenizer file {} has {actual} tokens, but flow_lm.lookup_table.n_bins is {expected}; use the tokenizer that the model was trained with", path.display())]
    VocabularySize {
        /// The file.
        path: PathBuf,
        /// The vocabulary size in the configuration.
        expected: usize,
        /// The vocabulary size of the file.
        actual: usize,
    },
    /// Audio is damaged, or nothing that a voice can be made of.
    #[error("{origin} cannot be used: {reason}")]
    Audio {
        /// Where it is from.
        origin: Origin,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Audio is of a format that is not read.
    #[error("{origin} cannot be used: {reason}")]
    UnsupportedAudio {
        /// Where it is from.
        origin: Origin,
        /// What it holds and what to do.
        reason: String,
    },
    /// Audio does not fit the sizes of the WAV format.
    #[error("{n_samples} samples are too many for a WAV file; split the audio")]
    WavTooLong {
        /// How many samples there are.
        n_samples: usize,
    },
    /// Audio has no samples.
    #[error("the audio has no samples; give a recording of the voice")]
    EmptyAudio,
    /// Audio holds NaN or infinity.
    #[error("the audio is damaged: sample {index} is {value}; give samples between -1 and 1")]
    NonFiniteAudio {
        /// Where the first such sample is.
        index: usize,
        /// The sample.
        value: f32,
    },
    /// A sample rate that no audio has.
    #[error("a sample rate of {actual} Hz is out of range; give the rate of the recording, 1 to {max} Hz")]
    SampleRate {
        /// The rate in Hz.
        actual: usize,
        /// The highest rate in Hz.
        max: usize,
    },
    /// A voice state is damaged or was made with another model.
    #[error("voice file {} cannot be used: {reason}", path.display())]
    Voice {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A voice state was made with a model of other sizes.
    #[error(
        "the voice has {} layers of {} K/V heads of width {}, the model has {} of {} of width {}; make the voice with this model",
        actual.num_layers, actual.num_kv_heads, actual.head_dim,
        expected.num_layers, expected.num_kv_heads, expected.head_dim
    )]
    VoiceShape {
        /// The model's sizes.
        expected: VoiceShape,
        /// The voice's sizes.
        actual: VoiceShape,
    },
    /// A voice state was made with another model of the same sizes.
    #[error(
        "the voice was made with another model: its fingerprint is {actual}, this model's is {expected}; make the voice with this model"
    )]
    VoiceModel {
        /// The model's fingerprint.
        expected: Fingerprint,
        /// The voice's.
        actual: Fingerprint,
    },
    /// A voice state given as tensors is damaged.
    #[error("the voice state cannot be used: {reason}")]
    VoiceTensors {
        /// What is wrong and what to do.
        reason: String,
    },
    /// A text without a token.
    #[error("the text is empty; give at least one word")]
    EmptyText,
    /// An argument is out of range.
    #[error("{name} {reason}")]
    Argument {
        /// The argument.
        name: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The caller's noise is too short.
    #[error(
        "noise has {rows} rows, but frame {rows} needs another one; give one row per frame and one for the frame after the last"
    )]
    OutOfNoise {
        /// Rows given.
        rows: usize,
    },
    /// The language model computed infinity or NaN.
    #[error("frame {frame} of chunk {chunk} is not finite; the weights are damaged or the temperature is too high")]
    NonFiniteLatent {
        /// Index of the chunk.
        chunk: usize,
        /// Index of the frame within it.
        frame: usize,
    },
    /// The codec computed infinity or NaN.
    #[error("the audio of chunk {chunk} is not finite; the weights of the codec are damaged")]
    NonFiniteOutput {
        /// Index of the chunk.
        chunk: usize,
    },
    /// A chunk reached its longest length without an end of speech, and that is an error.
    #[error(
        "frame {n_frames} is the last that the text may take, and its end was not spoken; raise frames_after_eos or lower eos_threshold"
    )]
    NoEndOfSpeech {
        /// Frames generated.
        n_frames: usize,
    },
    /// `POCKET_SIMD` names a level that this CPU lacks.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// The operating system gave no thread.
    #[error("cannot start a thread: {source}; raise the limit on threads or end other programs")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// A stream was used in a process that did not start it.
    #[error("the stream was started before the process forked; start it in the process that reads it")]
    OtherProcess,
    /// The model was dropped under a stream.
    #[error("the model was dropped before its stream ended; keep the model while the stream is read")]
    EngineGone,
    /// A bug of ours.
    #[error("internal error: {message}; please report it")]
    Internal {
        /// What failed.
        message: String,
    },
    /// Weights could not be opened or do not fit the configuration.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl Error {
    /// Sorts the error for callers that have one exception per sort.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => ErrorKind::from_io(source),
            Self::Weights(error) => error.kind(),
            Self::Thread { .. } => ErrorKind::Io,
            Self::RemoteAddress { .. } | Self::UnsupportedAudio { .. } => ErrorKind::Unsupported,
            Self::Voice { .. } | Self::VoiceTensors { .. } | Self::VoiceShape { .. } | Self::VoiceModel { .. } => {
                ErrorKind::VoiceState
            }
            Self::Internal { .. } => ErrorKind::Internal,
            Self::NoEndOfSpeech { .. } => ErrorKind::Unfinished,
            Self::Tokenizer { .. }
            | Self::SentencePiece { .. }
            | Self::VocabularySize { .. }
            | Self::Yaml { .. }
            | Self::ConfigEncoding { .. }
            | Self::Config { .. } => ErrorKind::ModelFormat,
            Self::EmptyText
            | Self::Argument { .. }
            | Self::OutOfNoise { .. }
            | Self::NonFiniteLatent { .. }
            | Self::NonFiniteOutput { .. }
            | Self::Level(_)
            | Self::OtherProcess
            | Self::EngineGone
            | Self::TooLarge { .. }
            | Self::FlowLmWithoutMimi
            | Self::MimiWithoutFlowLm
            | Self::NoWeights
            | Self::Audio { .. }
            | Self::WavTooLong { .. }
            | Self::EmptyAudio
            | Self::NonFiniteAudio { .. }
            | Self::SampleRate { .. } => ErrorKind::InvalidValue,
        }
    }
}
