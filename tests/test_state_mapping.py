"""Voice states: continued, copied, pickled, read and given as the reference's dictionary."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pytest
from model_files import read_safetensors, write_safetensors
from pocket_tts_native import (
    TTSModel,
    VoiceState,
    VoiceStateError,
    _native,
    export_model_state,
)
from signals import voice_like
from tiny_model import tiny_config, write_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_files import Array

TEXT: Final = "hello there, it is one."
MODULES: Final = [f"transformer.layers.{index}.self_attn" for index in range(2)]
NEVER: Final = 1e9


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> TTSModel:
    """A tiny model."""
    return TTSModel.load_model(config=str(tiny_model_dir / "config.yaml"), num_threads=1)


@pytest.fixture(scope="module")
def voice(model: TTSModel) -> VoiceState:
    """A voice that no test changes."""
    return model.get_state_for_audio_prompt(voice_like(1280, 1600))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> TTSModel:
    """A model of the same sizes with other weights."""
    config = write_model(tmp_path_factory.mktemp("other"), tiny_config(), seed=11)
    return TTSModel.load_model(config=config, num_threads=1)


def _dictionary(voice: VoiceState) -> dict[str, dict[str, Array]]:
    return {module: dict(tensors) for module, tensors in voice.items()}


def test_reads_as_the_references_dictionary(model: TTSModel, voice: VoiceState) -> None:
    assert isinstance(voice, Mapping)
    assert list(voice) == list(voice.keys()) == MODULES
    assert len(voice) == len(voice.values()) == 2
    assert MODULES[0] in voice
    for tensors in voice.values():
        assert set(tensors) == {"offset", "pad", "cache"}
        assert tensors["cache"].dtype == np.float32
        assert tensors["cache"].shape == (2, 1, voice.n_positions, 2, 8)
        for name, value in (("offset", voice.n_positions), ("pad", 0)):
            assert tensors[name].dtype == np.int64
            assert tensors[name].tolist() == [value]
    assert voice.get("nothing") is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "cache",
        "transformer.layers.2.self_attn",
        "transformer.layers.00.self_attn",
        "transformer.layers.-1.self_attn",
        "transformer.layers..self_attn",
        "0",
        "transformer.layers.²",
    ],
)
def test_other_modules_are_missing(voice: VoiceState, name: str) -> None:
    assert name not in voice
    with pytest.raises(KeyError):
        voice[name]


def test_arrays_are_copies(model: TTSModel, voice: VoiceState) -> None:
    expected = model.generate_audio(voice, TEXT, seed=1)
    voice[MODULES[0]]["cache"][:] = 0
    assert np.array_equal(model.generate_audio(voice, TEXT, seed=1), expected)


def test_agrees_with_the_exported_file(voice: VoiceState, tmp_path: Path) -> None:
    for state, name in ((voice, "voice"), (_dictionary(voice), "dictionary")):
        export_model_state(state, tmp_path / f"{name}.safetensors")
        tensors = read_safetensors(tmp_path / f"{name}.safetensors")
        flat = {f"{m}/{t}": array for m, held in voice.items() for t, array in held.items()}
        assert tensors.keys() == flat.keys()
        for key, array in flat.items():
            assert np.array_equal(tensors[key], array)


def _pickled(voice: VoiceState) -> VoiceState:
    restored: VoiceState = pickle.loads(pickle.dumps(voice))
    return restored


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, _pickled])
def test_copies_are_independent(
    model: TTSModel, voice: VoiceState, duplicate: Callable[[VoiceState], VoiceState]
) -> None:
    expected = model.generate_audio(voice, TEXT, seed=1)
    other = duplicate(voice)
    assert isinstance(other, VoiceState)
    assert other is not voice
    assert other != voice
    assert np.array_equal(model.generate_audio(other, TEXT, seed=1), expected)
    model.generate_audio(other, TEXT, copy_state=False, seed=1)
    assert other.n_positions > voice.n_positions
    assert np.array_equal(model.generate_audio(voice, TEXT, seed=1), expected)


def test_pickles_need_no_model(voice: VoiceState, tmp_path: Path) -> None:
    path = tmp_path / "voice.pickle"
    path.write_bytes(pickle.dumps(voice))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{voice}\n"


def _with_a_tail(state: dict[str, dict[str, Any]]) -> None:
    """A cache longer than its offset, as the reference leaves it."""
    for tensors in state.values():
        cache = tensors["cache"]
        longer = np.full((2, 1, cache.shape[2] + 7, *cache.shape[3:]), np.nan, np.float32)
        longer[:, :, : cache.shape[2]] = cache
        tensors["cache"] = longer


def _without_pads(state: dict[str, dict[str, Any]]) -> None:
    for tensors in state.values():
        del tensors["pad"]


def _as_small_integers(state: dict[str, dict[str, Any]]) -> None:
    for tensors in state.values():
        tensors["offset"] = tensors["offset"].astype(np.int32)


class _Tensor:
    """What converts to an array by itself, as tensors of the main memory do."""

    def __init__(self, array: Array) -> None:
        self._array = array

    def __array__(self, *_arguments: object, **_keywords: object) -> Array:
        return self._array


def _as_tensors(state: dict[str, dict[str, Any]]) -> None:
    for tensors in state.values():
        for name, array in tensors.items():
            tensors[name] = _Tensor(array)


@pytest.mark.parametrize(
    "change", [None, _with_a_tail, _without_pads, _as_small_integers, _as_tensors]
)
def test_dictionaries_are_accepted(
    model: TTSModel,
    voice: VoiceState,
    change: Callable[[dict[str, dict[str, Any]]], None] | None,
) -> None:
    state = _dictionary(voice)
    if change is not None:
        change(state)
    expected = model.generate_audio(voice, TEXT, seed=1)
    assert np.array_equal(model.generate_audio(state, TEXT, seed=1), expected)
    latents, _ = model.generate_latents(state, TEXT, frames=3, seed=1)
    assert np.array_equal(latents, model.generate_latents(voice, TEXT, frames=3, seed=1)[0])


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (MODULES[0], "cache", None),
        (MODULES[0], "cache", np.zeros((2, 1, 12, 2, 7), np.float32)),
        (MODULES[1], "cache", np.zeros((2, 1, 11, 2, 8), np.float32)),
        (MODULES[0], "cache", np.zeros((2, 1, 12, 0, 8), np.float32)),
        (MODULES[0], "cache", np.zeros(3, np.float32)),
        (MODULES[0], "cache", np.full((2, 1, 12, 2, 8), np.nan, np.float32)),
        (MODULES[0], "offset", np.array([13])),
        (MODULES[0], "offset", np.array([-1])),
        (MODULES[0], "pad", np.array([99])),
        ("transformer.layers.7.self_attn", "offset", np.array([12])),
        ("encoder", "cache", np.zeros(3, np.float32)),
    ],
)
def test_damaged_dictionaries_are_refused(
    model: TTSModel, voice: VoiceState, module: str, name: str, value: Array | None
) -> None:
    state = _dictionary(voice)
    if value is None:
        del state[module][name]
    else:
        state.setdefault(module, {})[name] = value
    with pytest.raises(VoiceStateError, match="voice state"):
        model.generate_audio(state, TEXT, seed=1)


@pytest.mark.parametrize("state", [None, 3, "alba", [1], np.zeros(3, np.float32)])
def test_other_types_are_refused(model: TTSModel, state: Any) -> None:  # noqa: ANN401
    with pytest.raises(TypeError, match="VoiceState"):
        model.generate_audio(state, TEXT, seed=1)


def test_arrays_of_other_types_are_refused(model: TTSModel, voice: VoiceState) -> None:
    state = _dictionary(voice)
    state[MODULES[0]]["cache"] = state[MODULES[0]]["cache"].astype(np.float64)
    with pytest.raises(TypeError, match="float32"):
        model.generate_audio(state, TEXT, seed=1)


def test_copy_state_false_continues_in_place(model: TTSModel, voice: VoiceState) -> None:
    """Positions grow by the text and the frames; the next call continues after them."""
    state = copy.copy(voice)
    n_frames = len(model.generate_audio(state, TEXT, copy_state=False, seed=1)) // 128
    first = state.n_positions - voice.n_positions
    # One row for the first latent; the frame after the last is computed too.
    n_tokens = first - n_frames - 1
    assert n_tokens > 0
    assert state[MODULES[0]]["cache"].shape[2] == state.n_positions
    head = state[MODULES[1]]["cache"][:, :, : voice.n_positions]
    assert np.array_equal(head, voice[MODULES[1]]["cache"])
    continued = model.generate_audio(state, TEXT, seed=1)
    assert not np.array_equal(continued, model.generate_audio(voice, TEXT, seed=1))
    saved = copy.copy(state)
    model.generate_audio(state, TEXT, copy_state=False, seed=1)
    assert state.n_positions > saved.n_positions
    assert np.array_equal(model.generate_audio(saved, TEXT, seed=1), continued)


def test_copy_state_false_changes_a_dictionary(model: TTSModel, voice: VoiceState) -> None:
    state, dictionary = copy.copy(voice), _dictionary(voice)
    inner = dictionary[MODULES[0]]
    model.generate_audio(state, TEXT, copy_state=False, seed=1)
    model.generate_audio(dictionary, TEXT, copy_state=False, seed=1)
    assert dictionary[MODULES[0]] is inner
    for module, tensors in state.items():
        for name, array in tensors.items():
            assert np.array_equal(dictionary[module][name], array)


def test_copy_state_false_refuses_what_cannot_change(model: TTSModel, voice: VoiceState) -> None:
    from types import MappingProxyType

    frozen = {module: MappingProxyType(tensors) for module, tensors in voice.items()}
    model.generate_audio(frozen, TEXT, seed=1)
    with pytest.raises(TypeError, match="copy_state"):
        model.generate_audio(frozen, TEXT, copy_state=False, seed=1)


def test_copy_state_true_leaves_the_state(model: TTSModel, voice: VoiceState) -> None:
    before = {module: tensors["cache"] for module, tensors in voice.items()}
    model.generate_audio(voice, TEXT, seed=1)
    for module, tensors in voice.items():
        assert np.array_equal(tensors["cache"], before[module])


@pytest.mark.parametrize("how", ["closed", "stopped", "failed", "unread"])
def test_streams_that_end_early_leave_the_state(
    model: TTSModel, voice: VoiceState, how: str
) -> None:
    state = copy.copy(voice)
    stop = threading.Event()
    noise = np.ones((5, 8), np.float32) if how == "failed" else None
    stream = model.generate_audio_stream(state, TEXT, copy_state=False, stop=stop, noise=noise)
    next(stream)
    if how == "closed":
        stream.close()
    elif how == "stopped":
        stop.set()
        assert list(stream) == []
    elif how == "failed":
        with pytest.raises(ValueError, match="noise"):
            list(stream)
    del stream
    assert state.n_positions == voice.n_positions
    expected = model.generate_audio(voice, TEXT, seed=1)
    assert np.array_equal(model.generate_audio(state, TEXT, seed=1), expected)


def test_files_of_other_models_are_refused(
    voice: VoiceState, other: TTSModel, tmp_path: Path
) -> None:
    path = tmp_path / "alice.safetensors"
    voice.save(path)
    with pytest.raises(VoiceStateError, match=r"alice\.safetensors.*export the voice again"):
        other.get_state_for_audio_prompt(path)


def test_files_of_the_reference_are_not_refused(
    voice: VoiceState, other: TTSModel, tmp_path: Path
) -> None:
    """They do not tell whose they are."""
    path = tmp_path / "alice.safetensors"
    export_model_state(_dictionary(voice), path)
    state = other.get_state_for_audio_prompt(path)
    assert state.fingerprint is None
    other.generate_audio(state, TEXT, copy_state=False, seed=1)
    assert state.fingerprint is None


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, _pickled])
def test_states_of_other_models_are_refused(
    model: TTSModel,
    voice: VoiceState,
    other: TTSModel,
    duplicate: Callable[[VoiceState], VoiceState],
) -> None:
    state = duplicate(voice)
    assert state.fingerprint == voice.fingerprint is not None
    with pytest.raises(VoiceStateError, match="another model"):
        other.generate_audio(state, TEXT, seed=1)
    with pytest.raises(VoiceStateError, match="another model"):
        other.generate_latents(state, TEXT, frames=2, seed=1)
    model.generate_audio(state, TEXT, copy_state=False, seed=1)
    assert state.fingerprint == voice.fingerprint
    with pytest.raises(VoiceStateError, match="another model"):
        other.generate_audio(state, TEXT, seed=1)
    other.generate_audio(_dictionary(state), TEXT, seed=1)


def test_older_pickles_are_read(model: TTSModel, voice: VoiceState) -> None:
    """They held the tensors alone."""
    restore, (tensors, _) = voice.__reduce__()
    state = restore(tensors)
    assert state.fingerprint is None
    expected = model.generate_audio(voice, TEXT, seed=1)
    assert np.array_equal(model.generate_audio(state, TEXT, seed=1), expected)


@pytest.mark.parametrize("text", ["", "2-00", "1-xyz"])
def test_unknown_fingerprints_tell_nothing(voice: VoiceState, text: str) -> None:
    _, (tensors, _) = voice.__reduce__()
    assert _native.VoiceState.from_tensors(tensors, text).fingerprint is None


@pytest.mark.parametrize("layout", ["bundle_and_mimi", "split"])
def test_where_weights_lie_does_not_matter(
    model: TTSModel, voice: VoiceState, tmp_path: Path, layout: Literal["bundle_and_mimi", "split"]
) -> None:
    """The same weights in other files are the same model."""
    other = TTSModel.load_model(config=write_model(tmp_path, tiny_config(), layout=layout))
    assert other._native.fingerprint == model._native.fingerprint == voice.fingerprint
    voice.save(tmp_path / "voice.safetensors")
    other.get_state_for_audio_prompt(tmp_path / "voice.safetensors")


def test_stored_types_do_not_matter(tmp_path: Path) -> None:
    """Half-precision weights, and the floats that they widen to."""
    half = write_model(tmp_path / "half", tiny_config(), dtype="BF16")
    wide = write_model(tmp_path / "wide", tiny_config())
    tensors = read_safetensors(half.parent / "model.safetensors")
    write_safetensors(wide.parent / "model.safetensors", tensors)
    models = [TTSModel.load_model(config=path, num_threads=1)._native for path in (half, wide)]
    assert models[0].fingerprint == models[1].fingerprint
    assert models[0].cloning_key == models[1].cloning_key


def test_encoders_do_not_matter_to_states(
    model: TTSModel, voice: VoiceState, tmp_path: Path
) -> None:
    """Weights without cloning, whose encoder is another, speak with the voices of those that clone."""
    config = write_model(tmp_path, tiny_config())
    tensors = read_safetensors(tmp_path / "model.safetensors")
    for name, values in tensors.items():
        if name.startswith("mimi.encoder.") or name == "flow_lm.speaker_proj_weight":
            tensors[name] = np.zeros_like(values)
    write_safetensors(tmp_path / "model.safetensors", tensors)
    other = TTSModel.load_model(config=config, num_threads=1)
    assert other._native.fingerprint == model._native.fingerprint
    assert other._native.cloning_key != model._native.cloning_key
    expected = model.generate_audio(voice, TEXT, seed=1)
    assert np.array_equal(other.generate_audio(voice, TEXT, seed=1), expected)
