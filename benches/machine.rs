//! What this machine can do, and how near the two kernels that matter come to it: a table in Markdown.
//!
//! `cargo bench --bench machine`. Peaks and kernels are measured in turn, so that a machine that is
//! shared or changes its clock spoils both.

#![expect(clippy::print_stdout, reason = "the table")]

mod support;

use std::hint::black_box;

use pocket_kernels::Level;
use pocket_kernels::gemm::{Epilogue, Input, PackedMatrix, Values, gemm};
use pocket_kernels::parallel::Pool;
use pocket_kernels::quantized::{QuantFormat, QuantizedInput, QuantizedMatrix, gemm_quantized, quantize_rows};
use pocket_kernels::testing::{relative_l2, uniform};
use support::{dot_peak, fma_peak, giga_per_second, read_bandwidth, shortest};

/// Matrices of the language model's step, per layer: `[out, in]`.
const LM_LAYER: [(usize, usize); 4] = [(3072, 1024), (1024, 1024), (4096, 1024), (1024, 4096)];
const LM_LAYERS: usize = 6;

/// Sums in another order.
const MAX_ERROR: f64 = 1e-6;
const N_ROUNDS: usize = 5;

fn run(level: Level, pool: &Pool, w: &PackedMatrix, x: &[f32], out: &mut [f32]) {
    gemm(level, pool, w, Input::rows(x, w.in_features()), Epilogue::default(), out, w.out_features());
}

fn check(level: Level, w: &PackedMatrix, x: &[f32], out: &[f32]) {
    let mut want = vec![0.0; out.len()];
    run(Level::Scalar, &Pool::default(), w, x, &mut want);
    let error = relative_l2(out, &want);
    assert!(error <= MAX_ERROR, "{level:?}: relative error {error:e}");
}

fn gemm_table() {
    let (m, k, n) = (2040, 512, 16);
    let pool = Pool::default();
    let w = PackedMatrix::from_f32(&pool, &uniform(1, m * k, -1.0, 1.0), m, k);
    let x = uniform(2, n * k, -1.0, 1.0);
    let mut out = vec![0.0; n * m];
    println!("| level | FMA peak, GFLOP/s | GEMM {m}×{k}×{n}, GFLOP/s | share |\n|---|---|---|---|");
    for level in Level::available() {
        run(level, &pool, &w, &x, &mut out);
        check(level, &w, &x, &out);
        let (mut peak, mut rate) = (0.0_f64, 0.0_f64);
        for _ in 0..N_ROUNDS {
            peak = peak.max(fma_peak(level));
            let time = shortest(if level == Level::Scalar { 2 } else { 20 }, || run(level, &pool, &w, &x, &mut out));
            rate = rate.max(giga_per_second(2 * m * k * n, time));
        }
        // The specification is not vectorised: its share says nothing.
        let share = if level == Level::Scalar { "–".to_owned() } else { format!("{:.0} %", 100.0 * rate / peak) };
        println!("| {level:?} | {peak:.1} | {rate:.1} | {share} |");
    }
}

/// One pass over all matrices of a step: none of them is in a cache when its turn comes again.
fn gemv_table() {
    let pool = Pool::default();
    let matrix = |bf16: bool, (m, k): (usize, usize), seed| {
        let values = uniform(seed, m * k, -1.0, 1.0);
        if bf16 {
            let bits: Vec<u16> = values.iter().map(|x| (x.to_bits() >> 16) as u16).collect();
            PackedMatrix::from_bf16(&pool, &bits, m, k)
        } else {
            PackedMatrix::from_f32(&pool, &values, m, k)
        }
    };
    println!(
        "\n| level | weights | read, GB/s | GEMV over the LM's 24 matrices, GB/s | share | ms |\n|---|---|---|---|---|---|"
    );
    for bf16 in [false, true] {
        let layers = (0..LM_LAYERS).flat_map(|_| LM_LAYER).enumerate();
        let matrices: Vec<_> = layers.map(|(i, shape)| matrix(bf16, shape, i as u64)).collect();
        let n_bytes: usize = matrices.iter().map(PackedMatrix::n_bytes).sum();
        let x = uniform(3, 4096, -1.0, 1.0);
        let mut out = vec![0.0; 4096];
        for level in Level::available() {
            if level == Level::Scalar {
                continue;
            }
            for w in &matrices[..4] {
                let (x, out) = (&x[..w.in_features()], &mut out[..w.out_features()]);
                run(level, &pool, w, x, out);
                check(level, w, x, out);
            }
            let (mut read, mut rate) = (0.0_f64, 0.0_f64);
            for _ in 0..N_ROUNDS {
                read = read.max(read_bandwidth(256 << 20, 1));
                let time = shortest(5, || {
                    for w in &matrices {
                        run(level, &pool, w, black_box(&x[..w.in_features()]), &mut out[..w.out_features()]);
                    }
                });
                rate = rate.max(giga_per_second(n_bytes, time));
            }
            let dtype = if bf16 { "bf16" } else { "f32" };
            let ms = n_bytes as f64 / rate / 1e6;
            println!("| {level:?} | {dtype} | {read:.1} | {rate:.1} | {:.0} % | {ms:.1} |", 100.0 * rate / read);
        }
    }
}

