use std::fs;
use std::path::PathBuf;

use super::*;
use crate::error::ErrorKind;

/// A valid file with each type that is read, an empty tensor and metadata.
fn sample_map() -> WeightMap {
    let mut map = WeightMap::new();
    let floats = Tensor::from_f32("a.f32", &[2, 3], vec![0.0, -1.5, 3.25, 1e-3, 7.0, f32::NAN]);
    map.insert(floats.to_dtype(DType::Bf16).with_name("a.bf16"));
    map.insert(floats.to_dtype(DType::F16).with_name("a.f16"));
    map.insert(floats);
    map.insert(Tensor::from_i64("offset", &[1], &[-7]));
    map.insert(Tensor::from_f32("empty", &[0, 4], Vec::new()));
    map.metadata_mut().insert("format".to_owned(), "pt".to_owned());
    map
}

fn scratch_file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("pocket-nn-{}-{name}", std::process::id()));
    fs::write(&path, bytes).unwrap();
    path
}

/// A file with the given header text and `n_data` zero bytes.
fn file_with_header(header: &str, n_data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + n_data, 0);
    bytes
}

#[test]
fn round_trip_keeps_values_types_and_metadata() {
    let map = sample_map();
    let path = scratch_file("round-trip.safetensors", &map.to_bytes().unwrap());
    let read = WeightMap::open(&path).unwrap();
    assert!(read.names().eq(map.names()));
    assert_eq!(read.metadata()["format"], "pt");
    for tensor in map.iter() {
        let other = read.get(tensor.name()).unwrap();
        assert_eq!(other.shape(), tensor.shape());
        assert_eq!(other.dtype(), tensor.dtype());
        assert_eq!(other.bytes(), tensor.bytes());
    }
    assert_eq!(read.get("offset").unwrap().to_i64(), Some(vec![-7]));
    fs::remove_file(path).unwrap();
}

#[test]
fn half_types_widen_exactly() {
    for (dtype, expected) in
        [(DType::Bf16, [0.0, -1.5, 3.25, 0.000_999_450_7, 7.0]), (DType::F16, [0.0, -1.5, 3.25, 0.001_000_404_4, 7.0])]
    {
        let values = sample_map().get("a.f32").unwrap().to_dtype(dtype).to_f32();
        assert_eq!(values[..5], expected, "{dtype}");
        assert!(values[5].is_nan(), "{dtype}");
    }
    let bits = sample_map().get("a.bf16").unwrap().bf16_bits().into_owned();
    assert_eq!(bits[1], 0xbfc0);
    for name in ["a.f32", "a.bf16"] {
        let mut rounded = [0; 6];
        sample_map().get(name).unwrap().bf16_bits_into(&mut rounded);
        assert_eq!(rounded[..], bits);
    }
}

#[test]
fn parts_are_the_values_that_all_are() {
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        let tensor = sample_map().get("a.f32").unwrap().to_dtype(dtype);
        let all = tensor.to_f32();
        for (start, n) in [(0, 0), (0, 5), (2, 3), (4, 1), (6, 0)] {
            let mut part = vec![9.0; n];
            tensor.values_into(start, &mut part);
            assert_eq!(part, all[start..start + n], "{dtype} {start} {n}");
        }
    }
    sample_map().get("empty").unwrap().values_into(0, &mut []);
}

#[test]
fn cursor_lists_the_tensors_of_its_scope() {
    let names = |weights: &Weights| weights.tensors().map(|tensor| tensor.name().to_owned()).collect::<Vec<_>>();
    let weights = Weights::new(sample_map(), "m");
    assert_eq!(names(&weights), ["a.bf16", "a.f16", "a.f32", "empty", "offset"]);
    assert_eq!(names(&weights.scope("a")), ["a.bf16", "a.f16", "a.f32"]);
    assert!(weights.finish().is_err(), "looking is not taking");
}

#[test]
fn cursor_names_what_is_wrong() {
    let weights = Weights::new(sample_map(), "model.safetensors");
    let scope = weights.scope("a");
    let message = |result: Result<Tensor, WeightsError>| result.unwrap_err().to_string();
    assert_eq!(
        message(scope.get("f64", &[2])),
        "tensor a.f64 of shape [2] is missing from model.safetensors; the weights belong to \
         another model or configuration"
    );
    assert_eq!(
        message(scope.get("f32", &[3, 2])),
        "tensor a.f32 in model.safetensors has shape [2, 3], expected [3, 2]; the weights belong \
         to another model or configuration"
    );
    assert_eq!(
        message(weights.get("offset", &[1])),
        "tensor offset in model.safetensors has type I64, expected F32, BF16 or F16; convert the \
         weights and export them again"
    );
    assert!(scope.contains("f32") && !scope.contains("f64"));
}

#[test]
fn finish_lists_what_was_never_taken() {
    let mut map = WeightMap::new();
    for i in 0..10 {
        map.insert(Tensor::from_f32(format!("x.{i}"), &[1], vec![0.0]));
    }
    let weights = Weights::new(map, "m");
    let error = weights.finish().unwrap_err().to_string();
    assert!(error.contains("x.0, x.1, x.2, x.3, x.4, x.5, x.6, x.7 and 2 more"), "{error}");
    let scope = weights.clone().scope("x");
    for i in 0..10 {
        scope.get(&i.to_string(), &[1]).unwrap();
    }
    weights.finish().unwrap();
}

