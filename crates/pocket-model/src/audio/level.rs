//! What samples tell before anything is made of them: silence, damage, clipping, a wrong scale.

use super::fault::Fault;

/// Peaks up to here, two steps of 16-bit audio, are silence with dither.
const SILENT_PEAK: f32 = 2.0 / 32768.0;
/// A microphone or a converter at its limit gives the same sample again and again, this close to 1.
const FULL_SCALE: f32 = 0.98;
/// Equal samples in a row that are no coincidence, and how many such rows make a clipped recording.
const CLIPPED_RUN: usize = 4;
const MAX_CLIPPED_RUNS: usize = 10;
/// Peaks beyond here are no overshoot of a resampler but another scale.
const SCALE_PEAK: f32 = 4.0;

/// Looks at samples block by block.
#[derive(Debug, Default)]
pub(super) struct LevelMeter {
    n_samples: usize,
    peak: f32,
    last: f32,
    run: usize,
    n_clipped_runs: usize,
}

impl LevelMeter {
    /// Takes the next samples.
    ///
    /// # Errors
    /// When one is not finite.
    pub(super) fn push(&mut self, samples: &[f32]) -> Result<(), Fault> {
        for (i, &sample) in samples.iter().enumerate() {
            if !sample.is_finite() {
                let index = self.n_samples + i;
                return Err(Fault::Damaged(format!("sample {index} is {sample}; give samples between -1 and 1")));
            }
            self.peak = self.peak.max(sample.abs());
            self.run = if sample == self.last { self.run + 1 } else { 1 };
            self.last = sample;
            self.n_clipped_runs += usize::from(self.run == CLIPPED_RUN && sample.abs() >= FULL_SCALE);
        }
        self.n_samples += samples.len();
        Ok(())
    }

    /// Tells whether there is sound.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.n_samples == 0 {
            return Err(Fault::Damaged("it has no samples; give a recording of the voice".to_owned()));
        }
        if self.peak <= SILENT_PEAK {
            return Err(Fault::Damaged("it is silent; give a recording of the voice".to_owned()));
        }
        Ok(())
    }

    /// What the user should know about the level.
    pub(super) fn warning(&self) -> Option<String> {
        if self.peak > SCALE_PEAK {
            return Some(format!("its peak is {}; samples should lie between -1 and 1, scale them", self.peak));
        }
        (self.n_clipped_runs > MAX_CLIPPED_RUNS).then(|| {
            format!(
                "it is clipped in {} places, which the voice will imitate; record it at a lower level",
                self.n_clipped_runs
            )
        })
    }
}
