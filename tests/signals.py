"""Audio for tests: a voice-like sound made of harmonics, syllables and pauses, and WAV files."""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pathlib import Path

Floats: TypeAlias = npt.NDArray[np.float32]


def voice_like(n_samples: int, rate_hz: int, *, pitch_hz: float = 130.0, seed: int = 0) -> Floats:
    """A buzz with gliding pitch, two moving formants, four syllables a second and a little noise."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    time_s = np.arange(n_samples) / rate_hz
    pitch = pitch_hz * (1 + 0.2 * np.sin(2 * np.pi * 0.7 * time_s + seed))
    phase = 2 * np.pi * np.cumsum(pitch) / rate_hz
    formants = [600 + 250 * np.sin(2 * np.pi * 1.3 * time_s), 1700 + 500 * np.cos(2 * time_s)]
    sound = np.zeros(n_samples)
    for harmonic in range(1, 25):
        frequency = harmonic * pitch
        gain = sum(np.exp(-(((frequency - formant) / 250) ** 2)) for formant in formants)
        audible = frequency < 0.45 * rate_hz
        sound += np.where(audible, (gain + 0.05) * np.sin(harmonic * phase), 0.0)
    syllables = np.clip(np.sin(2 * np.pi * 2 * time_s) ** 2 * 1.4 - 0.2, 0, 1)
    sound = 0.15 * sound * syllables + 0.002 * rng.standard_normal(n_samples)
    return np.clip(sound, -0.95, 0.95).astype(np.float32)


def with_silence(samples: Floats, rate_hz: int, *, seconds: float = 0.3) -> Floats:
    """`samples` and then a silence some 70 dB down, which prompts are cut at."""
    rng = np.random.Generator(np.random.Philox(key=99))
    quiet = 1e-4 * rng.standard_normal(int(seconds * rate_hz))
    return np.concatenate([samples, quiet.astype(np.float32)])


def write_wav(path: Path, samples: npt.NDArray[Any], rate_hz: int) -> Path:
    """Write float samples `[n]` or `[n, channels]` as a 16-bit WAV file."""
    pcm = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1 if pcm.ndim == 1 else pcm.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(pcm.tobytes())
    return path


def read_wav(path: Path) -> tuple[Floats, int]:
    """Read a 16-bit mono WAV file as floats in [-1, 1) and its rate."""
    with wave.open(str(path), "rb") as file:
        pcm = np.frombuffer(file.readframes(-1), "<i2")
        return pcm.astype(np.float32) / np.float32(32768), file.getframerate()
