//! What a file is, told by its first bytes; its name does not matter.

use std::io::{self, Read, Seek, SeekFrom};

use super::fault::Fault;

/// A container that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Wav,
    Flac,
    Ogg,
    Mp3,
}

const ADVICE: &str = "convert it to WAV, FLAC, MP3 or OGG (Vorbis), for example with `ffmpeg -i INPUT output.wav`";
/// Tags before the audio; a file with more is none of ours.
const MAX_TAGS: usize = 8;

/// Finds the container and leaves the reader where it starts, behind ID3 tags.
pub(super) fn container(reader: &mut (impl Read + Seek + ?Sized)) -> Result<Container, Fault> {
    let mut start = 0;
    for _ in 0..MAX_TAGS {
        let mut head = Vec::new();
        reader.take(16).read_to_end(&mut head)?;
        let Some(len) = id3_len(&head) else {
            reader.seek(SeekFrom::Start(start))?;
            return recognize(&head, start > 0);
        };
        start += len;
        reader.seek(SeekFrom::Start(start))?;
    }
    Err(Fault::Damaged("it holds nothing but tags; give a recording of the voice".to_owned()))
}

/// The length of the `ID3v2` tag that starts here.
fn id3_len(head: &[u8]) -> Option<u64> {
    let header = head.first_chunk::<10>().filter(|header| header.starts_with(b"ID3"))?;
    let size = header[6..].iter().fold(0, |size, &byte| size << 7 | u64::from(byte & 0x7F));
    let footer = if header[5] & 0x10 == 0 { 0 } else { 10 };
    Some(10 + size + footer)
}

fn recognize(head: &[u8], is_tagged: bool) -> Result<Container, Fault> {
    // A RIFF header that is cut short is a WAV file's until it says otherwise.
    let is_riff = head.starts_with(b"RIFF") && (head.len() < 12 || &head[8..12] == b"WAVE");
    let is_long =
        (head.starts_with(b"RF64") || head.starts_with(b"BW64")) && head.len() >= 12 && &head[8..12] == b"WAVE";
    if is_riff || is_long {
        return Ok(Container::Wav);
    }
    let found = match head {
        [] => return Err(Fault::Damaged("it has no bytes; give a recording of the voice".to_owned())),
        [b'f', b'L', b'a', b'C', ..] => return Ok(Container::Flac),
        [b'O', b'g', b'g', b'S', ..] => return Ok(Container::Ogg),
        // The two bits of the layer: 1 is layer 3, 0 is AAC in ADTS.
        [0xFF, second, ..] if second & 0xE0 == 0xE0 => match second >> 1 & 3 {
            1 => return Ok(Container::Mp3),
            0 => "an AAC stream",
            _ => "an MPEG layer 1 or 2 stream",
        },
        [b'R', b'I', b'F', b'F', ..] => "a RIFF file that is no WAV, such as AVI",
        [b'R', b'I', b'F', b'X', ..] => "a big-endian RIFX file",
        [b'r', b'i', b'f', b'f', ..] => "a Wave64 file",
        [b'F', b'O', b'R', b'M', ..] => "an AIFF file",
        [b'.', b's', b'n', b'd', ..] => "a Sun AU file",
        [b'c', b'a', b'f', b'f', ..] => "an Apple CAF file",
        [b'M', b'A', b'C', b' ', ..] => "a Monkey's Audio file",
        [b'w', b'v', b'p', b'k', ..] => "a WavPack file",
        [b'#', b'!', b'A', b'M', b'R', ..] => "an AMR file",
        [0x30, 0x26, 0xB2, 0x75, ..] => "a WMA or ASF file",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "an MP4, M4A or MOV file",
        [0x1A, 0x45, 0xDF, 0xA3, ..] => "a WebM or Matroska file",
        [b'F', b'L', b'V', ..] => "a Flash video",
        [0, 0, 1, 0xB3 | 0xBA, ..] => "an MPEG video",
        // Encoders pad the tag before an MP3's first frame.
        _ if is_tagged => return Ok(Container::Mp3),
        _ => return Err(Fault::Damaged(format!("it is no audio file; {ADVICE}"))),
    };
    Err(Fault::Unsupported(format!("it is {found}; {ADVICE}")))
}

