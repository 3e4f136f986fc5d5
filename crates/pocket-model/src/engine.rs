//! The engine: one loop for the language model and one for the codec, each with any number of streams.
//!
//! A stream is a slot on a board that both loops, and the callers, look at under one lock; all
//! computing happens outside it. Each turn the language model's loop takes every stream that may go
//! on and steps them together, then the codec's loop decodes whatever latents are queued, without
//! waiting for more. The queues are bounded: a stream that is not read stops, and costs no memory.
//!
//! The threads start at the first stream and end with the engine. After a `fork` the child starts its
//! own; streams of the parent are of no use to it.

mod codec_loop;
mod lm_loop;
mod pin;
pub mod stats;
mod stream;

pub use stream::{Next, Stream};

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use pocket_kernels::Level;
use pocket_kernels::parallel::Pool;
use pocket_nn::{Arena, Context};

use crate::error::Error;
use crate::flow_lm::FlowLm;
use crate::generation::{Frame, Generation, Request};
use crate::mimi::MimiDecoder;
use crate::voice::VoiceState;
use stats::{Snapshot, Stats, StreamClock};

/// Latents between the loops: enough that neither waits for a turn of the other.
const MAX_QUEUED_FRAMES: usize = 8;
/// Frames of decoded audio before the codec waits for the caller (2.6 s at 12.5 Hz).
const MAX_QUEUED_AUDIO_FRAMES: usize = 32;

/// Streams that are stepped together without allocating.
const FEW_STREAMS: usize = 8;
/// Buffers of decoded audio that a stream uses at most: those that wait, the codec's and the caller's.
const BUFFERS_PER_STREAM: usize = MAX_QUEUED_AUDIO_FRAMES + 2;

/// What both loops compute with: immutable, shared.
#[derive(Debug)]
pub struct Parts {
    /// Instruction set, detected once.
    pub level: Level,
    /// Who may compute: both loops and the callers take turns of it.
    pub pool: Pool,
    /// The language model.
    pub lm: FlowLm,
    /// The codec's decoder.
    pub decoder: MimiDecoder,
    /// Samples that a chunk fades in over.
    pub fade_in_samples: usize,
}

impl Parts {
    /// The context of a computation; whoever uses it holds a turn of the pool.
    #[must_use]
    pub fn context<'a>(&'a self, arena: &'a Arena) -> Context<'a> {
        Context { level: self.level, pool: &self.pool, arena }
    }
}

/// What a stream yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Latents, as they are sampled.
    Latents,
    /// Audio, at most so many frames decoded at once; 0 for no limit of the caller's.
    Audio {
        /// Most frames that are decoded in one call.
        max_frames_per_call: usize,
    },
}

/// The language model's side of a slot.
enum LmSide {
    /// Waits for its turn.
    Ready(Box<Generation>),
    /// The loop has it.
    Taken,
    Finished,
}

/// The codec's side of a slot.
enum CodecSide {
    Ready(Box<codec_loop::Decoding>),
    Taken,
    /// The caller takes latents, or everything is decoded.
    Finished,
}

/// One stream on the board.
struct Slot {
    lm: LmSide,
    codec: CodecSide,
    output: Output,
    frames: VecDeque<Frame>,
    audio: VecDeque<Vec<f32>>,
    audio_frames: usize,
    n_frames_generated: usize,
    n_chunks_cut: usize,
    /// Whether any audio was decoded.
    has_audio: bool,
    final_state: Option<VoiceState>,
    /// Reported once everything before it is delivered.
    error: Option<Error>,
    is_cancelled: bool,
    clock: StreamClock,
}

impl Slot {
    /// Nothing more will come.
    fn is_over(&self) -> bool {
        let queues_are_empty = self.frames.is_empty() && self.audio.is_empty();
        queues_are_empty && matches!(self.lm, LmSide::Finished) && matches!(self.codec, CodecSide::Finished)
    }

