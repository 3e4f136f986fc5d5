//! The noise of the flow head: counter-based, so that a frame's noise depends on the seed, the chunk
//! and the frame alone, on every platform and at every level.
//!
//! Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) keyed by the
//! seed; Box–Muller in f64 with the pure Rust functions of `libm`, rounded to f32.

/// Below this ratio of clamp to standard deviation, uniform proposals beat normal ones.
const UNIFORM_PROPOSAL_BELOW: f64 = 0.5;

/// The block of Philox 4x32-10 at `counter` under `key`.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        let product = |a: u32, b: u32| {
            let wide = u64::from(a) * u64::from(b);
            ((wide >> 32) as u32, wide as u32)
        };
        let (high0, low0) = product(0xD251_1F53, counter[0]);
        let (high1, low1) = product(0xCD9E_8D57, counter[2]);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
    }
    counter
}

/// `(bits + 1/2) / 2^32`: inside (0, 1).
fn unit(bits: u32) -> f64 {
    (f64::from(bits) + 0.5) / 4_294_967_296.0
}

/// Random numbers of one frame, addressed by element and attempt.
#[derive(Clone, Copy, Debug)]
struct FrameNoise {
    seed: u64,
    chunk: u32,
    frame: u32,
}

impl FrameNoise {
    fn block(self, index: usize, attempt: u32) -> [u32; 4] {
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        philox([index as u32, attempt, self.frame, self.chunk], key)
    }

    /// The standard normal of `element`: two blocks' words make four, in pairs.
    fn normal(self, element: usize, attempt: u32) -> f64 {
        let block = self.block(element / 4, attempt);
        let pair = element % 4 / 2 * 2;
        let radius = libm::sqrt(-2.0 * libm::log(unit(block[pair])));
        let angle = std::f64::consts::TAU * unit(block[pair + 1]);
        radius * if element.is_multiple_of(2) { libm::cos(angle) } else { libm::sin(angle) }
    }

    /// A standard normal within `±bound`: redrawn until it is, never clipped.
    fn truncated(self, element: usize, bound: f64) -> f64 {
        let mut attempt = 0;
        loop {
            if bound < UNIFORM_PROPOSAL_BELOW {
                // One block per element; the attempts of this branch have counters of their own.
                let block = self.block(element | 1 << 31, attempt);
                let x = bound * (2.0 * unit(block[0]) - 1.0);
                if unit(block[1]) <= libm::exp(-0.5 * x * x) {
                    return x;
                }
            } else {
                let x = self.normal(element, attempt);
                if x.abs() <= bound {
                    return x;
                }
            }
            attempt += 1;
        }
    }
}

/// Writes the noise of frame `frame` of chunk `chunk` to `out` `[latent_dim]`: normal with standard
/// deviation `std`, redrawn until within `±clamp` where there is a clamp.
pub fn noise_into(seed: u64, chunk: usize, frame: usize, std: f64, clamp: Option<f64>, out: &mut [f32]) {
    let noise = FrameNoise { seed, chunk: chunk as u32, frame: frame as u32 };
    for (element, out) in out.iter_mut().enumerate() {
        let normal = match clamp {
            // Without spread every draw is zero, which lies within any clamp.
            Some(clamp) if std > 0.0 => noise.truncated(element, clamp / std),
            _ => noise.normal(element, 0),
        };
        *out = (normal * std) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution (`kat_vectors`, philox4x32 10).
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD]);
        assert_eq!(
            philox([0x243F_6A88, 0x85A3_08D3, 0x1319_8A2E, 0x0370_7344], [0xA409_3822, 0x299F_31D0]),
            [0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1]
        );
    }

    fn frames(n: usize, std: f64, clamp: Option<f64>) -> Vec<f32> {
        let mut all = vec![0.0; n * 32];
        for (frame, out) in all.chunks_mut(32).enumerate() {
            noise_into(7, 0, frame, std, clamp, out);
        }
        all
    }

    fn moments(x: &[f32]) -> (f64, f64) {
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / x.len() as f64;
        (mean, x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / x.len() as f64)
    }

    #[test]
    fn noise_is_normal_and_scaled() {
        let x = frames(4000, 0.5, None);
        let (mean, variance) = moments(&x);
        assert!(mean.abs() < 0.005 && (variance - 0.25).abs() < 0.005, "{mean} {variance}");
        let within = x.iter().filter(|x| x.abs() < 0.5).count() as f64 / x.len() as f64;
        assert!((within - 0.6827).abs() < 0.005, "{within} within one standard deviation");
    }

    #[test]
    fn a_clamp_redraws_and_never_clips() {
        for clamp in [0.55, 0.1, 1e-6] {
            let std = 0.3_f64.sqrt();
            let x = frames(2000, std, Some(clamp));
            assert!(x.iter().all(|x| f64::from(x.abs()) <= clamp * 1.000_001));
            let at_bound = x.iter().filter(|x| f64::from(x.abs()) > clamp * 0.9999).count();
            assert!(at_bound < x.len() / 1000, "{at_bound} values at the bound {clamp}");
            let (_, variance) = moments(&x);
            // Variance of a truncated normal: integrated numerically.
            let bound = clamp / std;
            let (mut weight, mut square) = (0.0, 0.0);
            for i in 0..2000 {
                let t = bound * (f64::from(i) + 0.5) / 2000.0;
                weight += (-0.5 * t * t).exp();
                square += t * t * (-0.5 * t * t).exp();
            }
            let want = square / weight * std * std;
            assert!((variance / want - 1.0).abs() < 0.03, "clamp {clamp}: {variance:e}, expected {want:e}");
        }
        assert!(frames(3, 0.0, Some(0.5)).iter().all(|&x| x == 0.0));
    }

    #[test]
    fn frames_chunks_and_seeds_differ() {
        let draw = |seed, chunk, frame| {
            let mut x = [0.0; 8];
            noise_into(seed, chunk, frame, 1.0, None, &mut x);
            x
        };
        let base = draw(1, 0, 0);
        assert_eq!(base, draw(1, 0, 0));
        for other in [draw(2, 0, 0), draw(1 << 32 | 1, 0, 0), draw(1, 1, 0), draw(1, 0, 1)] {
            assert_ne!(base, other);
        }
    }

    /// Pins the numbers: a seed that a user wrote down keeps its meaning.
    #[test]
    fn the_noise_of_a_seed_is_fixed() {
        let mut x = [0.0; 4];
        noise_into(42, 3, 5, 1.0, None, &mut x);
        assert_eq!(x.map(f32::to_bits), FIXED, "{x:?}");
    }
    const FIXED: [u32; 4] = [1_062_646_935, 1_065_356_453, 3_223_021_837, 1_058_305_639];
}
