"""Old names, and what a caller meets at the edges of the API."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pocket_tts_native import Audio, TTSModel, UnsupportedError
from pocket_tts_native.catalog import LANGUAGES, VOICES, default_text, default_voice
from signals import voice_like

if TYPE_CHECKING:
    from pathlib import Path


def test_lsd_decode_steps(tiny_model_dir: Path) -> None:
    """The old name wins, as in the reference, and the warning points at the caller."""
    config = tiny_model_dir / "config.yaml"
    with pytest.warns(DeprecationWarning, match="sampler_decode_steps") as told:
        model = TTSModel.load_model(config=config, sampler_decode_steps=2, lsd_decode_steps=3)
    assert model.sampler_decode_steps == 3
    assert [warning.filename for warning in told] == [__file__]


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        ((), {"variant": "b6369a24"}),
        (("b6369a24",), {}),
        ((), {"config": "b6369a24"}),
    ],
)
def test_the_first_model_by_its_old_name(
    arguments: tuple[Any, ...], keywords: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pocket_tts_native import model as module

    asked: list[tuple[Any, ...]] = []

    def load(language: object, config: object, **_options: object) -> None:
        asked.append((language, config))
        raise UnsupportedError("no downloads in this test")

    monkeypatch.setattr(module, "load_native", load)
    with (
        pytest.warns(DeprecationWarning, match="deprecated"),
        pytest.raises(UnsupportedError, match="in this test"),
    ):
        TTSModel.load_model(*arguments, **keywords)
    assert asked == [("english_2026-01", None)]


def test_a_path_in_the_place_of_the_language(tiny_model_dir: Path) -> None:
    with pytest.warns(DeprecationWarning, match="config="):
        model = TTSModel.load_model(str(tiny_model_dir / "config.yaml"))
    assert model.sample_rate == 1600
    with pytest.raises(ValueError, match="variant"):
        TTSModel.load_model("english", variant="b6369a24")


def test_decoder_frames_below_one_are_no_limit(tiny_model_dir: Path) -> None:
    model = TTSModel.load_model(config=tiny_model_dir / "config.yaml", num_threads=1)
    voice = model.get_state_for_audio_prompt(voice_like(1280, 1600))
    whole = model.generate_audio(voice, "one", seed=1)
    model.max_decoder_frames_per_call = -1
    assert np.array_equal(model.generate_audio(voice, "one", seed=1), whole)


def test_a_model_answers_like_a_module(tiny_model_dir: Path) -> None:
    model = TTSModel.load_model(config=tiny_model_dir / "config.yaml", num_threads=1)
    assert model.to("cpu").cpu().eval().to(model.device) is model
    assert model.device == "cpu" == str(model.device) == model.device.type
    assert model.device.index is None
    assert model.config.mimi.sample_rate == model.sample_rate
    assert model.config.mimi.frame_rate == 12.5
    assert model.append_terminal_punctuation is True
    assert model.replace_characters == model.config.replace_characters
    assert model.model_recommended_frames_after_eos is None
    with pytest.raises(AttributeError):
        model.remove_semicolons = True
    with pytest.raises(ValueError, match="cuda"):
        model.to("cuda")
    voice = model.get_state_for_audio_prompt(voice_like(1280, 1600))
    audio = model.generate_audio(voice, "one", seed=1)
    assert audio.unsqueeze(0).shape == (1, audio.numel())
    assert audio.unsqueeze(-1).dim() == 2
    assert audio.unsqueeze(0).squeeze().shape == audio.shape
    assert np.array_equal(audio.to("cpu").float().contiguous().numpy(), audio)
    assert audio[::2].view(Audio).contiguous().flags.c_contiguous
    assert np.array_equal(audio.clamp(-0.1, 0.1), np.clip(audio, -0.1, 0.1))
    assert type(audio.clamp(min=0)) is type(audio)
    with pytest.raises(ValueError, match="cuda"):
        audio.to("cuda")


def test_checkpoints_without_torch(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    config = tiny_model_dir / "config.yaml"
    with pytest.raises(FileNotFoundError, match=r"a\.pt"):
        TTSModel.load_model(config=config, checkpoint=tmp_path / "a.pt")
    (tmp_path / "a.pt").touch()
    with pytest.raises(ImportError, match="pip install torch.*safetensors"):
        TTSModel.load_model(config=config, checkpoint=tmp_path / "a.pt")


def test_defaults_of_a_language() -> None:
    assert default_text(None) == default_text("english_7m_2026-10")
    assert default_text("french_24l").startswith("Bonjour")
    assert default_voice(None) == default_voice("english") == "alba"
    assert default_voice("german") == "juergen"
    assert default_voice("german", "a.yaml") == default_voice(None, None, "a.pt")
    assert default_voice(None, "a.yaml").startswith("hf://")
    assert {default_voice(language) for language in LANGUAGES} <= set(VOICES)
