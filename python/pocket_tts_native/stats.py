"""What a model has done in this process: `TTSModel.stats` and `TTSModel.warmup`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pocket_tts_native._native import Model

_STATUS: Final = Path("/proc/self/status")


@dataclass(frozen=True)
class Stats:
    """Counters of one model since it was loaded, in this process; warm-ups are left out.

    Times and audio are those of `generate_audio`, `generate_audio_stream` and `astream`, of all
    streams together. Percentiles are exact to about 2 %. Figures that need audio are None before
    the first.

    Attributes:
        n_streams: Streams that began; `n_complete`, `n_cancelled` and `n_errors` of them are over.
        n_complete: Came to their end.
        n_cancelled: Were closed or stopped before it.
        n_errors: Ended by an error. Texts and arguments that are refused begin no stream.
        audio_s: Seconds of audio that were made.
        rtf: Real-time factor: seconds that a stream took for a second of its audio, waits for the
            caller left out.
        first_audio_p50_ms: From the start of a stream to its first audio, median.
        first_audio_p95_ms: The same, 95th percentile.
        frame_p50_ms: From one frame of a stream's audio (80 ms of it for all released models) to
            the next, waits for the caller left out, median.
        frame_p95_ms: The same, 95th percentile.
        throughput_audio_s_per_s: Seconds of audio, of all streams, per second in which the engine
            computed.
        text_pass_s: Computing of the language model's passes over texts.
        language_model_s: Computing of its steps.
        flow_head_s: Computing of the flow head.
        codec_s: Computing of the codec.
        other_s: The rest of what the engine's threads computed.
        peak_memory_mb: Largest resident memory of the whole process so far; None where the system
            does not tell.
    """

    n_streams: int
    n_complete: int
    n_cancelled: int
    n_errors: int
    audio_s: float
    rtf: float | None
    first_audio_p50_ms: float | None
    first_audio_p95_ms: float | None
    frame_p50_ms: float | None
    frame_p95_ms: float | None
    throughput_audio_s_per_s: float | None
    text_pass_s: float
    language_model_s: float
    flow_head_s: float
    codec_s: float
    other_s: float
    peak_memory_mb: float | None


class Measured:
    """Warming up and counting; a base of `TTSModel`."""

    _native: Model

    def warmup(self) -> None:
        """Run every code path once, so that the first request is as fast as the later ones.

        A text is split, a recording of noise is encoded, and two chunks are spoken with its voice,
        about 4 s of audio that nobody hears. Threads are started, scratch memory gets its size and
        every weight is read. Nothing of it appears in `stats()`, and no later result changes.
        """
        self._native.warm_up()

    def stats(self) -> Stats:
        """Tell what this process has generated with the model so far.

        Safe to call at any time from any thread. The engine counts all the time, which costs less
        than a microsecond a frame, in constant memory.

        Returns:
            A copy of the counters.
        """
        counted = self._native.stats()
        frame_s = self._native.frame_size / self._native.sample_rate
        audio_s = counted["n_audio_frames"] * frame_s
        timed_s = counted["n_timed_frames"] * frame_s
        stages_s = (
            counted["text_pass_s"]
            + counted["language_model_s"]
            + counted["flow_head_s"]
            + counted["codec_s"]
        )
        return Stats(
            n_streams=counted["n_started"],
            n_complete=counted["n_complete"],
            n_cancelled=counted["n_cancelled"],
            n_errors=counted["n_failed"],
            audio_s=audio_s,
            rtf=counted["streaming_s"] / timed_s if timed_s else None,
            first_audio_p50_ms=_ms(counted["first_audio_p50_s"]),
            first_audio_p95_ms=_ms(counted["first_audio_p95_s"]),
            frame_p50_ms=_ms(counted["frame_p50_s"]),
            frame_p95_ms=_ms(counted["frame_p95_s"]),
            throughput_audio_s_per_s=audio_s / counted["busy_s"] if counted["busy_s"] else None,
            text_pass_s=counted["text_pass_s"],
            language_model_s=counted["language_model_s"],
            flow_head_s=counted["flow_head_s"],
            codec_s=counted["codec_s"],
            # A stage that runs just now is in its own sum before it is in that of the loops.
            other_s=max(counted["computing_s"] - stages_s, 0.0),
            peak_memory_mb=peak_memory_mb(),
        )


def peak_memory_mb() -> float | None:
    """Tell the largest resident memory that this process had; None where the system does not."""
    if _STATUS.exists():
        # Unlike getrusage, this does not count the program that ran before exec().
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds
