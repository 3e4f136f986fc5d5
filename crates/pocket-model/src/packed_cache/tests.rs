use super::*;
use crate::testing::ScratchFolder;
use crate::{GeneratedLatents, LoadOptions, NoiseSource, TtsModel};

const N_FRAMES: usize = 4;

/// A copy of a fixture, so that its files can be changed.
fn model(folder: &ScratchFolder, case: &str) -> Config {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(case);
    let mut config = Config::from_yaml_file(fixture.join("config.yaml")).unwrap();
    let copy = |name: &str| {
        let path = folder.path(name);
        fs::copy(fixture.join(name), &path).unwrap();
        path.to_str().unwrap().to_owned()
    };
    config.weights_path = Some(copy("model.safetensors"));
    config.flow_lm.lookup_table.tokenizer_path = copy("tokenizer.json");
    config
}

fn load(config: &Config, precision: Precision, cache: Option<&Path>) -> TtsModel {
    let packed_cache = cache.map(Path::to_owned);
    let options = LoadOptions { precision, num_threads: Some(2), packed_cache, ..LoadOptions::default() };
    TtsModel::load(config.clone(), options).unwrap()
}

/// Latents and samples with the voice of a short recording: every part of the model takes part.
fn speech(model: &TtsModel) -> (GeneratedLatents, Vec<f32>) {
    let samples: Vec<f32> = (0..4000).map(|i| (i as f32 * 0.1).sin() * 0.3).collect();
    let voice = model.voice_from_latents(&model.encode_audio(&samples).unwrap());
    let sampling = model.default_sampling();
    let latents = model.generate_latents(&voice, "Hello.", sampling, Some(N_FRAMES), NoiseSource::Seed(3)).unwrap();
    let samples = model.decode_latents(&latents.latents, &[]).unwrap();
    (latents, samples)
}

/// The beginnings of the load's notes.
fn notes(model: &TtsModel) -> Vec<&str> {
    model.load_notes().iter().map(|note| note.split([':', ' ']).next().unwrap_or_default()).collect()
}

fn entries(cache: &ScratchFolder) -> Vec<String> {
    let names = cache.names();
    assert!(names.iter().all(|name| is_entry(name)), "{names:?}");
    names
}

#[test]
fn every_precision_speaks_the_same_from_the_cache() {
    let (files, cache) = (ScratchFolder::new(), ScratchFolder::new());
    for case in ["small_family", "lsd", "separate_decoder"] {
        let config = model(&files, case);
        for precision in Precision::ALL {
            let packed = load(&config, precision, None);
            assert!(packed.load_notes().is_empty());
            let expected = speech(&packed);
            for (n, note) in ["wrote", "read", "read"].into_iter().enumerate() {
                let model = load(&config, precision, Some(cache.as_ref()));
                assert_eq!(notes(&model), [note], "{case} {precision}");
                assert_eq!(speech(&model), expected, "{case} {precision}, load {n}");
                assert_eq!(model.fingerprint(), packed.fingerprint());
                assert_eq!(model.cloning_key(), packed.cloning_key());
            }
        }
    }
    // The files of the last case took the place of the others': one model, three precisions.
    assert_eq!(entries(&cache).len(), 3);
}

/// Changes a file, but not its time.
fn change_unseen(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
    File::options().append(true).open(path).unwrap().set_modified(modified).unwrap();
}

