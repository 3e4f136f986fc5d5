//! Where the time of one frame goes: a table in Markdown; `POCKET_BENCH_THREADS` threads, one by default.
//!
//! `POCKET_BENCH_MODEL=directory cargo bench --bench frame`, with a directory that
//! `scripts/random_model.py` made, measures every precision. Without it only the codec's convolutions,
//! which have weights of their own, are measured.

#![expect(clippy::print_stdout, reason = "the table")]

mod support;

use std::path::Path;
use std::time::Duration;

use pocket_kernels::Level;
use pocket_kernels::parallel::Pool;
use pocket_kernels::quantized::QuantFormat;
use pocket_kernels::testing::uniform;
use pocket_model::flow_lm::{FlowLm, StepOutput};
use pocket_model::mimi::MimiDecoder;
use pocket_model::{Config, Precision, load_weights};
use pocket_nn::testing::RandomWeights;
use pocket_nn::transformer::{Transformer, TransformerConfig};
use pocket_nn::{Arena, Context, MatrixFormat, Rows};
use support::codec::{Conv, STAGES};
use support::{giga_per_second, shortest};

const N_RUNS: usize = 30;
/// Positions in the language model's cache: a voice of 8 s, a sentence, half of its frames.
const N_POSITIONS: usize = 200;

fn row(name: &str, time: Duration, n_flop: usize, n_bytes: usize) {
    let flop = if n_flop == 0 { "–".to_owned() } else { format!("{:.1}", giga_per_second(n_flop, time)) };
    let bytes = if n_bytes == 0 { "–".to_owned() } else { format!("{:.1}", giga_per_second(n_bytes, time)) };
    println!("| {name} | {:.3} | {flop} | {bytes} |", time.as_secs_f64() * 1e3);
}

/// The model's own parts.
fn model(ctx: Context<'_>, directory: &Path, precision: Precision) {
    let mut config = Config::from_yaml_file(directory.join("config.yaml")).expect("the directory holds a model");
    config.weights_path = Some(directory.join("model.safetensors").display().to_string());
    let weights = load_weights(&config).expect("the directory holds a model").kept_as(precision.formats());
    let lm = FlowLm::load(&weights.scope("flow_lm"), ctx.pool, &config).expect("the weights fit");
    let decoder = MimiDecoder::load(&weights.scope("mimi"), ctx.pool, &config.mimi).expect("the weights fit");

    let tokens: Vec<u32> = (0..N_POSITIONS as u32).map(|i| 4 + i % 40).collect();
    let mut state = lm.transformer().new_state();
    lm.prompt_text(ctx, &tokens, &mut state);
    state.reserve(N_RUNS + 1);
    let latent = uniform(1, lm.latent_dim(), -1.0, 1.0);
    let mut output = StepOutput::default();
    let time = shortest(N_RUNS, || lm.step(ctx, &latent, &mut [Rows::new(1, &mut state)], &mut output));
    let transformer = lm.transformer().config();
    let n_weights = transformer.n_layers
        * transformer.width
        * (2 * transformer.attention.query_width()
            + 2 * transformer.attention.kv_width()
            + 2 * transformer.feed_forward);
    let n_bytes = match precision {
        Precision::F32 => 4 * n_weights,
        Precision::Bf16 => 2 * n_weights,
        Precision::Int8 => n_weights,
    };
    row(&format!("{precision}: language model"), time, 2 * n_weights, n_bytes);
    let schedule = lm.head().schedule(ctx, 1);
    let mut x = latent.clone();
    let time = shortest(N_RUNS, || lm.head().sample(ctx, &schedule, &output.conditions, &mut x));
    row(&format!("{precision}: flow head"), time, 0, 0);

    let mut samples = vec![0.0; decoder.samples_per_frame()];
    let mut state = decoder.new_state();
    // The window of the codec's attention is full after so many frames.
    for _ in 0..16 {
        decoder.step(ctx, &latent, &mut [Rows::new(1, &mut state)], &mut samples);
    }
    let time = shortest(N_RUNS, || decoder.step(ctx, &latent, &mut [Rows::new(1, &mut state)], &mut samples));
    row(&format!("{precision}: codec"), time, 0, 0);
    for n in [2, 8] {
        let latents = latent.repeat(n);
        let mut samples = vec![0.0; n * decoder.samples_per_frame()];
        let time = shortest(N_RUNS / n, || decoder.step(ctx, &latents, &mut [Rows::new(n, &mut state)], &mut samples));
        row(&format!("{precision}: codec, a frame of {n} at once"), time / n as u32, 0, 0);
    }
}

/// The codec's parts, with weights of their own.
fn codec_parts(ctx: Context<'_>, name: &str, format: MatrixFormat) {
    let config = TransformerConfig {
        width: 512,
        attention: pocket_kernels::attention::AttentionShape { heads: 8, kv_heads: 8, head_dim: 64 },
        feed_forward: 2048,
        n_layers: 2,
        context: Some(250),
        max_period: 10000.0,
        has_layer_scale: true,
    };
    let weights = RandomWeights::of_transformer(1, &config).weights().kept_as(&[("", format)]);
    let transformer = Transformer::load(&weights, ctx.pool, config).expect("the shapes fit");
    let mut state = transformer.new_state();
    let x = uniform(2, 16 * config.width, -1.0, 1.0);
    let mut step = || {
        let mut x = x.clone();
        transformer.step(ctx, &mut x, 16, &mut [Rows::new(1, &mut state)], |state| state);
    };
    (0..16).for_each(|_| step());
    let n_weights = config.n_layers * config.width * (4 * 512 + 2 * config.feed_forward);
    row(&format!("{name}: codec's transformer"), shortest(N_RUNS, step), 2 * 16 * n_weights, 0);
    for stage in STAGES {
        let conv = Conv::new(ctx.pool, stage, format);
        let x = uniform(1, stage.n_positions * stage.shape.in_channels, -1.0, 1.0);
        let mut out = vec![0.0; stage.n_outputs()];
        let mut state = conv.new_state();
        let time = shortest(N_RUNS, || conv.step(ctx, &x, &mut [Rows::new(stage.n_positions, &mut state)], &mut out));
        row(&format!("{name}: codec's {}", stage.name), time, stage.n_flop(), 0);
    }
}

fn main() {
    let level = Level::from_env().expect("POCKET_SIMD names a level of this CPU");
    let n_threads = std::env::var("POCKET_BENCH_THREADS").map_or(1, |n| n.parse().expect("a number of threads"));
    let (pool, arena) = (Pool::new(n_threads), Arena::new());
    let ctx = Context { level, pool: &pool, arena: &arena };
    println!("{level:?}, {n_threads} threads; FMA peak {:.1} GFLOP/s\n", support::fma_peak(level));
    println!("| part of one frame | ms | GFLOP/s | weights, GB/s |\n|---|---|---|---|");
    match std::env::var_os("POCKET_BENCH_MODEL") {
        Some(directory) => {
            for precision in Precision::ALL {
                model(ctx, Path::new(&directory), precision);
            }
        }
        None => println!("| NOT RUN: the model; set POCKET_BENCH_MODEL | | | |"),
    }
    codec_parts(ctx, "f32", MatrixFormat::Stored);
    codec_parts(ctx, "int8", MatrixFormat::Quantized(QuantFormat::I12));
}
