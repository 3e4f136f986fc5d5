//! 16-bit PCM WAV files, in and out.
//!
//! Anything else is refused by name: reading 24-bit or float samples as 16-bit makes noise. Sizes
//! in headers are often wrong, in streams above all, so the data ends where the file ends at the
//! latest, and placeholder sizes mean "up to the end".

use std::path::Path;

use crate::error::Error;
use crate::files;

/// RIFF sizes have 32 bits.
const MAX_FILE_BYTES: u64 = 1 << 32;
const PCM: u16 = 1;
const EXTENSIBLE: u16 = 0xFFFE;
/// The part of a sub-format identifier after its format code.
const SUBFORMAT_TAIL: [u8; 14] = *b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71";

/// Reads a 16-bit PCM WAV file: the mean of its channels in −1 to 1, and its rate in Hz.
///
/// # Errors
/// When the file cannot be read, or holds anything else; the message says what.
pub fn read_wav(path: impl AsRef<Path>) -> Result<(Vec<f32>, usize), Error> {
    let path = path.as_ref();
    let bytes = files::read(path, "audio file", MAX_FILE_BYTES)?;
    samples_from_wav(&bytes).map_err(|reason| Error::Wav { path: path.to_owned(), reason })
}

/// What a `fmt ` chunk says.
struct Format {
    n_channels: usize,
    sample_rate_hz: usize,
}

fn samples_from_wav(bytes: &[u8]) -> Result<(Vec<f32>, usize), String> {
    let riff_size = check_riff(bytes)?;
    let mut format = None;
    let mut rest = &bytes[12..];
    while let Some((header, body)) = rest.split_first_chunk::<8>() {
        let size = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let len = usize::try_from(size).unwrap_or(usize::MAX);
        match &header[..4] {
            b"fmt " => format = Some(parse_format(&body[..len.min(body.len())])?),
            b"data" => {
                let format = format.ok_or("its samples come before their format")?;
                let is_placeholder = size == u32::MAX || (size == 0 && matches!(riff_size, 0 | u32::MAX));
                let len = if is_placeholder { body.len() } else { len.min(body.len()) };
                let samples = mono_from_pcm16(&body[..len], format.n_channels);
                return Ok((samples, format.sample_rate_hz));
            }
            _ => {}
        }
        // Chunks are padded to even sizes.
        rest = body.get(len.saturating_add(len % 2)..).unwrap_or_default();
    }
    Err("it has no data chunk; it may be cut short".to_owned())
}

/// Returns the size in the RIFF header, or what the file is instead.
fn check_riff(bytes: &[u8]) -> Result<u32, String> {
    let Some(header) = bytes.first_chunk::<12>() else {
        return Err(format!("its {} bytes are too few for a WAV file", bytes.len()));
    };
    if &header[..4] == b"RIFF" && &header[8..] == b"WAVE" {
        return Ok(u32::from_le_bytes([header[4], header[5], header[6], header[7]]));
    }
    let found = match header {
        [b'f', b'L', b'a', b'C', ..] => "a FLAC file",
        [b'O', b'g', b'g', b'S', ..] => "an Ogg file",
        [b'I', b'D', b'3', ..] => "an MP3 file",
        [0xFF, second, ..] if second & 0xE0 == 0xE0 => "an MP3 or AAC stream",
        [b'R', b'F', b'6', b'4', ..] => "a 64-bit RF64 file",
        [b'R', b'I', b'F', b'X', ..] => "a big-endian RIFX file",
        [b'F', b'O', b'R', b'M', ..] => "an AIFF file",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "an MP4 or M4A file",
        [0x1A, 0x45, 0xDF, 0xA3, ..] => "a WebM or Matroska file",
        _ => "no WAV file",
    };
    Err(format!("it is {found}; convert it to 16-bit PCM WAV"))
}