#[test]
fn damaged_and_swapped_entries_are_made_again() {
    let (files, others, cache) = (ScratchFolder::new(), ScratchFolder::new(), ScratchFolder::new());
    let config = model(&files, "lsd");
    let load = |config: &Config| load(config, Precision::Int8, Some(cache.as_ref()));
    let expected = speech(&load(&config));
    let name = entries(&cache).remove(0);
    let path = cache.path(&name);
    let valid = fs::read(&path).unwrap();
    load(&model(&others, "lsd_4_steps"));
    let other = entries(&cache).into_iter().find(|other| *other != name).unwrap();
    let other = fs::read(cache.path(&other)).unwrap();
    let flipped = |at: usize| {
        let mut bytes = valid.clone();
        bytes[at] ^= 4;
        bytes
    };
    let damaged = [
        Vec::new(),
        b"no weights".to_vec(),
        valid[..valid.len() / 2].to_vec(),
        valid[..valid.len() - 1].to_vec(),
        [&valid[..], &[0; 64]].concat(),
        flipped(3),
        flipped(100),
        flipped(valid.len() / 2),
        flipped(valid.len() - 1),
        other,
    ];
    for (i, damaged) in damaged.into_iter().enumerate() {
        assert!(damaged != valid);
        fs::remove_file(&path).unwrap();
        fs::write(&path, damaged).unwrap();
        let model = load(&config);
        assert_eq!(notes(&model), ["made", "wrote"], "damage {i}");
        assert_eq!(speech(&model), expected, "damage {i}");
        assert_eq!(notes(&load(&config)), ["read"], "damage {i}");
    }
    assert_eq!(fs::read(&path).unwrap(), valid, "the same weights are packed to the same bytes");
}

#[test]
fn other_weights_and_structures_are_packed_anew() {
    let (files, cache) = (ScratchFolder::new(), ScratchFolder::new());
    let mut config = model(&files, "lsd");
    let path = files.path("model.safetensors");
    let load = |config: &Config, precision| {
        let model = load(config, precision, Some(cache.as_ref()));
        notes(&model).join(" ")
    };
    let fresh = |config: &Config| {
        assert_eq!(load(config, Precision::F32), "wrote");
        assert_eq!(load(config, Precision::F32), "read");
        assert_eq!(entries(&cache).iter().filter(|name| name.contains("-f32-")).count(), 1);
    };
    fresh(&config);
    // The time alone.
    File::options().append(true).open(&path).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    fresh(&config);
    // The content alone: the last value of a norm.
    change_unseen(&path, |bytes| *bytes.last_mut().unwrap() ^= 1);
    fresh(&config);
    // The header alone, but for the file's size.
    change_unseen(&path, |bytes| {
        let end = 8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        let header: serde_json::Value = serde_json::from_slice(&bytes[8..end]).unwrap();
        let text = serde_json::to_vec_pretty(&header).unwrap();
        bytes.splice(8..end, text.iter().copied());
        bytes[..8].copy_from_slice(&(text.len() as u64).to_le_bytes());
    });
    fresh(&config);
    // What no matrix depends on.
    config.default_temperature = 0.9;
    config.flow_lm.lookup_table.tokenizer_path = path.with_file_name("tokenizer.json").display().to_string();
    assert_eq!(load(&config, Precision::F32), "read");
    // A setting of the structure, here one that no shape shows.
    config.mimi.seanet.dilation_base += 1;
    fresh(&config);
    assert_eq!(load(&config, Precision::Int8), "wrote");
    assert_eq!(load(&config, Precision::F32), "read");
    assert_eq!(load(&config, Precision::Int8), "read");
}

#[test]
fn folders_that_cannot_be_written_are_no_error() {
    let files = ScratchFolder::new();
    let config = model(&files, "lsd");
    let expected = speech(&load(&config, Precision::F32, None));
    let file = files.write("file", b"in the way");
    for folder in [file.clone(), file.join("inside")] {
        let model = load(&config, Precision::F32, Some(&folder));
        assert_eq!(notes(&model), ["not", "not"], "{:?}", model.load_notes());
        assert!(model.load_notes()[1].starts_with("not kept: "));
        assert_eq!(speech(&model), expected);
    }
    assert_eq!(fs::read(file).unwrap(), b"in the way");
}

#[test]
fn threads_may_load_at_once() {
    let (files, cache) = (ScratchFolder::new(), ScratchFolder::new());
    let config = model(&files, "lsd");
    let expected = speech(&load(&config, Precision::Int8, None));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..3 {
                    let model = load(&config, Precision::Int8, Some(cache.as_ref()));
                    assert!(["wrote", "read"].contains(&notes(&model)[0]), "{:?}", model.load_notes());
                    assert_eq!(speech(&model), expected);
                }
            });
        }
    });
    assert_eq!(entries(&cache).len(), 1);
}