    /// Whether the language model should go on with this stream now.
    ///
    /// A listener waits for the first frame, so the codec has all threads for it. With one thread the codec always
    /// goes first: a latent is decoded before the next one is made.
    fn wants_latents(&self, n_threads: usize) -> bool {
        let waits_for_codec = match self.output {
            Output::Latents => false,
            Output::Audio { .. } if n_threads == 1 => !self.frames.is_empty() || matches!(self.codec, CodecSide::Taken),
            Output::Audio { .. } => self.n_frames_generated > 0 && !self.has_audio,
        };
        let is_ready = matches!(self.lm, LmSide::Ready(_)) && !self.is_cancelled;
        is_ready && !waits_for_codec && self.frames.len() < MAX_QUEUED_FRAMES
    }

    /// How the stream ends if it ends now.
    fn end(&self) -> stats::End {
        match &self.error {
            Some(_) => stats::End::Failed,
            None if self.is_over() && !self.is_cancelled => stats::End::Complete,
            None => stats::End::Cancelled,
        }
    }

    /// Gives up what the loops hold; a loop that has a side now sees the flag afterwards.
    fn cancel(&mut self) {
        self.is_cancelled = true;
        if matches!(self.lm, LmSide::Ready(_)) {
            self.lm = LmSide::Finished;
        }
        if matches!(self.codec, CodecSide::Ready(_)) {
            self.codec = CodecSide::Finished;
        }
        self.frames.clear();
        self.audio.clear();
        self.final_state = None;
    }

    /// Ends the work of both loops; what is decoded is still delivered, then the error.
    fn fail(&mut self, error: Error) {
        let audio = std::mem::take(&mut self.audio);
        self.cancel();
        self.audio = audio;
        self.error.get_or_insert(error);
    }
}

#[derive(Default)]
struct Board {
    slots: BTreeMap<u64, Slot>,
    next_id: u64,
    is_closing: bool,
    /// Empty buffers that held audio.
    spare_samples: Vec<Vec<f32>>,
}

/// What the loops and the callers share.
struct Shared {
    parts: Arc<Parts>,
    board: Mutex<Board>,
    lm_wake: Condvar,
    codec_wake: Condvar,
    caller_wake: Condvar,
    stats: Stats,
}

impl Board {
    /// Makes as many spare buffers as all streams may use, of `capacity` samples.
    fn fill_spare_samples(&mut self, capacity: usize) {
        let n = BUFFERS_PER_STREAM * self.slots.len();
        self.spare_samples.reserve(n.saturating_sub(self.spare_samples.len()));
        while self.spare_samples.len() < n {
            self.spare_samples.push(Vec::with_capacity(capacity));
        }
    }

    /// Takes a buffer back; those that no stream needs any more are freed.
    fn recycle(&mut self, mut samples: Vec<f32>) {
        samples.clear();
        if self.spare_samples.len() < BUFFERS_PER_STREAM * self.slots.len().max(1) {
            self.spare_samples.push(samples);
        }
    }
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everybody looks at the board again.
    fn wake_all(&self) {
        self.lm_wake.notify_all();
        self.codec_wake.notify_all();
        self.caller_wake.notify_all();
    }
}

fn wait<'a>(condvar: &Condvar, board: MutexGuard<'a, Board>) -> MutexGuard<'a, Board> {
    condvar.wait(board).unwrap_or_else(PoisonError::into_inner)
}

/// Runs `compute`; a panic, which is a bug of ours, becomes an error instead of a hang.
fn guarded<R>(compute: impl FnOnce() -> R) -> Result<R, String> {
    // What `compute` changes belongs to streams that the caller gives up on an error.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(compute)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
    })
}

struct Running {
    pid: u32,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// The engine of one model.
pub struct Engine {
    parts: Arc<Parts>,
    running: Mutex<Option<Running>>,
}

impl Engine {
    /// An engine whose threads have not started.
    #[must_use]
    pub fn new(parts: Arc<Parts>) -> Self {
        Self { parts, running: Mutex::new(None) }
    }

