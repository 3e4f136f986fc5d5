//! What an engine has done and how long it took: counters and histograms of fixed size under one lock.
//!
//! The loops take the lock once a turn, outside of all computing; nothing is allocated. Warm-ups are left out:
//! a stream of theirs is not counted, and neither is what the loops do meanwhile.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Buckets per doubling: neighbours differ by 4.4 %, a percentile is off by half of it.
const PER_OCTAVE: f64 = 16.0;
/// Reaches from 1 µs to 268 s.
const N_BUCKETS: usize = 28 * PER_OCTAVE as usize;

/// A histogram of times on a logarithmic scale.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: [u64; N_BUCKETS],
    n: u64,
}

impl Histogram {
    const EMPTY: Self = Self { counts: [0; N_BUCKETS], n: 0 };

    fn add(&mut self, time: Duration, n: u64) {
        let microseconds = time.as_secs_f64() * 1e6;
        let bucket = (microseconds.max(1.0).log2() * PER_OCTAVE) as usize;
        self.counts[bucket.min(N_BUCKETS - 1)] += n;
        self.n += n;
    }

    /// The time that a share `q` of the times does not exceed, to about 2 %; `None` without any.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let rank = (q * self.n as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        self.counts.iter().enumerate().find_map(|(bucket, count)| {
            below += count;
            (below >= rank).then(|| Duration::from_secs_f64(((bucket as f64 + 0.5) / PER_OCTAVE).exp2() * 1e-6))
        })
    }
}

/// The parts of the loops' work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Passes over chunks of text.
    TextPass,
    /// Steps of the language model.
    LanguageModel,
    /// The flow head.
    FlowHead,
    /// The codec's decoder.
    Codec,
}

const N_STAGES: usize = 4;

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    Cancelled,
    Failed,
}

/// A copy of what was counted.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Streams that began.
    pub n_started: u64,
    /// Streams that came to their end.
    pub n_complete: u64,
    /// Streams that were closed, dropped or stopped before their end.
    pub n_cancelled: u64,
    /// Streams that ended by an error.
    pub n_failed: u64,
    /// Frames of audio that were decoded.
    pub n_audio_frames: u64,
    /// From the start of a stream to its first audio.
    pub first_audio: Histogram,
    /// From one frame of a stream's audio to the next, waits for the caller left out.
    pub frame: Histogram,
    /// Frames whose times `first_audio` and `frame` hold.
    pub n_timed_frames: u64,
    /// Sum over the streams of the times that `first_audio` and `frame` hold.
    pub streaming: Duration,
    /// While at least one of the loops computed.
    pub busy: Duration,
    /// Computing of both loops.
    pub computing: Duration,
    stages: [Duration; N_STAGES],
}

impl Snapshot {
    const EMPTY: Self = Self {
        n_started: 0,
        n_complete: 0,
        n_cancelled: 0,
        n_failed: 0,
        n_audio_frames: 0,
        first_audio: Histogram::EMPTY,
        frame: Histogram::EMPTY,
        n_timed_frames: 0,
        streaming: Duration::ZERO,
        busy: Duration::ZERO,
        computing: Duration::ZERO,
        stages: [Duration::ZERO; N_STAGES],
    };

    /// Computing of one stage.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> Duration {
        self.stages[stage as usize]
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::EMPTY
    }
}

struct Inner {
    counted: Snapshot,
    n_computing: usize,
    busy_since: Option<Instant>,
    n_warm_ups: usize,
}

/// The counters of one engine.
pub(super) struct Stats(Mutex<Inner>);

impl Default for Stats {
    fn default() -> Self {
        Self(Mutex::new(Inner { counted: Snapshot::EMPTY, n_computing: 0, busy_since: None, n_warm_ups: 0 }))
    }
}

impl Stats {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted so far.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.lock().counted.clone()
    }

    /// Leaves out what happens until the result is dropped.
    pub(super) fn pause(&self) -> Pause<'_> {
        self.lock().n_warm_ups += 1;
        Pause(self)
    }

    /// Counts the time until the result is dropped as computing of one of the loops.
    pub(super) fn turn(&self) -> Turn<'_> {
        let start = Instant::now();
        let mut inner = self.lock();
        inner.n_computing += 1;
        inner.busy_since.get_or_insert(start);
        Turn { stats: self, start }
    }

    /// Counts the time of `compute` as a stage's.
    pub(super) fn stage<R>(&self, stage: Stage, compute: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = compute();
        let time = start.elapsed();
        let mut inner = self.lock();
        if inner.n_warm_ups == 0 {
            inner.counted.stages[stage as usize] += time;
        }
        result
    }

    /// The clock of a stream that begins.
    pub(super) fn begin_stream(&self) -> StreamClock {
        let mut inner = self.lock();
        let is_counted = inner.n_warm_ups == 0;
        inner.counted.n_started += u64::from(is_counted);
        StreamClock { is_counted, last: Some(Instant::now()), has_audio: false, is_over: false }
    }
}

