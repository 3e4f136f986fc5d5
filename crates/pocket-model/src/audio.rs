//! Audio as mono `f32` samples: WAV files, resampling, and what a voice prompt goes through.
//!
//! A prompt is checked, cut to 30 s if asked, resampled, ended on a pause and padded to whole
//! frames, in this order; see [`prompt_from_samples`].

mod pause;
mod resample;
mod wav;

use crate::error::Error;

pub use pause::{end_on_pause, pad_to_frames};
pub use resample::{resample, resample_poly};
pub use wav::{pcm16_from_f32, read_wav, wav_from_samples, write_wav_16};

/// The highest sample rate that is taken for real; filters grow with it.
pub const MAX_SAMPLE_RATE_HZ: usize = 1_000_000;

/// The longest part of a prompt that counts when truncating.
const MAX_PROMPT_S: usize = 30;

/// Peaks up to here, two steps of 16-bit audio, are silence with dither.
const SILENT_PEAK: f32 = 2.0 / 32768.0;

/// Checks that samples can serve as a voice prompt.
///
/// # Errors
/// When there are no samples, one is not finite, all are silent, or the rate is out of range.
pub fn check_samples(samples: &[f32], sample_rate_hz: usize) -> Result<(), Error> {
    check_rate(sample_rate_hz)?;
    if samples.is_empty() {
        return Err(Error::EmptyAudio);
    }
    if let Some(index) = samples.iter().position(|x| !x.is_finite()) {
        return Err(Error::NonFiniteAudio { index, value: samples[index] });
    }
    if samples.iter().all(|x| x.abs() <= SILENT_PEAK) {
        return Err(Error::SilentAudio);
    }
    Ok(())
}

fn check_rate(sample_rate_hz: usize) -> Result<(), Error> {
    if (1..=MAX_SAMPLE_RATE_HZ).contains(&sample_rate_hz) {
        return Ok(());
    }
    Err(Error::SampleRate { actual: sample_rate_hz, max: MAX_SAMPLE_RATE_HZ })
}

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

/// Makes mono samples at `sample_rate_hz` ready for the encoder.
///
/// # Errors
/// As [`check_samples`].
pub fn prompt_from_samples(samples: &[f32], sample_rate_hz: usize, format: PromptFormat) -> Result<Vec<f32>, Error> {
    check_rate(sample_rate_hz)?;
    check_rate(format.sample_rate_hz)?;
    let n_kept = if format.is_truncated { MAX_PROMPT_S * sample_rate_hz } else { samples.len() };
    let samples = &samples[..n_kept.min(samples.len())];
    check_samples(samples, sample_rate_hz)?;
    let samples = resample(samples, sample_rate_hz, format.sample_rate_hz)?;
    let samples = end_on_pause(samples, format.sample_rate_hz);
    Ok(pad_to_frames(samples, format.frame_size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const FORMAT: PromptFormat = PromptFormat { sample_rate_hz: 24_000, frame_size: 1920, is_truncated: true };

    #[test]
    fn unusable_audio_is_refused_with_advice() {
        let cases: [(&[f32], usize, &str); 7] = [
            (&[], 24_000, "no samples"),
            (&[0.0; 480], 24_000, "silent"),
            (&[3e-5; 480], 24_000, "silent"),
            (&[0.5, f32::NAN], 24_000, "sample 1 is NaN"),
            (&[f32::NEG_INFINITY], 24_000, "sample 0 is -inf"),
            (&[0.5; 480], 0, "0 Hz"),
            (&[0.5; 480], 4_000_000_000, "4000000000 Hz"),
        ];
        for (samples, rate, expected) in cases {
            let error = prompt_from_samples(samples, rate, FORMAT).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidValue);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn prompts_are_whole_frames_and_at_most_thirty_seconds() {
        let loud = vec![0.5; 31 * 8000];
        let prompt = prompt_from_samples(&loud, 8000, FORMAT).unwrap();
        // 30 s and the pause of 80 ms, which is one frame.
        assert_eq!(prompt.len(), 30 * 24_000 + 1920);
        let format = PromptFormat { is_truncated: false, ..FORMAT };
        let prompt = prompt_from_samples(&loud, 8000, format).unwrap();
        assert_eq!(prompt.len() % 1920, 0);
        assert!(prompt.len() > 31 * 24_000);
        assert_eq!(prompt_from_samples(&[0.5], 24_000, FORMAT).unwrap().len(), 1920);
    }
}
