//! A voice prompt in two passes, so that an hour of audio needs no more memory than a second.
//!
//! Where a prompt ends depends on its loudest part, which may be anywhere. The first pass measures,
//! the second reads again and hands out what is to be encoded: mono, at the model's rate, ended on a
//! pause, in whole frames.

use super::check_rate;
use super::fault::Fault;
use super::input::{AudioInput, Decoder};
use super::level::LevelMeter;
use super::pause::{PauseFinder, PromptEnd};
use super::resample::Resampler;
use crate::error::Error;

/// The longest part of a prompt that counts when truncating.
const MAX_PROMPT_S: usize = 30;
/// Voices need some words.
const SHORT_PROMPT_S: f64 = 1.0;
/// From here on a prompt costs memory and time worth a word.
const LONG_PROMPT_S: f64 = 60.0;

/// What the encoder expects of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptFormat {
    /// Sample rate of the model in Hz.
    pub sample_rate_hz: usize,
    /// Samples of a frame.
    pub frame_size: usize,
    /// Whether only the first 30 s count.
    pub is_truncated: bool,
}

/// A prompt that was listened to once and found usable.
#[derive(Clone, Debug)]
pub struct Prompt<'a> {
    input: AudioInput<'a>,
    format: PromptFormat,
    end: PromptEnd,
    warnings: Vec<String>,
}

impl<'a> Prompt<'a> {
    /// Reads the audio once, block by block.
    ///
    /// # Errors
    /// When it cannot be read or decoded, is empty, silent or not finite, or its rate is out of range.
    pub fn measure(input: AudioInput<'a>, format: PromptFormat) -> Result<Self, Error> {
        check_rate(format.sample_rate_hz)?;
        let mut meter = LevelMeter::default();
        let mut finder = PauseFinder::new(format.sample_rate_hz);
        let mut samples = Vec::new();
        let mut reader = Resampled::new(&input, format)?;
        while reader.next_block(&mut samples, |block| meter.push(block).map_err(|fault| input.origin().error(fault)))? {
            finder.push(&samples);
        }
        meter.check().map_err(|fault| input.origin().error(fault))?;
        let end = finder.finish();
        let mut warnings: Vec<String> = reader.note().into_iter().chain(meter.warning()).collect();
        drop(reader);
        let seconds = end.kept as f64 / format.sample_rate_hz as f64;
        if seconds < SHORT_PROMPT_S {
            warnings.push(format!(
                "it has {seconds:.2} s of sound, too little for a good voice; give 5 to 30 s of clear speech"
            ));
        }
        let origin = input.origin();
        let warnings = warnings.into_iter().map(|warning| format!("{origin}: {warning}")).collect();
        Ok(Self { input, format, end, warnings })
    }

    /// What the user should know about the audio, a sentence each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether the prompt is so long that its memory is worth a word; then its origin and its seconds.
    #[must_use]
    pub fn long(&self) -> Option<(String, f64)> {
        let seconds = self.n_samples() as f64 / self.format.sample_rate_hz as f64;
        (seconds > LONG_PROMPT_S && !self.format.is_truncated).then(|| (self.input.origin().to_string(), seconds))
    }

    /// Samples for the encoder, whole frames.
    #[must_use]
    pub fn n_samples(&self) -> usize {
        (self.end.kept + self.end.silent).next_multiple_of(self.format.frame_size)
    }

    /// Starts to read the prompt for the encoder.
    ///
    /// # Errors
    /// As [`Self::measure`], when the file has changed.
    pub fn read(&self) -> Result<PromptReader<'_>, Error> {
        let source = Resampled::new(&self.input, self.format)?;
        Ok(PromptReader { prompt: self, source, pending: Vec::new(), block: Vec::new(), n_read: 0 })
    }

    /// All samples for the encoder.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn samples(&self) -> Result<Vec<f32>, Error> {
        let mut samples = Vec::new();
        self.read()?.next_block(self.n_samples(), &mut samples)?;
        Ok(samples)
    }
}

/// The second pass over a prompt.
pub struct PromptReader<'a> {
    prompt: &'a Prompt<'a>,
    source: Resampled<'a>,
    pending: Vec<f32>,
    block: Vec<f32>,
    n_read: usize,
}

impl PromptReader<'_> {
    /// Replaces `out` by the next `n_samples`, fewer at the end; `false` if none are left.
    ///
    /// # Errors
    /// When the audio has changed since it was measured.
    pub fn next_block(&mut self, n_samples: usize, out: &mut Vec<f32>) -> Result<bool, Error> {
        let PromptEnd { kept, .. } = self.prompt.end;
        let n = n_samples.min(self.prompt.n_samples() - self.n_read);
        let n_sound = n.min(kept.saturating_sub(self.n_read));
        while self.pending.len() < n_sound {
            if !self.source.next_block(&mut self.block, |_| Ok(()))? {
                let changed = "it changed while it was read; leave it alone until the voice is made".to_owned();
                return Err(self.prompt.input.origin().error(Fault::Damaged(changed)));
            }
            self.pending.extend_from_slice(&self.block);
        }
        out.clear();
        out.extend(self.pending.drain(..n_sound));
        self.prompt.end.fade(self.n_read, out);
        out.resize(n, 0.0);
        self.n_read += n;
        Ok(n > 0)
    }
}

/// Decoded audio at the model's rate.
struct Resampled<'a> {
    decoder: Decoder<'a>,
    /// Samples at the audio's own rate that still count.
    n_left: usize,
    resampler: Resampler,
    block: Vec<f32>,
    is_finished: bool,
    is_decoded: bool,
}

impl<'a> Resampled<'a> {
    fn new(input: &'a AudioInput<'_>, format: PromptFormat) -> Result<Self, Error> {
        let decoder = input.decoder()?;
        let rate = decoder.sample_rate_hz();
        let n_left = if format.is_truncated { MAX_PROMPT_S * rate } else { usize::MAX };
        let resampler = Resampler::new(format.sample_rate_hz, rate);
        Ok(Self { decoder, n_left, resampler, block: Vec::new(), is_finished: false, is_decoded: false })
    }

    /// Replaces `out` by the next samples; `inspect` sees what they were made of. `false` at the end.
    fn next_block(
        &mut self,
        out: &mut Vec<f32>,
        mut inspect: impl FnMut(&[f32]) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        out.clear();
        while out.is_empty() && !self.is_finished {
            let has_more = self.n_left > 0 && {
                self.is_decoded = !self.decoder.next_block(&mut self.block)?;
                !self.is_decoded
            };
            if has_more {
                self.block.truncate(self.n_left);
                self.n_left -= self.block.len();
                inspect(&self.block)?;
                self.resampler.push(&self.block, out);
            } else {
                self.is_finished = true;
                self.resampler.finish(out);
            }
        }
        Ok(!out.is_empty())
    }

    /// What is to be told about the audio, if all of it was decoded.
    fn note(&self) -> Option<String> {
        self.is_decoded.then(|| self.decoder.note()).flatten()
    }
}
