//! Every format against one signal, damage, and mutated files.

use std::f64::consts::PI;
use std::time::{Duration, Instant};

use super::*;
use crate::ErrorKind;
use crate::testing::{Random, ScratchFolder};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/fixtures/audio/", $name)).as_slice()
    };
}

const FLAC_16: &[u8] = fixture!("flac16.flac");
const FLAC_24: &[u8] = fixture!("flac24.flac");
const VORBIS: &[u8] = fixture!("vorbis.ogg");
const OPUS: &[u8] = fixture!("opus.ogg");
const LAME_MP3: &[u8] = fixture!("lame.mp3");
const UNTAGGED_MP3: &[u8] = fixture!("untagged.mp3");
const RATE_HZ: usize = 8000;
const N_SAMPLES: usize = 6000;

/// The two channels that all fixtures hold; see `tests/reference/make_audio_fixtures.py`.
fn stereo() -> Vec<[f64; 2]> {
    let frame = |i: usize| {
        let time = i as f64 / RATE_HZ as f64;
        let swell = 0.5 - 0.5 * (2.0 * PI * 4.0 * time).cos();
        let common = 0.2 * (2.0 * PI * 700.0 * time).sin();
        [220.0, 330.0].map(|pitch| 0.5 * swell * (2.0 * PI * pitch * time).sin() + common)
    };
    (0..N_SAMPLES).map(frame).collect()
}

fn signal() -> Vec<f64> {
    stereo().iter().map(|[left, right]| f64::midpoint(*left, *right)).collect()
}

fn decode(bytes: &[u8]) -> Result<Vec<f32>, Error> {
    let (samples, rate) = AudioInput::from_bytes(bytes).decode()?;
    assert_eq!(rate, RATE_HZ);
    Ok(samples)
}

fn largest_error(actual: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    actual.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
}

