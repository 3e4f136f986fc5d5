//! The Pocket TTS model family: text to audio.

pub mod audio;
pub mod bundle;
pub mod config;
pub mod error;
mod files;
pub mod flow_head;
pub mod flow_lm;
pub mod mimi;
pub mod sampler;
#[cfg(test)]
mod testing;
pub mod tokenizer;
pub mod voice_file;

pub use bundle::load_weights;
pub use config::Config;
pub use error::Error;
pub use pocket_nn::ErrorKind;
pub use tokenizer::Tokenizer;
pub use voice_file::{VoiceFile, VoiceLayer, VoiceShape};
