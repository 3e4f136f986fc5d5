"""The embedded model against PyTorch: trained weights, which leave errors less room than random ones.

A trained model hears what it said, and small differences grow from frame to frame, in the reference
itself too. So frames are compared with the same frames before them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pocket_tts_native
import pytest
from pocket_tts_native import TTSModel, embedded
from signals import voice_like, with_silence, write_wav
from test_parity import BOUND, EOS_BOUND, relative_l2

if TYPE_CHECKING:
    from conftest import Measured
    from model_files import Array
    from reference_client import ReferenceStore

pytestmark = pytest.mark.parity

FOLDER: Final = Path(pocket_tts_native.__path__[0], "embedded_model")
TEXTS: Final = (
    "The wind had dropped, and nobody on the boat said a word.",
    "It's 5 o'clock; Dr. Smith (who isn't here) can't come.",
    "zoë's naïve café — 100% “closed”…",
    "A",
)
N_FRAMES: Final = 40
LATENT_DIM: Final = 48
TEMP: Final = 0.3
# In the last place of a float32.
ROUNDING: Final = 2.0**-23
# Frames in which roundings have not yet grown.
N_EQUAL: Final = 5
# Of what a rounding of each number of the noise does to the reference, the most of some trials. Ours differ in
# every product, and what a rounding becomes depends on where it happens.
N_TRIALS: Final = 3
ROOM: Final = 30.0


class Compared:
    """Both engines' outputs over the same inputs."""

    def __init__(self, store: ReferenceStore, directory: Path) -> None:
        """Ask the reference; speak with ours."""
        rng = np.random.default_rng(1)
        self.model = TTSModel.load_model("embedded", temp=TEMP, num_threads=1)
        self.voice = embedded.voice_path(embedded.DEFAULT_VOICE)
        self.noise = rng.standard_normal((N_FRAMES, LATENT_DIM), dtype=np.float32)
        self.state = self.model.get_state_for_audio_prompt(embedded.DEFAULT_VOICE)
        # Latents of the model's own making, as the frames before are.
        self.latents, self.logits = self.model.generate_latents(
            self.state, TEXTS[0], frames=N_FRAMES, noise=self.noise
        )
        rate = self.model.sample_rate
        self.recording = with_silence(voice_like(25_000, rate, seed=3), rate)
        self.config = _config(directory)
        wav = write_wav(directory / "voice.wav", self.recording, rate)
        given = {"noise": self.noise, "forced": self.latents, "decode_in": self.latents}
        given["pcm_recording"] = self.recording
        self.theirs = self._ask(store, directory / "exact", given, self.voice)
        self.nudged = []
        for trial in range(N_TRIALS):
            signs = rng.choice(np.array([-1, 1], np.float32), self.noise.shape)
            nudged = {"noise": self.noise * (1 + np.float32(ROUNDING) * signs)}
            self.nudged.append(self._ask(store, directory / f"nudged-{trial}", nudged, self.voice))
        self.cloned = self._ask(store, directory / "cloned", given, wav)
        self.wav = wav

    def _ask(
        self, store: ReferenceStore, name: Path, inputs: dict[str, Any], voice: Path
    ) -> dict[str, Any]:
        return store.run(
            self.config,
            name,
            inputs,
            temp=TEMP,
            text=TEXTS[0],
            texts=TEXTS,
            voice_wav=str(voice),
            groups=[N_FRAMES],
            check=False,
        )


def _config(directory: Path) -> Path:
    """The embedded configuration with absolute paths, which the reference needs."""
    text = (FOLDER / "config.yaml").read_text(encoding="utf-8")
    for name in ("model.safetensors", "tokenizer.json"):
        assert text.count(f": {name}") == 1
        text = text.replace(f": {name}", f": {FOLDER / name}")
    path = directory / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def compared(reference_store: ReferenceStore, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Both, once."""
    return Compared(reference_store, tmp_path_factory.mktemp("embedded"))


def share(latents: Array, noise: Array) -> Array:
    """What the network adds to the noise."""
    return latents - noise * np.float32(TEMP**0.5)


def test_tokens(compared: Compared) -> None:
    for index, text in enumerate(TEXTS):
        assert compared.model.tokenize(text) == compared.theirs[f"tokens_{index}"].tolist()


def test_encoder_and_decoder(compared: Compared, measured: Measured) -> None:
    ours = compared.model.encode_audio(compared.recording)
    error = relative_l2(ours, compared.theirs["voice_latents_recording"])
    measured("voice latents, trained", error, BOUND, "embedded")
    audio = compared.model.decode_latents(compared.latents)
    measured("audio, trained", relative_l2(audio, compared.theirs["audio"]), BOUND, "embedded")


@pytest.mark.parametrize("voice", ["saved", "cloned"])
def test_frames_after_the_same_frames(compared: Compared, measured: Measured, voice: str) -> None:
    """The saved voice, and one that both make of a recording."""
    theirs = compared.theirs if voice == "saved" else compared.cloned
    state = compared.model.get_state_for_audio_prompt(
        compared.voice if voice == "saved" else compared.wav
    )
    ours, logits = compared.model.forced_latents(
        state, TEXTS[0], compared.latents, noise=compared.noise
    )
    error = relative_l2(
        share(ours, compared.noise), share(theirs["forced_latents"], compared.noise)
    )
    measured(f"latents, trained, forced, {voice}", error, BOUND, "embedded")
    error = relative_l2(logits, theirs["forced_eos_logits"])
    measured(f"EOS logits, trained, forced, {voice}", error, EOS_BOUND, "embedded")


def test_frames_after_its_own_frames(compared: Compared, measured: Measured) -> None:
    """Left to itself: equal at first, then no further astray than the reference after a rounding."""
    theirs = compared.theirs["latents"]
    error = relative_l2(compared.latents[:N_EQUAL], theirs[:N_EQUAL])
    measured(f"latents, trained, free, {N_EQUAL} frames", error, BOUND, "embedded")
    inherent = max(relative_l2(outputs["latents"], theirs) for outputs in compared.nudged)
    error = relative_l2(compared.latents, theirs)
    assert error <= max(BOUND, ROOM * inherent), f"{error:.2g}, the reference's own {inherent:.2g}"


def test_forcing_its_own_frames_changes_nothing(compared: Compared) -> None:
    latents, logits = compared.model.forced_latents(
        compared.state, TEXTS[0], compared.latents, noise=compared.noise
    )
    assert np.array_equal(latents, compared.latents)
    assert np.array_equal(logits, compared.logits)
    others = np.roll(compared.latents, 1, axis=0)
    changed, _ = compared.model.forced_latents(
        compared.state, TEXTS[0], others, noise=compared.noise
    )
    assert relative_l2(changed, latents) > 0.05
