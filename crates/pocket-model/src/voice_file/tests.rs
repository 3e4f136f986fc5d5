use pocket_nn::kv_cache::KvDType;

use super::*;
use crate::ErrorKind;
use crate::testing::{Random, ScratchFolder, noise};
use crate::voice::VoiceState;

const SHAPE: VoiceShape = VoiceShape { num_layers: 2, num_kv_heads: 2, head_dim: 4 };

fn voice() -> VoiceFile {
    let layer = |pad| VoiceLayer { keys: noise(24), values: noise(48)[24..].to_vec(), n_positions: 3, pad };
    VoiceFile {
        layers: vec![layer(0), layer(1)],
        num_kv_heads: 2,
        head_dim: 4,
        metadata: [("model".to_owned(), "abc".to_owned())].into(),
    }
}

/// The map of a valid voice with tensors replaced or added.
fn with(tensors: &[Tensor]) -> WeightMap {
    let mut map = voice().to_map();
    for tensor in tensors {
        map.insert(tensor.clone());
    }
    map
}

fn without(map: WeightMap, parts: &[&str]) -> WeightMap {
    let mut kept = WeightMap::new();
    for (name, tensor) in map {
        if !parts.iter().any(|part| name.ends_with(part)) {
            kept.insert(tensor);
        }
    }
    kept
}

fn cache(layer: usize, shape: &[usize]) -> Tensor {
    Tensor::from_f32(name(layer, "cache"), shape, vec![0.5; shape.iter().product()])
}

#[test]
fn written_files_read_back() {
    let folder = ScratchFolder::new();
    let path = folder.path("v.safetensors");
    voice().write(&path).unwrap();
    assert_eq!(VoiceFile::read(&path, SHAPE, None).unwrap(), voice());
    assert_eq!(folder.names(), ["v.safetensors"]);
    let names = WeightMap::open(&path).unwrap();
    assert!(names.names().all(|name| name.matches('/').count() == 1));
    let missing = VoiceFile::read(folder.path("no"), SHAPE, None).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let error = VoiceFile::read(&path, VoiceShape { num_layers: 3, ..SHAPE }, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VoiceState);
    assert!(error.to_string().contains("v.safetensors"), "{error}");
}

#[test]
fn tensors_alone_tell_the_sizes() {
    assert_eq!(VoiceFile::from_tensors(&voice().to_map()).unwrap(), voice());
    let huge = Tensor::from_i64(name(usize::MAX, "offset"), &[1], &[3]);
    for (map, expected) in [
        (with(&[cache(0, &[2, 1, 3, 0, 4])]), "layer 0 has a cache of shape [2, 1, 3, 0, 4]"),
        (with(&[cache(0, &[2, 1, 24])]), "layer 0 has a cache of shape [2, 1, 24]"),
        (with(&[cache(1, &[2, 1, 3, 1, 4])]), "layer 1 has a cache of shape [2, 1, 3, 1, 4]"),
        (without(voice().to_map(), &["0.self_attn/cache"]), "layer 0: its cache is missing"),
        (with(&[huge]), "layer 2: its cache is missing"),
        (WeightMap::new(), "it holds no tensors"),
    ] {
        let reason = VoiceFile::from_tensors(&map).unwrap_err();
        assert!(reason.contains(expected), "{expected}\n{reason}");
    }
}

#[test]
fn a_tail_that_is_not_filled_is_dropped() {
    let mut rows = vec![f32::NAN; 2 * 5 * 8];
    rows[..24].copy_from_slice(&noise(24));
    rows[40..64].copy_from_slice(&noise(48)[24..]);
    let long = Tensor::from_f32(name(0, "cache"), &[2, 1, 5, 2, 4], rows);
    assert_eq!(VoiceFile::from_map(&with(&[long]), SHAPE).unwrap(), voice());
}

#[test]
fn older_files_have_no_offset_and_no_pad() {
    let ends = [0, 1].map(|i| Tensor::from_f32(name(i, "current_end"), &[3], vec![0.0; 3]));
    let older = without(with(&ends), &["/offset", "/pad"]);
    let layers = VoiceFile::from_map(&older, SHAPE).unwrap().layers;
    assert_eq!((layers[1].n_positions, layers[1].pad), (3, 0));
}