fn parse_format(chunk: &[u8]) -> Result<Format, String> {
    let short = || format!("its format chunk has only {} bytes", chunk.len());
    let head = chunk.first_chunk::<16>().ok_or_else(short)?;
    let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let n_channels = usize::from(u16_at(2));
    let sample_rate_hz = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    let (block_bytes, bits) = (usize::from(u16_at(12)), u16_at(14));
    let mut code = u16_at(0);
    if code == EXTENSIBLE {
        let subformat = chunk.get(24..40).ok_or_else(short)?;
        if subformat[2..] != SUBFORMAT_TAIL {
            return Err("its sample format is unknown; convert it to 16-bit PCM WAV".to_owned());
        }
        code = u16::from_le_bytes([subformat[0], subformat[1]]);
    }
    if code != PCM || bits.div_ceil(8) != 2 {
        let name = format_name(code);
        return Err(format!("it holds {bits}-bit {name} samples; convert it to 16-bit PCM WAV"));
    }
    if n_channels == 0 {
        return Err("it has no channels; convert it to 16-bit PCM WAV".to_owned());
    }
    if block_bytes != 0 && block_bytes != 2 * n_channels {
        return Err(format!(
            "its header is inconsistent: {n_channels} channels of 16 bits in blocks of \
             {block_bytes} bytes; convert it to 16-bit PCM WAV"
        ));
    }
    if sample_rate_hz == 0 {
        return Err("its sample rate is 0 Hz; convert it to 16-bit PCM WAV".to_owned());
    }
    Ok(Format { n_channels, sample_rate_hz })
}

fn format_name(code: u16) -> String {
    match code {
        PCM => "PCM".to_owned(),
        2 | 17 => "ADPCM".to_owned(),
        3 => "float".to_owned(),
        6 => "A-law".to_owned(),
        7 => "mu-law".to_owned(),
        0x55 => "MP3".to_owned(),
        code => format!("format {code:#06x}"),
    }
}

