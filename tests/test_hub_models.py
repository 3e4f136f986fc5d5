"""Whole models from the hub: loading, gates, voices by name, what may be read of a model."""

from __future__ import annotations

import copy
import logging
import pickle
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from model_files import write_safetensors, write_yaml
from pocket_tts_native import TTSModel, UnsupportedError, catalog, export_model_state
from pocket_tts_native._native import Config, Model
from signals import voice_like, write_wav
from tiny_model import random_tensors, tiny_config, write_model
from tokenizer_files import sentencepiece_bytes, sentencepiece_entries

if TYPE_CHECKING:
    from hub_server import HubServer

COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"
GATED: Final = f"hf://maker/voices/model.safetensors@{COMMIT}"
PUBLIC: Final = f"hf://maker/voices-open/model.safetensors@{COMMIT}"
TOKENIZER: Final = f"hf://maker/voices-open/tokenizer.json@{COMMIT}"
CONFIG: Final = f"hf://maker/voices-open/config.yaml@{COMMIT}"


class Served:
    """A tiny model on the hub; its configuration is there and in a local file."""

    def __init__(self, hub: HubServer, directory: Path) -> None:
        """Write the model and put it on the hub."""
        write_model(directory, tiny_config())
        weights = (directory / "model.safetensors").read_bytes()
        hub.add(GATED, weights)
        hub.add(PUBLIC, weights)
        hub.add(TOKENIZER, (directory / "tokenizer.json").read_bytes())
        self.hub = hub
        self.values: dict[str, Any] = tiny_config()
        self.values["weights_path"] = GATED
        self.values["weights_path_without_voice_cloning"] = PUBLIC
        self.values["flow_lm"]["lookup_table"]["tokenizer_path"] = TOKENIZER
        self.path = directory / "remote.yaml"
        self.write()

    def write(self) -> None:
        """Put the configuration's values where it is read."""
        write_yaml(self.path, self.values)
        self.hub.add(CONFIG, self.path.read_bytes())

    def load(self, **arguments: Any) -> TTSModel:  # noqa: ANN401
        """Load the model by its local configuration."""
        return TTSModel.load_model(config=self.path, num_threads=1, **arguments)


@pytest.fixture
def served(hub: HubServer, tmp_path: Path) -> Served:
    """A tiny model on the hub."""
    return Served(hub, tmp_path / "model")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A recording to make a voice of."""
    return write_wav(tmp_path / "voice.wav", voice_like(3200, 1600), 1600)


def speak(model: TTSModel, voice: Any) -> np.ndarray[Any, Any]:  # noqa: ANN401
    """A short speech, the same for the same model and voice."""
    return model.generate_audio(voice, "Hello world.", frames_after_eos=2, seed=1)


# ---------------------------------------------------------------------------------------------
# Loading


@pytest.mark.parametrize("place", ["path", "hub", "url"])
def test_a_model_is_loaded_from_addresses(served: Served, recording: Path, place: str) -> None:
    """Configuration, weights and tokenizer are each downloaded once, then need no network."""
    served.hub.pages["/models/config.yml"] = served.path.read_bytes()
    url = f"{served.hub.url}/models/config.yml"
    places: dict[str, str | Path] = {"path": served.path, "hub": CONFIG, "url": url}
    config = places[place]
    model = TTSModel.load_model(config=config, num_threads=1)
    assert model.has_voice_cloning
    assert model.origin == config
    audio = speak(model, model.get_state_for_audio_prompt(recording))
    assert len(audio) > 0

    served.hub.requests.clear()
    again = TTSModel.load_model(config=config, num_threads=1)
    assert np.array_equal(speak(again, again.get_state_for_audio_prompt(recording)), audio)
    assert served.hub.requests == []


def test_the_suffix_is_looked_at_without_the_revision(served: Served) -> None:
    """As by the reference: a query is no suffix, a revision is none either."""
    for address in (
        f"hf://maker/voices-open/config.json@{COMMIT}",
        "hf://maker/voices-open/config@v1.yaml",
        f"{served.hub.url}/config.yaml?x=1",
        "config.txt",
    ):
        with pytest.raises(ValueError, match=r"\.yaml"):
            TTSModel.load_model(config=address)
    assert served.hub.requests == []


def test_the_kind_of_a_tokenizer_follows_its_address(served: Served) -> None:
    """The suffix of the address decides, whatever the setting says."""
    served.values["flow_lm"]["lookup_table"]["tokenizer"] = "sentencepiece"
    served.write()
    assert len(served.load().tokenize("Hello")) > 0


def test_separate_weights_are_downloaded(served: Served, tmp_path: Path) -> None:
    """Both parts of a split model may be at addresses."""
    write_model(tmp_path / "split", tiny_config(), layout="split")
    for part in ("flow_lm", "mimi"):
        address = f"hf://maker/parts/{part}.safetensors@{COMMIT}"
        served.hub.add(address, (tmp_path / "split" / f"{part}.safetensors").read_bytes())
        served.values[part]["weights_path"] = address
    del served.values["weights_path"], served.values["weights_path_without_voice_cloning"]
    served.write()
    assert len(served.load().tokenize("Hello")) > 0

    served.hub.requests.clear()
    del served.values["mimi"]["weights_path"]
    served.write()
    with pytest.raises(ValueError, match=r"mimi\.weights_path"):
        served.load()
    assert served.hub.requests == []


def test_a_half_fetched_model_is_not_loaded(served: Served) -> None:
    """A missing tokenizer is told before gigabytes are fetched."""
    del served.hub.repository("maker/voices-open").commits[COMMIT]["tokenizer.json"]
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        served.load()
    assert served.hub.asked_for(served.hub.path_of(GATED)) == []


# ---------------------------------------------------------------------------------------------
# Gates


def test_behind_a_gate_the_open_weights_serve(
    served: Served, recording: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning says so, recordings are refused with advice, saved voices are spoken with."""
    model = served.load()
    saved = tmp_path / "voice.safetensors"
    export_model_state(model.get_state_for_audio_prompt(recording), saved)
    expected = speak(model, model.get_state_for_audio_prompt(saved))

    served.hub.repository("maker/voices").is_gated = True
    forget(tmp_path, "maker/voices")
    with caplog.at_level(logging.WARNING, "pocket_tts_native"):
        model = served.load()
    assert not model.has_voice_cloning
    assert "huggingface.co/maker/voices" in caplog.text
    assert "recordings" in caplog.text
    for prompt in (str(recording), recording, voice_like(3200, 1600), f"{served.hub.url}/x.wav"):
        with pytest.raises(
            ValueError, match=r"huggingface\.co/kyutai/pocket-tts.*hf auth login.*alba"
        ):
            model.get_state_for_audio_prompt(prompt)
    assert np.array_equal(speak(model, model.get_state_for_audio_prompt(saved)), expected)
    assert served.hub.asked_for("/x.wav") == []


