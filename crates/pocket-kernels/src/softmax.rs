//! Softmax over one row in place: `exp(x - max) / sum`.

use crate::dispatch::SimdOp;
use crate::level::Level;
use crate::math;
use crate::simd::Simd;

/// Replaces the row `x` by its softmax; an empty row stays empty.
pub fn softmax(level: Level, x: &mut [f32]) {
    level.run(Softmax { x });
}

struct Softmax<'a> {
    x: &'a mut [f32],
}

impl SimdOp for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        softmax_row(s, self.x);
    }

    fn eval_scalar(self) {
        scalar(self.x);
    }
}

/// The specification.
pub(crate) fn scalar(x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, |max, x| if x.is_nan() || max > x { max } else { x });
    let mut sum = 0.0;
    for x in &mut *x {
        *x = (*x - max).exp();
        sum += *x;
    }
    for x in x {
        *x /= sum;
    }
}

#[inline(always)]
pub(crate) fn softmax_row<S: Simd>(s: S, x: &mut [f32]) {
    if x.is_empty() {
        return;
    }
    let mut max = s.splat(f32::NEG_INFINITY);
    let mut chunks = x.chunks_exact(S::LANES);
    for chunk in &mut chunks {
        max = s.max(s.load(chunk), max);
    }
    max = s.max(s.load_partial(chunks.remainder(), f32::NEG_INFINITY), max);
    let max = s.splat(s.reduce_max(max));

    let mut sum = s.zero();
    let mut chunks = x.chunks_exact_mut(S::LANES);
    for chunk in &mut chunks {
        let e = math::exp(s, s.sub(s.load(chunk), max));
        sum = s.add(sum, e);
        s.store(e, chunk);
    }
    let rest = chunks.into_remainder();
    if !rest.is_empty() {
        let e = math::exp(s, s.sub(s.load_partial(rest, f32::NEG_INFINITY), max));
        sum = s.add(sum, e);
        s.store_partial(e, rest);
    }

    let scale = s.splat(1.0 / s.reduce_add(sum));
    let mut chunks = x.chunks_exact_mut(S::LANES);
    for chunk in &mut chunks {
        s.store(s.mul(s.load(chunk), scale), chunk);
    }
    let rest = chunks.into_remainder();
    s.store_partial(s.mul(s.load_partial(rest, 0.0), scale), rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{awkward_lengths, for_each_level, relative_l2, uniform};

    /// exp within 2 ULP, a sum in another order, one multiplication for the division.
    const MAX_ERROR: f64 = 1e-6;

    #[test]
    fn softmax_matches_the_scalar_specification() {
        for_each_level(|level| {
            for n in awkward_lengths(16).into_iter().chain([1000]) {
                let x = uniform(n as u64, n, -30.0, 30.0);
                let (mut got, mut want) = (x.clone(), x);
                softmax(level, &mut got);
                scalar(&mut want);
                assert!(relative_l2(&got, &want) <= MAX_ERROR, "{level:?} n = {n}");
            }
        });
    }

    #[test]
    fn large_and_infinite_scores_are_handled() {
        for_each_level(|level| {
            let mut x = [1e30, 1e30, f32::NEG_INFINITY, -1e30, 0.0];
            softmax(level, &mut x);
            assert_eq!(x, [0.5, 0.5, 0.0, 0.0, 0.0], "{level:?}");
        });
    }
}
