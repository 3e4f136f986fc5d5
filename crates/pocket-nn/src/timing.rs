//! Time per operator: what a model spends its time on, when `POCKET_TIMING=1` asks for it.
//!
//! A *phase* is what a thread works on (a text pass, a step, the codec); an *operator* is a part of it. Layers
//! name their operators and do not know the phase, so the same transformer counts where it is used. Switched
//! off, which is the default, a scope costs one relaxed load. The table is a static of fixed size; threads add to
//! it without locks. Times are those of the thread that calls: of a product on several threads, the wall time.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// 1 switches the times on.
pub const VARIABLE: &str = "POCKET_TIMING";

/// What a thread works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Encoding of a recording.
    Encoder,
    /// The language model's pass over a voice.
    VoicePass,
    /// The language model's pass over a chunk of text.
    TextPass,
    /// The language model's step.
    LanguageModel,
    /// The flow head's sampling of a latent.
    FlowHead,
    /// The codec's decoder.
    Codec,
    /// Whatever has no phase of its own.
    Other,
}

const PHASES: [(Phase, &str); 7] = [
    (Phase::Encoder, "voice encoder"),
    (Phase::VoicePass, "voice pass"),
    (Phase::TextPass, "text pass"),
    (Phase::LanguageModel, "language model"),
    (Phase::FlowHead, "flow head"),
    (Phase::Codec, "codec"),
    (Phase::Other, "other"),
];

/// A part of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op(u8);

const NAMES: [&str; 9] = [
    "all",
    "norms",
    "attention projections",
    "attention",
    "feed-forward",
    "input and output",
    "modulation",
    "upsampling",
    "samples",
];
/// Numbered stages of a stack of convolutions, by kind; stages past the last share its row.
const STAGE_KINDS: [&str; 3] = ["convolution", "transposed convolution", "residual block"];
const N_STAGES: usize = 24;
const N_OPS: usize = NAMES.len() + STAGE_KINDS.len() * N_STAGES;

impl Op {
    /// The whole phase; [`phase`] counts it.
    const ALL: Self = Self(0);
    /// Layer norms.
    pub const NORMS: Self = Self(1);
    /// The linears before and after attention.
    pub const PROJECTIONS: Self = Self(2);
    /// Rotation, the cache and attention itself.
    pub const ATTENTION: Self = Self(3);
    /// Feed-forward blocks: both linears and the activation.
    pub const FEED_FORWARD: Self = Self(4);
    /// Linears at a network's input and output.
    pub const EDGES: Self = Self(5);
    /// The flow head's modulation.
    pub const MODULATION: Self = Self(6);
    /// The depthwise convolution between the rates of latents and codec.
    pub const UPSAMPLING: Self = Self(7);
    /// Fade-in and hand-over of samples.
    pub const SAMPLES: Self = Self(8);

    /// Stage `i`, a convolution.
    #[must_use]
    pub fn convolution(i: usize) -> Self {
        Self::stage(0, i)
    }

    /// Stage `i`, a transposed convolution.
    #[must_use]
    pub fn transposed(i: usize) -> Self {
        Self::stage(1, i)
    }

    /// Stage `i`, a residual block.
    #[must_use]
    pub fn residual(i: usize) -> Self {
        Self::stage(2, i)
    }

    fn stage(kind: usize, i: usize) -> Self {
        // In the order of the stages.
        Self((NAMES.len() + i.min(N_STAGES - 1) * STAGE_KINDS.len() + kind) as u8)
    }

    fn name(self) -> String {
        let index = usize::from(self.0);
        NAMES.get(index).map_or_else(
            || {
                let (i, kind) = ((index - NAMES.len()) / STAGE_KINDS.len(), (index - NAMES.len()) % STAGE_KINDS.len());
                format!("stage {i}: {}", STAGE_KINDS[kind])
            },
            |name| (*name).to_owned(),
        )
    }
}

/// Calls and nanoseconds of one operator in one phase.
struct Count {
    n_calls: AtomicU64,
    total_ns: AtomicU64,
}

static IS_ON: AtomicBool = AtomicBool::new(false);
static COUNTS: [[Count; N_OPS]; PHASES.len()] =
    [const { [const { Count { n_calls: AtomicU64::new(0), total_ns: AtomicU64::new(0) } }; N_OPS] }; PHASES.len()];