#[test]
fn sources_are_chosen_by_the_longest_prefix() {
    let sources = [("", "bundle"), ("mimi.", "codec")];
    let sources = sources.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec();
    let weights = Weights::with_sources(WeightMap::new(), sources);
    let error = weights.scope("mimi").get("w", &[1]).unwrap_err().to_string();
    assert!(error.contains("missing from codec"), "{error}");
    let error = weights.get("w", &[1]).unwrap_err().to_string();
    assert!(error.contains("missing from bundle"), "{error}");
}

#[test]
fn file_faults_have_kinds_and_names() {
    let missing = WeightMap::open("no/such.safetensors".as_ref()).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.to_string().contains("no/such.safetensors"));
    assert_eq!(WeightMap::open(".".as_ref()).unwrap_err().kind(), ErrorKind::Io);
    let path = scratch_file("empty.safetensors", b"");
    let empty = WeightMap::open(&path).unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::ModelFormat);
    assert!(empty.to_string().contains("empty.safetensors"));
    fs::remove_file(path).unwrap();
}

#[test]
fn hostile_headers_are_refused() {
    let one = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    // Sizes that wrap around when they are added up without care.
    let wrapping = (0..16_u64)
        .map(|i| {
            let (start, end) = (i << 60, (i + 1) << 60);
            let end = if i == 15 { u64::MAX } else { end };
            let size = end - start;
            format!(r#""t{i}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{start},{end}]}}"#)
        })
        .collect::<Vec<_>>()
        .join(",");
    let cases = [
        (vec![0; 7], "too few"),
        (u64::MAX.to_le_bytes().to_vec(), "claims"),
        (file_with_header("", 0), "header cannot be read"),
        (file_with_header("{", 0), "header cannot be read"),
        (file_with_header(&"[".repeat(10_000), 0), "header cannot be read"),
        (file_with_header(&format!("{{{one}}}"), 7), "take 8 bytes, but 7"),
        (file_with_header(&format!("{{{one}}}"), 9), "take 8 bytes, but 9"),
        (file_with_header(&format!("{{{one},{}}}", one.replace("\"a\"", "\"b\"")), 16), "header"),
        (file_with_header(&format!("{{{}}}", one.replace("[0,8]", "[8,16]")), 16), "header"),
        (file_with_header(&format!("{{{}}}", one.replace("[0,8]", "[8,0]")), 16), "header"),
        (file_with_header(&format!("{{{}}}", one.replace("[2]", "[3]")), 8), "header"),
        (file_with_header(&format!("{{{}}}", one.replace("F32", "F33")), 8), "header"),
        (file_with_header(&format!("{{{wrapping}}}"), 0), "but 0 follow"),
    ];
    for (bytes, part) in cases {
        let error = WeightMap::from_bytes(bytes, "hostile").unwrap_err().to_string();
        assert!(error.starts_with("hostile is not a valid safetensors file"), "{error}");
        assert!(error.contains(part), "{part}: {error}");
    }
}

/// xorshift64*: enough to pick mutations, and the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize) % n
    }
}

#[test]
fn mutated_files_never_panic() {
    const N_MUTATIONS: usize = 120_000;
    let valid = sample_map().to_bytes().unwrap();
    let n_header = u64::from_le_bytes(*valid.first_chunk().unwrap()) as usize;
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut n_opened = 0;
    for _ in 0..N_MUTATIONS {
        let mut bytes = valid.clone();
        match random.below(5) {
            0 => bytes.truncate(random.below(bytes.len())),
            1 => {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            2 => bytes[random.below(8)] = random.below(256) as u8,
            3 => {
                // Digits of shapes and offsets, which a byte flip rarely turns into others.
                let digits: Vec<usize> = (8..8 + n_header).filter(|&at| bytes[at].is_ascii_digit()).collect();
                for _ in 0..=random.below(3) {
                    bytes[digits[random.below(digits.len())]] = b'0' + random.below(10) as u8;
                }
            }
            _ => {
                let at = random.below(bytes.len());
                let n = random.below(9).min(bytes.len() - at);
                let insert: Vec<u8> = (0..random.below(9)).map(|_| random.below(256) as u8).collect();
                bytes.splice(at..at + n, insert);
            }
        }
        let Ok(map) = WeightMap::from_bytes(bytes, "mutated") else {
            continue;
        };
        n_opened += 1;
        for tensor in map.iter() {
            match tensor.dtype() {
                dtype if dtype.is_float() => assert_eq!(tensor.to_f32().len(), tensor.numel()),
                DType::I64 => assert_eq!(tensor.to_i64().unwrap().len(), tensor.numel()),
                _ => drop(tensor.bytes().to_vec()),
            }
        }
    }
    assert!(n_opened > N_MUTATIONS / 100, "only {n_opened} files opened");
}
