use super::*;
use crate::testing::{Rng, for_each_level, relative_l2, uniform};

/// Fused against separate rounding of at most a few thousand terms.
const MAX_ERROR: f64 = 2e-6;

fn product(level: Level, pool: &Pool, w: &PackedMatrix, x: Input<'_>, epilogue: Epilogue<'_>) -> Vec<f32> {
    let mut out = vec![0.5; x.n_rows * w.out_features()];
    gemm(level, pool, w, x, epilogue, &mut out, w.out_features());
    out
}

#[test]
fn scalar_product_by_hand() {
    let w = PackedMatrix::from_f32(&Pool::default(), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3);
    let x = [1.0, 0.0, -1.0, 2.0, 1.0, 0.5];
    let epilogue = Epilogue { bias: Some(&[10.0, 20.0]), scale: Some(&[1.0, 2.0]), accumulate: true };
    let out = product(Level::Scalar, &Pool::default(), &w, Input::rows(&x, 3), epilogue);
    assert_eq!(out, [0.5 + 8.0, 0.5 + 36.0, 0.5 + 15.5, 0.5 + 72.0]);
}

#[test]
fn awkward_shapes_match_the_scalar_specification() {
    let pool = Pool::new(2);
    for_each_level(|level| {
        let mut seed = 0;
        for out_features in [1, 3, 4, 8, 9, 16, 17, 24, 31, 32, 33, 65, 100] {
            for in_features in [1, 2, 7, 64, 127, 128, 129, 300] {
                for n_rows in [0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 47, 48, 49, 100] {
                    seed += 1;
                    let values = uniform(seed, out_features * in_features, -1.0, 1.0);
                    let x = uniform(seed + 1, n_rows * in_features, -1.0, 1.0);
                    let bias = uniform(seed + 2, out_features, -1.0, 1.0);
                    let scale = uniform(seed + 3, out_features, 0.3, 1.2);
                    let epilogue = Epilogue {
                        bias: (seed % 2 == 0).then_some(&bias),
                        scale: (seed % 3 == 0).then_some(&scale),
                        accumulate: seed % 5 < 2,
                    };
                    let w = PackedMatrix::from_f32(&pool, &values, out_features, in_features);
                    let got = product(level, &pool, &w, Input::rows(&x, in_features), epilogue);
                    let want = product(Level::Scalar, &pool, &w, Input::rows(&x, in_features), epilogue);
                    let error = relative_l2(&got, &want);
                    assert!(error <= MAX_ERROR, "{level:?} [{out_features}, {in_features}] × {n_rows} rows: {error:e}");
                }
            }
        }
    });
}

#[test]
fn rows_and_threads_do_not_change_a_bit() {
    for_each_level(|level| {
        let (out_features, in_features, n_rows) = (200, 515, 130);
        let values = uniform(1, out_features * in_features, -1.0, 1.0);
        let x = uniform(2, n_rows * in_features, -1.0, 1.0);
        let w = PackedMatrix::from_f32(&Pool::default(), &values, out_features, in_features);
        let together = product(level, &Pool::default(), &w, Input::rows(&x, in_features), Epilogue::default());
        for n_threads in [2, 3] {
            let pool = Pool::new(n_threads);
            let got = product(level, &pool, &w, Input::rows(&x, in_features), Epilogue::default());
            assert!(got == together, "{level:?}: {n_threads} threads");
        }
        for group in [1, 2, 3, 5, 16, 49] {
            let mut got = Vec::new();
            for x in x.chunks(group * in_features) {
                got.extend(product(level, &Pool::default(), &w, Input::rows(x, in_features), Epilogue::default()));
            }
            assert!(got == together, "{level:?}: groups of {group} rows");
        }
    });
}

#[test]
fn bf16_matrices_equal_their_f32_values() {
    for_each_level(|level| {
        let (out_features, in_features, n_rows) = (45, 200, 5);
        let bits: Vec<u16> =
            uniform(1, out_features * in_features, -1.0, 1.0).iter().map(|x| (x.to_bits() >> 16) as u16).collect();
        let values: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(u32::from(bits) << 16)).collect();
        let x = uniform(2, n_rows * in_features, -1.0, 1.0);
        let pool = Pool::default();
        let bf16 = PackedMatrix::from_bf16(&pool, &bits, out_features, in_features);
        let f32 = PackedMatrix::from_f32(&pool, &values, out_features, in_features);
        assert_eq!((bf16.dtype(), f32.dtype()), (PackedDType::Bf16, PackedDType::F32));
        assert_eq!(bf16.n_bytes() * 2, f32.n_bytes());
        let got = product(level, &pool, &bf16, Input::rows(&x, in_features), Epilogue::default());
        let want = product(level, &pool, &f32, Input::rows(&x, in_features), Epilogue::default());
        assert!(got == want, "{level:?}");
    });
}

#[test]
fn windows_equal_copied_rows() {
    for_each_level(|level| {
        let mut rng = Rng::new(5);
        for _ in 0..60 {
            let channels = 1 + rng.below(70);
            let (taps, dilation, stride) = (1 + rng.below(4), 1 + rng.below(3), 1 + rng.below(3));
            let n_rows = 1 + rng.below(20);
            let span = (n_rows - 1) * stride + (taps - 1) * dilation + 1;
            let data = uniform(7, span * channels, -1.0, 1.0);
            let w = PackedMatrix::from_f32(
                &Pool::default(),
                &uniform(8, 19 * taps * channels, -1.0, 1.0),
                19,
                taps * channels,
            );
            let windows = Input::windows(&data, n_rows, stride * channels, (taps, dilation * channels), channels);
            let mut rows = Vec::new();
            for row in 0..n_rows {
                for tap in 0..taps {
                    let start = (row * stride + tap * dilation) * channels;
                    rows.extend_from_slice(&data[start..start + channels]);
                }
            }
            let pool = Pool::default();
            let got = product(level, &pool, &w, windows, Epilogue::default());
            let want = product(level, &pool, &w, Input::rows(&rows, taps * channels), Epilogue::default());
            assert!(got == want, "{level:?} {channels} channels, {taps} taps, dilation {dilation}, stride {stride}");
        }
    });
}

#[test]
fn non_finite_values_stay_in_their_row() {
    for_each_level(|level| {
        let (out_features, in_features) = (33, 40);
        let values = uniform(1, out_features * in_features, 0.1, 1.0);
        let mut x = uniform(2, 4 * in_features, -1.0, 1.0);
        x[in_features + 3] = f32::NAN;
        x[2 * in_features + 5] = f32::INFINITY;
        let w = PackedMatrix::from_f32(&Pool::default(), &values, out_features, in_features);
        let out = product(level, &Pool::default(), &w, Input::rows(&x, in_features), Epilogue::default());
        let rows: Vec<&[f32]> = out.chunks(out_features).collect();
        assert!(rows[0].iter().chain(rows[3]).all(|x| x.is_finite()), "{level:?}");
        assert!(rows[1].iter().all(|x| x.is_nan()), "{level:?}");
        assert!(rows[2].iter().all(|x| x.is_infinite()), "{level:?}");
    });
}

#[test]
#[should_panic(expected = "not as wide")]
fn a_wrong_width_is_refused() {
    let w = PackedMatrix::from_f32(&Pool::default(), &[1.0; 6], 2, 3);
    product(Level::Scalar, &Pool::default(), &w, Input::rows(&[1.0; 4], 4), Epilogue::default());
}

#[test]
#[should_panic(expected = "past the input")]
fn a_window_past_the_end_is_refused() {
    let _ = Input::windows(&[0.0; 10], 4, 2, (3, 2), 2);
}