/// A quantised product, its activations included.
fn run_quantized(level: Level, pool: &Pool, w: &QuantizedMatrix, x: &[f32], out: &mut [f32]) {
    let layout = w.layout();
    let n_rows = x.len() / layout.row_len();
    let (mut values, mut scales) = (vec![0; n_rows * layout.padded_len()], vec![0.0; n_rows * layout.n_blocks()]);
    let rows = quantize_rows(level, layout, w.format(), x, &mut values, &mut scales);
    gemm_quantized(level, pool, w, QuantizedInput::rows(rows), Epilogue::default(), out, w.out_features());
}

fn quantized_table() {
    println!(
        "\n| level | weights | pairs' peak, G/s | GEMM 2040×512×16, G/s | GEMV over the LM's 24 matrices, GB/s | ms |\n|---|---|---|---|---|"
    );
    let pool = Pool::default();
    for format in [QuantFormat::I8, QuantFormat::I12] {
        let (m, k, n) = (2040, 512, 16);
        let w = QuantizedMatrix::from_rows(&pool, format, Values::F32(&uniform(1, m * k, -1.0, 1.0)), m, k);
        let x = uniform(2, n * k, -1.0, 1.0);
        let mut out = vec![0.0; n * m];
        let matrices: Vec<_> = (0..LM_LAYERS)
            .flat_map(|_| LM_LAYER)
            .map(|(m, k)| QuantizedMatrix::from_rows(&pool, format, Values::F32(&uniform(3, m * k, -1.0, 1.0)), m, k))
            .collect();
        let n_bytes: usize = matrices.iter().map(QuantizedMatrix::n_bytes).sum();
        let x_row = uniform(3, 4096, -1.0, 1.0);
        let mut out_row = vec![0.0; 4096];
        for level in Level::available() {
            if level == Level::Scalar {
                continue;
            }
            let gemm = shortest(50, || run_quantized(level, &pool, &w, &x, &mut out));
            let gemv = shortest(10, || {
                for w in &matrices {
                    let x = black_box(&x_row[..w.in_features()]);
                    run_quantized(level, &pool, w, x, &mut out_row[..w.out_features()]);
                }
            });
            println!(
                "| {level:?} | {format:?} | {:.1} | {:.1} | {:.1} | {:.2} |",
                dot_peak(level),
                giga_per_second(2 * m * k * n, gemm),
                giga_per_second(n_bytes, gemv),
                gemv.as_secs_f64() * 1e3
            );
        }
    }
}

fn main() {
    let n_cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!("{n_cores} cores; features: {}\n", pocket_kernels::cpu_features().join(" "));
    println!("| reads, GB/s | 1 core | {n_cores} cores |\n|---|---|---|");
    for (name, n_bytes) in [("256 KB", 256 << 10), ("8 MB", 8 << 20), ("256 MB", 256 << 20)] {
        println!("| {name} | {:.1} | {:.1} |", read_bandwidth(n_bytes, 1), read_bandwidth(n_bytes, n_cores));
    }
    println!();
    gemm_table();
    gemv_table();
    quantized_table();
}