def forget(tmp_path: Path, repo_id: str) -> None:
    """Make the cache forget a repository."""
    import shutil

    shutil.rmtree(tmp_path / "home" / "hf" / "hub" / f"models--{repo_id.replace('/', '--')}")


def test_a_gate_without_open_weights_is_an_error(served: Served) -> None:
    del served.values["weights_path_without_voice_cloning"]
    served.write()
    served.hub.repository("maker/voices").is_gated = True
    with pytest.raises(PermissionError, match="accept"):
        served.load()


def test_open_weights_may_be_local(served: Served, tmp_path: Path) -> None:
    served.values["weights_path_without_voice_cloning"] = str(tmp_path / "model/model.safetensors")
    served.write()
    served.hub.repository("maker/voices").is_gated = True
    assert not served.load().has_voice_cloning


def test_a_missing_local_file_is_never_replaced(served: Served, tmp_path: Path) -> None:
    """Only a download that fails makes the other weights serve."""
    served.values["weights_path"] = str(tmp_path / "none.safetensors")
    served.write()
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        served.load()
    assert served.hub.asked_for(served.hub.path_of(PUBLIC)) == []


def test_damaged_weights_are_never_replaced(served: Served) -> None:
    served.hub.add(GATED, b"no weights")
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        served.load()


# ---------------------------------------------------------------------------------------------
# Released models and predefined voices


