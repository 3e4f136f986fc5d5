//! The codec's loop: decodes the latents that are queued, all streams together.

use std::mem;
use std::sync::MutexGuard;

use pocket_nn::timing::{Op, timed};
use pocket_nn::{Arena, Rows};
use smallvec::SmallVec;

use super::stats::Stage;
use super::{
    Board, CodecSide, FEW_STREAMS, LmSide, MAX_QUEUED_AUDIO_FRAMES, MAX_QUEUED_FRAMES, Output, Parts, Shared, guarded,
    wait,
};
use crate::error::Error;
use crate::generation::Frame;
use crate::mimi::MimiDecoderState;

/// The codec's side of one stream.
pub(super) struct Decoding {
    state: MimiDecoderState,
    chunk: usize,
    /// Samples of the chunk decoded so far, while it fades in.
    n_faded: usize,
}

impl Decoding {
    pub(super) fn new(parts: &Parts) -> Self {
        Self { state: parts.decoder.new_state(), chunk: 0, n_faded: 0 }
    }
}

/// A stream whose turn it is, with frames of one chunk.
struct Turn {
    id: u64,
    decoding: Box<Decoding>,
    frames: SmallVec<[Frame; MAX_QUEUED_FRAMES]>,
    samples: Vec<f32>,
}

pub(super) fn run(shared: &Shared) {
    let arena = Arena::new();
    let mut turns = Vec::new();
    while let Some(board) = next_turns(shared, &mut turns) {
        drop(board);
        let computed = guarded(|| {
            let _turn = shared.parts.pool.turn();
            let _busy = shared.stats.turn();
            decode(shared, &arena, &mut turns);
        });
        let mut board = shared.board();
        for turn in turns.drain(..) {
            let Some(slot) = board.slots.get_mut(&turn.id) else { continue };
            slot.codec = CodecSide::Finished;
            match &computed {
                _ if slot.is_cancelled => {}
                Err(message) => slot.fail(Error::Internal { message: message.clone() }),
                Ok(()) if !turn.samples.iter().all(|sample| sample.is_finite()) => {
                    slot.fail(Error::NonFiniteOutput { chunk: turn.decoding.chunk });
                }
                Ok(()) => {
                    slot.has_audio = true;
                    slot.audio_frames += turn.frames.len();
                    slot.clock.audio(&shared.stats, turn.frames.len());
                    slot.audio.push_back(turn.samples);
                    slot.codec = CodecSide::Ready(turn.decoding);
                }
            }
        }
        drop(board);
        shared.caller_wake.notify_all();
        // A queue has room again.
        shared.lm_wake.notify_all();
    }
}

/// Waits until there is something to decode and takes it from the board; `None` when the engine ends.
fn next_turns<'a>(shared: &'a Shared, turns: &mut Vec<Turn>) -> Option<MutexGuard<'a, Board>> {
    let mut board = shared.board();
    loop {
        if board.is_closing {
            return None;
        }
        let mut is_any_over = false;
        let Board { slots, spare_samples, .. } = &mut *board;
        for (&id, slot) in slots {
            let Output::Audio { max_frames_per_call } = slot.output else { continue };
            if slot.is_cancelled || !matches!(slot.codec, CodecSide::Ready(_)) {
                continue;
            }
            let Some(first) = slot.frames.front() else {
                if matches!(slot.lm, LmSide::Finished) {
                    slot.codec = CodecSide::Finished;
                    is_any_over = true;
                }
                continue;
            };
            if slot.audio_frames >= MAX_QUEUED_AUDIO_FRAMES {
                slot.clock.waits_for_caller();
                continue;
            }
            // A chunk starts the codec afresh, so a call stays within one.
            let most = if max_frames_per_call == 0 { usize::MAX } else { max_frames_per_call };
            let chunk = first.chunk;
            let n = slot.frames.iter().take(most).take_while(|frame| frame.chunk == chunk).count();
            let frames = slot.frames.drain(..n).collect();
            if let CodecSide::Ready(decoding) = mem::replace(&mut slot.codec, CodecSide::Taken) {
                turns.push(Turn { id, decoding, frames, samples: spare_samples.pop().unwrap_or_default() });
            }
        }
        if is_any_over {
            shared.caller_wake.notify_all();
        }
        if !turns.is_empty() {
            return Some(board);
        }
        board = wait(&shared.codec_wake, board);
    }
}

fn decode(shared: &Shared, arena: &Arena, turns: &mut [Turn]) {
    let parts = &*shared.parts;
    let ctx = parts.context(arena);
    let latent_dim = parts.lm.latent_dim();
    let samples_per_frame = parts.decoder.samples_per_frame();
    let n_frames: usize = turns.iter().map(|turn| turn.frames.len()).sum();
    let mut latents = arena.take(n_frames * latent_dim);
    let mut rows = latents.chunks_exact_mut(latent_dim);
    for turn in &mut *turns {
        let chunk = turn.frames[0].chunk;
        if turn.decoding.chunk != chunk {
            *turn.decoding = Decoding { chunk, ..Decoding::new(parts) };
        }
        for (frame, row) in turn.frames.iter().zip(&mut rows) {
            parts.lm.denormalize_into(&frame.latent, row);
        }
    }
    let mut samples = arena.take(n_frames * samples_per_frame);
    let mut streams: SmallVec<[_; FEW_STREAMS]> =
        turns.iter_mut().map(|turn| Rows::new(turn.frames.len(), &mut turn.decoding.state)).collect();
    shared.stats.stage(Stage::Codec, || parts.decoder.step(ctx, &latents, &mut streams, &mut samples));
    drop(streams);
    let mut rest = &samples[..];
    for turn in turns {
        let (own, others) = rest.split_at(turn.frames.len() * samples_per_frame);
        rest = others;
        timed(Op::SAMPLES, || {
            turn.samples.extend_from_slice(own);
            fade_in(&mut turn.samples, &mut turn.decoding.n_faded, parts.fade_in_samples);
        });
    }
}

/// Multiplies a chunk's first samples by a ramp from 0 to 1, both ends included; `n_faded` counts those
/// that the earlier calls had.
fn fade_in(samples: &mut [f32], n_faded: &mut usize, length: usize) {
    for sample in samples.iter_mut() {
        if *n_faded >= length {
            return;
        }
        *sample *= ramp(*n_faded, length);
        *n_faded += 1;
    }
}

/// Value `i` of `torch.linspace(0, 1, n)`: from the nearer end.
fn ramp(i: usize, n: usize) -> f32 {
    if n < 2 {
        return 0.0;
    }
    let step = 1.0 / (n - 1) as f32;
    if i < n / 2 { i as f32 * step } else { 1.0 - (n - 1 - i) as f32 * step }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ramp_goes_from_zero_to_one() {
        assert_eq!((0..5).map(|i| ramp(i, 5)).collect::<Vec<_>>(), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(ramp(119, 120), 1.0);
        assert_eq!(ramp(0, 1), 0.0);
    }

    #[test]
    fn a_fade_is_the_same_in_pieces() {
        let mut whole = vec![1.0; 10];
        fade_in(&mut whole, &mut 0, 6);
        let mut n_faded = 0;
        let mut pieces = Vec::new();
        for n in [2, 3, 5] {
            let mut piece = vec![1.0; n];
            fade_in(&mut piece, &mut n_faded, 6);
            pieces.extend(piece);
        }
        assert_eq!(pieces, whole);
        assert_eq!(whole[5..], [1.0; 5]);
    }
}
