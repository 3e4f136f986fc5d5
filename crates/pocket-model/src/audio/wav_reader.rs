//! WAV files of every common sample format, read block by block.
//!
//! The header is read here and not by the library that reads the other formats: sizes in WAV headers
//! are often wrong, in streams above all. Placeholder sizes mean "up to the end", data that ends with
//! the file is read up to there, and chunks of other kinds are passed over unread.
//!
//! Integers are divided by 2 to the power of their bits less one, as libsndfile and the reference do.

use std::io::{self, Read, Seek};

use super::fault::Fault;
use super::g711;

const PCM: u16 = 1;
const FLOAT: u16 = 3;
const ALAW: u16 = 6;
const MULAW: u16 = 7;
const EXTENSIBLE: u16 = 0xFFFE;
/// The part of a sub-format identifier after its format code.
const SUBFORMAT_TAIL: [u8; 14] = *b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71";
/// The part of a format chunk that matters.
const FORMAT_BYTES: u64 = 40;
/// Writers that cannot go back put sizes near 2 or 4 GB; more is never promised in earnest.
const PLACEHOLDER_BYTES: u64 = 2_000_000_000;
const BLOCK_BYTES: usize = 1 << 16;
const ADVICE: &str = "convert it to WAV (16-bit PCM), FLAC, MP3 or OGG (Vorbis)";

/// How a sample is stored, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    U8,
    I16,
    I24,
    I32,
    F32,
    F64,
    ALaw,
    MuLaw,
}

impl Coding {
    fn n_bytes(self) -> usize {
        match self {
            Self::U8 | Self::ALaw | Self::MuLaw => 1,
            Self::I16 => 2,
            Self::I24 => 3,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn decode_into(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::U8 => out.extend(bytes.iter().map(|&x| (f32::from(x) - 128.0) / 128.0)),
            Self::ALaw => out.extend(bytes.iter().map(|&x| f32::from(g711::alaw(x)) / 32768.0)),
            Self::MuLaw => out.extend(bytes.iter().map(|&x| f32::from(g711::mulaw(x)) / 32768.0)),
            Self::I16 => extend(bytes, out, |x| f32::from(i16::from_le_bytes(x)) / 32768.0),
            Self::I24 => {
                extend(bytes, out, |[a, b, c]| (i32::from_le_bytes([0, a, b, c]) >> 8) as f32 / 8_388_608.0);
            }
            Self::I32 => extend(bytes, out, |x| i32::from_le_bytes(x) as f32 / (1_u32 << 31) as f32),
            Self::F32 => extend(bytes, out, f32::from_le_bytes),
            Self::F64 => extend(bytes, out, |x| f64::from_le_bytes(x) as f32),
        }
    }
}

fn extend<const N: usize>(bytes: &[u8], out: &mut Vec<f32>, decode: impl Fn([u8; N]) -> f32) {
    out.extend(bytes.as_chunks::<N>().0.iter().map(|&sample| decode(sample)));
}

/// What a `fmt ` chunk says.
#[derive(Clone, Copy, Debug)]
struct Format {
    n_channels: usize,
    sample_rate_hz: usize,
    coding: Coding,
}

/// The samples of a WAV file, from its first one on.
#[derive(Debug)]
pub(super) struct WavReader<R> {
    reader: R,
    format: Format,
    /// Bytes of samples that are still to come, unless the file ends.
    n_left: u64,
    is_size_real: bool,
    bytes: Vec<u8>,
}

impl<R: Read + Seek> WavReader<R> {
    /// Reads the header; `reader` stands at the start of the file.
    pub(super) fn new(mut reader: R) -> Result<Self, Fault> {
        let mut header = [0; 12];
        let n = read_up_to(&mut reader, &mut header)?;
        if n < header.len() {
            return Err(Fault::Damaged(format!("its {n} bytes are too few for a WAV file; give a whole file")));
        }
        let riff_size = u32_at(&header, 4);
        let (mut format, mut long_size) = (None, None);
        loop {
            let mut chunk = [0; 8];
            if read_up_to(&mut reader, &mut chunk)? < chunk.len() {
                return Err(Fault::Damaged("it has no data chunk; it may be cut short".to_owned()));
            }
            let size = u32_at(&chunk, 4);
            let mut unread = u64::from(size) + u64::from(size % 2); // chunks are padded to even sizes
            match &chunk[..4] {
                b"fmt " => {
                    let mut bytes = Vec::new();
                    (&mut reader).take(u64::from(size).min(FORMAT_BYTES)).read_to_end(&mut bytes)?;
                    format = Some(parse_format(&bytes)?);
                    unread -= bytes.len() as u64;
                }
                b"ds64" => {
                    let mut bytes = Vec::new();
                    (&mut reader).take(u64::from(size).min(16)).read_to_end(&mut bytes)?;
                    long_size = bytes.get(8..16).map(|size| u64_at(size, 0));
                    unread -= bytes.len() as u64;
                }
                b"data" => {
                    let late = || Fault::Damaged("its samples come before their format; export it again".to_owned());
                    let format = format.ok_or_else(late)?;
                    let is_open = size == u32::MAX || (size == 0 && matches!(riff_size, 0 | u32::MAX));
                    let n_left = match long_size {
                        Some(size) if is_open => size,
                        _ if is_open => u64::MAX,
                        _ => u64::from(size),
                    };
                    let is_size_real = n_left < PLACEHOLDER_BYTES || long_size.is_some();
                    return Ok(Self { reader, format, n_left, is_size_real, bytes: Vec::new() });
                }
                _ => {}
            }
            reader.seek_relative(unread.cast_signed())?;
        }
    }

