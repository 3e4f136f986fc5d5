"""The same seed gives the same bits: over runs, thread counts, Python threads and `fork`."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pocket_tts_native import TTSModel

if TYPE_CHECKING:
    from model_files import Array
    from pocket_tts_native import VoiceState
from signals import voice_like

TEXT = "hello there, it is one."


def _load(directory: Path, n_threads: int | None) -> tuple[TTSModel, VoiceState]:
    model = TTSModel.load_model(config=str(directory / "config.yaml"), num_threads=n_threads)
    return model, model.get_state_for_audio_prompt(voice_like(1280, 1600), sample_rate=1600)


@pytest.mark.parametrize("n_threads", [1, 2, 3, None])
def test_thread_count_does_not_change_bits(tiny_model_dir: Path, n_threads: int | None) -> None:
    """One thread and several agree exactly."""
    model, voice = _load(tiny_model_dir, 1)
    other_model, other_voice = _load(tiny_model_dir, n_threads)
    latents, logits = model.generate_latents(voice, TEXT, frames=20, seed=11)
    other_latents, other_logits = other_model.generate_latents(
        other_voice, TEXT, frames=20, seed=11
    )
    assert np.array_equal(latents, other_latents)
    assert np.array_equal(logits, other_logits)
    assert np.array_equal(model.decode_latents(latents), other_model.decode_latents(latents))
    pcm = voice_like(2000, 1600)
    assert np.array_equal(model.encode_audio(pcm), other_model.encode_audio(pcm))


def test_seeds_differ(tiny_model_dir: Path) -> None:
    """Another seed is other noise; the same seed is the same."""
    model, voice = _load(tiny_model_dir, 1)
    first, _ = model.generate_latents(voice, TEXT, frames=6, seed=1)
    second, _ = model.generate_latents(voice, TEXT, frames=6, seed=2)
    again, _ = model.generate_latents(voice, TEXT, frames=6, seed=1)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, again)


def test_seeded_noise_is_standard_normal(tiny_model_dir: Path) -> None:
    """Rows of noise differ from each other, and injected noise replaces them."""
    model, voice = _load(tiny_model_dir, 1)
    zeros = np.zeros((12, 8), np.float32)
    seeded, _ = model.generate_latents(voice, TEXT, frames=12, seed=5)
    quiet, _ = model.generate_latents(voice, TEXT, frames=12, noise=zeros)
    assert not np.allclose(seeded, quiet)
    assert len(np.unique(seeded, axis=0)) == 12


def test_python_threads_share_a_model(tiny_model_dir: Path) -> None:
    """Calls from several Python threads do not disturb each other."""
    model, voice = _load(tiny_model_dir, 2)
    expected = [model.generate_latents(voice, TEXT, frames=15, seed=seed)[0] for seed in range(8)]

    def generate(seed: int) -> Array:
        return model.generate_latents(voice, TEXT, frames=15, seed=seed)[0]

    with ThreadPoolExecutor(4) as pool:
        for ours, theirs in zip(pool.map(generate, range(8)), expected, strict=True):
            assert np.array_equal(ours, theirs)


_FORK = """
import os, sys
import numpy as np
from pocket_tts_native import TTSModel
model = TTSModel.load_model(config=sys.argv[1], num_threads=2)
pcm = np.linspace(-0.5, 0.5, 1280, dtype=np.float32)
used_before = sys.argv[2] == "used"
if used_before:
    voice = model.get_state_for_audio_prompt(pcm, sample_rate=1600)
    model.decode_latents(model.generate_latents(voice, "one", frames=4, seed=1)[0])
reader, writer = os.pipe()
child = os.fork()
voice = model.get_state_for_audio_prompt(pcm, sample_rate=1600)
latents, _ = model.generate_latents(voice, "one", frames=4, seed=1)
audio = model.decode_latents(latents)
if child == 0:
    os.write(writer, audio.tobytes())
    os._exit(0)
os.close(writer)
received = b""
while chunk := os.read(reader, 65536):
    received += chunk
_, status = os.waitpid(child, 0)
assert status == 0, status
assert received == audio.tobytes()
print("same")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
@pytest.mark.parametrize("use", ["unused", "used"])
def test_model_survives_fork(tiny_model_dir: Path, use: str) -> None:
    """A child process goes on with a model that its parent loaded, or even used."""
    done = subprocess.run(
        [sys.executable, "-c", _FORK, str(tiny_model_dir / "config.yaml"), use],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "same\n", done.stderr
