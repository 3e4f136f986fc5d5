//! One model, several streams: every stream gives bit for bit what it gives alone, at every level and
//! number of threads, in the engine and in the two parts that it steps.

mod support;

use std::thread;

use pocket_kernels::Level;
use pocket_kernels::parallel::Pool;
use pocket_kernels::testing::{for_each_level, uniform};
use pocket_model::flow_lm::{FlowLm, StepOutput};
use pocket_model::mimi::{MimiDecoder, MimiEncoder};
use pocket_model::{
    Chunk, Length, Next, NoiseSource, Output, Request, Speech, Stream, TtsModel, VoiceState, load_weights,
};
use pocket_nn::{Arena, Context, Rows};
use support::{load, load_config};

/// Head kinds, several sampler steps, grouped heads, narrow widths, replicate padding, no resampling.
const CASES: [&str; 6] =
    ["lsd_4_steps", "small_family", "drifting", "grouped_heads", "replicate_padding", "no_resampling"];
const TEXTS: [&str; 3] = ["Hello world.", "A second one, of another length.", "Two chunks. They follow each other."];
const N_FRAMES: [usize; 3] = [9, 14, 5];

/// What a stream gave: latents, logits and samples, whichever it has.
fn collect(stream: &Stream) -> Vec<f32> {
    let mut out = Vec::new();
    loop {
        match stream.next(None).expect("the stream has no error") {
            Next::Frame(frame) => {
                out.extend(frame.latent);
                out.push(frame.eos_logit);
            }
            Next::Audio(samples) => out.extend(samples),
            Next::Pending => {}
            Next::End => return out,
        }
    }
}

/// Stream `i` of `TEXTS`: two chunks, exactly so many frames.
fn start(model: &TtsModel, voice: &VoiceState, i: usize, output: Output) -> Stream {
    let tokens = model.tokenize(TEXTS[i]).expect("the text has tokens");
    let chunk = |n: usize| Chunk { tokens: tokens.clone(), length: Length::Frames(n) };
    let request = Request {
        voice: voice.clone(),
        chunks: vec![chunk(N_FRAMES[i]), chunk(3)],
        sampling: model.default_sampling(),
        noise: NoiseSource::Seed(i as u64),
        continues: i == 1,
        requires_eos: false,
    };
    model.start(request, output).expect("the stream starts")
}

const OUTPUTS: [Output; 2] = [Output::Latents, Output::Audio { max_frames_per_call: 0 }];

#[test]
fn three_streams_of_the_engine_equal_their_serial_runs() {
    for_each_level(|level| {
        for case in CASES {
            let mut want = None;
            for num_threads in [1, 2] {
                let (model, expected) = load(case, level, num_threads);
                let voice = model.voice_from_latents(&expected.f32("voice_latents"));
                let mut serial = Vec::new();
                let mut at_once = Vec::new();
                for output in OUTPUTS {
                    serial.extend((0..3).map(|i| collect(&start(&model, &voice, i, output))));
                    let streams: Vec<_> = (0..3).map(|i| start(&model, &voice, i, output)).collect();
                    at_once.extend(streams.iter().map(collect));
                }
                assert!(serial.iter().all(|stream| !stream.is_empty()));
                assert!(at_once == serial, "{case}, {level:?}, {num_threads} threads: streams differ together");
                assert!(*want.get_or_insert_with(|| serial.clone()) == serial, "{case}, {level:?}: threads differ");
            }
        }
    });
}

/// The longest that the rule allows: the end of speech never comes.
fn speak(model: &TtsModel, voice: &VoiceState, i: usize) -> Vec<f32> {
    let mut sampling = model.default_sampling();
    sampling.eos_threshold = f64::INFINITY;
    let speech = Speech {
        max_tokens: 50,
        frames_after_eos: None,
        sampling,
        noise: NoiseSource::Seed(7 + i as u64),
        continues: false,
        requires_eos: false,
        // The groups that the codec gets do not matter.
        max_frames_per_call: i,
    };
    collect(&model.speak(voice, TEXTS[i], speech).expect("the stream starts"))
}