    pub(super) fn sample_rate_hz(&self) -> usize {
        self.format.sample_rate_hz
    }

    pub(super) fn n_channels(&self) -> usize {
        self.format.n_channels
    }

    /// The seconds that the header promises but the file lacks, known once the end was reached.
    pub(super) fn missing_s(&self) -> Option<f64> {
        let bytes_per_s = self.format.coding.n_bytes() * self.format.n_channels * self.format.sample_rate_hz;
        (self.is_size_real && self.n_left > 0).then(|| self.n_left as f64 / bytes_per_s as f64)
    }

    /// Replaces `interleaved` by the next frames; nothing at the end. Part of a frame is dropped.
    pub(super) fn next_block(&mut self, interleaved: &mut Vec<f32>) -> Result<(), Fault> {
        interleaved.clear();
        let frame_bytes = self.format.coding.n_bytes() * self.format.n_channels;
        let n_wanted = (BLOCK_BYTES / frame_bytes).max(1) * frame_bytes;
        self.bytes.resize(usize::try_from(self.n_left).unwrap_or(usize::MAX).min(n_wanted), 0);
        let n = read_up_to(&mut self.reader, &mut self.bytes)?;
        self.n_left -= n as u64;
        self.format.coding.decode_into(&self.bytes[..n - n % frame_bytes], interleaved);
        Ok(())
    }
}

/// Fills `buffer` as far as the file goes.
fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match reader.read(&mut buffer[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(n)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn parse_format(chunk: &[u8]) -> Result<Format, Fault> {
    let short = || Fault::Damaged(format!("its format chunk has only {} bytes; export it again", chunk.len()));
    let head = chunk.first_chunk::<16>().ok_or_else(short)?;
    let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let n_channels = usize::from(u16_at(2));
    let sample_rate_hz = u32_at(head, 4) as usize;
    let (block_bytes, bits) = (usize::from(u16_at(12)), u16_at(14));
    let mut code = u16_at(0);
    if code == EXTENSIBLE {
        let subformat = chunk.get(24..40).ok_or_else(short)?;
        if subformat[2..] != SUBFORMAT_TAIL {
            return Err(Fault::Unsupported(format!("its sample format is unknown; {ADVICE}")));
        }
        code = u16::from_le_bytes([subformat[0], subformat[1]]);
    }
    // Fewer bits than a whole number of bytes stand at the upper end of them.
    let coding = match (code, bits.div_ceil(8)) {
        (PCM, 1) => Coding::U8,
        (PCM, 2) => Coding::I16,
        (PCM, 3) => Coding::I24,
        (PCM, 4) => Coding::I32,
        (FLOAT, 4) => Coding::F32,
        (FLOAT, 8) => Coding::F64,
        (ALAW, 1) => Coding::ALaw,
        (MULAW, 1) => Coding::MuLaw,
        _ => {
            let name = format_name(code);
            return Err(Fault::Unsupported(format!("it holds {bits}-bit {name} samples; {ADVICE}")));
        }
    };
    if n_channels == 0 {
        return Err(Fault::Damaged("it has no channels; export it again".to_owned()));
    }
    if block_bytes != 0 && block_bytes != coding.n_bytes() * n_channels {
        return Err(Fault::Damaged(format!(
            "its header is inconsistent: {n_channels} channels of {bits} bits in blocks of {block_bytes} bytes; \
             export it again"
        )));
    }
    if sample_rate_hz == 0 {
        return Err(Fault::Damaged("its sample rate is 0 Hz; export it again".to_owned()));
    }
    Ok(Format { n_channels, sample_rate_hz, coding })
}

fn format_name(code: u16) -> String {
    match code {
        PCM => "PCM".to_owned(),
        2 | 17 => "ADPCM".to_owned(),
        FLOAT => "float".to_owned(),
        ALAW => "A-law".to_owned(),
        MULAW => "mu-law".to_owned(),
        0x31 => "GSM".to_owned(),
        0x50 | 0x55 => "MPEG".to_owned(),
        code => format!("format {code:#06x}"),
    }
}

#[cfg(test)]
mod tests;