/// A WAV file of the signal; `encode` writes a sample.
fn wav(code: u16, bits: u16, encode: impl Fn(f64) -> Vec<u8>) -> Vec<u8> {
    let data: Vec<u8> = stereo().iter().flatten().flat_map(|&x| encode(x)).collect();
    let block = bits / 8 * 2;
    let mut bytes = b"RIFF\xFF\xFF\xFF\xFFWAVEfmt \x10\x00\x00\x00".to_vec();
    bytes.extend(code.to_le_bytes());
    bytes.extend(2_u16.to_le_bytes());
    bytes.extend((RATE_HZ as u32).to_le_bytes());
    bytes.extend((RATE_HZ as u32 * u32::from(block)).to_le_bytes());
    bytes.extend(block.to_le_bytes());
    bytes.extend(bits.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

fn wav_16() -> Vec<u8> {
    wav(1, 16, |x| ((x * 32768.0).round() as i16).to_le_bytes().to_vec())
}

/// The code whose sample is nearest.
fn nearest(decode: fn(u8) -> i16, x: f64) -> Vec<u8> {
    let distance = |code: &u8| (f64::from(decode(*code)) - x * 32768.0).abs();
    let code = (0..=255).min_by(|a, b| distance(a).total_cmp(&distance(b)));
    vec![code.unwrap()]
}

#[test]
fn lossless_formats_hold_the_signal_within_their_step() {
    let bits = |n: i32| 0.5 * 2.0_f64.powi(1 - n) + 1e-7;
    let cases = [
        ("8-bit WAV", wav(1, 8, |x| vec![(x * 128.0).round() as i8 as u8 ^ 0x80]), bits(8)),
        ("16-bit WAV", wav_16(), bits(16)),
        ("24-bit WAV", wav(1, 24, |x| ((x * 8_388_608.0).round() as i32).to_le_bytes()[..3].to_vec()), bits(24)),
        ("32-bit WAV", wav(1, 32, |x| ((x * 2_147_483_648.0) as i32).to_le_bytes().to_vec()), bits(24)),
        ("float WAV", wav(3, 32, |x| (x as f32).to_le_bytes().to_vec()), bits(24)),
        ("double WAV", wav(3, 64, |x| x.to_le_bytes().to_vec()), bits(24)),
        // The steps of the logarithmic codes grow to 1/32 of full scale.
        ("A-law WAV", wav(6, 8, |x| nearest(g711::alaw, x)), bits(6)),
        ("mu-law WAV", wav(7, 8, |x| nearest(g711::mulaw, x)), bits(6)),
        ("16-bit FLAC", FLAC_16.to_vec(), bits(15)),
        ("24-bit FLAC", FLAC_24.to_vec(), bits(23)),
    ];
    let signal = signal();
    for (name, file, bound) in cases {
        let error = largest_error(&decode(&file).unwrap(), &signal);
        assert!(error <= bound, "{name}: {error:e}, allowed {bound:e}");
    }
}

#[test]
fn lossy_formats_decode_as_in_libsndfile() {
    let cases = [
        ("Vorbis", VORBIS, fixture!("vorbis.i16"), N_SAMPLES),
        ("MP3", LAME_MP3, fixture!("lame.i16"), N_SAMPLES),
        // Without a tag nothing tells the delay; libsndfile guesses the length and cuts.
        ("MP3 without a tag", UNTAGGED_MP3, fixture!("untagged.i16"), 13 * 576),
    ];
    let signal = signal();
    for (name, file, expected, n_samples) in cases {
        let samples = decode(file).unwrap();
        assert_eq!(samples.len(), n_samples, "{name}");
        let step = |bytes: &[u8; 2]| f64::from(i16::from_le_bytes(*bytes)) / 32768.0;
        let expected: Vec<f64> = expected.as_chunks::<2>().0.iter().map(step).collect();
        let error = largest_error(&samples[..expected.len()], &expected);
        assert!(error <= 1.0 / 32768.0, "{name}: {error:e}");
        if n_samples == N_SAMPLES {
            let noise: f64 = samples.iter().zip(&signal).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
            let power: f64 = signal.iter().map(|x| x * x).sum();
            assert!(noise < 0.02 * power, "{name} is shifted or distorted: {}", noise / power);
        }
    }
}

#[test]
fn names_do_not_matter_and_tags_are_passed_over() {
    let folder = ScratchFolder::new();
    let expected = decode(LAME_MP3).unwrap();
    let mut tagged = b"ID3\x04\0\0\0\0\x02\x00".to_vec();
    tagged.resize(10 + 256, 0);
    tagged.extend(LAME_MP3);
    tagged.extend(b"TAG");
    tagged.resize(tagged.len() + 125, b' ');
    let path = folder.write("voice.wav", &tagged);
    let (samples, _) = AudioInput::from_path(&path).unwrap().decode().unwrap();
    assert!(samples == expected);
    let path = folder.write("voice", FLAC_16);
    assert_eq!(AudioInput::from_path(&path).unwrap().decode().unwrap().0.len(), N_SAMPLES);
}

#[test]
fn what_cannot_be_used_is_named() {
    let folder = ScratchFolder::new();
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 0x10;
        bytes
    };
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let cases: [(&str, Vec<u8>, ErrorKind, &str); 12] = [
        ("opus.ogg", OPUS.to_vec(), ErrorKind::Unsupported, "Opus, which cannot be decoded; convert it to WAV"),
        ("video.mp4", b"\0\0\0\x20ftypisom\0\0\0\0".to_vec(), ErrorKind::Unsupported, "MP4, M4A or MOV file; convert"),
        ("notes.txt", b"dear diary".to_vec(), ErrorKind::InvalidValue, "no audio file"),
        ("empty.wav", Vec::new(), ErrorKind::InvalidValue, "no bytes"),
        ("half.flac", half(FLAC_16), ErrorKind::InvalidValue, "export it again"),
        ("half.ogg", half(VORBIS), ErrorKind::InvalidValue, "export it again"),
        ("half.mp3", half(LAME_MP3), ErrorKind::InvalidValue, "cut short or damaged"),
        ("flipped.flac", flipped(FLAC_16, 3000), ErrorKind::InvalidValue, "export it again"),
        ("flipped.ogg", flipped(VORBIS, 4300), ErrorKind::InvalidValue, "export it again"),
        ("marker.flac", b"fLaC".to_vec(), ErrorKind::InvalidValue, "FLAC headers"),
        ("marker.ogg", b"OggS".to_vec(), ErrorKind::InvalidValue, "Ogg headers"),
        ("marker.mp3", b"\xFF\xFB\x90\x64".to_vec(), ErrorKind::InvalidValue, "MP3 headers"),
    ];
    for (name, bytes, kind, words) in cases {
        let path = folder.write(name, &bytes);
        let error = AudioInput::from_path(&path).unwrap().decode().unwrap_err();
        let message = error.to_string();
        assert_eq!(error.kind(), kind, "{message}");
        assert!(message.contains(words) && message.contains(name), "{message}");
        let message = AudioInput::from_bytes(&bytes).decode().unwrap_err().to_string();
        assert!(message.contains("audio_conditioning"), "{message}");
    }
    let error = AudioInput::from_path(folder.as_ref()).unwrap_err();
    assert!(error.to_string().contains("directory"), "{error}");
    assert_eq!(AudioInput::from_path(folder.path("absent.wav")).unwrap_err().kind(), ErrorKind::NotFound);
}

fn mutated(valid: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            break;
        }
        // Headers decide the most.
        let near = [bytes.len(), 128.min(bytes.len())][random.below(2)];
        let at = random.below(near);
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = [0, 0xFF, 0x7F, 0x80][random.below(4)],
            3 => bytes.insert(at, random.below(256) as u8),
            4 => drop(bytes.drain(at..(at + 1 + random.below(64)).min(bytes.len()))),
            _ => {
                let end = (at + 4).min(bytes.len());
                bytes[at..end].fill([0, 0xFF][random.below(2)]);
            }
        }
    }
    bytes
}

/// Prompts of mutated files: none may panic, hang, or give more samples than its bytes can hold.
fn try_mutations(n_files: usize, seed: u64) {
    let wav_16 = wav_16();
    let float = wav(3, 32, |x| (x as f32).to_le_bytes().to_vec());
    let valid: [&[u8]; 8] = [&wav_16, &float, FLAC_16, FLAC_24, VORBIS, OPUS, LAME_MP3, UNTAGGED_MP3];
    let format = PromptFormat { sample_rate_hz: 8000, frame_size: 640, is_truncated: true };
    let mut random = Random::new(seed);
    let (mut n_usable, mut slowest) = (0, Duration::ZERO);
    for i in 0..n_files {
        let bytes = mutated(valid[i % valid.len()], &mut random);
        let start = Instant::now();
        if let Ok(prompt) = Prompt::measure(AudioInput::from_bytes(&bytes), format) {
            let samples = prompt.samples().unwrap();
            assert!(samples.len() <= 31 * 8000, "{} samples", samples.len());
            n_usable += 1;
        }
        slowest = slowest.max(start.elapsed());
    }
    assert!(slowest < Duration::from_secs(20), "one file took {slowest:?}");
    assert!(n_usable > n_files / 20, "only {n_usable} of {n_files} were usable");
}

#[test]
fn mutated_files_never_panic() {
    try_mutations(4000, 3);
}

#[test]
#[ignore = "a sweep over 100,000 files"]
fn many_mutated_files_never_panic() {
    try_mutations(100_000, 4);
}
