//! Resampling by a ratio of integers, as `scipy.signal.resample_poly` does it.
//!
//! Insert `up − 1` zeros between samples, filter, keep every `down`-th sample. Only the products
//! with samples that are not zero are formed: output `i` sees the taps of phase
//! `(i·down + half) mod up`. The filter is a Kaiser-windowed sinc (beta 5) of
//! `20·max(up, down) + 1` taps, designed in f64, rounded to f32, then multiplied by `up`. Sums run
//! in f32 and in the order of `SciPy`'s, so results agree to the last bit or nearly so.

use std::f64::consts::PI;

use super::check_rate;
use crate::error::Error;

const KAISER_BETA: f64 = 5.0;
/// Zero crossings of the sinc on each side.
const ZERO_CROSSINGS: usize = 10;

/// Resamples mono samples from one rate to another.
///
/// # Errors
/// When a rate is zero or beyond any real one.
pub fn resample(samples: &[f32], from_hz: usize, to_hz: usize) -> Result<Vec<f32>, Error> {
    check_rate(from_hz)?;
    check_rate(to_hz)?;
    Ok(resample_poly(samples, to_hz, from_hz))
}

/// Resamples by `up / down`; the result has `ceil(n · up / down)` samples.
///
/// # Panics
/// When `up` or `down` is zero.
#[must_use]
pub fn resample_poly(samples: &[f32], up: usize, down: usize) -> Vec<f32> {
    let mut resampler = Resampler::new(up, down);
    let mut out = Vec::new();
    resampler.push(samples, &mut out);
    resampler.finish(&mut out);
    out
}

/// Resamples a signal that comes in blocks; the blocks do not show in the result.
#[derive(Debug)]
pub struct Resampler {
    up: usize,
    down: usize,
    /// `[up, n_taps]`; empty when the rate stays.
    phases: Vec<f32>,
    n_taps: usize,
    half_len: usize,
    /// The latest samples, those that outputs still see.
    recent: Vec<f32>,
    /// Samples pushed before `recent`.
    n_dropped: usize,
    n_out: usize,
}

impl Resampler {
    /// A resampler by `up / down`.
    ///
    /// # Panics
    /// When `up` or `down` is zero.
    #[must_use]
    pub fn new(up: usize, down: usize) -> Self {
        assert!(up > 0 && down > 0, "the ratio must be positive");
        let divisor = gcd(up, down);
        let (up, down) = (up / divisor, down / divisor);
        let half_len = ZERO_CROSSINGS * up.max(down);
        let phases = if up == down { Vec::new() } else { phases(&low_pass(half_len, up), up) };
        let n_taps = phases.len() / up;
        Self { up, down, phases, n_taps, half_len, recent: Vec::new(), n_dropped: 0, n_out: 0 }
    }

