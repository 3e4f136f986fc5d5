"""Shapes, types and refusals of the methods for inspection, on a tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pocket_tts_native import TTSModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_files import Array
    from pocket_tts_native import VoiceState
from signals import voice_like

FRAME_SAMPLES = 128
LATENT_DIM = 8
TEXT = "hello there, it is one."


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> TTSModel:
    """A tiny model."""
    return TTSModel.load_model(config=str(tiny_model_dir / "config.yaml"), num_threads=1)


@pytest.fixture(scope="module")
def voice(model: TTSModel) -> VoiceState:
    """A voice made of ten frames of sound."""
    return model.get_state_for_audio_prompt(voice_like(10 * FRAME_SAMPLES, 1600), sample_rate=1600)


def test_config_may_be_a_path_object(tiny_model_dir: Path) -> None:
    """`config` takes `str` and `Path`."""
    model = TTSModel.load_model(config=tiny_model_dir / "config.yaml")
    assert model.sample_rate == 1600


def test_tokenize_gives_python_integers(model: TTSModel) -> None:
    """Token ids are a list of int, in the vocabulary."""
    tokens = model.tokenize(TEXT)
    assert isinstance(tokens, list)
    assert all(type(token) is int and 0 <= token < 60 for token in tokens)


def test_prepare_and_split_text(model: TTSModel) -> None:
    """Text and frames after the end of speech; chunks as a list of str; no text is an error."""
    assert model.prepare_text("  hello there,\n") == ("Hello there.", 5)
    assert model.prepare_text("one two three four five") == ("One two three four five.", 3)
    text = "it is one. there it is. " * 20
    assert model.split_text(text, max_tokens=10_000) == [" ".join(model.split_text(text, 0))]
    assert model.split_text(text, -1) == model.split_text(text, 0)
    assert 1 < len(model.split_text(text)) < len(model.split_text(text, 0)) == 40
    for empty in ("", " \u2028\x1c"):
        with pytest.raises(ValueError, match="empty"):
            model.prepare_text(empty)
        with pytest.raises(ValueError, match="empty"):
            model.split_text(empty)


@pytest.mark.parametrize(
    ("n_samples", "n_frames"),
    [(1, 1), (127, 1), (128, 1), (129, 2), (1280, 10)],
)
def test_encode_audio_pads_to_whole_frames(model: TTSModel, n_samples: int, n_frames: int) -> None:
    """A frame of latents for every frame begun."""
    latents = model.encode_audio(voice_like(n_samples, 1600))
    assert latents.shape == (n_frames, 8)
    assert latents.dtype == np.float32


def test_generate_latents_shapes(model: TTSModel, voice: VoiceState) -> None:
    """A row of latents and a logit per frame."""
    latents, logits = model.generate_latents(voice, TEXT, frames=7, seed=1)
    assert latents.shape == (7, LATENT_DIM)
    assert logits.shape == (7,)
    assert latents.dtype == logits.dtype == np.float32
    assert np.isfinite(latents).all()


def test_generate_latents_leaves_the_voice_as_it_was(model: TTSModel, voice: VoiceState) -> None:
    """A voice serves any number of runs."""
    noise = np.ones((5, LATENT_DIM), np.float32)
    first, _ = model.generate_latents(voice, TEXT, frames=5, noise=noise)
    model.generate_latents(voice, "another text", frames=9, seed=3)
    second, _ = model.generate_latents(voice, TEXT, frames=5, noise=noise)
    assert np.array_equal(first, second)


def test_fewer_frames_are_a_prefix(model: TTSModel, voice: VoiceState) -> None:
    """The number of frames does not change those generated."""
    long, _ = model.generate_latents(voice, TEXT, frames=9, seed=4)
    short, _ = model.generate_latents(voice, TEXT, frames=4, seed=4)
    assert np.array_equal(long[:4], short)


@pytest.mark.parametrize("frames_per_call", [None, 1, 2, 4, 6, 9, (1, 3, 2), [5, 1], (1, 2)])
def test_decode_latents_in_groups(
    model: TTSModel, frames_per_call: int | Sequence[int] | None
) -> None:
    """The grouping of frames does not show in the audio."""
    latents = np.random.default_rng(0).standard_normal((6, LATENT_DIM), dtype=np.float32)
    audio = model.decode_latents(latents, frames_per_call=frames_per_call)
    assert audio.shape == (6 * FRAME_SAMPLES,)
    assert audio.dtype == np.float32
    at_once = model.decode_latents(latents)
    assert np.linalg.norm(audio - at_once) <= 1e-6 * np.linalg.norm(at_once)


@pytest.mark.parametrize("frames_per_call", [0, -1, (0, 6), (3, -1)])
def test_decode_latents_refuses_groups_of_no_frame(
    model: TTSModel, frames_per_call: int | Sequence[int] | None
) -> None:
    """A group holds at least one frame."""
    latents = np.zeros((6, LATENT_DIM), np.float32)
    with pytest.raises((ValueError, OverflowError)):
        model.decode_latents(latents, frames_per_call=frames_per_call)


@pytest.mark.parametrize(
    "latents",
    [
        np.zeros((3, LATENT_DIM + 1), np.float32),
        np.zeros(LATENT_DIM, np.float32),
        np.zeros((3, LATENT_DIM), np.float64),
        np.zeros((LATENT_DIM, 3), np.float32).T,
    ],
    ids=["width", "one_dimensional", "float64", "not_contiguous"],
)
def test_decode_latents_refuses_other_arrays(model: TTSModel, latents: Array) -> None:
    """Arrays are C-contiguous float32 of the right width, or refused."""
    with pytest.raises((TypeError, ValueError)):
        model.decode_latents(latents)


@pytest.mark.parametrize(
    "noise",
    [np.zeros((4, LATENT_DIM), np.float32), np.zeros((5, LATENT_DIM - 1), np.float32)],
    ids=["frames", "width"],
)
def test_noise_of_another_shape_is_refused(
    model: TTSModel, voice: VoiceState, noise: Array
) -> None:
    """Noise has one row per frame and the latents' width."""
    with pytest.raises(ValueError, match="noise"):
        model.generate_latents(voice, TEXT, frames=5, noise=noise)


