//! Elementwise activations in place: GELU-tanh, SiLU, ELU (alpha 1).
//!
//! Any shape, as one flat slice. Source: `torch.nn.functional.gelu(approximate="tanh")`, `silu`, `elu`.

use crate::dispatch::SimdOp;
use crate::level::Level;
use crate::math;
use crate::simd::Simd;

/// Which activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `x` for `x > 0`, else `exp(x) - 1`.
    Elu,
}

/// `2 sqrt(2 / pi)`: `(1 + tanh u) / 2 = 1 / (1 + exp(-2 u))`.
const TWO_SQRT_2_OVER_PI: f32 = 1.5957691;
const GELU_CUBIC: f32 = 0.044715;

impl Activation {
    /// The specification, on one value.
    #[must_use]
    pub fn scalar(self, x: f32) -> f32 {
        match self {
            Self::GeluTanh => {
                let t = TWO_SQRT_2_OVER_PI * (x + GELU_CUBIC * x * x * x);
                x / (1.0 + (-t).exp())
            }
            Self::Silu => x / (1.0 + (-x).exp()),
            Self::Elu if x > 0.0 => x,
            Self::Elu => x.exp_m1(),
        }
    }

    #[inline(always)]
    fn vector<S: Simd>(self, s: S, x: S::V) -> S::V {
        match self {
            Self::GeluTanh => {
                let cubic = s.mul(s.mul(s.mul(s.splat(GELU_CUBIC), x), x), x);
                let t = s.mul(s.splat(TWO_SQRT_2_OVER_PI), s.add(x, cubic));
                math::times_sigmoid(s, x, t)
            }
            Self::Silu => math::times_sigmoid(s, x, x),
            Self::Elu => {
                let zero = s.zero();
                let negative = math::expm1_nonpositive(s, s.min(zero, x));
                s.select_lt(zero, x, x, negative)
            }
        }
    }

    /// Applies the activation to every value of `x`.
    pub fn apply(self, level: Level, x: &mut [f32]) {
        level.run(Apply { activation: self, x });
    }

    /// Writes the activation of every value of `x` to `out`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn apply_into(self, level: Level, x: &[f32], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "as many outputs as inputs");
        level.run(ApplyInto { activation: self, x, out });
    }
}

/// Calls `$each!` with the activation as a constant, so that the match stays outside its loop.
macro_rules! for_activation {
    ($activation:expr, $each:ident) => {
        match $activation {
            Activation::GeluTanh => $each!(Activation::GeluTanh),
            Activation::Silu => $each!(Activation::Silu),
            Activation::Elu => $each!(Activation::Elu),
        }
    };
}

struct Apply<'a> {
    activation: Activation,
    x: &'a mut [f32],
}

impl SimdOp for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let mut chunks = self.x.chunks_exact_mut(S::LANES);
        macro_rules! each {
            ($activation:expr) => {{
                for chunk in &mut chunks {
                    s.store($activation.vector(s, s.load(chunk)), chunk);
                }
                let rest = chunks.into_remainder();
                s.store_partial($activation.vector(s, s.load_partial(rest, 0.0)), rest);
            }};
        }
        for_activation!(self.activation, each);
    }

    fn eval_scalar(self) {
        for x in self.x {
            *x = self.activation.scalar(*x);
        }
    }
}

struct ApplyInto<'a> {
    activation: Activation,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl SimdOp for ApplyInto<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let (mut chunks, mut outs) = (self.x.chunks_exact(S::LANES), self.out.chunks_exact_mut(S::LANES));
        macro_rules! each {
            ($activation:expr) => {{
                for (chunk, out) in (&mut chunks).zip(&mut outs) {
                    s.store($activation.vector(s, s.load(chunk)), out);
                }
                let rest = $activation.vector(s, s.load_partial(chunks.remainder(), 0.0));
                s.store_partial(rest, outs.into_remainder());
            }};
        }
        for_activation!(self.activation, each);
    }

    fn eval_scalar(self) {
        for (x, out) in self.x.iter().zip(self.out) {
            *out = self.activation.scalar(*x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{awkward_lengths, for_each_level, hostile_values, ulp_distance, uniform};

    /// Polynomial (2 ULP), division and the rounding of the argument, which SiLU and GELU magnify by
    /// up to `|t| <= 20` before the result is negligible.
    const MAX_ULP: u32 = 24;
    /// Below this the result is far under the rounding of any sum that it enters.
    const ABSOLUTE: f32 = 1e-7;

    #[test]
    fn activations_match_the_scalar_specification() {
        for_each_level(|level| {
            for activation in [Activation::GeluTanh, Activation::Silu, Activation::Elu] {
                for n in awkward_lengths(16) {
                    let x = uniform(n as u64, n, -20.0, 20.0);
                    let mut got = x.clone();
                    activation.apply(level, &mut got);
                    let mut elsewhere = vec![f32::NAN; n];
                    activation.apply_into(level, &x, &mut elsewhere);
                    assert_eq!(elsewhere, got, "{level:?} {activation:?}, in place and not");
                    for (&x, &got) in x.iter().zip(&got) {
                        let want = activation.scalar(x);
                        assert!(
                            ulp_distance(got, want) <= MAX_ULP || (got - want).abs() <= ABSOLUTE,
                            "{level:?} {activation:?}({x}) = {got}, expected {want}"
                        );
                    }
                }
            }
        });
    }

    #[test]
    fn elu_is_accurate_near_zero() {
        for_each_level(|level| {
            let x: Vec<f32> = (1..2000).map(|i| -(1.002_f32.powi(-i))).collect();
            let mut got = x.clone();
            Activation::Elu.apply(level, &mut got);
            for (&x, &got) in x.iter().zip(&got) {
                assert!(ulp_distance(got, x.exp_m1()) <= 4, "{level:?} elu({x}) = {got}, expected {}", x.exp_m1());
            }
        });
    }

    #[test]
    fn hostile_values_behave_as_the_specification() {
        for_each_level(|level| {
            for activation in [Activation::GeluTanh, Activation::Silu, Activation::Elu] {
                for x in hostile_values() {
                    let mut got = [x; 17];
                    activation.apply(level, &mut got);
                    let want = activation.scalar(x);
                    for got in got {
                        assert_eq!(
                            got.is_nan(),
                            want.is_nan(),
                            "{level:?} {activation:?}({x}) = {got}, expected {want}"
                        );
                        if !want.is_nan() {
                            assert!(
                                got == want || (got - want).abs() <= ABSOLUTE || ulp_distance(got, want) <= MAX_ULP,
                                "{level:?} {activation:?}({x}) = {got}, expected {want}"
                            );
                        }
                    }
                }
            }
        });
    }
}
