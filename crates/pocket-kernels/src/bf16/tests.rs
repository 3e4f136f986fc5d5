use super::*;
use crate::testing::{for_each_level, hostile_values, relative_l2, uniform};

/// Products of bf16 are exact in f32; a few thousand sums are rounded in different orders.
const MAX_ERROR: f64 = 2e-6;

fn bf16_bits(values: &[f32]) -> Vec<u16> {
    values.iter().map(|x| (x.to_bits() >> 16) as u16).collect()
}

fn product(level: Level, pool: &Pool, w: &PackedMatrix, x: &[f32], epilogue: Epilogue<'_>) -> Vec<f32> {
    let n_rows = x.len() / w.in_features();
    // What a buffer held before must not matter.
    let mut buffer = vec![f32::NAN; rounded_len(n_rows, w.in_features())];
    let rows = round_rows(level, x, w.in_features(), &mut buffer);
    let mut out = vec![0.5; n_rows * w.out_features()];
    gemm_bf16(level, pool, w, rows, epilogue, &mut out, w.out_features());
    out
}

#[test]
fn activations_are_rounded_to_bf16_at_every_level() {
    let w = PackedMatrix::from_bf16(&Pool::default(), &bf16_bits(&[2.0]), 1, 1);
    for_each_level(|level| {
        for x in hostile_values().into_iter().chain(uniform(3, 50, -4.0, 4.0)).chain([1.003_906_3, 1.011_718_8]) {
            let want = Bf16::from_f32(x).to_f32() * 2.0;
            let got = product(level, &Pool::default(), &w, &[x], Epilogue::default())[0];
            let is_tiny = want.abs() < f32::MIN_POSITIVE * 4.0;
            assert!(got == want || got.is_nan() && want.is_nan() || is_tiny && got == 0.0, "{level:?}: {x} to {got}");
        }
    });
}

#[test]
fn awkward_shapes_match_the_scalar_specification() {
    let pool = Pool::default();
    for_each_level(|level| {
        let mut seed = 0;
        for out_features in [1, 4, 15, 16, 17, 31, 32, 33, 100] {
            for in_features in [1, 2, 7, 31, 32, 33, 127, 128, 129, 300] {
                for n_rows in [0, 1, 2, 3, 5, 11, 12, 13, 16, 17, 33, 48, 49] {
                    seed += 1;
                    let bits = bf16_bits(&uniform(seed, out_features * in_features, -1.0, 1.0));
                    let x = uniform(seed + 1, n_rows * in_features, -1.0, 1.0);
                    let bias = uniform(seed + 2, out_features, -1.0, 1.0);
                    let scale = uniform(seed + 3, out_features, 0.3, 1.2);
                    let epilogue = Epilogue {
                        bias: (seed % 2 == 0).then_some(&bias),
                        scale: (seed % 3 == 0).then_some(&scale),
                        accumulate: seed % 5 < 2,
                    };
                    let w = PackedMatrix::from_bf16(&pool, &bits, out_features, in_features);
                    let got = product(level, &pool, &w, &x, epilogue);
                    let want = product(Level::Scalar, &pool, &w, &x, epilogue);
                    let error = relative_l2(&got, &want);
                    assert!(error <= MAX_ERROR, "{level:?} [{out_features}, {in_features}] × {n_rows} rows: {error:e}");
                }
            }
        }
    });
}

#[test]
fn rows_do_not_change_a_bit() {
    unchanged(&[1], &[1, 2, 3, 5, 12, 13, 16, 17, 49]);
}

#[test]
fn threads_do_not_change_a_bit() {
    unchanged(&[2, 3], &[130]);
}

fn unchanged(threads: &[usize], groups: &[usize]) {
    for_each_level(|level| {
        let (out_features, in_features, n_rows) = (200, 515, 130);
        let bits = bf16_bits(&uniform(1, out_features * in_features, -1.0, 1.0));
        let x = uniform(2, n_rows * in_features, -1.0, 1.0);
        let w = PackedMatrix::from_bf16(&Pool::default(), &bits, out_features, in_features);
        let together = product(level, &Pool::default(), &w, &x, Epilogue::default());
        for &n_threads in threads {
            for &group in groups {
                let mut got = Vec::new();
                for x in x.chunks(group * in_features) {
                    got.extend(product(level, &Pool::new(n_threads), &w, x, Epilogue::default()));
                }
                assert!(got == together, "{level:?}: groups of {group} rows, {n_threads} threads");
            }
        }
    });
}

#[test]
fn non_finite_values_stay_in_their_row() {
    for_each_level(|level| {
        let (out_features, in_features) = (33, 41);
        let w = PackedMatrix::from_bf16(
            &Pool::default(),
            &bf16_bits(&uniform(1, out_features * in_features, 0.1, 1.0)),
            out_features,
            in_features,
        );
        let mut x = uniform(2, 4 * in_features, -1.0, 1.0);
        x[in_features + 3] = f32::NAN;
        x[2 * in_features + 40] = f32::INFINITY;
        let out = product(level, &Pool::default(), &w, &x, Epilogue::default());
        let rows: Vec<&[f32]> = out.chunks(out_features).collect();
        assert!(rows[0].iter().chain(rows[3]).all(|x| x.is_finite()), "{level:?}");
        assert!(rows[1].iter().all(|x| x.is_nan()), "{level:?}");
        assert!(rows[2].iter().all(|x| x.is_infinite()), "{level:?}");
    });
}

#[test]
#[should_panic(expected = "a matrix of bf16")]
fn a_matrix_of_f32_is_refused() {
    let w = PackedMatrix::from_f32(&Pool::default(), &[1.0; 6], 2, 3);
    product(Level::Scalar, &Pool::default(), &w, &[1.0; 3], Epilogue::default());
}

#[test]
#[should_panic(expected = "not as wide")]
fn a_wrong_width_is_refused() {
    let w = PackedMatrix::from_bf16(&Pool::default(), &[0; 6], 2, 3);
    let mut buffer = vec![0.0; rounded_len(1, 4)];
    let rows = round_rows(Level::Scalar, &[1.0; 4], 4, &mut buffer);
    gemm_bf16(Level::Scalar, &Pool::default(), &w, rows, Epilogue::default(), &mut [0.0; 2], 2);
}
