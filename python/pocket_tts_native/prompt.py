"""Voices from what the caller has on this machine: a recording, samples or a saved state."""

from __future__ import annotations

import logging
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeAlias

import numpy as np

from pocket_tts_native.samples import mono_samples
from pocket_tts_native.voice_cache import cached_voice

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocket_tts_native import _native

    Prompt: TypeAlias = (
        str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO | NDArray[Any]
    )

_LOGGER: Final = logging.getLogger("pocket_tts_native")


def voice_from_prompt(
    model: _native.Model,
    audio_conditioning: Prompt,
    *,
    truncate: bool,
    sample_rate: int | None,
) -> _native.VoiceState:
    """Make the voice of a prompt; see `TTSModel.get_state_for_audio_prompt`."""
    array = _array(audio_conditioning)
    if array is not None:
        if sample_rate is None:
            sample_rate = model.sample_rate
        elif sample_rate < 1:
            raise ValueError(f"sample_rate must be at least 1 Hz, found {sample_rate}")
        samples = mono_samples(array)
        make = partial(model.voice_from_pcm, samples, sample_rate, warn=_LOGGER.warning)
        return cached_voice(model, ("samples", samples, sample_rate), make)
    if sample_rate is not None:
        raise ValueError("sample_rate is for arrays, a file names its own rate; leave it out")
    if isinstance(audio_conditioning, (str, PathLike)):
        path = Path(audio_conditioning)
        if path.suffix == ".safetensors":
            return model.voice_from_file(path)
        make = partial(model.voice_from_audio, path, truncate=truncate, warn=_LOGGER.warning)
        return cached_voice(model, ("file", path, truncate), make)
    content = _content(audio_conditioning)
    make = partial(model.voice_from_audio, content, truncate=truncate, warn=_LOGGER.warning)
    return cached_voice(model, ("bytes", content, truncate), make)


def _array(prompt: object) -> NDArray[Any] | None:
    """Give an array for an array or for a tensor, whose library need not be known."""
    if isinstance(prompt, np.ndarray):
        return prompt
    if hasattr(prompt, "detach") and hasattr(prompt, "cpu"):
        return np.asarray(prompt.detach().cpu().numpy())
    return None


def _content(prompt: object) -> bytes:
    """Give the bytes of an audio file in memory or of an open one, from where it stands."""
    if hasattr(prompt, "read"):
        prompt = prompt.read()
        if isinstance(prompt, str):
            raise TypeError("audio_conditioning is a file opened as text; open it in mode 'rb'")
    if isinstance(prompt, bytes):
        return prompt
    if isinstance(prompt, (bytearray, memoryview)):
        return bytes(prompt)
    raise TypeError(
        "audio_conditioning must be a path, the bytes of an audio file, a binary file, an array or a "
        f"tensor, found {type(prompt).__name__}"
    )