    /// Takes the next samples and appends to `out` what they decide.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        if self.phases.is_empty() {
            out.extend_from_slice(samples);
            return;
        }
        self.recent.extend_from_slice(samples);
        // Output i sees samples up to (i · down + half_len) / up.
        let n_in = self.n_dropped + self.recent.len();
        let n_decided = (n_in * self.up).saturating_sub(self.half_len).div_ceil(self.down);
        self.emit(n_decided, out);
        let newest = (self.n_out * self.down + self.half_len) / self.up;
        let first = (newest + 1).saturating_sub(self.n_taps).clamp(self.n_dropped, n_in);
        self.recent.drain(..first - self.n_dropped);
        self.n_dropped = first;
    }

    /// Appends the samples that reach beyond the end.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        let n_in = self.n_dropped + self.recent.len();
        if !self.phases.is_empty() {
            self.emit((n_in * self.up).div_ceil(self.down), out);
        }
    }

    /// Appends the outputs up to the `n_out`-th.
    fn emit(&mut self, n_out: usize, out: &mut Vec<f32>) {
        let n_taps = self.n_taps;
        let n_in = self.n_dropped + self.recent.len();
        for i in self.n_out..n_out {
            let center = i * self.down + self.half_len;
            let taps = &self.phases[center % self.up * n_taps..][..n_taps];
            // The last tap meets sample `newest`; both ends may lie outside the samples.
            let newest = center / self.up;
            let first = (newest + 1).saturating_sub(n_taps);
            let end = (newest + 1).min(n_in);
            let taps = &taps[first + n_taps - newest - 1..];
            let at = |index: usize| index - self.n_dropped;
            let samples = if first < end { &self.recent[at(first)..at(end)] } else { &[] };
            out.push(samples.iter().zip(taps).fold(0.0, |sum: f32, (x, h)| sum + x * h));
        }
        self.n_out = self.n_out.max(n_out);
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The taps that output samples of each phase see, oldest sample first: `[up, n_taps]`.
fn phases(filter: &[f32], up: usize) -> Vec<f32> {
    let n_taps = filter.len().div_ceil(up);
    let tap = |phase: usize, i: usize| filter.get(phase + (n_taps - 1 - i) * up).copied();
    (0..up).flat_map(|phase| (0..n_taps).map(move |i| tap(phase, i).unwrap_or(0.0))).collect()
}

/// A filter of `2·half_len + 1` taps that passes `10 / half_len` of the band, with gain `up`.
fn low_pass(half_len: usize, up: usize) -> Vec<f32> {
    let cutoff = ZERO_CROSSINGS as f64 / half_len as f64;
    // From the middle outwards.
    let half: Vec<f64> = (0..=half_len)
        .map(|i| {
            let (x, edge) = (cutoff * i as f64, i as f64 / half_len as f64);
            let sinc = if i == 0 { 1.0 } else { (PI * x).sin() / (PI * x) };
            cutoff * sinc * bessel_i0(KAISER_BETA * (1.0 - edge * edge).sqrt()) / bessel_i0(KAISER_BETA)
        })
        .collect();
    let sum = half[0] + 2.0 * half[1..].iter().sum::<f64>();
    let outer = half[1..].iter().rev();
    outer.chain(&half).map(|h| (h / sum) as f32 * up as f32).collect()
}

/// The modified Bessel function of order zero, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let quarter_square = x * x / 4.0;
    let mut term = 1.0;
    let mut sum = 1.0;
    // Up to x = 5 the terms vanish long before.
    for k in 1..40 {
        term *= quarter_square / f64::from(k * k);
        sum += term;
        if term < sum * f64::EPSILON / 4.0 {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    /// Lines of `up down n_samples samples…` from `SciPy`.
    const CASES: &str = include_str!("../../testdata/resample_poly.txt");
    /// The filter's f32 taps differ from `SciPy`'s by one rounding at most.
    const TOLERANCE: f32 = 3e-7;

    #[test]
    fn equals_scipy() {
        for line in CASES.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [up, down, n] = [0, 1, 2].map(|i| words[i].parse::<usize>().unwrap());
            let expected: Vec<f32> = words[3..].iter().map(|word| word.parse().unwrap()).collect();
            let actual = resample_poly(&noise(n), up, down);
            assert_eq!(actual.len(), expected.len(), "{up}/{down}");
            for (i, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
                assert!((actual - expected).abs() <= TOLERANCE, "{up}/{down} {i}: {actual} {expected}");
            }
        }
    }

    #[test]
    fn lengths_of_every_small_ratio() {
        for up in 1..8 {
            for down in 1..8 {
                for n in 0..20 {
                    let actual = resample_poly(&noise(n), up, down);
                    assert_eq!(actual.len(), (n * up).div_ceil(down), "{up}/{down} {n}");
                }
            }
        }
    }

    #[test]
    fn blocks_do_not_show() {
        for (up, down) in [(1, 1), (3, 1), (1, 4), (80, 147), (160, 147), (3, 2), (320, 147), (24_000, 8_001)] {
            for n in [0, 1, 5, 300, 3000] {
                let samples = noise(n);
                let whole = resample_poly(&samples, up, down);
                for block in [1, 2, 7, 100, 1024] {
                    let mut resampler = Resampler::new(up, down);
                    let mut out = Vec::new();
                    for samples in samples.chunks(block) {
                        resampler.push(samples, &mut out);
                        assert!(resampler.recent.len() <= resampler.n_taps + block, "{up}/{down}");
                    }
                    resampler.finish(&mut out);
                    assert!(out == whole, "{up}/{down}, {n} samples in blocks of {block}");
                }
            }
        }
    }

    #[test]
    fn a_constant_stays_constant_inside() {
        let actual = resample(&vec![1.0; 4410], 44_100, 24_000).unwrap();
        assert_eq!(actual.len(), 2400);
        assert!(actual[50..2350].iter().all(|x| (x - 1.0).abs() < 1e-3));
    }
}
