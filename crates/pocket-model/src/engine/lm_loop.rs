//! The language model's loop: text passes one at a time, frames of all ready streams together.

use std::mem;
use std::sync::MutexGuard;

use pocket_nn::{Arena, Rows};
use smallvec::SmallVec;

use super::stats::Stage;
use super::{Board, FEW_STREAMS, LmSide, Shared, guarded, wait};
use crate::error::Error;
use crate::flow_lm::StepOutput;
use crate::generation::{Fault, Generation, Outcome};
use crate::voice::VoiceState;

/// A stream whose turn it is.
struct Turn {
    id: u64,
    generation: Box<Generation>,
    result: Option<Result<Outcome, Fault>>,
}

/// Buffers of a step, kept from turn to turn.
#[derive(Default)]
struct Buffers {
    latents: Vec<f32>,
    samples: Vec<f32>,
    output: StepOutput,
}

pub(super) fn run(shared: &Shared) {
    let arena = Arena::new();
    let mut buffers = Buffers::default();
    let mut turns = Vec::new();
    while let Some(board) = next_turns(shared, &mut turns) {
        drop(board);
        let computed = guarded(|| {
            let _turn = shared.parts.pool.turn();
            let _busy = shared.stats.turn();
            step(shared, &arena, &mut buffers, &mut turns);
        });
        let mut board = shared.board();
        match computed {
            Ok(()) => {
                for turn in turns.drain(..) {
                    finish_turn(&mut board, turn);
                }
            }
            Err(message) => {
                for turn in turns.drain(..) {
                    if let Some(slot) = board.slots.get_mut(&turn.id) {
                        slot.lm = LmSide::Finished;
                        slot.fail(Error::Internal { message: message.clone() });
                    }
                }
            }
        }
        drop(board);
        shared.codec_wake.notify_all();
        shared.caller_wake.notify_all();
    }
}

/// Waits until streams may go on and takes them from the board; `None` when the engine ends.
fn next_turns<'a>(shared: &'a Shared, turns: &mut Vec<Turn>) -> Option<MutexGuard<'a, Board>> {
    let mut board = shared.board();
    loop {
        if board.is_closing {
            return None;
        }
        for (&id, slot) in &mut board.slots {
            if !slot.wants_latents(shared.parts.pool.n_threads()) {
                continue;
            }
            if let LmSide::Ready(generation) = mem::replace(&mut slot.lm, LmSide::Taken) {
                turns.push(Turn { id, generation, result: None });
            }
        }
        if !turns.is_empty() {
            return Some(board);
        }
        board = wait(&shared.lm_wake, board);
    }
}

/// One text pass if any stream waits for one, then one frame of every stream that had its.
fn step(shared: &Shared, arena: &Arena, buffers: &mut Buffers, turns: &mut [Turn]) {
    let parts = &*shared.parts;
    if let Some(turn) = turns.iter_mut().find(|turn| turn.generation.pending_chunk().is_some()) {
        let generation = &mut turn.generation;
        let tokens = generation.pending_chunk().map(|chunk| chunk.tokens.clone()).unwrap_or_default();
        let state = generation.begin_chunk();
        // A pass over much text needs large buffers once: not the loop's.
        shared.stats.stage(Stage::TextPass, || {
            parts.lm.prompt_text(parts.context(&Arena::new()), &tokens, state);
        });
        generation.latent = parts.lm.bos_latent().to_vec();
    }
    // Streams may differ in the number of sampler steps; those with the same one go together.
    let mut ready: SmallVec<[&mut Turn; FEW_STREAMS]> =
        turns.iter_mut().filter(|turn| !turn.generation.is_finished() && !turn.generation.latent.is_empty()).collect();
    ready.sort_by_key(|turn| turn.generation.schedule.n_steps());
    for group in ready.chunk_by_mut(|a, b| a.generation.schedule.n_steps() == b.generation.schedule.n_steps()) {
        step_together(shared, arena, buffers, group);
    }
}

fn step_together(shared: &Shared, arena: &Arena, buffers: &mut Buffers, turns: &mut [&mut Turn]) {
    let parts = &*shared.parts;
    let ctx = parts.context(arena);
    let latent_dim = parts.lm.latent_dim();
    buffers.latents.clear();
    buffers.samples.resize(turns.len() * latent_dim, 0.0);
    for turn in &*turns {
        buffers.latents.extend_from_slice(&turn.generation.latent);
    }
    let mut streams: SmallVec<[_; FEW_STREAMS]> =
        turns.iter_mut().map(|turn| Rows::new(1, &mut turn.generation.state)).collect();
    shared.stats.stage(Stage::LanguageModel, || {
        parts.lm.step(ctx, &buffers.latents, &mut streams, &mut buffers.output);
    });
    drop(streams);
    for (turn, noise) in turns.iter_mut().zip(buffers.samples.chunks_exact_mut(latent_dim)) {
        if let Err(fault) = turn.generation.noise_into(noise) {
            noise.fill(0.0);
            turn.result = Some(Err(fault));
        }
    }
    let schedule = &turns[0].generation.schedule;
    shared.stats.stage(Stage::FlowHead, || {
        parts.lm.head().sample(ctx, schedule, &buffers.output.conditions, &mut buffers.samples);
    });
    let results = buffers.samples.chunks_exact(latent_dim).zip(&buffers.output.eos_logits);
    for (turn, (latent, &eos_logit)) in turns.iter_mut().zip(results) {
        if turn.result.is_none() {
            turn.result = Some(turn.generation.advance(latent, eos_logit));
        }
    }
}

/// Puts a stream back on the board, with what its turn led to.
fn finish_turn(board: &mut Board, turn: Turn) {
    let Some(slot) = board.slots.get_mut(&turn.id) else { return };
    if let Some(Ok(outcome)) = &turn.result {
        slot.n_frames_generated += usize::from(outcome.frame.is_some());
        slot.n_chunks_cut += usize::from(outcome.is_cut);
    }
    if slot.is_cancelled {
        slot.lm = LmSide::Finished;
        return;
    }
    // The codec still decodes the frames before an error.
    let mut error = None;
    match turn.result {
        Some(Ok(outcome)) => {
            slot.frames.extend(outcome.frame);
            if outcome.is_cut && turn.generation.request.requires_eos {
                error = Some(Error::NoEndOfSpeech { n_frames: slot.n_frames_generated });
            }
        }
        Some(Err(Fault::OutOfNoise { rows })) => error = Some(Error::OutOfNoise { rows }),
        Some(Err(Fault::NonFinite { chunk, frame })) => error = Some(Error::NonFiniteLatent { chunk, frame }),
        None => {}
    }
    if let Some(error) = error {
        slot.lm = LmSide::Finished;
        slot.error = Some(error);
    } else if turn.generation.is_finished() {
        if turn.generation.request.continues {
            let model = turn.generation.request.voice.model();
            slot.final_state = Some(VoiceState::freeze(&turn.generation.state).with_model(model));
        }
        slot.lm = LmSide::Finished;
    } else {
        slot.lm = LmSide::Ready(turn.generation);
    }
}
