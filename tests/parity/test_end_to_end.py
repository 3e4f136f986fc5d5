"""Audio of whole texts against PyTorch: same noise in, same number of samples and same audio out."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from parity_cases import CASES, Case, Speech, speech_noise
from pocket_tts_native import TTSModel
from test_parity import BOUND, relative_l2

if TYPE_CHECKING:
    from typing import Any

    from conftest import Measured
    from model_files import Array
    from pocket_tts_native import VoiceState
    from reference_client import ReferenceStore

pytestmark = pytest.mark.parity

NAMES: Final = ("english", "english_2m", "2026-01", "drifting", "lsd_4_steps", "no_resampling")
ALWAYS: Final = -1e9
NEVER: Final = 1e9
FIRST_FRAME_OF_EOS: Final = 6
# Prepared already, so that the tokens are known without preparing them.
TEXT: Final = "The quick brown fox jumps over the lazy dog."
TEXTS: Final = (
    TEXT,
    "She sells sea shells by the sea shore.",
    "It was a bright cold day in April.",
    "All happy families are alike, they say.",
    "Call me again when you are back home.",
)
SHORT_TEXT: Final = "Oh, it is me again."
LONG_TEXT: Final = (
    "hello there; it's a fine day, isn't it? I have 2.5 apples and 3 pears. We met Dr. Who at "
    "5 p.m., and he said: “What a day!” Then, although nobody had asked him to do anything of the "
    "kind, he sang, danced, juggled, cooked, painted, wrote a long letter to the mayor, and left "
    "without a word of thanks to anybody who had listened\nGood night"
)


def _threshold(logits: Array, *, crosses_early: bool) -> float | None:
    """A threshold that is first exceeded, among the frames that count, well after the seventh.

    With `crosses_early` one of the frames that do not count exceeds it too. No logit is near it.
    """
    ordered = np.sort(logits.astype(np.float64))
    middles = (ordered[1:] + ordered[:-1]) / 2
    for threshold, gap in sorted(zip(middles, np.diff(ordered), strict=True), key=lambda x: -x[1]):
        above = np.flatnonzero(logits > threshold)
        early, counted = above[above < FIRST_FRAME_OF_EOS], above[above >= FIRST_FRAME_OF_EOS]
        is_late = len(counted) > 0 and counted[0] > FIRST_FRAME_OF_EOS + 1
        if gap > 0.01 and is_late and (len(early) > 0) == crosses_early:
            return round(float(threshold), 3)
    return None


class Spoken:
    """A case: our model and the reference's audio of all speeches."""

    def __init__(self, case: Case, store: ReferenceStore) -> None:
        """Load the model, choose thresholds by its logits and ask the reference."""
        data = store.data(case)
        self.case = case
        self.noise = speech_noise()
        self.model = TTSModel.load_model(
            config=data.config, temp=case.temp, sampler_decode_steps=case.steps, num_threads=2
        )
        self.voice: VoiceState = self.model.get_state_for_audio_prompt(data.exported_voice)
        late_text, late = self._text_and_threshold(crosses_early=False)
        early_text, early = self._text_and_threshold(crosses_early=True)
        self.speeches = {
            speech.name: speech
            for speech in (
                Speech("late_eos", (late_text,), late),
                Speech("early_eos_ignored", (early_text,), early),
                Speech("eos_always", (TEXT,), ALWAYS),
                Speech("frames_after_eos", (late_text,), late, frames_after_eos=5),
                Speech("no_frames_after_eos", (TEXT,), ALWAYS, frames_after_eos=0),
                Speech("no_eos", (SHORT_TEXT,), NEVER),
                Speech("continued", (TEXT, SHORT_TEXT, TEXT), ALWAYS, 8, copy_state=False),
                Speech("two_texts", (TEXT, SHORT_TEXT), ALWAYS, 8),
                Speech("few_words", ("Oh!",), ALWAYS),
                Speech("chunks", (LONG_TEXT,), ALWAYS),
                Speech("short_chunks", (LONG_TEXT,), ALWAYS, max_tokens=15),
                Speech(
                    "chunks_continued", (LONG_TEXT,), ALWAYS, 3, copy_state=False, max_tokens=20
                ),
            )
        }
        self.outputs = store.speech(case, list(self.speeches.values()))

    def _text_and_threshold(self, *, crosses_early: bool) -> tuple[str, float]:
        """The first text that this model has such a threshold for."""
        for text in TEXTS:
            _, logits = self.model.generate_latents(self.voice, text, frames=60, noise=self.noise)
            threshold = _threshold(logits, crosses_early=crosses_early)
            if threshold is not None:
                return text, threshold
        pytest.fail("no threshold suits this model; add a text")

    def audio(self, speech: Speech) -> tuple[Array, list[int], int]:
        """Our audio of a speech, the samples of each text, and the rows of noise consumed."""
        self.model.eos_threshold = speech.eos_threshold
        state, noise, pieces = copy.copy(self.voice), self.noise, []
        for text in speech.texts:
            arguments: dict[str, Any] = {
                "max_tokens": speech.max_tokens,
                "frames_after_eos": speech.frames_after_eos,
                "copy_state": speech.copy_state,
            }
            pieces.append(self.model.generate_audio(state, text, noise=noise, **arguments))
            noise = noise[self._n_draws(text, speech, pieces[-1]) :]
        return (
            np.concatenate(pieces),
            [len(piece) for piece in pieces],
            len(self.noise) - len(noise),
        )

    def _n_draws(self, text: str, speech: Speech, audio: Array) -> int:
        """A row per frame, and one per chunk that ended on an end of speech."""
        n_frames = len(audio) // (self.model.sample_rate * 2 // 25)
        if speech.eos_threshold == NEVER:
            return n_frames
        return n_frames + len(self.model.split_text(text, speech.max_tokens))


