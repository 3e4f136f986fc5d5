//! A stream that is under way allocates nothing: language model, flow head, codec, and the hand-over of samples.

mod support;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

use pocket_model::{Chunk, Length, Next, NoiseSource, Output, Precision, Request, Stream, TtsModel};
use support::load_as;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const N_FRAMES: usize = 40;

fn start(model: &TtsModel) -> Stream {
    let voice = model.voice_from_latents(&pocket_kernels::testing::uniform(1, 5 * model.voice_dim(), -1.0, 1.0));
    let tokens = model.tokenize("Hello world.").expect("the text has tokens");
    let request = Request {
        voice,
        chunks: vec![Chunk { tokens, length: Length::Frames(N_FRAMES) }],
        sampling: model.default_sampling(),
        noise: NoiseSource::Seed(1),
        continues: false,
        requires_eos: false,
    };
    model.start(request, Output::Audio { max_frames_per_call: 1 }).expect("the stream starts")
}

fn next_samples(stream: &Stream) -> Option<usize> {
    match stream.next(None).expect("the stream has no error") {
        Next::Audio(samples) => {
            let n = samples.len();
            stream.recycle(samples);
            Some(n)
        }
        _ => None,
    }
}

/// One test: the counter sees all threads of the process.
#[test]
fn a_stream_under_way_allocates_nothing() {
    for precision in Precision::ALL {
        for num_threads in [1, 2] {
            let model = load_as("lsd_4_steps", precision, num_threads);
            let stream = start(&model);
            for _ in 0..3 {
                next_samples(&stream).expect("the stream goes on");
            }
            // By now every buffer has its size, and those of the samples come back.
            let region = Region::new(ALLOCATOR);
            let mut n_samples = 0;
            for _ in 3..N_FRAMES - 1 {
                n_samples += next_samples(&stream).expect("the stream goes on");
            }
            let change = region.change();
            assert_eq!(n_samples, (N_FRAMES - 4) * model.samples_per_frame());
            let n = change.allocations + change.reallocations;
            assert_eq!(n, 0, "{precision}, {num_threads} threads: {change:?}");
        }
    }
}
