//! Row normalisations: LayerNorm and the flow head's variance norm.
//!
//! Rows are `[rows, width]`, row-major; each row is normalised by itself.

use crate::dispatch::SimdOp;
use crate::level::Level;
use crate::simd::Simd;

/// LayerNorm of every row: `(x - mean) / sqrt(var + eps) * weight + bias`, biased variance.
///
/// Without `affine` the last two steps are left out. Source: `torch.nn.LayerNorm`.
///
/// # Panics
/// If `x` and `out` differ in length, or `affine` is not as wide as a row.
pub fn layer_norm_into(
    level: Level,
    x: &[f32],
    width: usize,
    affine: Option<(&[f32], &[f32])>,
    eps: f32,
    out: &mut [f32],
) {
    check(x, width, out);
    if let Some((weight, bias)) = affine {
        assert!(weight.len() == width && bias.len() == width, "weight and bias are as wide as a row");
    }
    level.run(LayerNorm { x, width, affine, eps, out });
}

/// The flow head's "RMSNorm" of every row: `x * alpha / sqrt(eps + var(x))`.
///
/// The variance subtracts the mean and divides by `width - 1`; the mean stays in the output.
/// Source: `pocket_tts.modules.mlp.RMSNorm`.
///
/// # Panics
/// If `x` and `out` differ in length, or `alpha` is not as wide as a row.
pub fn variance_norm_into(level: Level, x: &[f32], width: usize, alpha: &[f32], eps: f32, out: &mut [f32]) {
    check(x, width, out);
    assert_eq!(alpha.len(), width, "alpha is as wide as a row");
    level.run(VarianceNorm { x, width, alpha, eps, out });
}

fn check(x: &[f32], width: usize, out: &[f32]) {
    assert!(width > 0 && x.len().is_multiple_of(width), "x is not whole rows of {width}");
    assert_eq!(x.len(), out.len(), "x and out differ in length");
}

struct LayerNorm<'a> {
    x: &'a [f32],
    width: usize,
    affine: Option<(&'a [f32], &'a [f32])>,
    eps: f32,
    out: &'a mut [f32],
}

struct VarianceNorm<'a> {
    x: &'a [f32],
    width: usize,
    alpha: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

/// `(mean, sum of squared deviations)`.
#[inline(always)]
fn moments<S: Simd>(s: S, x: &[f32]) -> (f32, f32) {
    let mut sum = s.zero();
    let mut chunks = x.chunks_exact(S::LANES);
    for chunk in &mut chunks {
        sum = s.add(sum, s.load(chunk));
    }
    let rest = chunks.remainder();
    sum = s.add(sum, s.load_partial(rest, 0.0));
    let mean = s.reduce_add(sum) / x.len() as f32;

    let center = s.splat(mean);
    let mut squares = s.zero();
    let mut chunks = x.chunks_exact(S::LANES);
    for chunk in &mut chunks {
        let d = s.sub(s.load(chunk), center);
        squares = s.mul_add(d, d, squares);
    }
    // The lanes past the end hold the mean: their deviation is zero.
    let d = s.sub(s.load_partial(rest, mean), center);
    squares = s.mul_add(d, d, squares);
    (mean, s.reduce_add(squares))
}

fn moments_scalar(x: &[f32]) -> (f32, f32) {
    let mean = x.iter().sum::<f32>() / x.len() as f32;
    (mean, x.iter().map(|x| (x - mean) * (x - mean)).sum())
}

/// `out = (x - center) * scale [* weight + bias]` over one row.
#[inline(always)]
fn normalize_row<S: Simd>(
    s: S,
    x: &[f32],
    center: f32,
    scale: f32,
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let (center, scale) = (s.splat(center), s.splat(scale));
    let mut i = 0;
    while i < x.len() {
        let end = (i + S::LANES).min(x.len());
        let whole = end - i == S::LANES;
        let get = |from: &[f32]| if whole { s.load(&from[i..end]) } else { s.load_partial(&from[i..end], 0.0) };
        let mut y = s.mul(s.sub(get(x), center), scale);
        if let Some(weight) = weight {
            y = s.mul(y, get(weight));
        }
        if let Some(bias) = bias {
            y = s.add(y, get(bias));
        }
        if whole {
            s.store(y, &mut out[i..end]);
        } else {
            s.store_partial(y, &mut out[i..end]);
        }
        i = end;
    }
}

