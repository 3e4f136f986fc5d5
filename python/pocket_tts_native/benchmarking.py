"""What `pocket-tts-native benchmark` measures: a sentence, a long text, the first audio."""

from __future__ import annotations

import itertools
import os
import platform
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pocket_tts_native._native import build_info
from pocket_tts_native.stats import peak_memory_mb
from pocket_tts_native.voice import VoiceState

if TYPE_CHECKING:
    from collections.abc import Callable

    from pocket_tts_native.model import TTSModel
    from pocket_tts_native.stats import Stats

SENTENCE: Final = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all."
_SENTENCES: Final = (
    "In the morning the light came in through the window and fell on the table.",
    "How many people were there?",
    "Nobody knew, but someone had counted twenty seven.",
    "There is no reason to hurry when the train has already left the station.",
    "Speech is made of sounds, sounds are made of waves, and waves are made of numbers.",
    "She opened the letter, read it twice, and put it back into the drawer.",
    "It rained.",
    "The old road follows the river for a while, then turns north and climbs into the hills.",
    "If you ask me, the answer is yes!",
)
N_LONG_WORDS: Final = 500
_SEED: Final = 1
_VOICE_S: Final = 8.0
# The first audio is short to measure and varies most.
_FIRST_AUDIO_RUNS: Final = 5
STAGES: Final = ("language model", "flow head", "codec", "other")


def long_text(n_words: int = N_LONG_WORDS) -> str:
    """Make a text of exactly `n_words` words."""
    words = itertools.cycle(" ".join(_SENTENCES).split())
    text = " ".join(itertools.islice(words, n_words))
    return text.rstrip(",;:.!?") + "."


def made_up_voice(model: TTSModel) -> VoiceState:
    """Make a voice of 8 s of a vowel-like sound: the cost of a real one, without a file."""
    rate_hz = model.sample_rate
    t = np.arange(int(_VOICE_S * rate_hz)) / rate_hz
    pitch_hz = 120 + 15 * np.sin(2 * np.pi * 0.7 * t)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    sound = sum(np.sin(k * phase) / k for k in range(1, 9))
    loudness = 0.2 + 0.1 * np.sin(2 * np.pi * 3 * t)
    pcm = np.ascontiguousarray(loudness * sound, dtype=np.float32)
    return VoiceState(model._native.voice_from_pcm(pcm, rate_hz, warn=lambda _: None))


@dataclass(frozen=True)
class Case:
    """One text, spoken several times.

    Attributes:
        name: What the report calls it.
        n_words: Words of the text.
        audio_s: Seconds of audio that it is spoken in.
        wall_s: Seconds that each run took.
        cpu_s: Seconds of CPU that each run took, of all threads.
        first_audio_ms: From the start to the first audio, of each run.
        frame_ms: From each frame of the last run to the next; a piece of several counts as so
            many equal ones.
        stage_s: Computing of the stages over all runs, by name.
    """

    name: str
    n_words: int
    audio_s: float
    wall_s: list[float]
    cpu_s: list[float]
    first_audio_ms: list[float]
    frame_ms: list[float]
    stage_s: dict[str, float]

    def figures(self) -> dict[str, float]:
        """Sum up the runs; the names carry the units."""
        shares_of_s = sum(self.stage_s.values()) or 1.0
        figures = {
            "audio_s": self.audio_s,
            "rtf_min": min(self.wall_s) / self.audio_s,
            "rtf_median": statistics.median(self.wall_s) / self.audio_s,
            "throughput_audio_s_per_s": self.audio_s / statistics.median(self.wall_s),
            "cpu_s_per_audio_s": statistics.median(self.cpu_s) / self.audio_s,
            "first_audio_min_ms": min(self.first_audio_ms),
            "first_audio_median_ms": statistics.median(self.first_audio_ms),
        }
        if self.frame_ms:
            figures["frame_p50_ms"] = float(np.percentile(self.frame_ms, 50))
            figures["frame_p95_ms"] = float(np.percentile(self.frame_ms, 95))
            figures["frame_max_ms"] = max(self.frame_ms)
        for stage, seconds in self.stage_s.items():
            figures[_share_name(stage)] = seconds / shares_of_s
        return figures


@dataclass(frozen=True)
class Report:
    """Everything that one benchmark found.

    Attributes:
        machine: CPU, system and build, by name.
        model: Which model, and how it was loaded.
        load_s: Loading; None where the caller loaded.
        voice_s: Making or reading the voice.
        warmup_s: `TTSModel.warmup`.
        cases: The texts.
        first_audio_ms: Times of a stream of the sentence that is closed after its first piece.
        peak_memory_mb: Largest resident memory of the process.
        frame_duration_ms: Audio of one frame.
    """

    machine: dict[str, str]
    model: dict[str, str]
    load_s: float
    voice_s: float
    warmup_s: float
    cases: list[Case]
    first_audio_ms: list[float]
    peak_memory_mb: float | None
    frame_duration_ms: float

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        values = asdict(self)
        for case, value in zip(self.cases, values["cases"], strict=True):
            value["figures"] = case.figures()
        return values


