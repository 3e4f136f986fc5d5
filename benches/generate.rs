//! Whole utterances, as a caller hears them: text to samples through the engine, in every precision.
//!
//! `POCKET_BENCH_MODEL=directory cargo bench --bench generate`, with a directory that
//! `scripts/random_model.py` made. The voice is that of `ref.wav`. The end of speech is disabled: a text lasts
//! as long as the length rule allows. Throughput is in samples a second; 24,000 are real time.

#![expect(clippy::print_stderr, reason = "what was not run")]

mod support;

use std::path::{Path, PathBuf};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pocket_model::audio::AudioInput;
use pocket_model::{Config, LoadOptions, Next, NoiseSource, Precision, Sampling, Speech, Stream, TtsModel, VoiceState};

const SHORT: &str = "Hello world.";
const MEDIUM: &str = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all.";
const LONG: &str = "In the morning the light came in through the window and fell on the table. How many people were \
    there? Nobody knew, but someone had counted twenty seven. There is no reason to hurry when the train has already \
    left the station. Speech is made of sounds, sounds are made of waves, and waves are made of numbers. Thank you \
    very much for your patience, and good night.";
const MAX_TOKENS: usize = 50;

fn load(directory: &Path, precision: Precision) -> TtsModel {
    let mut config = Config::from_yaml_file(directory.join("config.yaml")).expect("the directory holds a model");
    config.weights_path = Some(directory.join("model.safetensors").display().to_string());
    config.flow_lm.lookup_table.tokenizer_path = directory.join("tokenizer.json").display().to_string();
    TtsModel::load(config, LoadOptions { precision, ..LoadOptions::default() }).expect("the model loads")
}

/// The voice of the repository's recording.
fn voice(model: &TtsModel) -> VoiceState {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ref.wav");
    let (prompt, _) =
        model.prompt(AudioInput::from_path(&path).expect("ref.wav is there"), false).expect("ref.wav is a recording");
    model.voice_from_prompt(&prompt).expect("ref.wav is a voice")
}

fn speak(model: &TtsModel, voice: &VoiceState, text: &str) -> Stream {
    let speech = Speech {
        max_tokens: MAX_TOKENS,
        frames_after_eos: None,
        sampling: Sampling { eos_threshold: f64::INFINITY, ..model.default_sampling() },
        noise: NoiseSource::Seed(1),
        continues: false,
        requires_eos: false,
        max_frames_per_call: 0,
    };
    model.speak(voice, text, speech).expect("the text is spoken")
}

/// Samples of a whole utterance.
fn n_samples(stream: &Stream) -> usize {
    let mut n = 0;
    while let Next::Audio(samples) = stream.next(None).expect("the stream has no error") {
        n += samples.len();
    }
    n
}

fn bench(c: &mut Criterion) {
    let Some(directory) = std::env::var_os("POCKET_BENCH_MODEL").map(PathBuf::from) else {
        eprintln!("NOT RUN: set POCKET_BENCH_MODEL");
        return;
    };
    for precision in Precision::ALL {
        let model = load(&directory, precision);
        let voice = voice(&model);
        model.warm_up().expect("the model speaks");
        for (name, text) in [("generate_short", SHORT), ("generate_medium", MEDIUM), ("generate_long", LONG)] {
            let n = n_samples(&speak(&model, &voice, text));
            let mut group = c.benchmark_group(name);
            group.sample_size(10).throughput(Throughput::Elements(n as u64));
            group.bench_function(precision.name(), |b| {
                b.iter(|| assert_eq!(n_samples(&speak(&model, &voice, text)), n, "the same length every time"));
            });
            group.finish();
        }
        let mut group = c.benchmark_group("first_chunk");
        for (name, text) in [("short", SHORT), ("medium", MEDIUM)] {
            // The stream is dropped, and so ended, outside of the time.
            group.bench_function(format!("{precision} {name}"), |b| {
                b.iter_with_large_drop(|| {
                    let stream = speak(&model, &voice, text);
                    let first = stream.next(None).expect("the stream has no error");
                    assert!(matches!(first, Next::Audio(samples) if !samples.is_empty()));
                    stream
                });
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = support::criterion();
    targets = bench
}
criterion_main!(benches);
