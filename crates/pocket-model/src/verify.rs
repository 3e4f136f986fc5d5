//! How far a precision is from the exact one: signal-to-error ratios on the same inputs.
//!
//! Both models see the same latents and noise in every frame (teacher forcing), so that errors do not grow from
//! frame to frame and the ratio is that of the arithmetic. Only the network's share of a latent counts: what the
//! flow head adds to the noise. Of the codec's samples, only what depends on the latents.

use pocket_nn::{Arena, Rows};

use crate::error::Error;
use crate::flow_lm::StepOutput;
use crate::model::TtsModel;
use crate::voice::VoiceState;

/// Signal-to-error ratios in dB; infinite where nothing differs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fidelity {
    /// Of the network's share of the latents.
    pub latents_db: f64,
    /// Of the end-of-speech logits' deviation from their mean.
    pub eos_db: f64,
    /// Of the audio that the codec makes of the same latents.
    pub audio_db: f64,
}

/// What one model makes of given latents and noise.
struct Outputs {
    shares: Vec<f32>,
    eos_logits: Vec<f32>,
    audio: Vec<f32>,
}

/// Latents `[frames, latent_dim]` and end-of-speech logits `[frames]`.
#[derive(Debug, Default)]
pub struct ForcedLatents {
    /// What the flow head makes of the noise, frame by frame.
    pub latents: Vec<f32>,
    /// One a frame.
    pub eos_logits: Vec<f32>,
}

/// Compares `model` with `exact` over the frames of `latents` (`[frames, latent_dim]`), which follow `text` in
/// turn; the noise `[frames, latent_dim]` is what the flow head starts from.
///
/// # Errors
/// When the text or a voice does not fit, or the latents and the noise differ in length.
pub fn compare(
    exact: (&TtsModel, &VoiceState),
    model: (&TtsModel, &VoiceState),
    text: &str,
    latents: &[f32],
    noise: &[f32],
) -> Result<Fidelity, Error> {
    let want = outputs(exact, text, latents, noise)?;
    let got = outputs(model, text, latents, noise)?;
    let mean = want.eos_logits.iter().sum::<f32>() / want.eos_logits.len().max(1) as f32;
    let centred = |logits: &[f32]| logits.iter().map(|x| x - mean).collect::<Vec<_>>();
    Ok(Fidelity {
        latents_db: ratio_db(&want.shares, &got.shares),
        eos_db: ratio_db(&centred(&want.eos_logits), &centred(&got.eos_logits)),
        audio_db: ratio_db(&want.audio, &got.audio),
    })
}

fn outputs(
    (model, voice): (&TtsModel, &VoiceState),
    text: &str,
    latents: &[f32],
    noise: &[f32],
) -> Result<Outputs, Error> {
    let made = forced_latents(model, voice, text, latents, noise, 1)?;
    let shares = made.latents.iter().zip(noise).map(|(x, noise)| x - noise).collect();
    // What the codec makes of nothing is no share of the signal.
    let silence = model.decode_latents(&vec![0.0; latents.len()], &[])?;
    let mut audio = model.decode_latents(latents, &[])?;
    for (sample, silence) in audio.iter_mut().zip(silence) {
        *sample -= silence;
    }
    Ok(Outputs { shares, eos_logits: made.eos_logits, audio })
}

/// What `model` makes of each frame if those before it were `latents` (`[frames, latent_dim]`, of which the last
/// is not looked at), after `text`; the flow head starts from `noise` of the same shape and takes `decode_steps`.
///
/// # Errors
/// When the text or the voice does not fit, or the latents and the noise differ in length.
pub fn forced_latents(
    model: &TtsModel,
    voice: &VoiceState,
    text: &str,
    latents: &[f32],
    noise: &[f32],
    decode_steps: usize,
) -> Result<ForcedLatents, Error> {
    let parts = model.parts();
    let latent_dim = model.latent_dim();
    if latents.len() != noise.len() || !latents.len().is_multiple_of(latent_dim) {
        let reason = format!("has {} values, expected as many as the latents: {}", noise.len(), latents.len());
        return Err(Error::Argument { name: "noise", reason });
    }
    voice.check(parts.lm.transformer().config(), model.fingerprint())?;
    if decode_steps == 0 {
        return Err(Error::Argument { name: "sampler_decode_steps", reason: "is 0; give at least 1".to_owned() });
    }
    let arena = Arena::new();
    let ctx = parts.context(&arena);
    let mut state = voice.begin(parts.lm.transformer().kv_dtype());
    parts.lm.prompt_text(ctx, &model.tokenize(text)?, &mut state);
    let schedule = parts.lm.head().schedule(ctx, decode_steps);
    let mut output = StepOutput::default();
    let mut made = ForcedLatents::default();
    let inputs = std::iter::once(parts.lm.bos_latent()).chain(latents.chunks_exact(latent_dim));
    for (latent, noise) in inputs.zip(noise.chunks_exact(latent_dim)) {
        state.reserve(1);
        parts.lm.step(ctx, latent, &mut [Rows::new(1, &mut state)], &mut output);
        let mut sampled = noise.to_vec();
        parts.lm.head().sample(ctx, &schedule, &output.conditions, &mut sampled);
        made.latents.extend(sampled);
        made.eos_logits.extend(&output.eos_logits);
    }
    Ok(made)
}

/// `10 log10(‖want‖² / ‖got − want‖²)`.
fn ratio_db(want: &[f32], got: &[f32]) -> f64 {
    let power = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
    let signal = power(&mut want.iter().map(|&x| f64::from(x)));
    let error = power(&mut want.iter().zip(got).map(|(&want, &got)| f64::from(got) - f64::from(want)));
    10.0 * (signal / error).log10()
}

#[cfg(test)]
mod tests {
    use super::ratio_db;

    #[test]
    fn ratios_are_in_decibels() {
        assert!((ratio_db(&[1.0, -1.0], &[1.1, -1.1]) - 20.0).abs() < 1e-4);
        assert!(ratio_db(&[1.0], &[1.0]).is_infinite());
    }
}
