//! What each precision costs in quality: a table in Markdown.
//!
//! `POCKET_BENCH_MODEL=directory cargo bench --bench quality`, with a directory that `scripts/random_model.py`
//! made; `--norm-outliers` there gives one that is harder to quantise.

#![expect(clippy::print_stdout, reason = "the table")]

use std::path::Path;

use pocket_kernels::testing::uniform;
use pocket_model::verify::compare;
use pocket_model::{Config, LoadOptions, NoiseSource, Precision, Sampling, TtsModel};

const N_FRAMES: usize = 100;
const TEXT: &str = "The quick brown fox jumps over the lazy dog, and then it rests.";

fn load(directory: &Path, precision: Precision) -> TtsModel {
    let mut config = Config::from_yaml_file(directory.join("config.yaml")).expect("the directory holds a model");
    config.weights_path = Some(directory.join("model.safetensors").display().to_string());
    config.flow_lm.lookup_table.tokenizer_path = directory.join("tokenizer.json").display().to_string();
    TtsModel::load(config, LoadOptions { precision, ..LoadOptions::default() }).expect("the model loads")
}

fn main() {
    let Some(directory) = std::env::var_os("POCKET_BENCH_MODEL") else {
        println!("NOT RUN: set POCKET_BENCH_MODEL");
        return;
    };
    let directory = Path::new(&directory);
    let exact = load(directory, Precision::F32);
    // Latents of a random encoder are as good as speech for a model of random weights.
    let voice = exact.voice_from_latents(&uniform(1, 60 * exact.voice_dim(), -1.0, 1.0));
    let noise: Vec<f32> = uniform(2, N_FRAMES * exact.latent_dim(), -0.95, 0.95);
    let sampling = Sampling { temp: 1.0, ..exact.default_sampling() };
    let given = NoiseSource::Given(noise.clone().into());
    let latents = exact.generate_latents(&voice, TEXT, sampling, Some(N_FRAMES), given).expect("it speaks").latents;
    println!("| precision | latents, dB | end of speech, dB | audio of the same latents, dB |\n|---|---|---|---|");
    for precision in Precision::ALL {
        let model = load(directory, precision);
        let own = model.voice_from_latents(&uniform(1, 60 * exact.voice_dim(), -1.0, 1.0));
        let fidelity = compare((&exact, &voice), (&model, &own), TEXT, &latents, &noise).expect("the models fit");
        println!("| {precision} | {:.1} | {:.1} | {:.1} |", fidelity.latents_db, fidelity.eos_db, fidelity.audio_db);
    }
}
