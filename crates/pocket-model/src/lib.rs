//! The Pocket TTS model family: text to audio.

pub mod audio;
pub mod bundle;
pub mod config;
pub mod engine;
pub mod error;
mod files;
pub mod fingerprint;
pub mod flow_head;
pub mod flow_lm;
pub mod generation;
pub mod mimi;
mod model;
mod packed_cache;
mod precision;
pub mod sampler;
#[cfg(test)]
mod testing;
pub mod text;
pub mod tokenizer;
pub mod verify;
mod voice;
pub mod voice_cache;
pub mod voice_file;
mod warm_up;

pub use bundle::load_weights;
pub use config::{Checkpoint, Config};
pub use engine::stats::{Snapshot, Stage};
pub use engine::{Next, Output, Stream};
pub use error::Error;
pub use fingerprint::{Fingerprint, Fingerprints};
pub use generation::{Chunk, Length, NoiseSource, Request, Sampling};
pub use model::{BuildInfo, GeneratedLatents, LoadOptions, Speech, TtsModel, build_info, default_num_threads};
pub use pocket_nn::{DType, ErrorKind, Tensor, WeightMap, timing};
pub use precision::Precision;
pub use tokenizer::Tokenizer;
pub use voice::VoiceState;
pub use voice_file::{VoiceFile, VoiceLayer, VoiceShape};