    /// What the engine computes with.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The loops of this process, started if need be.
    fn shared(&self) -> Result<Arc<Shared>, Error> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = std::process::id();
        if let Some(running) = running.as_ref().filter(|running| running.pid == pid) {
            return Ok(Arc::clone(&running.shared));
        }
        let shared = Arc::new(Shared {
            parts: Arc::clone(&self.parts),
            board: Mutex::default(),
            lm_wake: Condvar::new(),
            codec_wake: Condvar::new(),
            caller_wake: Condvar::new(),
            stats: Stats::default(),
        });
        let mut threads = Vec::new();
        let loops = [("pocket-lm", lm_loop::run as fn(&Shared)), ("pocket-codec", codec_loop::run)];
        for (index, (name, run)) in loops.into_iter().enumerate() {
            let own = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
                pin::pin_loop(index, &own.parts);
                run(&own);
            });
            threads.push(thread.map_err(|source| {
                shared.board().is_closing = true;
                shared.wake_all();
                Error::Thread { source }
            })?);
        }
        // The parent's threads do not exist in a forked child: joining them there would not return.
        std::mem::forget(running.replace(Running { pid, shared: Arc::clone(&shared), threads }));
        Ok(shared)
    }

    /// What this process's loops have done so far; nothing before the first stream.
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let own = running.as_ref().filter(|running| running.pid == std::process::id());
        own.map(|running| running.shared.stats.snapshot()).unwrap_or_default()
    }

    /// Runs `work` without counting it, nor what else the loops do meanwhile.
    ///
    /// # Errors
    /// When the operating system gives no threads.
    pub(crate) fn uncounted<R>(&self, work: impl FnOnce() -> R) -> Result<R, Error> {
        let shared = self.shared()?;
        let _pause = shared.stats.pause();
        Ok(work())
    }

    /// Starts a stream; `n_steps` of the flow head's sampler are part of the request.
    ///
    /// # Errors
    /// When the operating system gives no threads.
    pub fn start(&self, request: Request, output: Output) -> Result<Stream, Error> {
        let shared = self.shared()?;
        let arena = Arena::new();
        let n_steps = request.sampling.decode_steps;
        let schedule = self.parts.lm.head().schedule(self.parts.context(&arena), n_steps);
        let generation = Box::new(Generation::new(request, schedule, self.parts.lm.transformer().kv_dtype()));
        let codec = match output {
            Output::Latents => CodecSide::Finished,
            Output::Audio { .. } => CodecSide::Ready(Box::new(codec_loop::Decoding::new(&self.parts))),
        };
        let mut board = shared.board();
        let id = board.next_id;
        board.next_id += 1;
        board.slots.insert(
            id,
            Slot {
                lm: LmSide::Ready(generation),
                codec,
                output,
                frames: VecDeque::with_capacity(MAX_QUEUED_FRAMES),
                audio: VecDeque::with_capacity(MAX_QUEUED_AUDIO_FRAMES),
                audio_frames: 0,
                n_frames_generated: 0,
                n_chunks_cut: 0,
                has_audio: false,
                final_state: None,
                error: None,
                is_cancelled: false,
                clock: shared.stats.begin_stream(),
            },
        );
        if let Output::Audio { max_frames_per_call } = output {
            let most = if max_frames_per_call == 0 { MAX_QUEUED_FRAMES } else { max_frames_per_call };
            board.fill_spare_samples(most.min(MAX_QUEUED_FRAMES) * self.parts.decoder.samples_per_frame());
        }
        drop(board);
        shared.wake_all();
        Ok(Stream { shared, id, pid: std::process::id(), overlong_chunks: Vec::new() })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else { return };
        if running.pid != std::process::id() {
            std::mem::forget(running);
            return;
        }
        running.shared.board().is_closing = true;
        running.shared.wake_all();
        for thread in running.threads {
            // A loop catches its panics; there is nothing to learn from the result.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}
