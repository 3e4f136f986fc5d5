//! The caller's end of a stream: reading, cancelling, and what it tells of itself.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::stats::End;
use super::{Output, Shared, Slot, wait};
use crate::error::Error;
use crate::generation::Frame;
use crate::voice::VoiceState;

/// What a stream has for its caller.
#[derive(Debug)]
pub enum Next {
    /// A frame's latent, of a stream of latents.
    Frame(Frame),
    /// Samples, of a stream of audio.
    Audio(Vec<f32>),
    /// Nothing within the time given.
    Pending,
    /// The end.
    End,
}

/// One utterance being generated; dropping it ends the work within a frame.
pub struct Stream {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u64,
    pub(super) pid: u32,
    pub(crate) overlong_chunks: Vec<(usize, usize)>,
}

impl Stream {
    /// The next part, in order; waits for at most `timeout`, or as long as it takes.
    ///
    /// # Errors
    /// What went wrong in either loop, once, after the frames before it; the stream is over then.
    pub fn next(&self, timeout: Option<Duration>) -> Result<Next, Error> {
        if !self.is_of_this_process() {
            return Err(Error::OtherProcess);
        }
        // Other streams' callers are woken together with this one, so the end is fixed here.
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut board = self.shared.board();
        loop {
            let is_closing = board.is_closing;
            let Some(slot) = board.slots.get_mut(&self.id) else { return Ok(Next::End) };
            let next = match slot.output {
                Output::Latents => slot.frames.pop_front().map(Next::Frame),
                Output::Audio { .. } => slot.audio.pop_front().map(|samples| {
                    slot.audio_frames -= samples.len() / self.shared.parts.decoder.samples_per_frame();
                    Next::Audio(samples)
                }),
            };
            if let Some(next) = next {
                drop(board);
                // There is room in a queue again.
                self.shared.lm_wake.notify_all();
                self.shared.codec_wake.notify_all();
                return Ok(next);
            }
            if slot.is_over() || slot.is_cancelled {
                let end = slot.end();
                slot.clock.end(&self.shared.stats, end);
                return slot.error.take().map_or(Ok(Next::End), Err);
            }
            if is_closing {
                return Err(Error::EngineGone);
            }
            board = match deadline {
                None => wait(&self.shared.caller_wake, board),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(Next::Pending);
                    }
                    let waited = self.shared.caller_wake.wait_timeout(board, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Gives a buffer of [`Next::Audio`] back, for the frames to come: then streams do not allocate.
    pub fn recycle(&self, samples: Vec<f32>) {
        if self.is_of_this_process() {
            self.shared.board().recycle(samples);
        }
    }

    /// Ends the work: at most the frame that is being computed is still finished.
    pub fn cancel(&self) {
        self.slot(|slot| {
            slot.cancel();
            slot.error = None;
            slot.clock.end(&self.shared.stats, End::Cancelled);
        });
        if self.is_of_this_process() {
            self.shared.wake_all();
        }
    }

    fn is_of_this_process(&self) -> bool {
        self.pid == std::process::id()
    }

    /// What `look` sees of the slot; `None` in a forked child, where the board may be locked by a
    /// thread that does not exist.
    fn slot<R>(&self, look: impl FnOnce(&mut Slot) -> R) -> Option<R> {
        if self.is_of_this_process() { self.shared.board().slots.get_mut(&self.id).map(look) } else { None }
    }

    /// Frames that the language model has generated so far, those that a cancellation dropped included.
    #[must_use]
    pub fn n_frames_generated(&self) -> usize {
        self.slot(|slot| slot.n_frames_generated).unwrap_or(0)
    }

    /// Chunks that reached their longest length without an end of speech.
    #[must_use]
    pub fn n_chunks_cut(&self) -> usize {
        self.slot(|slot| slot.n_chunks_cut).unwrap_or(0)
    }

    /// Chunks with more tokens than were asked for, as index and number of tokens: the model may skip
    /// words of these.
    #[must_use]
    pub fn overlong_chunks(&self) -> &[(usize, usize)] {
        &self.overlong_chunks
    }

    /// The state after the last chunk, once the language model has finished a request that
    /// continues; `None` before that, and for other requests.
    #[must_use]
    pub fn final_state(&self) -> Option<VoiceState> {
        self.slot(|slot| slot.final_state.clone()).flatten()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.is_of_this_process() {
            if let Some(mut slot) = self.shared.board().slots.remove(&self.id) {
                let end = slot.end();
                slot.clock.end(&self.shared.stats, end);
            }
            self.shared.wake_all();
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("id", &self.id).finish_non_exhaustive()
    }
}
