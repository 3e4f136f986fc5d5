"""The parts of `training/` that need no PyTorch: texts, features, cutting of speech."""

from __future__ import annotations

import random

import numpy as np
import pytest

from training import features, phrases, texts
from training.corpus import words_of
from training.speech import LEAD_SAMPLES, SpeechError, whole_frames


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a brown  dress", "A brown dress."),
        ("He didn't; did you?", "He didn't; did you?"),
        ("“Stop!” (he said)", "Stop! he said."),
        ("one -- two", "One, two."),
        ("the 'inner' man", "The inner man."),
        ("the NASA budget", None),
        ("see fig. 3", None),
        ("in 1984", None),
        ("write to me@example.org", None),
        ("x", None),
        ("brr", None),
        ("a " * 100, None),
    ],
)
def test_sentences_that_are_in_doubt_are_left_out(text: str, cleaned: str | None) -> None:
    assert texts.clean_sentence(text) == cleaned


def test_prose_is_cut_at_sentence_ends() -> None:
    paragraph = "The first one is\nhere. And here is the second! no capital. Two words."
    assert list(texts.sentences_of_prose([paragraph])) == [
        "The first one is here.",
        "And here is the second! no capital.",
    ]


@pytest.mark.parametrize(
    ("number", "spelled"),
    [
        (0, "zero"),
        (14, "fourteen"),
        (40, "forty"),
        (99, "ninety nine"),
        (100, "one hundred"),
        (305, "three hundred and five"),
        (7000, "seven thousand"),
        (21_013, "twenty one thousand thirteen"),
    ],
)
def test_numbers_are_spelled_out(number: int, spelled: str) -> None:
    assert phrases.spelled_number(number) == spelled


def test_utterances_follow_from_the_seed_and_differ() -> None:
    made = phrases.utterances(random.Random(3), 200)
    assert made == phrases.utterances(random.Random(3), 200)
    assert made != phrases.utterances(random.Random(4), 200)
    assert len(set(made)) == 200
    assert not any("{" in text for text in made)


def test_words_keep_their_apostrophes() -> None:
    assert words_of("Don't, 'John's' dog!") == ["don't", "john's", "dog"]


def test_features_of_a_frame_do_not_look_ahead() -> None:
    noise = np.random.default_rng(0).standard_normal(6 * features.FRAME_SAMPLES).astype(np.float32)
    changed = noise.copy()
    changed[3 * features.FRAME_SAMPLES :] *= 0.1
    before, after = features.frame_features(noise), features.frame_features(changed)
    np.testing.assert_array_equal(before[:3], after[:3])
    assert np.abs(before[3:] - after[3:]).max() > 1.0


@pytest.mark.parametrize("pitch_hz", [80.0, 120.0, 170.0, 300.0])
def test_pitch_of_a_pulse_train(pitch_hz: float) -> None:
    times = np.arange(4 * features.FRAME_SAMPLES) / features.SAMPLE_RATE_HZ
    harmonics = range(1, int(4000 / pitch_hz))
    sound = sum(np.cos(2 * np.pi * pitch_hz * k * times) for k in harmonics) * np.float32(0.02)
    hops = features.frame_features(np.asarray(sound, np.float32)).reshape(
        -1, features.MEL_BANDS + 2
    )[4:]
    found = features.PITCH_CENTRE_HZ * np.exp(hops[:, -2] / features.PITCH_WEIGHT)
    assert (hops[:, -1] == features.VOICING_WEIGHT).all()
    # Half a sample of lag.
    np.testing.assert_allclose(found, pitch_hz, rtol=pitch_hz / features.SAMPLE_RATE_HZ)


def test_whole_frames_are_required() -> None:
    with pytest.raises(ValueError, match="whole frames of 1280 samples, found 1281"):
        features.frame_features(np.zeros(1281, np.float32))


def test_pca_whitens_and_returns() -> None:
    rng = np.random.default_rng(1)
    inner = rng.standard_normal((4000, features.LATENT_DIM)) * np.arange(1, features.LATENT_DIM + 1)
    data = (inner @ rng.standard_normal((features.LATENT_DIM, 60)) + 5.0).astype(np.float32)
    pca = features.Pca.fit(data)
    latents = pca.latents(data)
    np.testing.assert_allclose(latents.std(axis=0), 1.0, atol=1e-2)
    np.testing.assert_allclose(latents.mean(axis=0), 0.0, atol=1e-2)
    np.testing.assert_allclose(pca.features(latents), data, atol=1e-2 * np.abs(data).max())


def test_speech_is_cut_to_whole_frames_after_a_fixed_lead() -> None:
    sound = np.zeros(16_000, np.float32)
    sound[5_000:9_000] = 0.5 * np.sin(np.arange(4_000) * 0.3)
    cut = whole_frames(sound)
    assert len(cut) % features.FRAME_SAMPLES == 0
    onset = np.flatnonzero(np.abs(cut) > 0.01)[0]
    assert LEAD_SAMPLES <= onset + features.HOP_SAMPLES <= LEAD_SAMPLES + 2 * features.HOP_SAMPLES
    assert np.abs(cut[-features.HOP_SAMPLES :]).max() == 0.0
    with pytest.raises(SpeechError, match="found silence"):
        whole_frames(np.zeros(16_000, np.float32))


def test_latents_every_20_ms_hold_those_of_the_frames() -> None:
    rng = np.random.default_rng(2)
    sound = 0.1 * rng.standard_normal(5 * features.FRAME_SAMPLES).astype(np.float32)
    phased = features.phased_features(sound)
    step = features.FRAME_SAMPLES // features.PHASES
    np.testing.assert_array_equal(phased[:: features.PHASES], features.frame_features(sound))
    later = features.frame_features(np.concatenate([sound[step:], np.zeros(step, np.float32)]))
    # The first windows reach back before the cut, and the last ones into the silence after it.
    np.testing.assert_allclose(
        phased[1 :: features.PHASES][1:-1], later[1:-1], rtol=1e-5, atol=1e-5
    )
