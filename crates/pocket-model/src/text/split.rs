//! Cutting a text into chunks at the tokens that end sentences.

use std::collections::HashSet;
use std::ops::Range;

use super::decimals::Decimals;
use super::{prepare_text, python};
use crate::config::Config;
use crate::error::Error;
use crate::tokenizer::Tokenizer;

/// Its tokens but the first end a sentence.
const SENTENCE_ENDS: &str = ".!...?";
/// Its tokens but the first end a part of a sentence that is too long.
const CLAUSE_ENDS: &str = ",;:";

/// A piece of a text that is not cut further.
struct Segment {
    n_tokens: usize,
    text: String,
}

/// Splits a text into chunks of at most about `max_tokens` tokens, at sentence ends.
///
/// The tokens are counted before the cut, and a long sentence without `,;:` stays whole, so a chunk
/// may have more: [`overlong_chunks`] finds these. With a `max_tokens` of 0 every segment is a chunk.
/// Tokens are decoded segment by segment and joined by spaces, which rewrites some texts: `U.S.A.`
/// becomes `U. S. A.`, and a text of nothing but unknown characters may leave no chunk at all.
///
/// # Errors
/// [`Error::EmptyText`] when nothing is left, and what the tokenizer reports.
pub fn split_text(config: &Config, tokenizer: &Tokenizer, text: &str, max_tokens: usize) -> Result<Vec<String>, Error> {
    let (text, _) = prepare_text(config, text)?;
    let mut chunks = Vec::new();
    let mut chunk = Segment { n_tokens: 0, text: String::new() };
    for segment in segments(tokenizer, python::strip(&text), max_tokens)? {
        let n_tokens = chunk.n_tokens + segment.n_tokens;
        if chunk.text.is_empty() {
            chunk = segment;
        } else if n_tokens > max_tokens {
            chunks.push(python::strip(&chunk.text).to_owned());
            chunk = segment;
        } else {
            chunk.n_tokens = n_tokens;
            chunk.text.push(' ');
            chunk.text.push_str(&segment.text);
        }
    }
    if !chunk.text.is_empty() {
        chunks.push(python::strip(&chunk.text).to_owned());
    }
    Ok(chunks)
}

/// The chunks of more than `max_tokens` tokens, as index and number of tokens: the model may skip
/// words of these, so a caller should warn.
///
/// # Errors
/// What the tokenizer reports.
pub fn overlong_chunks(
    tokenizer: &Tokenizer,
    chunks: &[String],
    max_tokens: usize,
) -> Result<Vec<(usize, usize)>, Error> {
    let mut overlong = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        let n_tokens = tokenizer.encode(chunk)?.len();
        if n_tokens > max_tokens {
            overlong.push((index, n_tokens));
        }
    }
    Ok(overlong)
}

/// The sentences of a text, those of more than `max_tokens` tokens cut once more.
fn segments(tokenizer: &Tokenizer, text: &str, max_tokens: usize) -> Result<Vec<Segment>, Error> {
    let clause_ends = end_tokens(tokenizer, CLAUSE_ENDS)?;
    let mut refined = Vec::new();
    for sentence in sentences(tokenizer, text)? {
        if sentence.n_tokens <= max_tokens {
            refined.push(sentence);
            continue;
        }
        let ids = tokenizer.encode(python::strip(&sentence.text))?;
        let clauses = decoded(tokenizer, &ids, &cuts_after(&ids, &clause_ends))?;
        // A sentence in one piece keeps its own number of tokens.
        if clauses.len() > 1 {
            refined.extend(clauses);
        } else {
            refined.push(sentence);
        }
    }
    Ok(refined)
}

fn sentences(tokenizer: &Tokenizer, text: &str) -> Result<Vec<Segment>, Error> {
    let ids = tokenizer.encode(text)?;
    let decimals = Decimals::new(tokenizer, &ids);
    let mut cuts = Vec::new();
    for cut in cuts_after(&ids, &end_tokens(tokenizer, SENTENCE_ENDS)?) {
        if !decimals.are_around(cut)? {
            cuts.push(cut);
        }
    }
    decoded(tokenizer, &ids, &cuts)
}

/// The tokens of `text` but the first, which is BOS or the mark of a word's start with most files.
fn end_tokens(tokenizer: &Tokenizer, text: &str) -> Result<HashSet<u32>, Error> {
    Ok(tokenizer.encode(text)?.into_iter().skip(1).collect())
}

/// Where a run of `ends` is over and something follows.
fn cuts_after(ids: &[u32], ends: &HashSet<u32>) -> Vec<usize> {
    let is_cut = |&index: &usize| ends.contains(&ids[index - 1]) && !ends.contains(&ids[index]);
    (1..ids.len()).filter(is_cut).collect()
}

/// The segments between the cuts; one, perhaps empty, if there is none.
fn decoded(tokenizer: &Tokenizer, ids: &[u32], cuts: &[usize]) -> Result<Vec<Segment>, Error> {
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain(std::iter::once(ids.len()));
    let segment = |range: Range<usize>| Ok(Segment { n_tokens: range.len(), text: tokenizer.decode(&ids[range])? });
    starts.zip(ends).map(|(start, end)| segment(start..end)).collect()
}