impl SimdOp for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let (weight, bias) = self.affine.unzip();
        for (x, out) in self.x.chunks_exact(self.width).zip(self.out.chunks_exact_mut(self.width)) {
            let (mean, squares) = moments(s, x);
            let scale = 1.0 / (squares / self.width as f32 + self.eps).sqrt();
            normalize_row(s, x, mean, scale, weight, bias, out);
        }
    }

    fn eval_scalar(self) {
        for (x, out) in self.x.chunks_exact(self.width).zip(self.out.chunks_exact_mut(self.width)) {
            let (mean, squares) = moments_scalar(x);
            let scale = 1.0 / (squares / self.width as f32 + self.eps).sqrt();
            for i in 0..self.width {
                out[i] = (x[i] - mean) * scale;
                if let Some((weight, bias)) = self.affine {
                    out[i] = out[i] * weight[i] + bias[i];
                }
            }
        }
    }
}

impl SimdOp for VarianceNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        for (x, out) in self.x.chunks_exact(self.width).zip(self.out.chunks_exact_mut(self.width)) {
            let (_, squares) = moments(s, x);
            let scale = 1.0 / (self.eps + squares / (self.width as f32 - 1.0)).sqrt();
            normalize_row(s, x, 0.0, scale, Some(self.alpha), None, out);
        }
    }

    fn eval_scalar(self) {
        for (x, out) in self.x.chunks_exact(self.width).zip(self.out.chunks_exact_mut(self.width)) {
            let (_, squares) = moments_scalar(x);
            let scale = 1.0 / (self.eps + squares / (self.width as f32 - 1.0)).sqrt();
            for i in 0..self.width {
                out[i] = x[i] * self.alpha[i] * scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{awkward_lengths, for_each_level, relative_l2, uniform};

    /// Sums over at most 100 values in another order.
    const MAX_ERROR: f64 = 2e-6;

    #[test]
    fn norms_match_the_scalar_specification() {
        for_each_level(|level| {
            for width in awkward_lengths(16).into_iter().filter(|&width| width > 1) {
                for rows in [1, 2, 5] {
                    let x = uniform(width as u64, rows * width, -1.0, 3.0);
                    let weight = uniform(1, width, 0.3, 1.2);
                    let bias = uniform(2, width, -0.2, 0.2);
                    for affine in [None, Some((&weight[..], &bias[..]))] {
                        let (mut got, mut want) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                        layer_norm_into(level, &x, width, affine, 1e-5, &mut got);
                        layer_norm_into(Level::Scalar, &x, width, affine, 1e-5, &mut want);
                        assert!(relative_l2(&got, &want) <= MAX_ERROR, "{level:?} layer norm, width {width}");
                    }
                    let (mut got, mut want) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                    variance_norm_into(level, &x, width, &weight, 1e-5, &mut got);
                    variance_norm_into(Level::Scalar, &x, width, &weight, 1e-5, &mut want);
                    assert!(relative_l2(&got, &want) <= MAX_ERROR, "{level:?} variance norm, width {width}");
                }
            }
        });
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours() {
        for_each_level(|level| {
            let (width, rows) = (21, 4);
            let x = uniform(3, rows * width, -1.0, 1.0);
            let mut together = vec![0.0; x.len()];
            layer_norm_into(level, &x, width, None, 1e-6, &mut together);
            for row in 0..rows {
                let range = row * width..(row + 1) * width;
                let mut alone = vec![0.0; width];
                layer_norm_into(level, &x[range.clone()], width, None, 1e-6, &mut alone);
                assert_eq!(together[range], alone, "{level:?}");
            }
        });
    }

    #[test]
    fn layer_norm_values_by_hand() {
        let mut out = [0.0; 4];
        layer_norm_into(Level::Scalar, &[1.0, 2.0, 3.0, 4.0], 4, None, 0.0, &mut out);
        let d = 1.25_f32.sqrt();
        assert!(relative_l2(&out, &[-1.5 / d, -0.5 / d, 0.5 / d, 1.5 / d]) < 1e-6);
        variance_norm_into(Level::Scalar, &[1.0, 2.0, 3.0, 4.0], 4, &[1.0; 4], 0.0, &mut out);
        let d = (5.0_f32 / 3.0).sqrt();
        assert!(relative_l2(&out, &[1.0 / d, 2.0 / d, 3.0 / d, 4.0 / d]) < 1e-6);
    }
}