#[test]
fn three_threads_speak_as_one_does() {
    for_each_level(|level| {
        for case in ["lsd", "small_family"] {
            let mut want = None;
            for num_threads in [1, 2] {
                let (model, expected) = load(case, level, num_threads);
                let voice = model.voice_from_latents(&expected.f32("voice_latents"));
                let serial: Vec<_> = (0..3).map(|i| speak(&model, &voice, i)).collect();
                let at_once: Vec<_> = thread::scope(|scope| {
                    let (model, voice) = (&model, &voice);
                    let threads = [0, 1, 2].map(|i| scope.spawn(move || speak(model, voice, i)));
                    threads.into_iter().map(|thread| thread.join().expect("the thread speaks")).collect()
                });
                assert!(serial.iter().all(|samples| !samples.is_empty()));
                assert!(at_once == serial, "{case}, {level:?}, {num_threads} threads: threads disturb each other");
                assert!(*want.get_or_insert_with(|| serial.clone()) == serial, "{case}, {level:?}: threads differ");
            }
        }
    });
}

/// Frames of the language model, row by row: conditions and logits of each stream.
fn lm_steps(ctx: Context<'_>, lm: &FlowLm, latents: &[Vec<f32>], groups: &[&[usize]]) -> Vec<Vec<f32>> {
    let mut states: Vec<_> = latents.iter().map(|_| lm.transformer().new_state()).collect();
    for (i, state) in states.iter_mut().enumerate() {
        // Other texts, and other positions.
        lm.prompt_text(ctx, &[3, 5, 4, 6, 2, 7][..2 + i], state);
    }
    let width = lm.latent_dim();
    let n_frames = latents[0].len() / width;
    let mut outs = vec![Vec::new(); latents.len()];
    let mut output = StepOutput::default();
    for frame in 0..n_frames {
        for group in groups {
            let rows: Vec<f32> =
                group.iter().flat_map(|&i| &latents[i][frame * width..(frame + 1) * width]).copied().collect();
            let mut streams: Vec<_> = states
                .iter_mut()
                .enumerate()
                .filter(|(i, _)| group.contains(i))
                .map(|(_, state)| Rows::new(1, state))
                .collect();
            lm.step(ctx, &rows, &mut streams, &mut output);
            let cond_dim = lm.head().cond_dim();
            // The head takes the same rows.
            let mut samples = rows;
            let schedule = lm.head().schedule(ctx, 2);
            lm.head().sample(ctx, &schedule, &output.conditions, &mut samples);
            for (row, &i) in group.iter().enumerate() {
                outs[i].extend_from_slice(&output.conditions[row * cond_dim..(row + 1) * cond_dim]);
                outs[i].push(output.eos_logits[row]);
                outs[i].extend_from_slice(&samples[row * width..(row + 1) * width]);
            }
        }
    }
    outs
}

/// Decodes the latents of every stream, `calls[c][i]` frames of stream `i` in call `c`.
fn decode(ctx: Context<'_>, decoder: &MimiDecoder, latents: &[Vec<f32>], calls: &[[usize; 3]]) -> Vec<Vec<f32>> {
    let n_frames: Vec<usize> = (0..3).map(|i| calls.iter().map(|call| call[i]).sum()).collect();
    let width = latents[0].len() / n_frames[0];
    let mut states: Vec<_> = latents.iter().map(|_| decoder.new_state()).collect();
    let mut outs = vec![Vec::new(); latents.len()];
    let mut first = [0; 3];
    for call in calls {
        let rows: Vec<f32> =
            (0..3).flat_map(|i| &latents[i][first[i] * width..(first[i] + call[i]) * width]).copied().collect();
        let mut samples = vec![0.0; rows.len() / width * decoder.samples_per_frame()];
        let mut streams: Vec<_> = states.iter_mut().zip(call).map(|(state, &n)| Rows::new(n, state)).collect();
        decoder.step(ctx, &rows, &mut streams, &mut samples);
        let mut rest = &samples[..];
        for i in 0..3 {
            let (own, others) = rest.split_at(call[i] * decoder.samples_per_frame());
            outs[i].extend_from_slice(own);
            rest = others;
            first[i] += call[i];
        }
    }
    outs
}

