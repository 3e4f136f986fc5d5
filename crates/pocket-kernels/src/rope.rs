//! Rotary position embedding on interleaved pairs `(2i, 2i + 1)`.
//!
//! Source: `pocket_tts.modules.rope`. The angle is computed as there: frequency, position and their
//! product in f32; the sine and cosine are then correctly rounded.

use crate::dispatch::SimdOp;
use crate::level::Level;
use crate::simd::Simd;

/// Rotation frequencies of one head width.
#[derive(Clone, Debug)]
pub struct Rope {
    frequencies: Vec<f32>,
}

impl Rope {
    /// Frequencies `max_period^(-2i / head_dim)` for each pair `i`.
    ///
    /// # Panics
    /// If `head_dim` is odd.
    #[must_use]
    pub fn new(head_dim: usize, max_period: f64) -> Self {
        assert!(head_dim.is_multiple_of(2), "a rotated head has pairs");
        let step = (-max_period.ln() * 2.0 / head_dim as f64) as f32;
        let frequencies = (0..head_dim / 2).map(|i| f64::from(i as f32 * step).exp() as f32).collect();
        Self { frequencies }
    }

    /// Width of a head.
    #[must_use]
    pub fn head_dim(&self) -> usize {
        2 * self.frequencies.len()
    }

    /// Writes the rotation of `position`: `[cos, cos]` and `[-sin, sin]` for each pair, so that
    /// `out[j] = x[j] * cos[j] + x[j ^ 1] * sin[j]`.
    ///
    /// # Panics
    /// If `cos` or `sin` is not as wide as a head.
    pub fn rotation_into(&self, position: usize, cos: &mut [f32], sin: &mut [f32]) {
        assert!(cos.len() == self.head_dim() && sin.len() == self.head_dim(), "the rotation is as wide as a head");
        for (i, &frequency) in self.frequencies.iter().enumerate() {
            let angle = f64::from(frequency * position as f32);
            let (s, c) = angle.sin_cos();
            cos[2 * i..2 * i + 2].fill(c as f32);
            sin[2 * i] = -s as f32;
            sin[2 * i + 1] = s as f32;
        }
    }
}

/// Rotates every head of one row (`[heads, head_dim]`) in place by a rotation of
/// [`Rope::rotation_into`].
///
/// # Panics
/// If the row is not whole heads.
pub fn rotate(level: Level, heads: &mut [f32], cos: &[f32], sin: &[f32]) {
    assert!(!cos.is_empty() && heads.len().is_multiple_of(cos.len()), "the row is not whole heads");
    assert_eq!(cos.len(), sin.len(), "the rotation is as wide as a head");
    level.run(Rotate { heads, cos, sin });
}

struct Rotate<'a> {
    heads: &'a mut [f32],
    cos: &'a [f32],
    sin: &'a [f32],
}

impl SimdOp for Rotate<'_> {
    type Output = ();

    /// Pairs are rotated as written, without fused rounding: a rotation is a small part of a step,
    /// and the compiler vectorises the shuffle for each level.
    #[inline(always)]
    fn eval<S: Simd>(self, _: S) {
        self.eval_scalar();
    }

    #[inline(always)]
    fn eval_scalar(self) {
        for head in self.heads.chunks_exact_mut(self.cos.len()) {
            let rotations = self.cos.chunks_exact(2).zip(self.sin.chunks_exact(2));
            for (pair, (cos, sin)) in head.chunks_exact_mut(2).zip(rotations) {
                let (re, im) = (pair[0], pair[1]);
                pair[0] = re * cos[0] + im * sin[0];
                pair[1] = im * cos[1] + re * sin[1];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{for_each_level, relative_l2, uniform};

    #[test]
    fn rotation_is_the_complex_product() {
        for_each_level(|level| {
            for (head_dim, heads, position) in [(2, 1, 0), (8, 3, 7), (64, 16, 1234), (40, 2, 99_999)] {
                let rope = Rope::new(head_dim, 10_000.0);
                let x = uniform(3, heads * head_dim, -1.0, 1.0);
                let (mut cos, mut sin) = (vec![0.0; head_dim], vec![0.0; head_dim]);
                rope.rotation_into(position, &mut cos, &mut sin);
                let mut got = x.clone();
                rotate(level, &mut got, &cos, &sin);
                let mut want = Vec::new();
                for head in x.chunks(head_dim) {
                    for (i, pair) in head.chunks(2).enumerate() {
                        let frequency = 10_000_f64.powf(-2.0 * i as f64 / head_dim as f64) as f32;
                        let (s, c) = f64::from(frequency * position as f32).sin_cos();
                        let (re, im) = (f64::from(pair[0]), f64::from(pair[1]));
                        want.extend([(re * c - im * s) as f32, (re * s + im * c) as f32]);
                    }
                }
                // One ULP of a frequency turns the angle by position * 6e-8 rad.
                let bound = 2e-7 + position as f64 * 1e-7;
                assert!(relative_l2(&got, &want) <= bound, "{level:?} head {head_dim}, position {position}");
            }
        });
    }

    #[test]
    fn position_zero_changes_nothing() {
        let rope = Rope::new(6, 10_000.0);
        let (mut cos, mut sin) = ([0.0; 6], [0.0; 6]);
        rope.rotation_into(0, &mut cos, &mut sin);
        let mut x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        rotate(Level::Scalar, &mut x, &cos, &sin);
        assert_eq!(x, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }
}