/// Bytes of tags at the end of an MP3: `ID3v1` and `APEv2`.
pub(super) fn trailing_tags(reader: &mut (impl Read + Seek + ?Sized), n_bytes: u64) -> io::Result<u64> {
    let mut n_tags = 0;
    let mut tail = Vec::new();
    if n_bytes >= 128 {
        reader.seek(SeekFrom::Start(n_bytes - 128))?;
        reader.take(3).read_to_end(&mut tail)?;
        if tail == b"TAG" {
            n_tags = 128;
        }
    }
    if n_bytes >= n_tags + 32 {
        reader.seek(SeekFrom::Start(n_bytes - n_tags - 32))?;
        tail.clear();
        reader.take(24).read_to_end(&mut tail)?;
        if tail.len() == 24 && tail.starts_with(b"APETAGEX") {
            let size = u32::from_le_bytes([tail[12], tail[13], tail[14], tail[15]]);
            // The size counts the footer but not the header.
            let header = if tail[23] & 0x80 == 0 { 0 } else { 32 };
            n_tags += u64::from(size) + header;
        }
    }
    Ok(n_tags.min(n_bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn content_decides() {
        let cases: [(&[u8], Result<Container, &str>); 14] = [
            (b"RIFF\0\0\0\0WAVEfmt ", Ok(Container::Wav)),
            (b"RF64\0\0\0\0WAVEds64", Ok(Container::Wav)),
            (b"BW64\0\0\0\0WAVEds64", Ok(Container::Wav)),
            (b"RIFF\0\0", Ok(Container::Wav)),
            (b"fLaC", Ok(Container::Flac)),
            (b"OggS\0", Ok(Container::Ogg)),
            (b"\xFF\xFB\x90\x64", Ok(Container::Mp3)),
            (b"\xFF\xF1\x50\x80", Err("an AAC stream")),
            (b"\xFF\xFD\x50\x80", Err("layer 1 or 2")),
            (b"RIFF\0\0\0\0AVI LIST", Err("AVI")),
            (b"\0\0\0\x20ftypM4A ", Err("M4A")),
            (b"\x1A\x45\xDF\xA3", Err("WebM")),
            (b"hello world", Err("no audio file")),
            (b"", Err("no bytes")),
        ];
        for (head, expected) in cases {
            match (container(&mut Cursor::new(head)), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(Fault::Unsupported(reason) | Fault::Damaged(reason)), Err(expected)) => {
                    assert!(reason.contains(expected), "{reason}");
                }
                (found, expected) => panic!("{head:?}: {found:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn tags_before_and_behind_are_passed_over() {
        let mut file = b"ID3\x04\0\0\0\0\x01\x02".to_vec();
        file.resize(10 + 130, 0);
        let start = file.len() as u64;
        file.extend(b"\xFF\xFB\x90\x64audio");
        let end = file.len() as u64;
        file.extend(b"APETAGEX\0\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\x80");
        file.extend([1; 16]);
        file.extend(b"APETAGEX\xD0\x07\0\0\x28\0\0\0\0\0\0\0\0\0\0\x80");
        file.extend([0; 8]);
        file.extend(b"TAG");
        file.resize(file.len() + 125, 0);
        let mut reader = Cursor::new(&file);
        assert_eq!(container(&mut reader).unwrap(), Container::Mp3);
        assert_eq!(reader.position(), start);
        let n_bytes = file.len() as u64;
        assert_eq!(trailing_tags(&mut reader, n_bytes).unwrap(), n_bytes - end);
        assert_eq!(trailing_tags(&mut reader, end).unwrap(), 0);
        let endless = [&b"ID3\x04\0\0\0\0\0\0"[..]; 20].concat();
        assert!(container(&mut Cursor::new(endless)).is_err());
    }
}
