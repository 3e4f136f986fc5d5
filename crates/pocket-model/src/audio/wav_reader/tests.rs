use std::io::Cursor;

use super::*;

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

/// A mono file with a format code, bits and the bytes of its samples.
fn wav(code: u16, bits: u16, data: &[u8]) -> Vec<u8> {
    let block = bits.div_ceil(8);
    let mut bytes = b"RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00".to_vec();
    bytes.extend(code.to_le_bytes());
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend(8000_u32.to_le_bytes());
    bytes.extend((8000 * u32::from(block)).to_le_bytes());
    bytes.extend(block.to_le_bytes());
    bytes.extend(bits.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

fn with(bytes: &[u8], at: usize, change: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + change.len()].copy_from_slice(change);
    bytes
}

/// The interleaved samples and the seconds that are missing.
fn read(bytes: &[u8]) -> Result<(Vec<f32>, Option<f64>), String> {
    let text = |fault| match fault {
        Fault::Damaged(reason) | Fault::Unsupported(reason) => reason,
        Fault::Read(error) => error.to_string(),
    };
    let mut reader = WavReader::new(Cursor::new(bytes)).map_err(text)?;
    let (mut samples, mut block) = (Vec::new(), Vec::new());
    loop {
        reader.next_block(&mut block).map_err(text)?;
        if block.is_empty() {
            return Ok((samples, reader.missing_s()));
        }
        samples.append(&mut block);
    }
}

#[test]
fn every_coding_has_its_scale() {
    let cases: [(u16, u16, Vec<u8>, [f32; 3]); 8] = [
        (PCM, 8, vec![0, 128, 255], [-1.0, 0.0, 127.0 / 128.0]),
        (PCM, 16, [-32768_i16, 0, 1].iter().flat_map(|x| x.to_le_bytes()).collect(), [-1.0, 0.0, 1.0 / 32768.0]),
        (PCM, 12, [-32768_i16, 0, 16].iter().flat_map(|x| x.to_le_bytes()).collect(), [-1.0, 0.0, 1.0 / 2048.0]),
        (PCM, 24, vec![0, 0, 0x80, 0, 0, 0, 1, 0, 0], [-1.0, 0.0, 1.0 / 8_388_608.0]),
        (PCM, 32, [i32::MIN, 0, 1 << 30].iter().flat_map(|x| x.to_le_bytes()).collect(), [-1.0, 0.0, 0.5]),
        (FLOAT, 32, [-1.5_f32, 0.0, 0.1].iter().flat_map(|x| x.to_le_bytes()).collect(), [-1.5, 0.0, 0.1]),
        (FLOAT, 64, [-1.5_f64, 0.0, 0.1].iter().flat_map(|x| x.to_le_bytes()).collect(), [-1.5, 0.0, 0.1]),
        (MULAW, 8, vec![0, 0xFF, 0x80], [-32124.0 / 32768.0, 0.0, 32124.0 / 32768.0]),
    ];
    for (code, bits, data, expected) in cases {
        let (samples, missing) = read(&wav(code, bits, &data)).unwrap();
        assert_eq!(samples, expected, "format {code}, {bits} bits");
        assert_eq!(missing, None);
    }
    let (samples, _) = read(&wav(ALAW, 8, &[0x2A, 0xD5])).unwrap();
    assert_eq!(samples, [-32256.0 / 32768.0, 8.0 / 32768.0]);
}

#[test]
fn channels_stay_interleaved() {
    let (samples, missing) = read(&stereo()).unwrap();
    assert_eq!(samples, [100.0, 201.0, -32768.0, -32768.0, 32767.0, -32767.0].map(|x: f32| x / 32768.0));
    assert_eq!(missing, None);
}

#[test]
fn wrong_sizes_end_with_the_file() {
    let file = stereo();
    for (size, missing) in
        [(16_u32, Some(1.0 / 48_000.0)), (2_000_000_000, None), (0x7FFF_FFFF, None), (u32::MAX, None)]
    {
        let (samples, found) = read(&with(&file, DATA_SIZE_AT, &size.to_le_bytes())).unwrap();
        assert_eq!(samples.len(), 6, "{size}");
        assert_eq!(found, missing, "{size}");
    }
    let zero = with(&file, DATA_SIZE_AT, &[0; 4]);
    assert_eq!(read(&zero).unwrap().0.len(), 0);
    assert_eq!(read(&with(&zero, 4, &[0xFF; 4])).unwrap().0.len(), 6);
    assert_eq!(read(&with(&zero, 4, &[0; 4])).unwrap().0.len(), 6);
    let (samples, missing) = read(&file[..file.len() - 3]).unwrap();
    assert_eq!(samples.len(), 4);
    assert_eq!(missing, Some(3.0 / 4.0 / 48_000.0));
}

#[test]
fn chunks_behind_the_samples_are_no_samples() {
    let mut file = stereo();
    file.extend(b"LIST\x04\x00\x00\x00loud");
    assert_eq!(read(&file).unwrap().0.len(), 6);
}

#[test]
fn sizes_of_64_bits_are_in_a_chunk_of_their_own() {
    let file = with(&with(&stereo(), 0, b"RF64\xFF\xFF\xFF\xFF"), DATA_SIZE_AT, &[0xFF; 4]);
    let mut ds64 = b"ds64\x10\x00\x00\x00".to_vec();
    ds64.extend(100_u64.to_le_bytes());
    ds64.extend(8_u64.to_le_bytes());
    let (samples, missing) = read(&[&file[..12], &ds64, &file[12..]].concat()).unwrap();
    assert_eq!((samples.len(), missing), (4, None));
    ds64[16..].copy_from_slice(&6_000_000_000_u64.to_le_bytes());
    let (samples, missing) = read(&[&file[..12], &ds64, &file[12..]].concat()).unwrap();
    assert_eq!(samples.len(), 6);
    assert!(missing.unwrap() > 30_000.0);
}

#[test]
fn extensible_headers_name_their_format() {
    let mut fmt = vec![0xFE, 0xFF, 1, 0, 0x40, 0x1F, 0, 0, 0, 0, 0, 0, 2, 0, 16, 0, 22, 0, 16, 0];
    fmt.extend([4, 0, 0, 0, 1, 0]);
    fmt.extend(SUBFORMAT_TAIL);
    let reason = |chunk: &[u8]| match parse_format(chunk) {
        Err(Fault::Unsupported(reason) | Fault::Damaged(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(parse_format(&fmt).unwrap().sample_rate_hz, 8000);
    assert!(reason(&with(&fmt, 24, &[3])).contains("16-bit float"));
    assert!(reason(&with(&fmt, 39, &[0])).contains("unknown"));
    assert!(reason(&fmt[..39]).contains("39 bytes"));
}

#[test]
fn what_is_wrong_is_told() {
    let file = stereo();
    let cases: [(Vec<u8>, &str); 9] = [
        (file[..9].to_vec(), "9 bytes are too few"),
        (file[..30].to_vec(), "format chunk has only 10 bytes"),
        (file[..40].to_vec(), "no data chunk"),
        (with(&file, 20, &[17]), "16-bit ADPCM samples; convert it to WAV"),
        (with(&file, 34, &[40]), "40-bit PCM"),
        (with(&with(&file, 20, &[3]), 34, &[16]), "16-bit float"),
        (with(&file, 22, &[0]), "no channels"),
        (with(&file, 32, &[6]), "blocks of 6 bytes"),
        (with(&file, 24, &[0; 4]), "0 Hz"),
    ];
    for (bytes, expected) in cases {
        let reason = read(&bytes).unwrap_err();
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
    let early = [&file[..12], &file[48..]].concat();
    assert!(read(&early).unwrap_err().contains("before their format"));
}
