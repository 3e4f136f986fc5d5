"""SIMD levels: which there are, how one is forced, and that they agree on a tiny model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from conftest import simd_levels
from pocket_tts_native import TTSModel, build_info
from signals import voice_like

if TYPE_CHECKING:
    from pathlib import Path

    from model_files import Array


def _outputs(directory: Path) -> list[Array]:
    model = TTSModel.load_model(config=str(directory / "config.yaml"), num_threads=1)
    pcm = voice_like(1280, 1600)
    voice = model.get_state_for_audio_prompt(pcm, sample_rate=1600)
    latents, logits = model.generate_latents(voice, "it is one", frames=8, seed=1)
    decode_in = np.random.default_rng(0).standard_normal((6, 8), dtype=np.float32)
    return [model.encode_audio(pcm), latents, logits, model.decode_latents(decode_in)]


def test_the_levels_found_are_those_of_the_cpu() -> None:
    """Detection agrees with the flags that the operating system shows."""
    assert set(build_info()["simd_levels_available"]) == set(simd_levels()[0])


def test_the_fastest_level_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing needs to be set to be fast."""
    monkeypatch.delenv("POCKET_SIMD", raising=False)
    assert build_info()["simd_level"] == simd_levels()[0][-1]


@pytest.mark.parametrize("level", simd_levels()[0])
def test_levels_agree(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    """Every level computes what the scalar specification does, up to rounding."""
    monkeypatch.setenv("POCKET_SIMD", "scalar")
    scalar = _outputs(tiny_model_dir)
    monkeypatch.setenv("POCKET_SIMD", level)
    assert build_info()["simd_level"] == level
    for ours, theirs in zip(_outputs(tiny_model_dir), scalar, strict=True):
        assert np.linalg.norm(ours - theirs) <= 1e-5 * np.linalg.norm(theirs)


@pytest.mark.parametrize("level", ["avx3", *simd_levels()[1]])
def test_levels_that_cannot_run_are_refused(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    """A level that does not exist, or that this CPU lacks, is an error and no illegal instruction."""
    monkeypatch.setenv("POCKET_SIMD", level)
    with pytest.raises(ValueError, match="POCKET_SIMD"):
        TTSModel.load_model(config=str(tiny_model_dir / "config.yaml"))
