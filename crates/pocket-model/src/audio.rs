//! Audio as mono `f32` samples: files in, resampling, what a voice prompt goes through, WAV files out.
//!
//! A prompt is decoded, averaged over its channels, checked, cut to 30 s if asked, resampled, ended
//! on a pause and padded to whole frames, in this order and block by block; see [`Prompt`].

mod compressed;
mod fault;
mod g711;
mod input;
mod level;
mod mono;
mod pause;
mod prompt;
mod resample;
mod sniff;
mod wav;
mod wav_reader;

use crate::error::Error;

pub use fault::Origin;
pub use input::{AudioInput, Decoder};
pub use pause::end_on_pause;
pub use prompt::{Prompt, PromptFormat, PromptReader};
pub use resample::{Resampler, resample, resample_poly};
pub use wav::{pcm16_from_f32, wav_from_samples, write_wav_16};

/// The highest sample rate that is taken for real; filters grow with it.
pub const MAX_SAMPLE_RATE_HZ: usize = 1_000_000;

fn check_rate(sample_rate_hz: usize) -> Result<(), Error> {
    if (1..=MAX_SAMPLE_RATE_HZ).contains(&sample_rate_hz) {
        return Ok(());
    }
    Err(Error::SampleRate { actual: sample_rate_hz, max: MAX_SAMPLE_RATE_HZ })
}

#[cfg(test)]
mod formats_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn prompt_from_samples(samples: &[f32], rate: usize, format: PromptFormat) -> Result<Vec<f32>, Error> {
        Prompt::measure(AudioInput::from_samples(samples, rate), format)?.samples()
    }

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
