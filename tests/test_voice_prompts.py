"""Voice prompts as files and arrays, at the model's rate and at others, on a tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pocket_tts_native import TTSModel
from signals import read_wav, voice_like, with_silence, write_wav

if TYPE_CHECKING:
    from model_files import Array

RATE_HZ = 1600


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> TTSModel:
    """A tiny model at 1,600 Hz."""
    return TTSModel.load_model(config=str(tiny_model_dir / "config.yaml"), num_threads=1)


def _latents(
    model: TTSModel, prompt: str | Path | Array, *, sample_rate: int | None = None
) -> Array:
    voice = model.get_state_for_audio_prompt(prompt, sample_rate=sample_rate)
    return model.generate_latents(voice, "one", frames=5, seed=1)[0]


def test_file_and_array_agree(model: TTSModel, tmp_path: Path) -> None:
    """A 16-bit file and its samples divided by 32768 are the same prompt."""
    path = write_wav(tmp_path / "prompt.wav", voice_like(3000, RATE_HZ), RATE_HZ)
    samples, rate = read_wav(path)
    from_file = _latents(model, path)
    assert np.array_equal(from_file, _latents(model, str(path)))
    assert np.array_equal(from_file, _latents(model, samples, sample_rate=rate))


def test_array_without_a_rate_is_at_the_models(model: TTSModel) -> None:
    """`sample_rate` defaults to the model's rate."""
    samples = voice_like(3000, RATE_HZ)
    with_rate = _latents(model, samples, sample_rate=RATE_HZ)
    assert np.array_equal(_latents(model, samples), with_rate)


@pytest.mark.parametrize("rate", [800, 1000, 2400, 4410])
def test_file_and_array_agree_at_other_rates(model: TTSModel, tmp_path: Path, rate: int) -> None:
    """Both are resampled alike."""
    path = write_wav(tmp_path / "prompt.wav", voice_like(2 * rate, rate), rate)
    samples, _ = read_wav(path)
    assert np.array_equal(_latents(model, path), _latents(model, samples, sample_rate=rate))


def test_trailing_silence_does_not_matter(model: TTSModel) -> None:
    """Prompts end at their last loud 20 ms."""
    loud = voice_like(3200, RATE_HZ)
    loud[-160:] = 0.2
    once = _latents(model, with_silence(loud, RATE_HZ, seconds=0.1), sample_rate=RATE_HZ)
    longer = _latents(model, with_silence(loud, RATE_HZ, seconds=0.5), sample_rate=RATE_HZ)
    assert np.array_equal(once, longer)


def test_stereo_is_averaged(model: TTSModel, tmp_path: Path) -> None:
    """Two equal channels are the mono prompt."""
    samples = voice_like(3000, RATE_HZ)
    mono = write_wav(tmp_path / "mono.wav", samples, RATE_HZ)
    stereo = write_wav(tmp_path / "stereo.wav", np.stack([samples, samples], axis=1), RATE_HZ)
    assert np.array_equal(_latents(model, mono), _latents(model, stereo))


def test_voices_differ(model: TTSModel) -> None:
    """Another voice gives other latents."""
    low = _latents(model, voice_like(3000, RATE_HZ, pitch_hz=60, seed=1), sample_rate=RATE_HZ)
    high = _latents(model, voice_like(3000, RATE_HZ, pitch_hz=140, seed=2), sample_rate=RATE_HZ)
    assert np.linalg.norm(low - high) > 0.01 * np.linalg.norm(low)
