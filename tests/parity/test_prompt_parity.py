"""Prompts before they are encoded, live against the reference: read, resampled, ended on a pause."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from pocket_tts_native import _native
from reference_client import reference_interpreter
from signals import voice_like
from wav_bytes import wav_bytes

if TYPE_CHECKING:
    from conftest import Measured

pytestmark = pytest.mark.parity

RATES_HZ: Final = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 96000)
MODEL_RATE_HZ: Final = 24000
FRAME_SIZE: Final = 1920
# Filters are designed in f64 on both sides; their f32 taps may differ by a rounding.
TOLERANCE: Final = 1e-6


def _reference(inputs: dict[str, Any], folder: Path) -> dict[str, Any]:
    np.savez(folder / "in.npz", **inputs)
    subprocess.run(
        [
            reference_interpreter(),
            "-m",
            "reference.run_prompts",
            folder / "in.npz",
            folder / "out.npz",
        ],
        check=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"},
    )
    with np.load(folder / "out.npz") as answers:
        return {key: answers[key] for key in answers.files}


def _ours(key: str, value: Any) -> Any:  # noqa: ANN401
    kind, rate, _ = key.split("/")
    is_file = kind in {"file", "truncated"}
    return _native.prompt_samples(
        value.tobytes() if is_file else value,
        sample_rate=None if is_file else int(rate),
        model_rate=MODEL_RATE_HZ,
        frame_size=FRAME_SIZE,
        truncate=kind == "truncated",
    )


def _random_signal(rng: np.random.Generator, rate_hz: int) -> Any:  # noqa: ANN401
    """Noise whose level changes every few frames by up to 50 dB, and then perhaps silence."""
    n_samples = int(rng.integers(1, 3 * rate_hz))
    samples = rng.standard_normal(n_samples)
    at = 0
    while at < n_samples:
        n = int(rng.integers(1, rate_hz // 4))
        samples[at : at + n] *= 0.2 * 10 ** -rng.uniform(0, 2.5)
        at += n
    if rng.random() < 0.3:
        samples[int(rng.integers(0, n_samples)) :] = 0
    samples[0] = 0.1  # never silent
    return np.clip(samples, -1, 1).astype(np.float32)


def _compare(inputs: dict[str, Any], folder: Path, measured: Measured, quantity: str) -> None:
    for key, expected in _reference(inputs, folder).items():
        actual = _ours(key, inputs[key])
        # The frame is filled up by the reference's encoder.
        assert len(actual) == -(-len(expected) // FRAME_SIZE) * FRAME_SIZE, key
        assert not actual[len(expected) :].any(), key
        error = float(np.abs(actual[: len(expected)] - expected).max())
        measured(quantity, error, TOLERANCE, key)


def test_end_on_pause_of_random_signals(measured: Measured, tmp_path: Path) -> None:
    """The prompt ends at the same sample, with the same fade."""
    rng = np.random.Generator(np.random.Philox(key=1))
    inputs = {f"prompt/24000/{i}": _random_signal(rng, MODEL_RATE_HZ) for i in range(300)}
    _compare(inputs, tmp_path, measured, "end on pause")


def test_prompts_at_every_rate(measured: Measured, tmp_path: Path) -> None:
    """Resampled by SciPy's filter, then ended on a pause."""
    rng = np.random.Generator(np.random.Philox(key=2))
    inputs = {
        f"prompt/{rate}/{i}": _random_signal(rng, rate) for rate in RATES_HZ for i in range(12)
    }
    _compare(inputs, tmp_path, measured, "prompt at other rates")


def test_resampling_of_every_rate(measured: Measured, tmp_path: Path) -> None:
    """Every sample up to the fade, which a signal that stays loud has in its last 20 ms."""
    inputs = {
        f"resample/{rate}/{n}": np.ascontiguousarray(voice_like(n, rate) + np.float32(0.2))
        for rate in RATES_HZ
        for n in (rate // 7, rate + 11, 2 * rate)
    }
    for key, expected in _reference(inputs, tmp_path).items():
        n = len(expected) // 480 * 480 - 480
        error = float(np.abs(_ours(key, inputs[key])[:n] - expected[:n]).max())
        measured("resampling", error, TOLERANCE, key)


def test_files_of_16_bits(measured: Measured, tmp_path: Path) -> None:
    """Read, averaged, truncated, resampled and ended as by the reference."""
    rng = np.random.Generator(np.random.Philox(key=3))
    inputs = {}
    for rate in (8000, 24000, 44100):
        for n_channels in (1, 2, 3, 6):
            mono = _random_signal(rng, rate)
            channels = np.stack([mono * rng.uniform(0.3, 1) for _ in range(n_channels)], axis=1)
            content = wav_bytes(np.round(channels * 32767).astype(np.int16), rate)
            inputs[f"file/{rate}/{n_channels}"] = np.frombuffer(content, np.uint8)
        long = np.round(voice_like(31 * rate, rate) * 32767).astype(np.int16)
        inputs[f"truncated/{rate}/long"] = np.frombuffer(wav_bytes(long, rate), np.uint8)
    _compare(inputs, tmp_path, measured, "prompt of a file")
