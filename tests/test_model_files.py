"""Layouts and storage types of weights that must give one and the same model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from model_files import rounded_to
from pocket_tts_native import TTSModel
from signals import voice_like
from tiny_model import random_tensors, tiny_config, write_model

if TYPE_CHECKING:
    from model_files import Array, FloatDtype


def _outputs(config: Path) -> list[Array]:
    model = TTSModel.load_model(config=str(config), num_threads=1)
    pcm = voice_like(1280, 1600)
    voice = model.get_state_for_audio_prompt(pcm, sample_rate=1600)
    latents, logits = model.generate_latents(voice, "it is one", frames=6, seed=1)
    return [latents, logits, model.encode_audio(pcm), model.decode_latents(latents)]


def _relative(ours: Array, theirs: Array) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_half_precision_bundles(tmp_path: Path, dtype: FloatDtype) -> None:
    """A bundle of 16-bit floats equals the float32 bundle of the same, rounded values."""
    config = tiny_config()
    tensors = random_tensors(config, 3)
    half = write_model(tmp_path / "half", config, tensors=tensors, dtype=dtype)
    rounded = {name: rounded_to(values, dtype) for name, values in tensors.items()}
    full = write_model(tmp_path / "full", config, tensors=rounded)
    for ours, theirs in zip(_outputs(half), _outputs(full), strict=True):
        assert _relative(ours, theirs) <= 1e-6


def test_split_files_equal_the_bundle(tmp_path: Path) -> None:
    """Older names and weight-norm pairs give the weights of the bundle."""
    config = tiny_config()
    bundle = write_model(tmp_path / "bundle", config, seed=3)
    split = write_model(tmp_path / "split", config, seed=3, layout="split")
    for ours, theirs in zip(_outputs(split), _outputs(bundle), strict=True):
        assert _relative(ours, theirs) <= 1e-5


def test_mimi_file_replaces_the_bundled_mimi(tmp_path: Path) -> None:
    """`mimi.weights_path` beside a bundle wins over the bundle's own codec."""
    config = tiny_config()
    bundle = write_model(tmp_path / "bundle", config, seed=3)
    both = write_model(tmp_path / "both", config, seed=3, layout="bundle_and_mimi")
    for ours, theirs in zip(_outputs(both), _outputs(bundle), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("part", ["flow_lm", "mimi"])
def test_half_of_a_split_layout_is_refused(tmp_path: Path, part: str) -> None:
    """A FlowLM file needs a Mimi file, and a Mimi file needs a FlowLM."""
    path = write_model(tmp_path, tiny_config(), layout="split")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    other = "mimi.safetensors" if part == "flow_lm" else "flow_lm.safetensors"
    path.write_text("".join(line for line in lines if other not in line), encoding="utf-8")
    with pytest.raises(ValueError, match="weights_path"):
        TTSModel.load_model(config=str(path))
