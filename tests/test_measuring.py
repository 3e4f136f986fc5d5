"""Warming up, counters, times per operator and pinning; no test judges a time."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from pocket_tts_native import Stats, TTSModel
from signals import voice_like

if TYPE_CHECKING:
    from pathlib import Path

    from pocket_tts_native import VoiceState

TEXT: Final = "hello there, it is one."
RATE_HZ: Final = 1600
FRAME_S: Final = 0.08
FIGURES: Final = (
    "rtf",
    "first_audio_p50_ms",
    "first_audio_p95_ms",
    "frame_p50_ms",
    "frame_p95_ms",
    "throughput_audio_s_per_s",
)


@pytest.fixture
def model(tiny_model_dir: Path) -> TTSModel:
    """A model that has generated nothing."""
    return TTSModel.load_model(config=tiny_model_dir / "config.yaml")


@pytest.fixture
def voice(model: TTSModel) -> VoiceState:
    """A voice."""
    return model.get_state_for_audio_prompt(voice_like(1280, RATE_HZ), sample_rate=RATE_HZ)


def _counts(stats: Stats) -> tuple[int, int, int, int]:
    return stats.n_streams, stats.n_complete, stats.n_cancelled, stats.n_errors


def test_nothing_is_counted_before_the_first_stream(model: TTSModel, voice: VoiceState) -> None:
    stats = model.stats()
    assert _counts(stats) == (0, 0, 0, 0)
    assert stats.audio_s == 0
    assert [getattr(stats, name) for name in FIGURES] == [None] * len(FIGURES)


def test_streams_are_counted_by_their_end(model: TTSModel, voice: VoiceState) -> None:
    audio = model.generate_audio(voice, TEXT, seed=1)
    stats = model.stats()
    assert _counts(stats) == (1, 1, 0, 0)
    assert stats.audio_s == pytest.approx(len(audio) / RATE_HZ)
    for name in FIGURES:
        assert getattr(stats, name) > 0, name
    for name in ("text_pass_s", "language_model_s", "flow_head_s", "codec_s"):
        assert getattr(stats, name) > 0, name
    assert stats.first_audio_p50_ms <= stats.first_audio_p95_ms  # type: ignore[operator]
    assert stats.frame_p50_ms <= stats.frame_p95_ms  # type: ignore[operator]

    with model.generate_audio_stream(voice, TEXT, seed=1) as stream:
        next(stream)
    assert _counts(model.stats()) == (2, 1, 1, 0)

    too_few = np.zeros((3, model._native.latent_dim), np.float32)
    with pytest.raises(ValueError, match="noise"):
        model.generate_audio(voice, TEXT, noise=too_few)
    assert _counts(model.stats()) == (3, 1, 1, 1)

    # What is refused begins no stream.
    with pytest.raises(ValueError, match="text"):
        model.generate_audio(voice, " ")
    assert _counts(model.stats()) == (3, 1, 1, 1)


def test_a_stopped_stream_is_cancelled(model: TTSModel, voice: VoiceState) -> None:
    stop = threading.Event()
    stream = model.generate_audio_stream(voice, TEXT, stop=stop, seed=1)
    next(stream)
    stop.set()
    assert list(stream) == []
    assert _counts(model.stats()) == (1, 0, 1, 0)


def test_counters_of_several_streams_add_up(model: TTSModel, voice: VoiceState) -> None:
    """Threads, and looks at the counters meanwhile."""
    n_threads, n_each = 3, 4
    samples = [0] * n_threads

    def speak(index: int) -> None:
        for seed in range(n_each):
            samples[index] += len(model.generate_audio(voice, TEXT, seed=seed))

    threads = [threading.Thread(target=speak, args=[i]) for i in range(n_threads)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        now = model.stats()
        assert now.n_complete + now.n_cancelled + now.n_errors <= now.n_streams
    stats = model.stats()
    assert _counts(stats) == (n_threads * n_each, n_threads * n_each, 0, 0)
    assert stats.audio_s == pytest.approx(sum(samples) / RATE_HZ)


def test_the_copy_stays_as_it_is(model: TTSModel, voice: VoiceState) -> None:
    before = model.stats()
    model.generate_audio(voice, TEXT, seed=1)
    assert before.n_streams == 0
    assert pickle.loads(pickle.dumps(before)) == before
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.n_streams = 1  # type: ignore[misc]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="figures of Linux")
def test_peak_memory_is_that_of_the_process(model: TTSModel) -> None:
    first = model.stats().peak_memory_mb
    assert first is not None
    block = np.ones(16 << 20, np.uint8)
    second = model.stats().peak_memory_mb
    assert second is not None
    assert second >= first > 10
    assert block.sum() == len(block)


@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_warmup_changes_nothing(tiny_model_dir: Path, precision: str) -> None:
    """Neither the counters nor what is spoken afterwards, beside another stream too."""
    config = tiny_model_dir / "config.yaml"
    cold, warm = [TTSModel.load_model(config=config, precision=precision) for _ in range(2)]
    prompt = voice_like(1280, RATE_HZ)
    warm.warmup()
    assert _counts(warm.stats()) == (0, 0, 0, 0)
    assert warm.stats().codec_s == 0
    voices = [m.get_state_for_audio_prompt(prompt, sample_rate=RATE_HZ) for m in (cold, warm)]
    expected = cold.generate_audio(voices[0], TEXT, seed=1)
    stream = warm.generate_audio_stream(voices[1], TEXT, seed=1)
    pieces = [next(stream)]
    warm.warmup()
    pieces += stream
    assert np.array_equal(np.concatenate(pieces), expected)
    assert _counts(warm.stats()) == (1, 1, 0, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="systems with fork()")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_counts_for_itself(model: TTSModel, voice: VoiceState) -> None:
    model.generate_audio(voice, TEXT, seed=1)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if model.stats().n_streams == 0:
                model.generate_audio(voice, TEXT, seed=1)
                status = 0 if _counts(model.stats()) == (1, 1, 0, 0) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert model.stats().n_streams == 1


SPEAK: Final = """
import logging, sys, numpy
logging.disable()
from pocket_tts_native import TTSModel
model = TTSModel.load_model(config=sys.argv[1], num_threads=2)
pcm = numpy.sin(numpy.arange(1280, dtype=numpy.float32))
voice = model.get_state_for_audio_prompt(pcm, sample_rate=1600)
audio = model.generate_audio(voice, "hello there, it is one.", seed=1)
sys.stdout.write(str(float(numpy.abs(audio).sum())))
{more}
"""


def _speak(config: Path, more: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SPEAK.format(more=more), str(config)],
        env=dict(os.environ, **variables),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


def test_operators_are_told_at_exit(tiny_model_dir: Path) -> None:
    config = tiny_model_dir / "config.yaml"
    plain = _speak(config)
    assert plain.stderr == ""
    timed = _speak(config, POCKET_TIMING="1")
    assert timed.stdout == plain.stdout, "the times change no sample"
    lines = timed.stderr.splitlines()
    assert lines[0].split() == ["phase", "operator", "calls", "total", "ms", "share"]
    for phase, operator in [
        ("voice encoder", "all"),
        ("voice encoder", "stage 0: convolution"),
        ("voice pass", "feed-forward"),
        ("text pass", "attention"),
        ("language model", "attention projections"),
        ("language model", "norms"),
        ("language model", "the rest"),
        ("flow head", "modulation"),
        ("codec", "attention"),
        ("codec", "stage 1: transposed convolution"),
        ("codec", "stage 2: residual block"),
        ("other", "samples"),
    ]:
        assert any(line[:16].strip() == phase and operator in line for line in lines), operator
    assert not any("nan" in line for line in lines)


def test_operators_on_demand(tiny_model_dir: Path) -> None:
    more = """