@pytest.fixture
def released(served: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """The tiny model under the name of every released one."""
    tiny = Config.from_file(served.path)
    named = Config.named
    monkeypatch.setattr(
        "pocket_tts_native.loading._named", lambda name: tiny if named(name) else None
    )
    return served


def serve_voice(served: Served, recording: Path, tmp_path: Path, language: str, name: str) -> bytes:
    """Put a predefined voice on the hub."""
    model = served.load()
    saved = tmp_path / "predefined.safetensors"
    export_model_state(model.get_state_for_audio_prompt(recording), saved)
    served.hub.add(catalog.voice_address(language, name), saved.read_bytes())
    return saved.read_bytes()


@pytest.mark.parametrize("language", [None, "english", "french_24l"])
def test_a_predefined_voice_is_that_of_the_language(
    released: Served, recording: Path, tmp_path: Path, language: str | None
) -> None:
    name = catalog.default_voice(language)
    serve_voice(released, recording, tmp_path, language or "english", name)
    model = TTSModel.load_model(language, num_threads=1)
    assert isinstance(model.origin, PurePath)
    assert model.origin.stem == (language or "english")
    expected = speak(model, model.get_state_for_audio_prompt(tmp_path / "predefined.safetensors"))
    assert np.array_equal(speak(model, model.get_state_for_audio_prompt(name)), expected)


def test_predefined_voices_need_no_voice_cloning(
    released: Served, recording: Path, tmp_path: Path
) -> None:
    serve_voice(released, recording, tmp_path, "english", "alba")
    released.hub.repository("maker/voices").is_gated = True
    forget(tmp_path, "maker/voices")
    model = TTSModel.load_model("english", num_threads=1)
    assert not model.has_voice_cloning
    assert len(speak(model, model.get_state_for_audio_prompt("alba"))) > 0


def test_predefined_voices_fit_released_models_only(served: Served) -> None:
    served.hub.requests.clear()
    model = served.load()
    served.hub.requests.clear()
    with pytest.raises(ValueError, match="'alba'.*released"):
        model.get_state_for_audio_prompt("alba")
    assert served.hub.requests == []


def test_a_voice_that_a_language_lacks_is_not_found(released: Served) -> None:
    released.hub.repository("kyutai/pocket-tts-without-voice-cloning").commits["a" * 40] = {}
    model = TTSModel.load_model("english", num_threads=1)
    with pytest.raises(FileNotFoundError, match=r"english/embeddings/estelle"):
        model.get_state_for_audio_prompt("estelle")


def test_voices_are_fetched_from_addresses(served: Served, recording: Path, tmp_path: Path) -> None:
    """Saved states and recordings, from the hub and from the web, told apart by their suffix."""
    model = served.load()
    saved = tmp_path / "saved.safetensors"
    export_model_state(model.get_state_for_audio_prompt(recording), saved)
    expected = speak(model, model.get_state_for_audio_prompt(recording))
    pages, hub = served.hub.pages, served.hub
    pages["/a.safetensors"], pages["/a.wav"] = saved.read_bytes(), recording.read_bytes()
    hub.add(f"hf://maker/clips/a.safetensors@{COMMIT}", saved.read_bytes())
    hub.add(f"hf://maker/clips/a.wav@{COMMIT}", recording.read_bytes())
    for address in (
        f"{hub.url}/a.safetensors?x=1",
        f"{hub.url}/a.wav",
        f"hf://maker/clips/a.safetensors@{COMMIT}",
        f"hf://maker/clips/a.wav@{COMMIT}",
    ):
        audio = speak(model, model.get_state_for_audio_prompt(address))
        assert np.array_equal(audio, expected), address


def test_the_names_are_those_of_the_engine() -> None:
    assert sorted(catalog.LANGUAGES) == Config.names()
    assert Config.named("klingon") is None
    assert len(catalog.VOICES) == 27


def test_files_are_told_by_the_keys_of_the_configuration() -> None:
    config = Config.named("english")
    assert config is not None
    assert list(config.sources()) == [
        "flow_lm.lookup_table.tokenizer_path",
        "weights_path",
        "weights_path_without_voice_cloning",
    ]
    told = config.with_files({"weights_path": "here.safetensors"})
    assert told.sources() == config.sources()
    with pytest.raises(KeyError, match="mimi"):
        config.with_files({"mimi": "here.safetensors"})
    with pytest.raises(UnsupportedError, match="tokenizer_path: hf://kyutai"):
        Model.load(told)


def test_the_smallest_released_model_speaks(
    hub: HubServer, recording: Path, tmp_path: Path
) -> None:
    """A model of the real shapes under its real name and addresses, with its default voice."""
    name = "english_2m_2026-10"
    config = Config.named(name)
    assert config is not None
    values, sources = config.as_dict(), config.sources()
    weights = tmp_path / "weights.safetensors"
    write_safetensors(weights, random_tensors(values, 0), float_dtype="BF16")
    hub.add(sources["weights_path"], weights.read_bytes())
    hub.add(sources["weights_path_without_voice_cloning"], weights.read_bytes())
    entries = sentencepiece_entries(values["flow_lm"]["lookup_table"]["n_bins"])
    hub.add(sources["flow_lm.lookup_table.tokenizer_path"], sentencepiece_bytes(entries))

    model = TTSModel.load_model(name, num_threads=1)
    assert model.has_voice_cloning
    assert model.sample_rate == 24000
    saved = tmp_path / "alba.safetensors"
    export_model_state(model.get_state_for_audio_prompt(recording), saved)
    hub.add(catalog.voice_address(name, "alba"), saved.read_bytes())

    hub.repository("kyutai/pocket-tts").is_gated = True
    forget(tmp_path, "kyutai/pocket-tts")
    model = TTSModel.load_model(name, num_threads=1)
    assert not model.has_voice_cloning
    voice = model.get_state_for_audio_prompt(catalog.default_voice(name))
    audio = speak(model, voice)
    assert len(audio) % 1920 == 0
    assert len(audio) > 0
    assert np.isfinite(audio).all()


# ---------------------------------------------------------------------------------------------
# What may be read of a model


def test_the_configuration_can_be_read(served: Served) -> None:
    model = served.load()
    config = model.config
    assert config.mimi.sample_rate == model.sample_rate == 1600
    assert config.mimi.seanet.ratios == [4, 2, 2]
    assert config.weights_path == GATED
    assert config.flow_lm.lookup_table.tokenizer_path == TOKENIZER
    assert config.flow_lm.z_dim is None
    assert config.replace_characters == {}
    assert config.model_dump()["mimi"] == config.mimi.model_dump()
    assert {"flow_lm", "mimi", "model_dump"} <= set(dir(config))
    with pytest.raises(AttributeError, match="colour"):
        _ = config.colour
    with pytest.raises(AttributeError, match="fixed"):
        config.weights_path = "other"
    with pytest.raises(AttributeError, match="fixed"):
        del config.weights_path
    config.mimi.seanet.ratios.append(1)
    assert config.mimi.seanet.ratios == [4, 2, 2]
    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert model.config == config
