//! The tiny models of `tests/fixtures`, with the reference's inputs and outputs.

#![allow(dead_code, reason = "every test uses a part of this")]

use std::path::{Path, PathBuf};

use pocket_kernels::Level;
use pocket_model::{Config, LoadOptions, Precision, TtsModel};
use pocket_nn::WeightMap;

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

/// Inputs and the reference's outputs of one case.
pub(crate) struct Expected(pub(crate) WeightMap);

impl Expected {
    pub(crate) fn f32(&self, name: &str) -> Vec<f32> {
        self.0.get(name).unwrap_or_else(|| panic!("no {name}")).to_f32()
    }
}

/// The configuration of a case, with its local files.
pub(crate) fn load_config(case: &str) -> Config {
    let directory = fixtures().join(case);
    let mut config = Config::from_yaml_file(directory.join("config.yaml")).expect("the fixture is readable");
    let local = |name: &str| Some(directory.join(name).to_str()?.to_owned());
    config.weights_path = local("model.safetensors");
    config.flow_lm.lookup_table.tokenizer_path = local("tokenizer.json").expect("the path is UTF-8");
    config
}

pub(crate) fn load_as(case: &str, precision: Precision, num_threads: usize) -> TtsModel {
    let options = LoadOptions { precision, num_threads: Some(num_threads), ..LoadOptions::default() };
    TtsModel::load(load_config(case), options).expect("the fixture loads")
}

pub(crate) fn load(case: &str, level: Level, num_threads: usize) -> (TtsModel, Expected) {
    let options = LoadOptions { level: Some(level), num_threads: Some(num_threads), ..LoadOptions::default() };
    let model = TtsModel::load(load_config(case), options).expect("the fixture loads");
    let expected = WeightMap::open(&fixtures().join(case).join("expected.safetensors"));
    (model, Expected(expected.expect("the fixture is readable")))
}