@pytest.fixture(scope="module", params=NAMES)
def spoken(request: pytest.FixtureRequest, reference_store: ReferenceStore) -> Spoken:
    """One case."""
    case = next(case for case in CASES if case.name == request.param)
    return Spoken(case, reference_store)


@pytest.mark.parametrize(
    "name",
    [
        "late_eos",
        "early_eos_ignored",
        "eos_always",
        "frames_after_eos",
        "no_frames_after_eos",
        "no_eos",
        "continued",
        "two_texts",
        "few_words",
        "chunks",
        "short_chunks",
        "chunks_continued",
    ],
)
def test_audio_of_texts(spoken: Spoken, measured: Measured, name: str) -> None:
    """Chunks, lengths, fade-in and joins."""
    speech = spoken.speeches[name]
    audio, lengths, n_draws = spoken.audio(speech)
    assert lengths == spoken.outputs[f"lengths_{name}"].tolist()
    assert n_draws == spoken.outputs[f"draws_{name}"]
    error = relative_l2(audio, spoken.outputs[f"audio_{name}"])
    measured("audio of texts", error, BOUND, f"{spoken.case.name} {name}")
    assert audio[0] == 0.0, "a chunk fades in from silence"


def test_chunks_are_joined_where_the_reference_does(spoken: Spoken, measured: Measured) -> None:
    """The worst 5 ms of the audio, relative to its loudness, so that no join hides in the rest."""
    audio, _, _ = spoken.audio(spoken.speeches["short_chunks"])
    theirs = spoken.outputs["audio_short_chunks"]
    length = spoken.model.sample_rate // 200
    n_windows = len(theirs) // length
    assert audio.shape == theirs.shape
    difference = (audio.astype(np.float64) - theirs)[: n_windows * length].reshape(-1, length)
    worst = np.sqrt(np.mean(difference**2, axis=1)).max()
    loudness = np.sqrt(np.mean(theirs.astype(np.float64) ** 2))
    measured("audio of texts, worst 5 ms", worst / loudness, 3 * BOUND, spoken.case.name)
