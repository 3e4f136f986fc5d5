"""Voice states: what a model remembers of a voice, also readable as the reference's dictionary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pocket_tts_native import _native

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

# A `VoiceState`, or a dictionary of arrays as the reference's: module name, tensor name, array.
ModelState: TypeAlias = Mapping[str, Mapping[str, Any]]

_PREFIX, _SUFFIX = "transformer.layers.", ".self_attn"


class VoiceState(Mapping[str, dict[str, "NDArray[Any]"]]):
    """A voice as one model remembers it, for any number of calls and threads.

    `TTSModel.get_state_for_audio_prompt` makes one, `export_model_state` saves it. It can be copied
    and pickled, and reads like the reference's dictionary:
    `state["transformer.layers.0.self_attn"]` holds `offset` and `pad`, int64 `[1]`, and `cache`,
    float32 `[2, 1, positions, kv_heads, head_dim]`. Arrays read this way are copies.

    A state changes only by a call with `copy_state=False`, and then all at once: a call that
    starts while another one ends sees the old state or the new.
    """

    __slots__ = ("__weakref__", "_native")

    def __init__(self, native: _native.VoiceState) -> None:
        """Wrap the engine's state; use `TTSModel.get_state_for_audio_prompt` instead."""
        self._native = native

    @property
    def n_positions(self) -> int:
        """Positions of the language model that the voice takes up, one per 80 ms of audio."""
        return self._native.n_positions

    @property
    def fingerprint(self) -> str | None:
        """What tells the model that made the voice from others; None where it is not known.

        Voices of the reference, of its files and of dictionaries have none; they are checked by
        their sizes alone.
        """
        return self._native.fingerprint

    def save(self, path: str | PathLike[str]) -> None:
        """Write the state as safetensors.

        Args:
            path: File to write.

        Raises:
            OSError: The file cannot be written.
        """
        self._native.save(path)

    def __getitem__(self, module: str) -> dict[str, NDArray[Any]]:
        """Copy the tensors of one attention module of the language model."""
        native = self._native
        index = _layer_of(module)
        if index is None or index >= native.n_layers:
            raise KeyError(module)
        cache, pad = native.layer(index)
        offset = np.array([cache.shape[2]], np.int64)
        return {"offset": offset, "pad": np.array([pad], np.int64), "cache": cache}

    def __iter__(self) -> Iterator[str]:
        """Go through the names of the modules."""
        return (f"{_PREFIX}{index}{_SUFFIX}" for index in range(self._native.n_layers))

    def __len__(self) -> int:
        """Count the modules."""
        return self._native.n_layers

    def __contains__(self, module: object) -> bool:
        """Tell whether there is such a module, without copying its tensors."""
        index = _layer_of(module) if isinstance(module, str) else None
        return index is not None and index < self._native.n_layers

    # States are compared by identity: arrays have no truth value, and copies are cheap.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __copy__(self) -> VoiceState:
        """Make another state of the same voice; they share memory until one of them continues."""
        return VoiceState(self._native)

    def __deepcopy__(self, _memo: object) -> VoiceState:
        """As `__copy__`: what is shared never changes."""
        return VoiceState(self._native)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the tensors, and which model they belong to."""
        return _restored, (_flat(self), self._native.fingerprint)

    def __repr__(self) -> str:
        """Tell the size."""
        return f"VoiceState(n_positions={self.n_positions})"


def export_model_state(model_state: ModelState, dest: str | PathLike[str]) -> None:
    """Save a voice as safetensors, for `TTSModel.get_state_for_audio_prompt`.

    Args:
        model_state: The voice.
        dest: File to write, ending in `.safetensors`.

    Raises:
        OSError: The file cannot be written.
        VoiceStateError: `model_state` is a dictionary whose arrays make no voice.
    """
    native_state(model_state).save(dest)


def native_state(model_state: ModelState) -> _native.VoiceState:
    """Give the engine's state; a dictionary is converted.

    Raises:
        TypeError: `model_state` is no mapping, or an array has another type.
        VoiceStateError: The arrays make no voice.
    """
    if isinstance(model_state, VoiceState):
        return model_state._native
    if not isinstance(model_state, Mapping):
        raise TypeError(
            f"model_state must be a VoiceState, found {type(model_state).__name__}; "
            "get_state_for_audio_prompt makes one"
        )
    return _native.VoiceState.from_tensors(_flat(model_state))


def check_replaceable(model_state: ModelState) -> None:
    """Refuse a state that `replace_state` could not change.

    Raises:
        TypeError: It cannot be changed in place.
    """
    if isinstance(model_state, VoiceState):
        return
    if not isinstance(model_state, Mapping) or not all(
        isinstance(tensors, MutableMapping) for tensors in model_state.values()
    ):
        raise TypeError("copy_state=False changes the state: pass a VoiceState or a dict of dicts")


def replace_state(model_state: ModelState, native: _native.VoiceState) -> None:
    """Let `model_state` be the state `native` from here on."""
    if isinstance(model_state, VoiceState):
        model_state._native = native
        return
    for module, tensors in VoiceState(native).items():
        held = model_state[module]
        if isinstance(held, MutableMapping):
            held.update(tensors)


def _layer_of(module: str) -> int | None:
    digits = module.removeprefix(_PREFIX).removesuffix(_SUFFIX)
    if digits.isdecimal() and module == f"{_PREFIX}{digits}{_SUFFIX}":
        index = int(digits)
        return index if str(index) == digits else None
    return None


def _flat(model_state: ModelState) -> dict[str, NDArray[Any]]:
    """The tensors under their names in a voice state file."""
    return {
        f"{module}/{name}": _array(value)
        for module, tensors in model_state.items()
        for name, value in tensors.items()
    }


def _array(value: object) -> NDArray[Any]:
    """An array of a supported type where the values stay the same; tensors convert by themselves."""
    array = np.ascontiguousarray(value)
    return array.astype(np.int64) if array.dtype.kind in "iu" else array


def _restored(tensors: dict[str, NDArray[Any]], fingerprint: str | None = None) -> VoiceState:
    """Unpickle a voice."""
    return VoiceState(_native.VoiceState.from_tensors(tensors, fingerprint))
