//! FLAC, MP3 and Vorbis through `symphonia`, packet by packet.
//!
//! `symphonia` passes over what it cannot read. A prompt with holes would be another prompt, so what
//! was decoded is compared with what the file says that it holds, and FLAC with its checksum. A panic
//! in a decoder is the file's fault and becomes an error.

use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::{Error, Result as SymphoniaResult};
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};
use symphonia::default::formats::{FlacReader, MpaReader, OggReader};

use super::fault::Fault;
use super::sniff::{Container, trailing_tags};

const ADVICE: &str = "export it again, or convert it to WAV";
/// Samples that a count may be off by: encoders disagree whether an MP3's first frame counts, and
/// the last packets of Vorbis overlap.
const MP3_SLACK: u64 = 1152;
const VORBIS_SLACK: u64 = 8192;

/// A compressed file that is being decoded.
pub(super) struct Compressed<'a> {
    container: Container,
    reader: Box<dyn FormatReader + 'a>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    n_channels: usize,
    sample_rate_hz: usize,
    /// Samples that the file says it holds.
    n_expected: Option<u64>,
    n_decoded: u64,
    /// Bytes of MP3 frames that should come, and those that came.
    n_bytes_expected: u64,
    n_bytes_read: u64,
    /// A packet could not be decoded; an error if others follow, else the rest of some tag.
    fault: Option<Fault>,
}

impl<'a> Compressed<'a> {
    /// Reads the headers; `source` stands at the start of the container.
    pub(super) fn new(mut source: Box<dyn MediaSource + 'a>, container: Container) -> Result<Self, Fault> {
        let start = source.stream_position()?;
        let n_bytes = source.byte_len().unwrap_or(0);
        let n_tags = if container == Container::Mp3 { trailing_tags(&mut *source, n_bytes)? } else { 0 };
        let n_bytes_expected = n_bytes.saturating_sub(start).saturating_sub(n_tags);
        source.seek(std::io::SeekFrom::Start(0))?;
        let reader = guarded(|| {
            let mut stream = MediaSourceStream::new(source, MediaSourceStreamOptions::default());
            std::io::Seek::seek(&mut stream, std::io::SeekFrom::Start(start))?;
            let options = FormatOptions::default();
            Ok(match container {
                Container::Flac => Box::new(FlacReader::try_new(stream, options)?) as Box<dyn FormatReader + 'a>,
                Container::Ogg => Box::new(OggReader::try_new(stream, options)?),
                Container::Mp3 | Container::Wav => Box::new(MpaReader::try_new(stream, options)?),
            })
        });
        let reader = reader.map_err(|error| header_fault(error, container))?;
        let (track, params) = audio_track(&*reader)?;
        let (n_expected, has_delay) = {
            let track = reader.tracks().iter().find(|found| found.id == track);
            track.map_or((None, false), |track| (track.num_frames, track.delay.is_some()))
        };
        // Without a LAME tag the number of samples of an MP3 is a guess, and nothing is to be trimmed.
        let is_counted = container != Container::Mp3 || has_delay;
        let options = AudioDecoderOptions::default().gapless(is_counted).verify(true);
        let decoder = guarded(|| symphonia::default::get_codecs().make_audio_decoder(&params, &options))
            .map_err(|error| header_fault(error, container))?;
        let incomplete = || Fault::Damaged(format!("its header lacks the rate or the channels; {ADVICE}"));
        let decoded_params = decoder.codec_params();
        let sample_rate_hz = params.sample_rate.or(decoded_params.sample_rate).ok_or_else(incomplete)? as usize;
        let channels = params.channels.as_ref().or(decoded_params.channels.as_ref()).ok_or_else(incomplete)?;
        Ok(Self {
            container,
            n_channels: channels.count(),
            decoder,
            track,
            sample_rate_hz,
            n_expected: n_expected.filter(|&n| is_counted && n > 0),
            reader,
            n_decoded: 0,
            n_bytes_expected,
            n_bytes_read: 0,
            fault: None,
        })
    }

    pub(super) fn sample_rate_hz(&self) -> usize {
        self.sample_rate_hz
    }

    pub(super) fn n_channels(&self) -> usize {
        self.n_channels
    }

    /// Replaces `interleaved` by the samples of the next packet that has some; nothing at the end.
    pub(super) fn next_block(&mut self, interleaved: &mut Vec<f32>) -> Result<(), Fault> {
        interleaved.clear();
        while interleaved.is_empty() {
            let packet = match guarded(|| self.reader.next_packet()) {
                Ok(Some(packet)) => packet,
                Ok(None) => return self.check_end(),
                Err(Failure::Library(Error::ResetRequired)) => {
                    return Err(Fault::Unsupported(format!(
                        "it holds several recordings one after the other; {ADVICE}"
                    )));
                }
                Err(error) => return Err(self.fault_here(error)),
            };
            if packet.track_id != self.track {
                continue;
            }
            let n_packet_bytes = packet.data.len() as u64;
            let n_channels = self.n_channels;
            let decoder = &mut self.decoder;
            let decoded = guarded(|| {
                let samples = decoder.decode(&packet)?;
                if samples.num_planes() != n_channels {
                    return Err(Error::DecodeError("the number of channels changes"));
                }
                samples.copy_to_vec_interleaved::<f32>(interleaved);
                Ok(())
            });
            match (decoded, self.fault.take()) {
                (Ok(()), None) => self.n_bytes_read += n_packet_bytes,
                (Ok(()), Some(fault)) => return Err(fault),
                (Err(Failure::Library(error)), fault) if self.container == Container::Mp3 => {
                    interleaved.clear();
                    self.fault = fault.or_else(|| Some(self.fault_here(Failure::Library(error))));
                }
                (Err(error), _) => return Err(self.fault_here(error)),
            }
        }
        self.n_decoded += (interleaved.len() / self.n_channels) as u64;
        Ok(())
    }

