"""The committed references of tiny models, through the Python API and without PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from model_files import read_safetensors
from pocket_tts_native import TTSModel

FIXTURES: Final = Path(__file__).parent / "fixtures"


@pytest.mark.parametrize(
    "name", sorted(path.parent.name for path in FIXTURES.glob("*/config.yaml"))
)
def test_committed_references(tmp_path: Path, name: str) -> None:
    """Tokens, voice latents and audio of the committed references, without PyTorch."""
    directory = FIXTURES / name
    text = (directory / "config.yaml").read_text(encoding="utf-8")
    for file in ("model.safetensors", "tokenizer.json"):
        text = text.replace(f"path: {file}", f"path: {json.dumps(str(directory / file))}")
    config = tmp_path / "config.yaml"
    config.write_text(text, encoding="utf-8")
    expected = read_safetensors(directory / "expected.safetensors")
    model = TTSModel.load_model(
        config=str(config),
        temp=float(expected["temp"][0]),
        sampler_decode_steps=int(expected["sampler_decode_steps"][0]),
        num_threads=1,
    )
    assert model.tokenize("hello there, it is one.") == expected["text_tokens"].tolist()
    for ours, theirs in (
        (model.encode_audio(expected["pcm"]), expected["voice_latents"]),
        (model.decode_latents(expected["decode_latents_in"]), expected["audio"]),
    ):
        assert ours.shape == theirs.shape
        assert np.linalg.norm(ours - theirs) <= 1e-5 * np.linalg.norm(theirs)
