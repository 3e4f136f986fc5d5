//! 16-bit PCM WAV files, out.

use std::path::Path;

use crate::error::Error;
use crate::files;

const PCM: u16 = 1;

/// A sample as 16-bit PCM: clamped to −1 to 1, times 32767, truncated toward zero; NaN is zero.
#[must_use]
pub fn pcm16_from_f32(sample: f32) -> i16 {
    (sample.clamp(-1.0, 1.0) * 32767.0) as i16
}

/// A mono 16-bit WAV file in memory, with `n_silent` zero samples at its end.
///
/// # Errors
/// When the rate is out of range, or the sizes do not fit the 32 bits of the format.
pub fn wav_from_samples(samples: &[f32], sample_rate_hz: usize, n_silent: usize) -> Result<Vec<u8>, Error> {
    super::check_rate(sample_rate_hz)?;
    let n_samples = samples.len().saturating_add(n_silent);
    let n_data = u32::try_from(n_samples.saturating_mul(2))
        .ok()
        .filter(|&n| n <= u32::MAX - 36)
        .ok_or(Error::WavTooLong { n_samples })?;
    let rate = sample_rate_hz as u32;
    let mut bytes = Vec::with_capacity(44 + n_data as usize);
    bytes.extend(b"RIFF");
    bytes.extend((36 + n_data).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend(PCM.to_le_bytes());
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend(rate.to_le_bytes());
    bytes.extend((2 * rate).to_le_bytes());
    bytes.extend(2_u16.to_le_bytes());
    bytes.extend(16_u16.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend(n_data.to_le_bytes());
    bytes.extend(samples.iter().flat_map(|&sample| pcm16_from_f32(sample).to_le_bytes()));
    bytes.resize(44 + n_data as usize, 0);
    Ok(bytes)
}

/// Writes a mono 16-bit WAV file, with `n_silent` zero samples at its end.
///
/// The file appears all at once: it is written beside its place, then renamed.
///
/// # Errors
/// When the rate is out of range, the audio too long, or the file cannot be written.
pub fn write_wav_16(
    path: impl AsRef<Path>,
    samples: &[f32],
    sample_rate_hz: usize,
    n_silent: usize,
) -> Result<(), Error> {
    files::write(path.as_ref(), &wav_from_samples(samples, sample_rate_hz, n_silent)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::audio::AudioInput;
    use crate::testing::ScratchFolder;

    #[test]
    fn samples_truncate_toward_zero() {
        let cases = [(1.0, 32767), (-1.0, -32767), (2.0, 32767), (-9.0, -32767), (f32::NAN, 0)];
        for (sample, expected) in cases {
            assert_eq!(pcm16_from_f32(sample), expected);
        }
        assert_eq!(pcm16_from_f32(0.99999), 32766);
        assert_eq!(pcm16_from_f32(-0.99999), -32766);
        assert_eq!(pcm16_from_f32(f32::INFINITY), 32767);
    }

    #[test]
    fn written_files_read_back_and_leave_nothing_beside() {
        let folder = ScratchFolder::new();
        let path = folder.write("a.wav", b"old");
        write_wav_16(&path, &[0.5, -0.5], 24_000, 3).unwrap();
        let (samples, rate) = AudioInput::from_path(&path).unwrap().decode().unwrap();
        assert_eq!(rate, 24_000);
        assert_eq!(samples, [16383.0 / 32768.0, -16383.0 / 32768.0, 0.0, 0.0, 0.0]);
        assert_eq!(folder.names(), ["a.wav"]);
        let error = write_wav_16(folder.path("no/b.wav"), &[0.0], 24_000, 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(write_wav_16(&folder, &[0.0], 24_000, 0).is_err());
        assert_eq!(folder.names(), ["a.wav"]);
        assert_eq!(AudioInput::from_path(folder.path("c.wav")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