thread_local! {
    static PHASE: Cell<Phase> = const { Cell::new(Phase::Other) };
}

/// Switches the times on if the environment says so; they stay on.
pub fn enable_from_env() {
    if std::env::var_os(VARIABLE).is_some_and(|value| value == "1") {
        IS_ON.store(true, Ordering::Relaxed);
    }
}

/// Whether times are taken.
#[inline]
#[must_use]
pub fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

fn add(phase: Phase, op: Op, start: Instant) {
    let count = &COUNTS[phase as usize][usize::from(op.0)];
    count.n_calls.fetch_add(1, Ordering::Relaxed);
    count.total_ns.fetch_add(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Runs `compute` as operator `op` of the thread's phase.
#[inline]
pub fn timed<R>(op: Op, compute: impl FnOnce() -> R) -> R {
    if !is_on() {
        return compute();
    }
    let start = Instant::now();
    let result = compute();
    add(PHASE.get(), op, start);
    result
}

/// Counts the time until it is dropped as a phase's.
#[derive(Debug)]
#[must_use = "a phase lasts until its scope is dropped"]
pub struct PhaseScope {
    /// The phase, the one before it and the start; `None` while times are off.
    running: Option<(Phase, Phase, Instant)>,
}

/// Begins a phase of this thread.
#[inline]
pub fn phase(phase: Phase) -> PhaseScope {
    PhaseScope { running: is_on().then(|| (phase, PHASE.replace(phase), Instant::now())) }
}

impl Drop for PhaseScope {
    fn drop(&mut self) {
        if let Some((phase, before, start)) = self.running {
            PHASE.set(before);
            add(phase, Op::ALL, start);
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The phase.
    pub phase: &'static str,
    /// The operator; `all` is the whole phase, its other parts included.
    pub operator: String,
    /// How often it ran.
    pub n_calls: u64,
    /// Time of all calls.
    pub total: Duration,
}

/// The times so far, phase by phase, each one's `all` first; what never ran is left out.
#[must_use]
pub fn table() -> Vec<Row> {
    let mut rows = Vec::new();
    for (phase, name) in PHASES {
        for (index, count) in COUNTS[phase as usize].iter().enumerate() {
            let n_calls = count.n_calls.load(Ordering::Relaxed);
            if n_calls > 0 {
                let total = Duration::from_nanos(count.total_ns.load(Ordering::Relaxed));
                rows.push(Row { phase: name, operator: Op(index as u8).name(), n_calls, total });
            }
        }
    }
    rows
}

/// Forgets the times so far.
pub fn reset() {
    for count in COUNTS.iter().flatten() {
        count.n_calls.store(0, Ordering::Relaxed);
        count.total_ns.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_count_their_operators() {
        assert_eq!(timed(Op::NORMS, || 1), 1);
        assert!(table().is_empty(), "switched off, nothing is counted");
        IS_ON.store(true, Ordering::Relaxed);
        {
            let _codec = phase(Phase::Codec);
            timed(Op::NORMS, || ());
            timed(Op::residual(3), || ());
            timed(Op::residual(3), || ());
            let _head = phase(Phase::FlowHead);
            timed(Op::MODULATION, || ());
        }
        timed(Op::SAMPLES, || ());
        let rows = table();
        let counts: Vec<_> = rows.iter().map(|row| (row.phase, row.operator.as_str(), row.n_calls)).collect();
        assert_eq!(
            counts,
            [
                ("flow head", "all", 1),
                ("flow head", "modulation", 1),
                ("codec", "all", 1),
                ("codec", "norms", 1),
                ("codec", "stage 3: residual block", 2),
                ("other", "samples", 1),
            ]
        );
        reset();
        assert!(table().is_empty());
        IS_ON.store(false, Ordering::Relaxed);
    }

    #[test]
    fn every_operator_has_a_name_and_a_place() {
        for kind in [Op::convolution, Op::transposed, Op::residual] {
            assert!(usize::from(kind(usize::MAX).0) < N_OPS);
        }
        assert_eq!(Op::transposed(1).name(), "stage 1: transposed convolution");
        assert_eq!(Op::SAMPLES.name(), "samples");
        assert!(PHASES.iter().enumerate().all(|(i, (phase, _))| *phase as usize == i));
    }
}