/// A turn of one of the loops; ends by a panic too.
pub(super) struct Turn<'a> {
    stats: &'a Stats,
    start: Instant,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let end = Instant::now();
        let mut inner = self.stats.lock();
        inner.n_computing -= 1;
        let busy = if inner.n_computing == 0 { inner.busy_since.take() } else { None };
        if inner.n_warm_ups == 0 {
            inner.counted.computing += end - self.start;
            inner.counted.busy += busy.map_or(Duration::ZERO, |since| end.saturating_duration_since(since));
        }
    }
}

/// While it lives, nothing is counted.
pub(super) struct Pause<'a>(&'a Stats);

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.0.lock().n_warm_ups -= 1;
    }
}

/// What the counters need to know of one stream; part of its slot.
#[derive(Debug)]
pub(super) struct StreamClock {
    is_counted: bool,
    /// The start or the last audio; `None` while the caller is waited for.
    last: Option<Instant>,
    has_audio: bool,
    is_over: bool,
}

impl StreamClock {
    /// `n` frames of audio are ready.
    pub(super) fn audio(&mut self, stats: &Stats, n: usize) {
        let now = Instant::now();
        let elapsed = self.last.replace(now).map(|last| now - last);
        let is_first = !std::mem::replace(&mut self.has_audio, true);
        if !self.is_counted || n == 0 {
            return;
        }
        let mut inner = stats.lock();
        let counted = &mut inner.counted;
        counted.n_audio_frames += n as u64;
        let Some(elapsed) = elapsed else { return };
        counted.streaming += elapsed;
        counted.n_timed_frames += n as u64;
        if is_first {
            counted.first_audio.add(elapsed, 1);
        } else {
            counted.frame.add(elapsed / n as u32, n as u64);
        }
    }

    /// The stream stands still until its caller reads.
    pub(super) fn waits_for_caller(&mut self) {
        self.last = None;
    }

    /// The stream is over; the first call counts.
    pub(super) fn end(&mut self, stats: &Stats, end: End) {
        if std::mem::replace(&mut self.is_over, true) || !self.is_counted {
            return;
        }
        let mut inner = stats.lock();
        match end {
            End::Complete => inner.counted.n_complete += 1,
            End::Cancelled => inner.counted.n_cancelled += 1,
            End::Failed => inner.counted.n_failed += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_two_percent_of_the_times() {
        let mut histogram = Histogram::EMPTY;
        assert_eq!(histogram.quantile(0.5), None);
        for ms in 1..=100 {
            histogram.add(Duration::from_millis(ms), 1);
        }
        for (q, ms) in [(0.0, 1.0), (0.5, 50.0), (0.95, 95.0), (1.0, 100.0)] {
            let got = histogram.quantile(q).expect("there are times").as_secs_f64() * 1e3;
            assert!((got / ms - 1.0).abs() < 0.025, "{q}: {got} ms, expected {ms}");
        }
        histogram.add(Duration::ZERO, 1);
        histogram.add(Duration::MAX, 1);
        assert_eq!(histogram.n, 102);
    }

    #[test]
    fn a_stream_counts_once() {
        let stats = Stats::default();
        let mut clock = stats.begin_stream();
        clock.audio(&stats, 1);
        clock.audio(&stats, 3);
        clock.waits_for_caller();
        clock.audio(&stats, 2);
        clock.end(&stats, End::Complete);
        clock.end(&stats, End::Cancelled);
        let counted = stats.snapshot();
        assert_eq!((counted.n_started, counted.n_complete, counted.n_cancelled, counted.n_failed), (1, 1, 0, 0));
        assert_eq!((counted.n_audio_frames, counted.first_audio.n, counted.frame.n), (6, 1, 3));
    }

    #[test]
    fn busy_time_is_no_longer_than_the_computing() {
        let stats = Stats::default();
        let nap = || std::thread::sleep(Duration::from_millis(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _turn = stats.turn();
                nap();
            });
            let _turn = stats.turn();
            stats.stage(Stage::Codec, nap);
        });
        let counted = stats.snapshot();
        assert!(counted.busy <= counted.computing && counted.stage(Stage::Codec) > Duration::ZERO);
        assert!(counted.stage(Stage::Codec) <= counted.busy);
    }

    #[test]
    fn warm_ups_are_left_out() {
        let stats = Stats::default();
        let pause = stats.pause();
        let mut clock = stats.begin_stream();
        let turn = stats.turn();
        stats.stage(Stage::LanguageModel, || clock.audio(&stats, 1));
        drop(turn);
        drop(pause);
        clock.end(&stats, End::Complete);
        let counted = stats.snapshot();
        assert_eq!((counted.n_started, counted.n_complete, counted.n_audio_frames), (0, 0, 0));
        assert_eq!((counted.computing, counted.stage(Stage::LanguageModel)), (Duration::ZERO, Duration::ZERO));
    }
}
