"""Voices from what the caller has: a recording, samples or a saved state."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pocket_tts_native.catalog import VOICES
from pocket_tts_native.hub import refuse_remote
from pocket_tts_native.voice_cache import cached_voice

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

    from pocket_tts_native import _native


def voice_from_prompt(
    model: _native.Model,
    audio_conditioning: str | PathLike[str] | NDArray[np.float32],
    *,
    truncate: bool,
    sample_rate: int | None,
) -> _native.VoiceState:
    """Make the voice of a prompt; see `TTSModel.get_state_for_audio_prompt`."""
    if isinstance(audio_conditioning, np.ndarray):
        if sample_rate is None:
            sample_rate = model.sample_rate
        elif sample_rate < 1:
            raise ValueError(f"sample_rate must be at least 1 Hz, found {sample_rate}")
        make = partial(model.voice_from_pcm, audio_conditioning, sample_rate)
        return cached_voice(model, ("samples", audio_conditioning, sample_rate), make)
    if not hasattr(audio_conditioning, "__fspath__") and not isinstance(audio_conditioning, str):
        raise TypeError(
            "audio_conditioning must be a path or a float32 numpy.ndarray, found "
            f"{type(audio_conditioning).__name__}; a tensor converts with .numpy()"
        )
    if sample_rate is not None:
        raise ValueError("sample_rate is for arrays, a file names its own rate; leave it out")
    if isinstance(audio_conditioning, str):
        refuse_remote(audio_conditioning, "download the voice and pass its path")
        if audio_conditioning in VOICES:
            raise ValueError(
                f"the released voice {audio_conditioning!r} fits only the released model of its language; "
                "pass a recording instead"
            )
    path = Path(audio_conditioning)
    if path.suffix == ".safetensors":
        return model.voice_from_file(path)
    make = partial(model.voice_from_wav, path, truncate=truncate)
    return cached_voice(model, ("file", path, truncate), make)