#[test]
fn loads_that_fail_and_checkpoints_leave_nothing() {
    let (files, cache) = (ScratchFolder::new(), ScratchFolder::new());
    let mut config = model(&files, "lsd");
    let options = || LoadOptions { packed_cache: Some(cache.as_ref().to_owned()), ..LoadOptions::default() };
    let mut other = config.clone();
    other.flow_lm.transformer.num_layers += 1;
    let error = TtsModel::load(other, options()).unwrap_err();
    assert!(error.to_string().contains("is missing"), "{error}");
    assert!(entries(&cache).is_empty());
    let bundle = files.path("model.safetensors");
    let mut flow_lm = pocket_nn::WeightMap::new();
    for tensor in pocket_nn::WeightMap::open(&bundle).unwrap().iter() {
        if let Some(name) = tensor.name().strip_prefix("flow_lm.") {
            flow_lm.insert(tensor.with_name(name));
        }
    }
    let flow_lm = files.write("flow_lm.safetensors", &flow_lm.to_bytes().unwrap());
    config.checkpoint = Some(crate::Checkpoint { name: "c.pt".to_owned(), flow_lm, mimi: None });
    let model = TtsModel::load(config, options()).unwrap();
    assert_eq!(notes(&model), ["not"]);
    assert!(entries(&cache).is_empty());
}

#[test]
fn old_entries_and_leftovers_go() {
    let (files, cache) = (ScratchFolder::new(), ScratchFolder::new());
    let config = model(&files, "lsd");
    load(&config, Precision::F32, Some(cache.as_ref()));
    let entry = entries(&cache).remove(0);
    fs::remove_file(cache.path(&entry)).unwrap();
    let age = |name: &str, hours: u64, len: u64| {
        let file = File::create(cache.path(name)).unwrap();
        file.set_len(len).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600 * hours)).unwrap();
    };
    let name = |model: char, precision: &str| {
        format!("{}-{precision}-{}.packed", model.to_string().repeat(16), "0".repeat(32))
    };
    let (stale, fresh) = (format!(".{entry}.12-3.tmp"), format!(".{entry}.12-4.tmp"));
    let older = format!("{}{}.packed", &entry[..entry.len() - 39], "0".repeat(32));
    assert!(is_scratch(&stale) && is_entry(&older) && older != entry, "{older}");
    age(&stale, 2, 5);
    age(&fresh, 0, 5);
    age(&older, 0, 5);
    age("notes.packed", 100, LIMIT_BYTES);
    age(&name('a', "int8"), 1, LIMIT_BYTES / 2);
    age(&name('b', "f32"), 3, LIMIT_BYTES / 2);
    age(&name('c', "bf16"), 2, LIMIT_BYTES / 4);
    load(&config, Precision::F32, Some(cache.as_ref()));
    let mut expected = vec![fresh, entry, "notes.packed".to_owned(), name('a', "int8"), name('c', "bf16")];
    expected.sort();
    assert_eq!(cache.names(), expected);
}

#[test]
fn other_files_are_not_taken_for_ours() {
    let entry = format!("{}-int8-{}.packed", "0f".repeat(8), "a1".repeat(16));
    assert!(is_entry(&entry));
    assert!(is_scratch(&format!(".{entry}.1-0.tmp")));
    for name in ["", ".packed", "a.packed", &entry[1..], &entry.replace("int8", "int4"), &format!("{entry}.packed")] {
        assert!(!is_entry(name), "{name}");
    }
    for name in [&entry, &format!(".{entry}.tmp"), &format!(".{entry}.1.tmp"), &format!(".{entry}.1-x.tmp")] {
        assert!(!is_scratch(name), "{name}");
    }
}
