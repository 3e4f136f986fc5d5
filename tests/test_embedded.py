"""The model that the package carries: it speaks without a network, and stands in for the default one."""

from __future__ import annotations

import subprocess
import sys
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pocket_tts_native
import pytest
from pocket_tts_native import TTSModel, catalog, embedded
from signals import voice_like, write_wav

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEXT: Final = "The wind had dropped, and nobody on the boat said a word."
LARGEST_BYTES: Final = 10_000_000
RATE_HZ: Final = 16_000
LATENT_DIM: Final = 48


@pytest.fixture(scope="module")
def model() -> TTSModel:
    """The embedded model."""
    return TTSModel.load_model("embedded")


@pytest.fixture(params=["HF_ENDPOINT", "HF_HUB_OFFLINE"])
def no_network(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A hub that cannot be asked, because its name is unknown or downloads are switched off."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv(
        request.param, "https://hub.invalid" if request.param == "HF_ENDPOINT" else "1"
    )
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return str(request.param)


def command(
    *arguments: str | Path, directory: Path, expects: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run the command in a directory of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "pocket_tts_native", *map(str, arguments)],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == expects, done.stderr
    return done


def samples_of(path: Path) -> NDArray[np.int16]:
    """The samples of a WAV file, at the embedded model's rate."""
    with wave.open(str(path)) as file:
        assert file.getframerate() == RATE_HZ
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def test_it_fits_the_promise() -> None:
    folder = Path(pocket_tts_native.__path__[0], "embedded_model")
    files = {path.name: path.stat().st_size for path in folder.iterdir()}
    names = {"config.yaml", "model.safetensors", "tokenizer.json"}
    assert set(files) == names | {f"{voice}.safetensors" for voice in embedded.VOICES}
    assert sum(files.values()) <= LARGEST_BYTES


@pytest.mark.parametrize("precision", ["f32", "bf16", "int8"])
@pytest.mark.parametrize("voice", embedded.VOICES)
def test_every_voice_speaks(voice: str, precision: str) -> None:
    """It comes to an end by itself, after a time that fits the text, loud and unclipped."""
    model = TTSModel.load_model("embedded", precision=precision)
    audio = model.generate_audio(model.get_state_for_audio_prompt(voice), TEXT, seed=1)
    assert model.sample_rate == RATE_HZ
    assert 2.0 <= len(audio) / RATE_HZ <= 6.0
    assert 0.02 <= np.sqrt(np.mean(np.square(audio))) <= 0.3
    assert np.abs(audio).max() < 1.0


def test_voices_differ(model: TTSModel) -> None:
    """The saved states are of different speakers."""
    first, *others = (
        model.generate_latents(
            model.get_state_for_audio_prompt(voice),
            TEXT,
            frames=10,
            noise=np.zeros((10, LATENT_DIM), np.float32),
        )[0]
        for voice in embedded.VOICES
    )
    for other in others:
        assert np.linalg.norm(first - other) > 0.1 * np.linalg.norm(first)


def test_a_recording_makes_a_voice(model: TTSModel, tmp_path: Path) -> None:
    recording = write_wav(tmp_path / "voice.wav", voice_like(2 * RATE_HZ, RATE_HZ), RATE_HZ)
    assert model.has_voice_cloning
    audio = model.generate_audio(model.get_state_for_audio_prompt(recording), "Yes.", seed=1)
    assert len(audio) > 0


def test_released_voices_are_refused(model: TTSModel) -> None:
    with pytest.raises(ValueError, match="slt, rms, awb"):
        model.get_state_for_audio_prompt("alba")


def test_defaults() -> None:
    assert catalog.default_voice("embedded") in embedded.VOICES
    assert catalog.default_text("embedded") == embedded.DEFAULT_TEXT
    assert catalog.default_voice(None) == "alba"


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("language", [None, "german"])
def test_the_error_of_a_download_names_it(language: str | None) -> None:
    """In Python no other model stands in for the one that was asked for."""
    with pytest.raises((ConnectionError, FileNotFoundError), match='language="embedded"'):
        TTSModel.load_model(language)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("options", [(), ("-q",), ("-q", "--voice", "me.wav")])
def test_the_command_falls_back_and_says_so(options: tuple[str, ...], tmp_path: Path) -> None:
    """Without a network and without a choice of the user's the embedded model speaks."""
    write_wav(tmp_path / "me.wav", voice_like(2 * RATE_HZ, RATE_HZ), RATE_HZ)
    done = command(
        "generate", *options, "--text", "Hello.", "--output-path", "out.wav", directory=tmp_path
    )
    (line,) = [line for line in done.stderr.splitlines() if "embedded" in line]
    assert line.startswith("warning: ")
    assert ("-q" not in options) or done.stderr.splitlines() == [line]
    assert np.abs(samples_of(tmp_path / "out.wav")).max() > 1000


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    "options", [("--language", "english"), ("--voice", "alba"), ("--voice", "me.safetensors")]
)
def test_what_the_user_chose_is_not_replaced(options: tuple[str, ...], tmp_path: Path) -> None:
    done = command(
        "generate", *options, "--text", "Hello.", "--output-path", "out.wav",
        directory=tmp_path, expects=1,
    )  # fmt: skip
    assert 'language="embedded"' in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_chosen_it_speaks_without_a_word_of_warning(tmp_path: Path) -> None:
    command("generate", "-q", "--language", "embedded", "--seed", "1", directory=tmp_path)
    model = TTSModel.load_model("embedded")
    voice = model.get_state_for_audio_prompt(embedded.DEFAULT_VOICE)
    audio = model.generate_audio(voice, embedded.DEFAULT_TEXT, seed=1)
    spoken = samples_of(tmp_path / "tts_output.wav")
    # The file ends with a short silence.
    assert 0 <= len(spoken) - len(audio) < RATE_HZ // 2
    assert np.abs(spoken[: len(audio)] / 32768 - audio).max() < 1e-3
