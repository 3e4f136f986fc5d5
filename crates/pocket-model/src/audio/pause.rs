//! The end of a voice prompt: a pause of fixed length, then whole frames.

/// Length of a loudness frame and of the fade-out.
const FRAME_S: f64 = 0.02;
/// Silence that ends a prompt.
const PAUSE_S: f64 = 0.08;
/// Frames this far below the loudest one are a pause.
const FLOOR_DB: f32 = 35.0;

/// Ends a prompt on 80 ms of silence, after the last frame that is loud enough.
///
/// Loudness is taken over 20 ms frames; a partial last one is dropped. The last 20 ms before the
/// silence fade out linearly, both ends included. Input below 20 ms is returned as it is.
#[must_use]
pub fn end_on_pause(mut samples: Vec<f32>, sample_rate_hz: usize) -> Vec<f32> {
    let rate = sample_rate_hz as f64;
    let frame_len = ((FRAME_S * rate) as usize).max(1);
    let levels_db: Vec<f32> = samples.chunks_exact(frame_len).map(level_db).collect();
    let loudest = levels_db.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let Some(last_loud) = levels_db.iter().rposition(|&level| level > loudest - FLOOR_DB) else {
        return samples;
    };
    samples.truncate((last_loud + 1) * frame_len);
    let n_fade = ((FRAME_S * rate) as usize).min(samples.len());
    let start = samples.len() - n_fade;
    for (i, sample) in samples[start..].iter_mut().enumerate() {
        *sample *= fade_out(i, n_fade);
    }
    samples.resize(samples.len() + (PAUSE_S * rate) as usize, 0.0);
    samples
}

/// Root mean square of a frame in decibels.
fn level_db(frame: &[f32]) -> f32 {
    let sum: f64 = frame.iter().map(|&x| f64::from(x * x)).sum();
    let rms = ((sum / frame.len() as f64) as f32).sqrt();
    20.0 * (rms + 1e-12).log10()
}

/// Value `i` of `torch.linspace(1, 0, n)`, which counts from both ends and fuses the product.
fn fade_out(i: usize, n: usize) -> f32 {
    if n == 1 {
        return 1.0;
    }
    let step = -1.0 / (n - 1) as f32;
    if i < n / 2 { step.mul_add(i as f32, 1.0) } else { -step * (n - 1 - i) as f32 }
}

/// Appends zeros up to a multiple of `frame_size` samples.
///
/// # Panics
/// When `frame_size` is zero.
#[must_use]
pub fn pad_to_frames(mut samples: Vec<f32>, frame_size: usize) -> Vec<f32> {
    samples.resize(samples.len().next_multiple_of(frame_size), 0.0);
    samples
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    /// Lines of `rate n_samples quiet_from level n_out which samples…` from the reference.
    const CASES: &str = include_str!("../../testdata/end_on_pause.txt");

    #[test]
    fn equals_the_reference() {
        for line in CASES.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |i: usize| words[i].parse::<usize>().unwrap();
            let (rate, n, quiet_from, n_out) = (number(0), number(1), number(2), number(4));
            let level: f32 = words[3].parse().unwrap();
            let mut samples = noise(n);
            samples[quiet_from..].iter_mut().for_each(|x| *x *= level);
            let actual = end_on_pause(samples, rate);
            assert_eq!(actual.len(), n_out, "{line:.40}");
            // Of the long case, every 37th sample of the fade.
            let end = actual.len();
            let actual: Vec<f32> = match words[5] {
                "tail" => actual[end - 2400..end - 1920].iter().copied().step_by(37).collect(),
                _ => actual,
            };
            let expected: Vec<f32> = words[6..].iter().map(|word| word.parse().unwrap()).collect();
            assert_eq!(actual, expected, "{line:.40}");
        }
    }

    #[test]
    fn all_zeros_keep_their_frames() {
        assert_eq!(end_on_pause(vec![0.0; 119], 1000).len(), 100 + 80);
    }

    #[test]
    fn padding_fills_the_last_frame() {
        for (n, expected) in [(0, 0), (1, 4), (4, 4), (5, 8)] {
            assert_eq!(pad_to_frames(vec![1.0; n], 4).len(), expected);
        }
    }
}
