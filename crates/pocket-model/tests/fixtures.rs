//! The whole model against committed outputs of the PyTorch reference, without PyTorch: tiny random
//! models, one per head kind and structural option, at every level of this CPU.
//!
//! `tests/reference/make_fixtures.py` makes the files.

#![expect(clippy::unwrap_used, reason = "a fault in a helper fails the test, as in the test itself")]

mod support;

use pocket_kernels::Level;
use pocket_kernels::testing::relative_l2;
use pocket_model::{NoiseSource, Sampling};
use support::{Expected, fixtures, load};

/// The promise: within 1e-5 of the reference in f32.
const MAX_ERROR: f64 = 1e-5;
const MAX_LOGIT_ERROR: f64 = 1e-4;

const CASES: [&str; 15] = [
    "drifting",
    "flow_matching_4_steps",
    "grouped_heads",
    "grouped_upsample",
    "lsd",
    "lsd_4_steps",
    "no_bos_no_inner_dim",
    "no_resampling",
    "pointwise",
    "projected_transformers",
    "replicate_padding",
    "separate_decoder",
    "small_family",
    "two_residual_layers",
    "z_dim_low_rank",
];

fn integers(expected: &Expected, name: &str) -> Vec<i64> {
    expected.0.get(name).and_then(pocket_nn::Tensor::to_i64).unwrap_or_else(|| panic!("no {name}"))
}

fn check(got: &[f32], want: &[f32], bound: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: another length");
    let error = relative_l2(got, want);
    assert!(error <= bound, "{what}: relative error {error:e}");
}

fn check_case(case: &str, level: Level) {
    let at = |what: &str| format!("{case}, {level:?}: {what}");
    let (model, expected) = load(case, level, 1);
    let text = expected.0.metadata()["text"].clone();
    let tokens: Vec<i64> = model.tokenize(&text).unwrap().into_iter().map(i64::from).collect();
    assert_eq!(tokens, integers(&expected, "text_tokens"), "{}", at("tokens"));

    let voice_latents = expected.f32("voice_latents");
    check(&model.encode_audio(&expected.f32("pcm")).unwrap(), &voice_latents, MAX_ERROR, &at("voice latents"));

    let voice = model.voice_from_latents(&voice_latents);
    for layer in 0..model.config().flow_lm.transformer.num_layers {
        let (keys, values) = voice.layer(layer);
        let want = expected.f32(&format!("voice_kv_{layer}"));
        check(&[keys, values].concat(), &want, MAX_ERROR, &at("voice keys and values"));
    }

    let noise = expected.f32("noise");
    let temp = f64::from(expected.f32("temp")[0]);
    let want = expected.f32("latents");
    let n_frames = want.len() / model.latent_dim();
    let sampling = Sampling {
        temp,
        decode_steps: integers(&expected, "sampler_decode_steps")[0] as usize,
        noise_clamp: None,
        eos_threshold: 0.0,
    };
    let given = NoiseSource::Given(noise.clone().into());
    let generated = model.generate_latents(&voice, &text, sampling, Some(n_frames), given).unwrap();
    // What the network added: all but drifting heads start from the noise and keep it.
    let share = |latents: &[f32]| -> Vec<f32> {
        let scale = if case == "drifting" { 0.0 } else { temp.sqrt() as f32 };
        latents.iter().zip(&noise).map(|(x, noise)| x - scale * noise).collect()
    };
    check(&share(&generated.latents), &share(&want), MAX_ERROR, &at("latents"));
    check(&generated.eos_logits, &expected.f32("eos_logits"), MAX_LOGIT_ERROR, &at("end-of-speech logits"));

    let latents = expected.f32("decode_latents_in");
    let audio = expected.f32("audio");
    let at_once = model.decode_latents(&latents, &[]).unwrap();
    check(&at_once, &audio, MAX_ERROR, &at("audio"));
    for groups in [&[1][..], &[3, 1, 2], &[2]] {
        assert!(model.decode_latents(&latents, groups).unwrap() == at_once, "{}", at("audio in groups"));
    }
}

#[test]
fn every_fixture_has_a_case() {
    let mut found: Vec<String> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("config.yaml").exists())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, CASES);
}

#[test]
fn models_match_the_reference_at_every_level() {
    pocket_kernels::testing::for_each_level(|level| {
        for case in CASES {
            check_case(case, level);
        }
    });
}

#[test]
fn audio_depends_on_the_latents() {
    for case in CASES {
        let (model, expected) = load(case, Level::detect(), 1);
        let latents = expected.f32("decode_latents_in");
        let audio = model.decode_latents(&latents, &[]).unwrap();
        let other: Vec<f32> = latents.iter().rev().copied().collect();
        let change = relative_l2(&model.decode_latents(&other, &[]).unwrap(), &audio);
        assert!(change >= 0.5, "{case}: other latents change the audio by {change} of its size only");
    }
}