from pocket_tts_native import timing
times = {(row.phase, row.operator): row for row in timing.times()}
whole = times["codec", "all"]
parts = [row for (phase, name), row in times.items() if phase == "codec" and name != "all"]
assert 0 < sum(row.total_ms for row in parts) <= whole.total_ms
assert times["codec", "attention"].n_calls >= 2 * whole.n_calls
timing.reset()
assert timing.times() == []
"""
    done = _speak(tiny_model_dir / "config.yaml", more, POCKET_TIMING="1")
    assert done.stderr == "", "after a reset nothing is left to tell"
    off = _speak(
        tiny_model_dir / "config.yaml",
        "from pocket_tts_native import timing; assert timing.times() == []",
        POCKET_TIMING="0",
    )
    assert off.stderr == ""


THREADS: Final = """
import os
from pathlib import Path
for task in sorted(Path("/proc/self/task").iterdir()):
    name = (task / "comm").read_text().strip()
    print("\\n" + name, *sorted(os.sched_getaffinity(int(task.name))), end="")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are pinned on Linux")
def test_loops_are_pinned_if_asked(tiny_model_dir: Path) -> None:
    config = tiny_model_dir / "config.yaml"
    allowed = sorted(os.sched_getaffinity(0))
    free, pinned = _speak(config, THREADS), _speak(config, THREADS, POCKET_PIN="1")
    assert free.stdout.splitlines()[0] == pinned.stdout.splitlines()[0], "the samples"
    masks = [
        {line.split()[0]: [int(n) for n in line.split()[1:]] for line in out.splitlines()[1:]}
        for out in (free.stdout, pinned.stdout)
    ]
    for loop in ("pocket-lm", "pocket-codec"):
        assert masks[0][loop] == allowed
    if len(allowed) > 1:
        assert masks[1]["pocket-lm"] == allowed[:1]
        assert masks[1]["pocket-codec"] == allowed[1:2]
    others = [mask for name, mask in masks[1].items() if name not in {"pocket-lm", "pocket-codec"}]
    assert others
    assert all(mask == allowed for mask in others), "neither the pool nor Python is pinned"