fn check_parts(case: &str, level: Level) {
    let config = load_config(case);
    let weights = load_weights(&config).expect("the fixture loads");
    let (pool, arena) = (Pool::new(2), Arena::new());
    let ctx = Context { level, pool: &pool, arena: &arena };
    let lm = FlowLm::load(&weights.scope("flow_lm"), &pool, &config).expect("the fixture loads");
    let decoder = MimiDecoder::load(&weights.scope("mimi"), &pool, &config.mimi).expect("the fixture loads");
    let latents: Vec<_> = (0..3).map(|i| uniform(i, 8 * lm.latent_dim(), -1.0, 1.0)).collect();

    let alone = lm_steps(ctx, &lm, &latents, &[&[0], &[1], &[2]]);
    for groups in [&[&[0, 1, 2][..]][..], &[&[0, 2], &[1]]] {
        assert!(lm_steps(ctx, &lm, &latents, groups) == alone, "{case}, {level:?}: rows of the language model");
    }
    let alone = decode(ctx, &decoder, &latents, &[[8, 0, 0], [0, 8, 0], [0, 0, 8]]);
    for calls in [&[[8, 8, 8]][..], &[[1, 3, 0], [2, 1, 8], [5, 4, 0]], &[[1, 1, 1]; 8]] {
        assert!(decode(ctx, &decoder, &latents, calls) == alone, "{case}, {level:?}: rows of the codec");
    }
}

#[test]
fn three_rows_of_a_step_equal_single_rows() {
    for_each_level(|level| {
        for case in CASES {
            check_parts(case, level);
        }
    });
}

/// The voice rows of `samples`, encoded in groups of so many frames, the last repeated.
fn encode(ctx: Context<'_>, encoder: &MimiEncoder, samples: &[f32], groups: &[usize]) -> Vec<f32> {
    let (mut state, mut voice, mut rest) = (encoder.new_state(), Vec::new(), samples);
    for i in 0.. {
        let n_frames = groups[i.min(groups.len() - 1)];
        let (group, others) = rest.split_at(rest.len().min(n_frames * encoder.frame_size()));
        encoder.step(ctx, group, &mut state, &mut voice);
        if others.is_empty() {
            break;
        }
        rest = others;
    }
    voice
}

#[test]
fn the_encoder_does_not_depend_on_how_the_samples_come() {
    for_each_level(|level| {
        for case in CASES {
            let config = load_config(case);
            let weights = load_weights(&config).expect("the fixture loads");
            let (pool, arena) = (Pool::new(2), Arena::new());
            let ctx = Context { level, pool: &pool, arena: &arena };
            let encoder = MimiEncoder::load(&weights.scope("mimi"), &pool, &config.mimi).expect("the fixture loads");
            // The last frame is a part of one.
            let samples = uniform(7, 21 * encoder.frame_size() - 5, -0.5, 0.5);
            let whole = encode(ctx, &encoder, &samples, &[21]);
            assert_eq!(whole.len(), 21 * encoder.voice_dim());
            for groups in [&[1][..], &[3], &[8], &[2, 1, 5, 4]] {
                let voice = encode(ctx, &encoder, &samples, groups);
                assert!(voice == whole, "{case}, {level:?}: groups of {groups:?} frames");
            }
            assert!(encoder.encode(ctx, &samples) == whole, "{case}, {level:?}");
        }
    });
}
