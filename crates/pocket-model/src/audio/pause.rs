//! The end of a voice prompt: a pause of fixed length.

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
    let mut finder = PauseFinder::new(sample_rate_hz);
    finder.push(&samples);
    let end = finder.finish();
    samples.truncate(end.kept);
    end.fade(0, &mut samples);
    samples.resize(samples.len() + end.silent, 0.0);
    samples
}

/// Listens to a prompt, block by block, for where it ends.
#[derive(Debug)]
pub(super) struct PauseFinder {
    sample_rate_hz: usize,
    frame_len: usize,
    /// Sum of the squares of the frame that is being filled.
    sum: f64,
    n_samples: usize,
    /// The level of every frame, 50 a second.
    levels_db: Vec<f32>,
}

/// Where a prompt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PromptEnd {
    /// Samples that are kept.
    pub(super) kept: usize,
    /// Samples of the fade at their end.
    faded: usize,
    /// Zeros that follow.
    pub(super) silent: usize,
}

impl PauseFinder {
    pub(super) fn new(sample_rate_hz: usize) -> Self {
        let frame_len = ((FRAME_S * sample_rate_hz as f64) as usize).max(1);
        Self { sample_rate_hz, frame_len, sum: 0.0, n_samples: 0, levels_db: Vec::new() }
    }

    pub(super) fn push(&mut self, mut samples: &[f32]) {
        while !samples.is_empty() {
            let n = (self.frame_len - self.n_samples % self.frame_len).min(samples.len());
            let (part, rest) = samples.split_at(n);
            self.sum = part.iter().fold(self.sum, |sum, &x| sum + f64::from(x * x));
            self.n_samples += n;
            if self.n_samples.is_multiple_of(self.frame_len) {
                self.levels_db.push(level_db(self.sum, self.frame_len));
                self.sum = 0.0;
            }
            samples = rest;
        }
    }

    pub(super) fn finish(self) -> PromptEnd {
        let rate = self.sample_rate_hz as f64;
        let loudest = self.levels_db.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let Some(last_loud) = self.levels_db.iter().rposition(|&level| level > loudest - FLOOR_DB) else {
            return PromptEnd { kept: self.n_samples, faded: 0, silent: 0 };
        };
        let kept = (last_loud + 1) * self.frame_len;
        PromptEnd { kept, faded: ((FRAME_S * rate) as usize).min(kept), silent: (PAUSE_S * rate) as usize }
    }
}

impl PromptEnd {
    /// Fades what of the last 20 ms is in `samples`, which start at sample `at` of the prompt.
    pub(super) fn fade(&self, at: usize, samples: &mut [f32]) {
        let start = self.kept - self.faded;
        for (i, sample) in samples.iter_mut().enumerate().skip(start.saturating_sub(at)) {
            if at + i < self.kept {
                *sample *= fade_out(at + i - start, self.faded);
            }
        }
    }
}

/// Root mean square of a frame in decibels, from the sum of its squares.
fn level_db(sum: f64, frame_len: usize) -> f32 {
    let rms = ((sum / frame_len as f64) as f32).sqrt();
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
    fn blocks_do_not_show() {
        let mut samples = noise(5000);
        samples[3100..].iter_mut().for_each(|x| *x *= 0.001);
        let whole = end_on_pause(samples.clone(), 8000);
        for block in [1, 7, 160, 1000] {
            let mut finder = PauseFinder::new(8000);
            samples.chunks(block).for_each(|samples| finder.push(samples));
            let end = finder.finish();
            assert_eq!(end.kept + end.silent, whole.len());
            let mut actual = samples[..end.kept].to_vec();
            for (i, samples) in actual.chunks_mut(block).enumerate() {
                end.fade(i * block, samples);
            }
            assert_eq!(actual, whole[..end.kept], "{block}");
        }
    }
}