#[test]
fn faults_name_the_layer_and_what_to_do() {
    let offset = |layer, n| Tensor::from_i64(name(layer, "offset"), &[1], &[n]);
    let mut damaged = vec![0.5; 48];
    damaged[30] = f32::NAN;
    let cases = [
        (
            with(&[cache(1, &[2, 1, 3, 1, 4])]),
            "made with another model: layer 1 has a cache of shape [2, 1, 3, 1, 4], expected [2, 1, positions, 2, 4]",
        ),
        (with(&[cache(0, &[2, 2, 3, 2, 4])]), "made with another model: layer 0"),
        (with(&[cache(0, &[2, 1, 24])]), "made with another model: layer 0"),
        (with(&[cache(2, &[2, 1, 3, 2, 4])]), "it has 3 layers, expected 2"),
        (
            without(voice().to_map(), &["1.self_attn/cache", "1.self_attn/offset", "1.self_attn/pad"]),
            "it has 1 layers, expected 2",
        ),
        (without(voice().to_map(), &["0.self_attn/cache"]), "layer 0: its cache is missing"),
        (without(voice().to_map(), &["/offset"]), "layer 0: its offset is missing"),
        (with(&[cache(0, &[2, 1, 3, 2, 4]).to_dtype(DType::Bf16)]), "layer 0: its cache has type BF16, expected F32"),
        (with(&[offset(1, 4)]), "layer 1: its offset is 4, but the cache holds 3"),
        (with(&[offset(1, 2)]), "layer 1 has 2 positions, layer 0 has 3"),
        (with(&[offset(0, -1)]), "layer 0: its offset is negative"),
        (with(&[Tensor::from_i64(name(0, "pad"), &[1], &[4])]), "layer 0: its pad is 4, but its offset is 3"),
        (with(&[Tensor::from_i64(name(0, "offset"), &[2], &[3, 3])]), "should be one integer, I64 [1], found I64 [2]"),
        (with(&[Tensor::from_f32(name(0, "offset"), &[1], vec![3.0])]), "found F32 [1]"),
        (
            with(&[Tensor::from_f32(name(1, "cache"), &[2, 1, 3, 2, 4], damaged)]),
            "layer 1: NaN among the values of position 0",
        ),
        (
            with(&[cache(0, &[1]).with_name("flow_lm.bos_emb")]),
            "it is no voice state: it holds the tensor flow_lm.bos_emb",
        ),
        (WeightMap::new(), "it holds no tensors"),
    ];
    for (map, expected) in cases {
        let reason = VoiceFile::from_map(&map, SHAPE).unwrap_err();
        assert!(reason.contains(expected), "{expected}\n{reason}");
        assert!(reason.contains("export"), "{reason}");
    }
}

#[test]
fn files_of_other_models_are_refused() {
    let fingerprint = |last: &str| format!("1-{}{last}", "0".repeat(31)).parse::<Fingerprint>().unwrap();
    let folder = ScratchFolder::new();
    let path = folder.path("v.safetensors");
    let read = |model: &str, expected| {
        let mut file = voice();
        file.metadata.insert(MODEL_KEY.to_owned(), model.to_owned());
        file.write(&path).unwrap();
        VoiceFile::read(&path, SHAPE, expected)
    };
    let (a, b) = (fingerprint("a"), fingerprint("b"));
    assert_eq!(read(&a.to_string(), Some(a)).unwrap().model(), Some(a));
    assert_eq!(read(&a.to_string(), None).unwrap().model(), Some(a));
    // Fingerprints of another kind tell nothing, as those of the reference's files.
    for unknown in ["", "2-00", "1-zz"] {
        assert_eq!(read(unknown, Some(a)).unwrap().model(), None, "{unknown}");
    }
    let error = read(&b.to_string(), Some(a)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VoiceState);
    for part in ["v.safetensors", &a.to_string(), &b.to_string(), "export the voice again with this model"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

/// Reads files that are valid but for a few changes.
fn read_mutated_files(n_files: usize, seed: u64) {
    let mut file = voice();
    file.metadata.insert(MODEL_KEY.to_owned(), format!("1-{}", "0123456789abcdef".repeat(2)));
    let valid = file.to_map().to_bytes().unwrap();
    let n_header = usize::from(valid[0]) + 256 * usize::from(valid[1]);
    let mut random = Random::new(seed);
    let mut n_read = 0;
    for _ in 0..n_files {
        let mut bytes = valid.clone();
        for _ in 0..=random.below(3) {
            // Mostly the header, where a change matters.
            let range = if random.below(2) == 0 { 8 + n_header } else { bytes.len() };
            let at = random.below(range.min(bytes.len()));
            match random.below(9) {
                0 => bytes.truncate(at + 1),
                1..=3 => bytes[at] ^= 1 << random.below(8),
                4 => {
                    let copied = bytes[at..bytes.len().min(at + 1 + random.below(12))].to_vec();
                    bytes.splice(at..at, copied);
                }
                _ if bytes[at].is_ascii_digit() => bytes[at] = b'0' + random.below(10) as u8,
                _ => bytes[at] = random.below(256) as u8,
            }
        }
        let Ok(map) = WeightMap::from_bytes(bytes, "v") else {
            continue;
        };
        let read = VoiceFile::from_map(&map, SHAPE);
        if let Ok(file) = &read {
            n_read += 1;
            let _ = file.check_model(Some(format!("1-{}", "0".repeat(32)).parse().unwrap()));
            let state = VoiceState::from_voice_file(file);
            assert_eq!((state.n_layers(), state.n_positions()), (2, file.layers[0].n_positions));
            assert_eq!(state.begin(KvDType::F32).next_position(), state.n_positions());
        }
        if let Ok(file) = VoiceFile::from_tensors(&map) {
            let n_values: usize = file.layers.iter().map(|layer| layer.keys.len() + layer.values.len()).sum();
            assert!(4 * n_values <= valid.len() + 100, "{n_values} values of {} bytes", valid.len());
        } else {
            assert!(read.is_err(), "the tensors alone tell the sizes");
        }
    }
    assert!(n_read > n_files / 100, "only {n_read} files were read");
}

#[test]
fn mutated_files_never_panic() {
    read_mutated_files(5_000, 5);
}

#[test]
#[ignore = "long: run by make test-long"]
fn many_mutated_files_never_panic() {
    read_mutated_files(500_000, 6);
}