def machine() -> dict[str, str]:
    """Tell the CPU, the system and the build."""
    info = build_info()
    return {
        "cpu": _cpu_name(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "simd_level": info["simd_level"],
        "version": info["version"],
    }


def measure(
    model: TTSModel,
    voice: VoiceState,
    *,
    n_runs: int,
    load_s: float,
    voice_s: float,
    description: dict[str, str],
    progress: Callable[[str], None],
) -> Report:
    """Warm up, then speak everything.

    Args:
        model: The model.
        voice: The voice to speak with.
        n_runs: Runs of the sentence; the long text is spoken once for every three.
        load_s: Told in the report.
        voice_s: Told in the report.
        description: Told in the report as `model`.
        progress: Called with a sentence before each part.

    Returns:
        The report.
    """
    progress("warming up")
    begin = time.perf_counter()
    model.warmup()
    warmup_s = time.perf_counter() - begin
    progress(f"one sentence, {n_runs} times")
    sentence = _case(model, voice, "one sentence", SENTENCE, n_runs)
    progress(f"first audio, {_FIRST_AUDIO_RUNS * n_runs} times")
    first_audio_ms = [_first_audio_ms(model, voice) for _ in range(_FIRST_AUDIO_RUNS * n_runs)]
    n_long_runs = max(1, n_runs // 3)
    progress(f"{N_LONG_WORDS} words, {n_long_runs} times")
    long = _case(model, voice, f"{N_LONG_WORDS} words", long_text(), n_long_runs)
    return Report(
        machine=machine(),
        model=description,
        load_s=load_s,
        voice_s=voice_s,
        warmup_s=warmup_s,
        cases=[sentence, long],
        first_audio_ms=first_audio_ms,
        peak_memory_mb=peak_memory_mb(),
        frame_duration_ms=1000 * model._native.frame_size / model.sample_rate,
    )


def table(report: Report) -> str:
    """The report for a terminal."""
    lines = [
        f"{report.machine['cpu']}, {report.machine['cores']} cores, {report.machine['simd_level']}",
        ", ".join(f"{name} {value}" for name, value in report.model.items()),
        f"load {report.load_s:.2f} s, voice {report.voice_s:.2f} s, warm-up {report.warmup_s:.2f} s",
        "",
    ]
    rows: list[tuple[str, Callable[[dict[str, float]], str]]] = [
        ("audio, s", lambda f: f"{f['audio_s']:.2f}"),
        (
            "real-time factor, minimum / median",
            lambda f: f"{f['rtf_min']:.3f} / {f['rtf_median']:.3f}",
        ),
        ("seconds of audio per second", lambda f: f"{f['throughput_audio_s_per_s']:.1f}"),
        ("CPU seconds per second of audio", lambda f: f"{f['cpu_s_per_audio_s']:.3f}"),
        (
            "first audio, ms, minimum / median",
            lambda f: f"{f['first_audio_min_ms']:.1f} / {f['first_audio_median_ms']:.1f}",
        ),
        (
            "frame, ms, p50 / p95 / longest",
            lambda f: " / ".join(
                f"{f.get(f'frame_{q}_ms', 0.0):.1f}" for q in ("p50", "p95", "max")
            ),
        ),
        *((f"share of {stage}", _share(stage)) for stage in STAGES),
    ]
    figures = [case.figures() for case in report.cases]
    cells = [[name, *(cell(f) for f in figures)] for name, cell in rows]
    cells.insert(0, ["", *(case.name for case in report.cases)])
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines += [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in cells
    ]
    alone = " / ".join(f"{np.percentile(report.first_audio_ms, q):.1f}" for q in (0, 50, 95))
    lines += [
        "",
        f"first audio alone, ms, minimum / median / p95: {alone}",
    ]
    if report.peak_memory_mb is not None:
        lines.append(f"peak memory, MB: {report.peak_memory_mb:.0f}")
    return "\n".join(lines)


def _share(stage: str) -> Callable[[dict[str, float]], str]:
    name = _share_name(stage)
    return lambda figures: f"{100 * figures[name]:.1f} %"


def _share_name(stage: str) -> str:
    return f"{stage.replace(' ', '_')}_share"


def _case(model: TTSModel, voice: VoiceState, name: str, text: str, n_runs: int) -> Case:
    before = model.stats()
    wall_s: list[float] = []
    cpu_s: list[float] = []
    first_audio_ms: list[float] = []
    frame_ms: list[float] = []
    n_samples = 0
    for _ in range(n_runs):
        frame_ms.clear()
        n_samples = 0
        begin_cpu_s, begin_s = time.process_time(), time.perf_counter()
        last_s = begin_s
        for samples in model.generate_audio_stream(voice, text, seed=_SEED):
            now_s = time.perf_counter()
            if n_samples == 0:
                first_audio_ms.append(1000 * (now_s - begin_s))
            else:
                n_frames = max(len(samples) // model._native.frame_size, 1)
                frame_ms += [1000 * (now_s - last_s) / n_frames] * n_frames
            last_s = now_s
            n_samples += len(samples)
        wall_s.append(time.perf_counter() - begin_s)
        cpu_s.append(time.process_time() - begin_cpu_s)
    return Case(
        name=name,
        n_words=len(text.split()),
        audio_s=n_samples / model.sample_rate,
        wall_s=wall_s,
        cpu_s=cpu_s,
        first_audio_ms=first_audio_ms,
        frame_ms=frame_ms,
        stage_s=_stages(before, model.stats()),
    )


def _stages(before: Stats, after: Stats) -> dict[str, float]:
    """Seconds of the stages between two looks; passes over texts are the language model's."""
    steps_s = after.language_model_s - before.language_model_s
    return {
        "language model": steps_s + after.text_pass_s - before.text_pass_s,
        "flow head": after.flow_head_s - before.flow_head_s,
        "codec": after.codec_s - before.codec_s,
        "other": max(after.other_s - before.other_s, 0.0),
    }


def _first_audio_ms(model: TTSModel, voice: VoiceState) -> float:
    begin_s = time.perf_counter()
    with model.generate_audio_stream(voice, SENTENCE, seed=_SEED) as stream:
        next(stream)
        return 1000 * (time.perf_counter() - begin_s)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
