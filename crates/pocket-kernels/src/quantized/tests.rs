use super::*;
use crate::gemm::Values;
use crate::testing::{Rng, for_each_level, hostile_values, relative_l2, uniform};

const FORMATS: [QuantFormat; 2] = [QuantFormat::I8, QuantFormat::I12];

/// Sums are exact; the scaled sums of the blocks are added with fused or separate rounding.
const MAX_ERROR: f64 = 5e-7;

fn quantized(level: Level, layout: RowLayout, format: QuantFormat, x: &[f32]) -> (Vec<i16>, Vec<f32>) {
    let n_rows = x.len() / layout.row_len();
    let (mut values, mut scales) = (vec![1; n_rows * layout.padded_len()], vec![1.0; n_rows * layout.n_blocks()]);
    quantize_rows(level, layout, format, x, &mut values, &mut scales);
    (values, scales)
}

fn product(level: Level, pool: &Pool, w: &QuantizedMatrix, x: &[f32], epilogue: Epilogue<'_>) -> Vec<f32> {
    let layout = w.layout();
    let n_rows = x.len() / layout.row_len();
    let (mut values, mut scales) = (vec![0; n_rows * layout.padded_len()], vec![0.0; n_rows * layout.n_blocks()]);
    let rows = quantize_rows(level, layout, w.format(), x, &mut values, &mut scales);
    let mut out = vec![0.5; n_rows * w.out_features()];
    gemm_quantized(level, pool, w, QuantizedInput::rows(rows), epilogue, &mut out, w.out_features());
    out
}

#[test]
fn scalar_product_by_hand() {
    let pool = Pool::default();
    let w = QuantizedMatrix::from_rows(&pool, QuantFormat::I8, Values::F32(&[127.0, -63.6, 1.0, 2.0]), 2, 2);
    assert_eq!((w.at(0, 0, 0), w.at(0, 0, 1), w.at(1, 0, 1)), (127.0, -64.0, 2.0));
    let out = product(Level::Scalar, &pool, &w, &[32639.0, 0.0], Epilogue::default());
    let want = [127.0 * 32639.0, 32639.0];
    assert!(relative_l2(&out, &want) < 0.01, "{out:?}");
    let epilogue = Epilogue { bias: Some(&[10.0, 20.0]), scale: Some(&[1.0, 2.0]), accumulate: true };
    assert_eq!(product(Level::Scalar, &pool, &w, &[0.0, 0.0], epilogue), [10.5, 40.5]);
}

#[test]
fn rows_are_quantised_to_the_nearest_integer_at_every_level() {
    for_each_level(|level| {
        for format in FORMATS {
            for row_len in [1, 2, 3, 7, 8, 15, 16, 17, 64, 127, 128, 129, 200, 257] {
                let layout = RowLayout::new(row_len);
                let x = uniform(row_len as u64, 5 * row_len, -3.0, 3.0);
                let (values, scales) = quantized(level, layout, format, &x);
                assert_eq!((values.clone(), scales.clone()), quantized(Level::Scalar, layout, format, &x), "{level:?}");
                for row in 0..5 {
                    for k in 0..row_len {
                        let scale = scales[row * layout.n_blocks() + k / BLOCK];
                        let value = f32::from(values[row * layout.padded_len() + k]) * scale;
                        let error = (value - x[row * row_len + k]).abs();
                        assert!(error <= 0.501 * scale, "{level:?} {format:?}: error {error:e} of scale {scale:e}");
                    }
                }
                if row_len % 2 == 1 {
                    assert_eq!(values[row_len], 0, "the padding is zero");
                }
            }
        }
    });
}

#[test]
fn zeros_and_values_that_are_not_finite_keep_to_their_block() {
    for_each_level(|level| {
        let layout = RowLayout::new(BLOCK + 3);
        for hostile in hostile_values() {
            let mut x = vec![0.0; BLOCK + 3];
            x[5] = hostile;
            x[BLOCK] = 1.0;
            let (values, scales) = quantized(level, layout, QuantFormat::I12, &x);
            assert_eq!(scales[0].is_nan(), !hostile.is_finite(), "{level:?} {hostile}");
            assert_eq!((values[BLOCK], scales[1]), (8191, 1.0 / 8191.0), "{level:?} {hostile}");
            if hostile.is_finite() && hostile.abs() > 1e-30 {
                assert_eq!(values[5].unsigned_abs(), 8191, "{level:?} {hostile}");
            }
        }
    });
}

#[test]
fn awkward_shapes_match_the_scalar_specification() {
    let pool = Pool::default();
    for_each_level(|level| {
        let mut seed = 0;
        for out_features in [1, 4, 8, 9, 17, 31, 32, 33, 100] {
            for in_features in [1, 2, 7, 64, 127, 128, 129, 300] {
                for n_rows in [0, 1, 2, 3, 5, 7, 8, 9, 48, 49] {
                    seed += 1;
                    let format = FORMATS[seed as usize % 2];
                    let values = uniform(seed, out_features * in_features, -1.0, 1.0);
                    let x = uniform(seed + 1, n_rows * in_features, -1.0, 1.0);
                    let bias = uniform(seed + 2, out_features, -1.0, 1.0);
                    let scale = uniform(seed + 3, out_features, 0.3, 1.2);
                    let epilogue = Epilogue {
                        bias: (seed % 2 == 0).then_some(&bias),
                        scale: (seed % 3 == 0).then_some(&scale),
                        accumulate: seed % 5 < 2,
                    };
                    let w = QuantizedMatrix::from_rows(&pool, format, Values::F32(&values), out_features, in_features);
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
fn the_largest_sums_do_not_overflow() {
    for_each_level(|level| {
        for format in FORMATS {
            for sign in [1.0, -1.0] {
                let values = vec![sign; 2 * BLOCK];
                let w = QuantizedMatrix::from_rows(&Pool::default(), format, Values::F32(&values), 2, BLOCK);
                let out = product(level, &Pool::default(), &w, &[-1.0; BLOCK], Epilogue::default());
                let want = -sign * BLOCK as f32;
                assert!(out.iter().all(|x| (x - want).abs() < 1e-3), "{level:?} {format:?}: {out:?}");
            }
        }
    });
}

#[test]
fn the_error_is_that_of_the_weights() {
    // A uniform rounding error of 1/(2 * 127) or 1/(2 * 2047) of the largest of 128 weights.
    for (format, bound) in [(QuantFormat::I8, 5e-3), (QuantFormat::I12, 4e-4)] {
        let (m, k) = (64, 1024);
        let values = uniform(1, m * k, -1.0, 1.0);
        let x = uniform(2, 3 * k, -1.0, 1.0);
        let pool = Pool::default();
        let w = QuantizedMatrix::from_rows(&pool, format, Values::F32(&values), m, k);
        let exact: Vec<f32> = x
            .chunks(k)
            .flat_map(|x| values.chunks(k).map(|w| w.iter().zip(x).map(|(w, x)| w * x).sum()).collect::<Vec<f32>>())
            .collect();
        let error = relative_l2(&product(Level::detect(), &pool, &w, &x, Epilogue::default()), &exact);
        assert!(error < bound, "{format:?}: {error:e}");
    }
}

/// Calls `check` at every level and format with a matrix, its input and their product on one thread.
fn for_each_product(check: impl Fn(Level, &QuantizedMatrix, &[f32], &[f32])) {
    let (out_features, in_features, n_rows) = (200, 515, 130);
    let values = uniform(1, out_features * in_features, -1.0, 1.0);
    let x = uniform(2, n_rows * in_features, -1.0, 1.0);
    let pool = Pool::default();
    for format in FORMATS {
        let w = QuantizedMatrix::from_rows(&pool, format, Values::F32(&values), out_features, in_features);
        for_each_level(|level| check(level, &w, &x, &product(level, &pool, &w, &x, Epilogue::default())));
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    for_each_product(|level, w, x, want| {
        assert!(product(level, &Pool::new(3), w, x, Epilogue::default()) == want, "{level:?}");
    });
}

#[test]
fn rows_do_not_change_a_bit() {
    for_each_product(|level, w, x, together| {
        for group in [1, 2, 3, 5, 7, 8, 9, 16, 17, 33, 49] {
            let got: Vec<f32> = x
                .chunks(group * w.in_features())
                .flat_map(|x| product(level, &Pool::default(), w, x, Epilogue::default()))
                .collect();
            assert!(got == together, "{level:?}: groups of {group} rows");
        }
    });
}

#[test]
fn windows_equal_copied_rows() {
    for_each_level(|level| {
        let mut rng = Rng::new(5);
        for case in 0..60 {
            let format = FORMATS[case % 2];
            let channels = 1 + rng.below(200);
            let (taps, dilation, stride) = (1 + rng.below(4), 1 + rng.below(3), 1 + rng.below(3));
            let n_rows = 1 + rng.below(20);
            let span = (n_rows - 1) * stride + (taps - 1) * dilation + 1;
            let data = uniform(7, span * channels, -1.0, 1.0);
            let weights = uniform(8, 19 * taps * channels, -1.0, 1.0);
            let pool = Pool::default();
            let w = QuantizedMatrix::gather(&pool, format, 19, (taps, channels), Values::F32(&weights), |m, k| {
                Some(m * taps * channels + k)
            });
            let layout = w.layout();
            let (mut values, mut scales) = (vec![0; span * layout.padded_len()], vec![0.0; span * layout.n_blocks()]);
            let rows = quantize_rows(level, layout, format, &data, &mut values, &mut scales);
            let windows = QuantizedInput::windows(rows, n_rows, stride, taps, dilation);
            let mut got = vec![0.0; n_rows * 19];
            gemm_quantized(level, &pool, &w, windows, Epilogue::default(), &mut got, 19);
            let mut want = vec![0.0; n_rows * 19];
            for tap in 0..taps {
                let one = QuantizedMatrix::gather(&pool, format, 19, (1, channels), Values::F32(&weights), |m, k| {
                    Some((m * taps + tap) * channels + k)
                });
                for row in 0..n_rows {
                    let start = (row * stride + tap * dilation) * channels;
                    let part = product(level, &pool, &one, &data[start..start + channels], Epilogue::default());
                    for (want, part) in want[row * 19..].iter_mut().zip(part) {
                        *want += part;
                    }
                }
            }
            let error = relative_l2(&got, &want);
            assert!(error <= MAX_ERROR, "{level:?} {channels} channels, {taps} taps: {error:e}");
        }
    });
}

#[test]
fn outputs_that_no_value_belongs_to_are_zero() {
    let w = QuantizedMatrix::gather(&Pool::default(), QuantFormat::I12, 3, (1, 2), Values::F32(&[4.0; 4]), |m, k| {
        (m != 1).then_some(k)
    });
    for_each_level(|level| {
        let out = product(level, &Pool::default(), &w, &[1.0, 1.0], Epilogue::default());
        assert_eq!((out[0], out[1], out[2]), (out[0], 0.0, out[0]));
        assert!((out[0] - 8.0).abs() < 1e-3);
    });
}
