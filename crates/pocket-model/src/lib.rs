//! The Pocket TTS model family: text to audio.

pub mod config;
