//! Entries of the voice cache: voice state files that prove to be whole and to be the right ones.
//!
//! An entry holds the key that it was made for and a SHA-256 of its other metadata and its tensors.
//! A file that was cut short, damaged or given another entry's name is refused. Where entries lie and
//! which are kept is the caller's business.

use std::path::Path;

use pocket_nn::WeightMap;
use pocket_nn::transformer::TransformerConfig;

use crate::error::Error;
use crate::files;
use crate::fingerprint::{Fingerprint, Hasher};
use crate::voice::{VoiceState, voice_shape};
use crate::voice_file::VoiceFile;

/// The metadata's key of the entry's key.
const KEY_KEY: &str = "pocket_tts_native.key";
/// The metadata's key of the checksum.
const CHECKSUM_KEY: &str = "pocket_tts_native.sha256";

impl VoiceState {
    /// Writes an entry; it appears all at once.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_cached(&self, path: impl AsRef<Path>, key: &str) -> Result<(), Error> {
        let mut map = self.to_voice_file().to_map();
        map.metadata_mut().insert(KEY_KEY.to_owned(), key.to_owned());
        let checksum = checksum(&map);
        map.metadata_mut().insert(CHECKSUM_KEY.to_owned(), checksum);
        files::write(path.as_ref(), &map.to_bytes()?)
    }

    /// Reads the entry of `key`, for the model of that fingerprint.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or is another entry.
    pub fn read_cached(
        path: impl AsRef<Path>,
        key: &str,
        config: &TransformerConfig,
        model: Fingerprint,
    ) -> Result<Self, Error> {
        let path = path.as_ref();
        let fault = |reason: String| Error::Voice { path: path.to_owned(), reason };
        let map = WeightMap::open(path)?;
        if map.metadata().get(KEY_KEY).map(String::as_str) != Some(key) {
            return Err(fault("it is no entry of the voice cache under this name; delete it".to_owned()));
        }
        if map.metadata().get(CHECKSUM_KEY) != Some(&checksum(&map)) {
            return Err(fault("its checksum differs, so it is damaged; delete it".to_owned()));
        }
        let voice = Self::from_voice_file(&VoiceFile::from_map(&map, voice_shape(config)).map_err(fault)?);
        voice.check(config, model)?;
        Ok(voice)
    }
}

/// Covers everything but itself.
fn checksum(map: &WeightMap) -> String {
    let mut hasher = Hasher::default();
    for (key, value) in map.metadata().iter().filter(|(key, _)| *key != CHECKSUM_KEY) {
        hasher.text(key);
        hasher.text(value);
    }
    for tensor in map.iter() {
        hasher.text(tensor.name());
        hasher.text(&tensor.dtype().to_string());
        hasher.shape(tensor.shape());
        hasher.bytes(tensor.bytes());
    }
    hasher.finish_hex()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use pocket_kernels::attention::AttentionShape;

    use super::*;
    use crate::ErrorKind;
    use crate::testing::{Random, ScratchFolder, noise};
    use crate::voice_file::VoiceLayer;

    const CONFIG: TransformerConfig = TransformerConfig {
        width: 8,
        attention: AttentionShape { heads: 2, kv_heads: 1, head_dim: 4 },
        feed_forward: 16,
        n_layers: 2,
        context: None,
        max_period: 10_000.0,
        has_layer_scale: false,
    };

    fn fingerprint(last: char) -> Fingerprint {
        format!("1-{}{last}", "0".repeat(31)).parse().unwrap()
    }

    fn voice() -> VoiceState {
        let layer = |seed: usize| VoiceLayer {
            keys: noise(12 + seed).split_off(seed),
            values: noise(24 + seed).split_off(12 + seed),
            n_positions: 3,
            pad: 1,
        };
        let layers = vec![layer(0), layer(5)];
        let file = VoiceFile { layers, num_kv_heads: 1, head_dim: 4, metadata: BTreeMap::new() };
        VoiceState::from_voice_file(&file).with_model(Some(fingerprint('a')))
    }

    #[test]
    fn entries_read_back_bit_by_bit() {
        let folder = ScratchFolder::new();
        let path = folder.path("e.safetensors");
        voice().write_cached(&path, "key").unwrap();
        let read = VoiceState::read_cached(&path, "key", &CONFIG, fingerprint('a')).unwrap();
        assert_eq!(read.to_voice_file(), voice().to_voice_file());
        assert_eq!(read.model(), Some(fingerprint('a')));
        // Also a voice state file like any other.
        VoiceState::read(&path, &CONFIG, fingerprint('a')).unwrap();
        assert_eq!(folder.names(), ["e.safetensors"]);
    }

    #[test]
    fn other_entries_are_refused() {
        let folder = ScratchFolder::new();
        let path = folder.path("e.safetensors");
        let read = |key, model| VoiceState::read_cached(&path, key, &CONFIG, model).unwrap_err();
        assert_eq!(read("key", fingerprint('a')).kind(), ErrorKind::NotFound);
        voice().write(&path).unwrap();
        assert!(read("key", fingerprint('a')).to_string().contains("no entry"));
        voice().write_cached(&path, "key").unwrap();
        let error = read("other", fingerprint('a'));
        assert_eq!(error.kind(), ErrorKind::VoiceState);
        assert!(error.to_string().contains("no entry"), "{error}");
        assert!(matches!(read("key", fingerprint('b')), Error::VoiceModel { .. }));
        let config = TransformerConfig { n_layers: 3, ..CONFIG };
        let error = VoiceState::read_cached(&path, "key", &config, fingerprint('a')).unwrap_err();
        assert!(error.to_string().contains("2 layers, expected 3"), "{error}");
    }

    #[test]
    fn damaged_bytes_are_noticed() {
        let folder = ScratchFolder::new();
        let path = folder.path("e.safetensors");
        voice().write_cached(&path, "key").unwrap();
        let valid = fs::read(&path).unwrap();
        let expected = voice().to_voice_file();
        let mut random = Random::new(3);
        for at in (0..valid.len()).step_by(3) {
            let mut bytes = valid.clone();
            bytes[at] ^= 1 << random.below(8);
            fs::write(&path, &bytes).unwrap();
            // White space of the header may change without a change of meaning.
            if let Ok(read) = VoiceState::read_cached(&path, "key", &CONFIG, fingerprint('a')) {
                assert_eq!(read.to_voice_file(), expected, "byte {at}");
                assert!(valid[at] == b' ', "byte {at}");
            }
            if at % 7 == 0 {
                fs::write(&path, &valid[..at]).unwrap();
                VoiceState::read_cached(&path, "key", &CONFIG, fingerprint('a')).unwrap_err();
            }
        }
    }
}
