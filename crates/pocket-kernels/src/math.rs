//! Elementary functions on vectors: exp, expm1, sigmoid.
//!
//! Range reduction by `n = round(x / ln 2)` and the degree-7 polynomial of Cephes `expf` on
//! `|r| <= ln 2 / 2`. Errors against the exact value are stated per function and tested in
//! `activation` and `softmax`.

use crate::simd::Simd;

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts: the first has few enough bits that `n * LN2_HI` is exact.
const LN2_HI: f32 = 0.693359375;
const LN2_LO: f32 = -2.12194440e-4;
/// Below this `exp` is zero, even as a denormal.
const EXP_MIN: f32 = -104.0;
/// Above this `exp` is infinite.
const EXP_MAX: f32 = 89.0;

/// `(n, expm1(r))` with `x = n ln 2 + r`.
#[inline(always)]
fn reduce<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    let n = s.round(s.mul(x, s.splat(LOG2_E)));
    let r = s.mul_add(n, s.splat(-LN2_HI), x);
    let r = s.mul_add(n, s.splat(-LN2_LO), r);
    let mut p = s.splat(1.9875691500e-4);
    for coefficient in [1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1] {
        p = s.mul_add(p, r, s.splat(coefficient));
    }
    (n, s.mul_add(s.mul(p, r), r, r))
}

/// `exp(x)` within 2 ULP; infinity and zero outside the range, NaN for NaN.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.min(s.splat(EXP_MAX), s.max(s.splat(EXP_MIN), x));
    let (n, expm1_r) = reduce(s, x);
    // 2^n in two factors, so that the ends of the range over- and underflow as they should.
    let half = s.round(s.mul(n, s.splat(0.5)));
    let value = s.mul(s.add(expm1_r, s.splat(1.0)), s.exp2_int(half));
    s.mul(value, s.exp2_int(s.sub(n, half)))
}

/// `exp(x) - 1` for `x <= 0`, within 3 ULP; −1 for large negative, NaN for NaN.
#[inline(always)]
pub(crate) fn expm1_nonpositive<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.max(s.splat(-87.0), x);
    let (n, expm1_r) = reduce(s, x);
    let scale = s.exp2_int(n);
    s.mul_add(expm1_r, scale, s.sub(scale, s.splat(1.0)))
}

/// `x / (1 + exp(-t))`: SiLU for `t = x`, GELU-tanh for `t = 2 sqrt(2 / pi) (x + 0.044715 x^3)`.
#[inline(always)]
pub(crate) fn times_sigmoid<S: Simd>(s: S, x: S::V, t: S::V) -> S::V {
    s.div(x, s.add(s.splat(1.0), exp(s, s.neg(t))))
}
