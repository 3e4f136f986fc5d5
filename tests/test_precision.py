"""Precisions: near to f32, and as repeatable as f32."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from pocket_tts_native import TTSModel
from signals import voice_like
from tiny_model import tiny_config, write_model

if TYPE_CHECKING:
    from pathlib import Path

    from model_files import Array

TEXT: Final = "hello there, it is one."
N_FRAMES: Final = 12
# dB of the first frame's latent and of the codec's audio. The bounds of docs/precision.md are for the
# large model; here a rounding error meets fewer others to be averaged with.
LEAST_LATENTS_DB: Final = {"f32": np.inf, "bf16": 35.0, "int8": 28.0}
LEAST_AUDIO_DB: Final = {"f32": np.inf, "bf16": 38.0, "int8": 45.0}


@pytest.fixture(scope="module")
def config_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model wide enough for its matrices to be quantised."""
    width = 128
    overrides = {
        "flow_lm": {
            "flow": {"dim": width},
            "transformer": {"d_model": width, "num_heads": 4, "hidden_scale": 2},
            "lookup_table": {"dim": width},
        },
        "mimi": {
            "outer_dim": 64,
            "seanet": {"dimension": 64, "n_filters": 16},
            "transformer": {
                "d_model": 64,
                "dim_feedforward": 128,
                "input_dimension": 64,
                "output_dimensions": [64],
            },
            "quantizer": {"output_dimension": 64},
        },
    }
    return str(write_model(tmp_path_factory.mktemp("wide"), tiny_config(overrides)))


def _ratio_db(want: Array, got: Array) -> float:
    want, got = want.astype(np.float64), got.astype(np.float64)
    error = np.square(got - want).sum()
    return float(np.inf) if error == 0 else float(10 * np.log10(np.square(want).sum() / error))


@pytest.mark.parametrize("precision", ["f32", "bf16", "int8"])
def test_every_precision_is_near_to_f32(config_path: str, precision: str) -> None:
    """What the network makes of the same inputs, less what does not depend on its matrices."""
    exact = TTSModel.load_model(config=config_path)
    model = TTSModel.load_model(config=config_path, precision=precision)
    assert (exact.precision, model.precision) == ("f32", precision)
    voice = voice_like(2000, 1600)
    noise = np.zeros((2, 8), np.float32)
    first, other = [
        m.generate_latents(
            m.get_state_for_audio_prompt(voice, sample_rate=1600), TEXT, frames=1, noise=noise
        )[0]
        for m in (exact, model)
    ]
    assert _ratio_db(first, other) >= LEAST_LATENTS_DB[precision]
    codes = np.random.default_rng(1).standard_normal((N_FRAMES, 8)).astype(np.float32)
    sound, other_sound = [
        m.decode_latents(codes) - m.decode_latents(0 * codes) for m in (exact, model)
    ]
    assert _ratio_db(sound, other_sound) >= LEAST_AUDIO_DB[precision]
    if precision != "f32":
        assert not np.array_equal(first, other)
        assert not np.array_equal(sound, other_sound)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_threads_and_grouping_do_not_change_bits(config_path: str, precision: str) -> None:
    """The same seed gives the same samples."""
    first = None
    for n_threads in (1, 2):
        model = TTSModel.load_model(config=config_path, precision=precision, num_threads=n_threads)
        voice = model.get_state_for_audio_prompt(voice_like(2000, 1600), sample_rate=1600)
        latents, _ = model.generate_latents(voice, TEXT, frames=N_FRAMES, seed=3)
        whole = model.decode_latents(latents)
        for groups in (1, [3, 1, 2], 5):
            assert np.array_equal(model.decode_latents(latents, groups), whole)
        audio = model.generate_audio(voice, TEXT, seed=3)
        assert first is None or np.array_equal(audio, first)
        first = audio


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_streams_do_not_disturb_each_other(config_path: str, precision: str) -> None:
    """Several streams at once give what each gives alone."""
    model = TTSModel.load_model(config=config_path, precision=precision)
    voice = model.get_state_for_audio_prompt(voice_like(2000, 1600), sample_rate=1600)
    texts = [TEXT, "one two, three.", "it is there, hello hello."]
    alone = [model.generate_audio(voice, text, seed=seed) for seed, text in enumerate(texts)]
    with ThreadPoolExecutor(len(texts)) as pool:
        together = pool.map(
            lambda job: model.generate_audio(voice, job[1], seed=job[0]), enumerate(texts)
        )
        for one, other in zip(alone, together, strict=True):
            assert np.array_equal(one, other)


def test_names_of_the_same_precision(config_path: str) -> None:
    """`quantize=True` and `auto` are `int8`."""
    for model in (
        TTSModel.load_model(config=config_path, quantize=True),
        TTSModel.load_model(config=config_path, quantize=True, precision="int8"),
        TTSModel.load_model(config=config_path, precision="auto"),
    ):
        assert model.precision == "int8"


def test_contradictions_are_refused(config_path: str) -> None:
    """`quantize=True` with another precision."""
    with pytest.raises(ValueError, match="quantize"):
        TTSModel.load_model(config=config_path, quantize=True, precision="f32")


def test_voices_serve_every_precision(config_path: str, tmp_path: Path) -> None:
    """A saved voice knows the model's weights, not how they were kept."""
    exact = TTSModel.load_model(config=config_path)
    path = tmp_path / "voice.safetensors"
    exact.get_state_for_audio_prompt(voice_like(2000, 1600), sample_rate=1600).save(path)
    model = TTSModel.load_model(config=config_path, precision="int8")
    assert len(model.generate_audio(model.get_state_for_audio_prompt(path), TEXT, seed=1)) > 0