/// The mean of the channels of each whole frame.
fn mono_from_pcm16(data: &[u8], n_channels: usize) -> Vec<f32> {
    let (samples, _odd_byte) = data.as_chunks::<2>();
    let mean = |frame: &[[u8; 2]]| {
        // The sum is exact, so its order does not matter.
        let sum: i64 = frame.iter().map(|&bytes| i64::from(i16::from_le_bytes(bytes))).sum();
        (sum as f64 / 32768.0) as f32 / n_channels as f32
    };
    samples.chunks_exact(n_channels).map(mean).collect()
}

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
    use crate::testing::{Random, ScratchFolder};

    /// A stereo file of three frames with an odd chunk before the samples.
    fn stereo() -> Vec<u8> {
        let mut bytes = b"RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x02\x00".to_vec();
        bytes.extend(48_000_u32.to_le_bytes());
        bytes.extend(192_000_u32.to_le_bytes());
        bytes.extend(b"\x04\x00\x10\x00LIST\x03\x00\x00\x00abc\x00data\x0c\x00\x00\x00");
        let samples: [i16; 6] = [100, 201, -32768, -32768, 32767, -32767];
        bytes.extend(samples.iter().flat_map(|x| x.to_le_bytes()));
        let size = (bytes.len() - 8) as u32;
        bytes[4..8].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    const DATA_SIZE_AT: usize = 52;

    fn with(bytes: &[u8], at: usize, change: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        bytes[at..at + change.len()].copy_from_slice(change);
        bytes
    }

    #[test]
    fn channels_are_averaged() {
        let expected = vec![301.0 / 65536.0, -1.0, 0.0];
        assert_eq!(samples_from_wav(&stereo()), Ok((expected, 48_000)));
    }

    #[test]
    fn wrong_sizes_end_with_the_file() {
        let file = stereo();
        for size in [13_u32, 1_000_000, 2_000_000_000, u32::MAX] {
            let (samples, _) = samples_from_wav(&with(&file, DATA_SIZE_AT, &size.to_le_bytes())).unwrap();
            assert_eq!(samples.len(), 3, "{size}");
        }
        let zero = with(&file, DATA_SIZE_AT, &[0; 4]);
        assert_eq!(samples_from_wav(&zero).unwrap().0.len(), 0);
        assert_eq!(samples_from_wav(&with(&zero, 4, &[0xFF; 4])).unwrap().0.len(), 3);
        let cut = &file[..file.len() - 3];
        assert_eq!(samples_from_wav(cut).unwrap().0.len(), 2);
    }

    #[test]
    fn extensible_headers_name_their_format() {
        let mut fmt = vec![0xFE, 0xFF, 1, 0, 0x40, 0x1F, 0, 0, 0, 0, 0, 0, 2, 0, 16, 0, 22, 0, 16, 0];
        fmt.extend([4, 0, 0, 0, 1, 0]);
        fmt.extend(SUBFORMAT_TAIL);
        assert_eq!(parse_format(&fmt).unwrap().sample_rate_hz, 8000);
        assert!(parse_format(&with(&fmt, 24, &[3])).err().unwrap().contains("16-bit float"));
        assert!(parse_format(&with(&fmt, 39, &[0])).err().unwrap().contains("unknown"));
        assert!(parse_format(&fmt[..39]).is_err());
    }

    #[test]
    fn other_formats_are_named() {
        let file = stereo();
        let cases: [(Vec<u8>, &str); 14] = [
            (Vec::new(), "its 0 bytes are too few"),
            (file[..30].to_vec(), "format chunk has only 10 bytes"),
            (file[..40].to_vec(), "no data chunk"),
            (with(&file, 0, b"fLaC"), "it is a FLAC file; convert it to 16-bit PCM WAV"),
            (with(&file, 0, b"\xff\xfb"), "an MP3 or AAC stream"),
            (with(&file, 0, b"RF64"), "RF64"),
            (with(&file, 0, b"hello"), "no WAV file"),
            (with(&file, 34, &[24]), "24-bit PCM"),
            (with(&file, 34, &[8]), "8-bit PCM"),
            (with(&with(&file, 20, &[3]), 34, &[32]), "32-bit float"),
            (with(&file, 20, &[7]), "mu-law"),
            (with(&file, 22, &[0]), "no channels"),
            (with(&file, 32, &[6]), "blocks of 6 bytes"),
            (with(&file, 24, &[0; 4]), "0 Hz"),
        ];
        for (bytes, expected) in cases {
            let reason = samples_from_wav(&bytes).unwrap_err();
            assert!(reason.contains(expected), "{expected}: {reason}");
        }
        let early = [&file[..12], &file[48..]].concat();
        assert!(samples_from_wav(&early).unwrap_err().contains("before their format"));
    }

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
        let (samples, rate) = read_wav(&path).unwrap();
        assert_eq!(rate, 24_000);
        assert_eq!(samples, [16383.0 / 32768.0, -16383.0 / 32768.0, 0.0, 0.0, 0.0]);
        assert_eq!(folder.names(), ["a.wav"]);
        let error = write_wav_16(folder.path("no/b.wav"), &[0.0], 24_000, 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(write_wav_16(&folder, &[0.0], 24_000, 0).is_err());
        assert_eq!(folder.names(), ["a.wav"]);
        assert_eq!(read_wav(folder.path("c.wav")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn mutated_files_never_panic() {
        let valid = stereo();
        let mut random = Random::new(11);
        let mut n_read = 0;
        for _ in 0..100_000 {
            let mut bytes = valid.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len());
                match random.below(4) {
                    0 => bytes.truncate(at + 1),
                    1 => bytes[at] ^= 1 << random.below(8),
                    2 => bytes[at] = [0, 0xFF][random.below(2)],
                    _ => bytes.insert(at, random.below(256) as u8),
                }
            }
            n_read += usize::from(samples_from_wav(&bytes).is_ok());
        }
        assert!(n_read > 1000, "only {n_read} files were read");
    }
}