def test_forced_latents_of_its_own_latents_are_the_same(model: TTSModel, voice: VoiceState) -> None:
    """What the model said itself, given back as what came before, leads to the same again."""
    noise = np.random.default_rng(5).standard_normal((6, LATENT_DIM), dtype=np.float32)
    free, free_logits = model.generate_latents(voice, TEXT, frames=6, noise=noise)
    forced, logits = model.forced_latents(voice, TEXT, free, noise=noise)
    assert np.array_equal(forced, free)
    assert np.array_equal(logits, free_logits)
    other = free.copy()
    other[2] += 1.0
    changed, _ = model.forced_latents(voice, TEXT, other, noise=noise)
    assert np.array_equal(changed[:3], free[:3])
    assert not np.array_equal(changed[3:], free[3:])


@pytest.mark.parametrize(
    ("latents", "noise", "reason"),
    [
        (np.zeros((5, LATENT_DIM)), np.zeros((5, LATENT_DIM), np.float32), "latents"),
        (np.zeros((5, LATENT_DIM), np.float32), np.zeros((4, LATENT_DIM), np.float32), "noise"),
        (
            np.zeros((5, LATENT_DIM + 1), np.float32),
            np.zeros((5, LATENT_DIM), np.float32),
            "latents",
        ),
        (np.zeros((5, LATENT_DIM), np.float32), np.zeros(5 * LATENT_DIM, np.float32), "noise"),
    ],
    ids=["float64", "frames", "width", "one_dimensional"],
)
def test_forced_latents_refuses_other_arrays(
    model: TTSModel, voice: VoiceState, latents: Array, noise: Array, reason: str
) -> None:
    """The message names the argument that does not fit."""
    with pytest.raises((TypeError, ValueError), match=reason):
        model.forced_latents(voice, TEXT, latents, noise=noise)
