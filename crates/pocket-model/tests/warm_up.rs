//! Warming up works with every structure of a model, and counts nothing.

mod support;

use std::fs;

use pocket_kernels::Level;
use pocket_model::{LoadOptions, Precision, TtsModel};
use support::{fixtures, load_config};

#[test]
fn every_fixture_warms_up_in_every_precision() {
    let mut n_models = 0;
    for entry in fs::read_dir(fixtures()).expect("the fixtures are there") {
        let path = entry.expect("the folder is readable").path();
        let case = path.file_name().and_then(|name| name.to_str()).expect("names are UTF-8").to_owned();
        if !path.join("config.yaml").exists() || !path.join("model.safetensors").exists() {
            continue;
        }
        for precision in Precision::ALL {
            let options =
                LoadOptions { precision, level: Some(Level::detect()), num_threads: Some(2), packed_cache: None };
            let model = TtsModel::load(load_config(&case), options).expect("the fixture loads");
            model.warm_up().unwrap_or_else(|error| panic!("{case}, {precision}: {error}"));
            let stats = model.stats();
            assert_eq!((stats.n_started, stats.n_audio_frames), (0, 0), "{case}");
            n_models += 1;
        }
    }
    assert!(n_models >= 15, "found {n_models} models");
}
