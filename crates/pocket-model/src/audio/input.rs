//! Where a prompt comes from, and its mono samples block by block.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;

use symphonia::core::io::MediaSource;

use super::check_rate;
use super::compressed::Compressed;
use super::fault::{Fault, Origin};
use super::mono;
use super::sniff::{self, Container};
use super::wav_reader::WavReader;
use crate::error::Error;

/// The most that is read of something that cannot be read twice, such as a pipe.
const MAX_PIPE_BYTES: u64 = 1 << 32;
const SAMPLES_PER_BLOCK: usize = 1 << 14;

/// Audio that can be read any number of times.
#[derive(Clone, Debug)]
pub struct AudioInput<'a> {
    origin: Origin,
    content: Content<'a>,
}

#[derive(Clone, Debug)]
enum Content<'a> {
    /// The file that the origin names.
    File,
    Bytes(Cow<'a, [u8]>),
    Samples {
        samples: &'a [f32],
        sample_rate_hz: usize,
    },
}

impl AudioInput<'static> {
    /// An audio file. What is no regular file, such as a pipe, is read at once.
    ///
    /// # Errors
    /// When there is no such file, it is a folder, or it cannot be read.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let origin = Origin::File(path.to_owned());
        let content = content_of(path).map_err(|error| origin.error(error.into()))?;
        Ok(Self { origin, content })
    }
}

fn content_of(path: &Path) -> io::Result<Content<'static>> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
    }
    if metadata.is_file() {
        return Ok(Content::File);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_PIPE_BYTES).read_to_end(&mut bytes)?;
    Ok(Content::Bytes(Cow::Owned(bytes)))
}

impl<'a> AudioInput<'a> {
    /// The bytes of an audio file.
    #[must_use]
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        Self { origin: Origin::Bytes, content: Content::Bytes(Cow::Borrowed(bytes)) }
    }

    /// Mono samples at a rate in Hz.
    #[must_use]
    pub fn from_samples(samples: &'a [f32], sample_rate_hz: usize) -> Self {
        Self { origin: Origin::Samples, content: Content::Samples { samples, sample_rate_hz } }
    }

    /// Where the audio is from, for messages.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Starts to decode.
    ///
    /// # Errors
    /// When the audio cannot be read, its format is not supported, or its headers are damaged.
    pub fn decoder(&self) -> Result<Decoder<'_>, Error> {
        let kind = self.open().map_err(|fault| self.origin.error(fault))?;
        let sample_rate_hz = match &kind {
            Kind::Samples { sample_rate_hz, .. } => *sample_rate_hz,
            Kind::Wav(reader) => reader.sample_rate_hz(),
            Kind::Compressed(reader) => reader.sample_rate_hz(),
        };
        check_rate(sample_rate_hz).map_err(|error| self.origin.error(Fault::Damaged(error.to_string())))?;
        Ok(Decoder { origin: &self.origin, sample_rate_hz, kind, interleaved: Vec::new() })
    }

    fn open(&self) -> Result<Kind<'_>, Fault> {
        let mut source: Box<dyn MediaSource + '_> = match (&self.content, &self.origin) {
            (Content::Samples { samples, sample_rate_hz }, _) => {
                return Ok(Kind::Samples { rest: samples, sample_rate_hz: *sample_rate_hz });
            }
            (Content::Bytes(bytes), _) => Box::new(Cursor::new(&bytes[..])),
            (Content::File, Origin::File(path)) => Box::new(File::open(path)?),
            (Content::File, _) => return Err(Fault::Damaged("it is no file; give a path".to_owned())),
        };
        match sniff::container(&mut *source)? {
            Container::Wav => Ok(Kind::Wav(Box::new(WavReader::new(BufReader::new(source))?))),
            container => Ok(Kind::Compressed(Box::new(Compressed::new(source, container)?))),
        }
    }

    /// All mono samples, and their rate in Hz.
    ///
    /// # Errors
    /// When the audio cannot be decoded to its end.
    pub fn decode(&self) -> Result<(Vec<f32>, usize), Error> {
        let mut decoder = self.decoder()?;
        let (mut samples, mut block) = (Vec::new(), Vec::new());
        while decoder.next_block(&mut block)? {
            samples.extend_from_slice(&block);
        }
        Ok((samples, decoder.sample_rate_hz))
    }
}

enum Kind<'a> {
    Wav(Box<WavReader<BufReader<Box<dyn MediaSource + 'a>>>>),
    Compressed(Box<Compressed<'a>>),
    Samples { rest: &'a [f32], sample_rate_hz: usize },
}

/// Audio that is being decoded: a block at a time, never the whole.
pub struct Decoder<'a> {
    origin: &'a Origin,
    sample_rate_hz: usize,
    kind: Kind<'a>,
    interleaved: Vec<f32>,
}

impl Decoder<'_> {
    /// Samples per second.
    #[must_use]
    pub fn sample_rate_hz(&self) -> usize {
        self.sample_rate_hz
    }

    /// Replaces `block` by the next mono samples; `false` at the end.
    ///
    /// # Errors
    /// When the audio cannot be read or is damaged here.
    pub fn next_block(&mut self, block: &mut Vec<f32>) -> Result<bool, Error> {
        let n_channels = match &mut self.kind {
            Kind::Samples { rest, .. } => {
                let (next, others) = rest.split_at(rest.len().min(SAMPLES_PER_BLOCK));
                *rest = others;
                block.clear();
                block.extend_from_slice(next);
                return Ok(!next.is_empty());
            }
            Kind::Wav(reader) => reader.next_block(&mut self.interleaved).map(|()| reader.n_channels()),
            Kind::Compressed(reader) => reader.next_block(&mut self.interleaved).map(|()| reader.n_channels()),
        };
        let n_channels = n_channels.map_err(|fault| self.origin.error(fault))?;
        mono::mean_into(&self.interleaved, n_channels, block);
        Ok(!block.is_empty())
    }

    /// What is to be told about the audio, known once the end was reached.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        match &self.kind {
            Kind::Samples { .. } => None,
            Kind::Wav(reader) => reader.missing_s().map(|missing| {
                format!("it is cut short: {missing:.2} s fewer than its header promises; the rest is used")
            }),
            Kind::Compressed(reader) => reader.note(),
        }
    }
}