    /// What is to be told about the file, known once the end was reached.
    pub(super) fn note(&self) -> Option<String> {
        // The frame of a Xing tag is no packet.
        const MAX_TAG_FRAME_BYTES: u64 = 1441;
        let n_skipped = self.n_bytes_expected.saturating_sub(self.n_bytes_read);
        (self.container == Container::Mp3 && n_skipped > MAX_TAG_FRAME_BYTES)
            .then(|| format!("{n_skipped} of its bytes are no MP3 frames and were skipped; part of it may be missing"))
    }

    /// Compares what came with what the file says that it holds.
    fn check_end(&mut self) -> Result<(), Fault> {
        let slack = match self.container {
            Container::Mp3 => MP3_SLACK,
            Container::Ogg => VORBIS_SLACK,
            Container::Flac | Container::Wav => 0,
        };
        if let Some(n) = self.n_expected.filter(|&n| self.n_decoded + slack < n) {
            let rate = self.sample_rate_hz as f64;
            return Err(Fault::Damaged(format!(
                "only {:.2} s of its {:.2} s can be decoded: it is cut short or damaged; {ADVICE}",
                self.n_decoded as f64 / rate,
                n as f64 / rate
            )));
        }
        let verdict = guarded(|| Ok(self.decoder.finalize()));
        if verdict.is_ok_and(|verdict| verdict.verify_ok == Some(false)) {
            return Err(Fault::Damaged(format!("its samples do not have the checksum that it states; {ADVICE}")));
        }
        Ok(())
    }

    fn fault_here(&self, error: Failure) -> Fault {
        let at = self.n_decoded as f64 / self.sample_rate_hz as f64;
        match error {
            Failure::Library(Error::IoError(error)) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
                Fault::Read(error)
            }
            Failure::Library(Error::IoError(_)) => {
                Fault::Damaged(format!("it ends in the middle of its audio, {at:.2} s from its start; {ADVICE}"))
            }
            Failure::Library(error) => {
                Fault::Damaged(format!("it is damaged {at:.2} s from its start ({error}); {ADVICE}"))
            }
            Failure::Panic => Fault::Damaged(format!("it is damaged {at:.2} s from its start; {ADVICE}")),
        }
    }
}

/// The first track of audio that can be decoded, or what there is instead.
fn audio_track(reader: &dyn FormatReader) -> Result<(u32, AudioCodecParameters), Fault> {
    let mut is_opus = false;
    for track in reader.tracks() {
        let Some(CodecParameters::Audio(params)) = &track.codec_params else { continue };
        if symphonia::default::get_codecs().get_audio_decoder(params.codec).is_some() {
            return Ok((track.id, params.clone()));
        }
        is_opus |= params.codec == CODEC_ID_OPUS;
    }
    let found =
        if is_opus { "it holds Opus, which cannot be decoded" } else { "it holds no audio that can be decoded" };
    Err(Fault::Unsupported(format!(
        "{found}; convert it to WAV, FLAC, MP3 or Vorbis, for example with `ffmpeg -i INPUT output.wav`"
    )))
}

fn header_fault(error: Failure, container: Container) -> Fault {
    let name = match container {
        Container::Wav => "WAV",
        Container::Flac => "FLAC",
        Container::Ogg => "Ogg",
        Container::Mp3 => "MP3",
    };
    match error {
        Failure::Library(Error::IoError(error)) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            Fault::Read(error)
        }
        Failure::Library(Error::Unsupported(what)) => {
            Fault::Unsupported(format!("it is {name} of a kind that is not supported ({what}); convert it to WAV"))
        }
        Failure::Library(Error::IoError(_)) | Failure::Panic => {
            Fault::Damaged(format!("its {name} headers are damaged or cut short; {ADVICE}"))
        }
        Failure::Library(error) => Fault::Damaged(format!("its {name} headers are damaged ({error}); {ADVICE}")),
    }
}

enum Failure {
    Library(Error),
    Panic,
}

/// Calls the library; a panic of it is a failure.
fn guarded<T>(call: impl FnOnce() -> SymphoniaResult<T>) -> Result<T, Failure> {
    // After a panic the reader and the decoder are not used again.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(Failure::Library),
        Err(_) => Err(Failure::Panic),
    }
}
