"""Voices by name or address: where the file of a voice is on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pocket_tts_native import embedded
from pocket_tts_native.catalog import VOICES, voice_address
from pocket_tts_native.hub import fetch, is_remote

if TYPE_CHECKING:
    from os import PathLike

    from pocket_tts_native.prompt import Prompt

_STATE_SUFFIX: Final = ".safetensors"


def local_prompt(prompt: Prompt, *, language: str | None, has_voice_cloning: bool) -> Prompt:
    """Replace a name or an address by the path of its file, downloaded if need be.

    A saved state is looked for first, then a predefined voice, then a recording.

    Args:
        prompt: What the caller wants the voice of; anything but text and paths is handed on.
        language: Name of the released or embedded model that is to speak; None for another one.
        has_voice_cloning: Whether the model can make voices from recordings.

    Returns:
        The path, or `prompt` itself where it names no download.

    Raises:
        ConnectionError: A download failed.
        FileNotFoundError: There is no such file, or no such voice for the model.
        PermissionError: The server refuses.
        ValueError: The voice does not fit the model, or the model cannot make voices.
    """
    if isinstance(prompt, (str, os.PathLike)) and is_saved_state(prompt):
        return fetch(prompt) if isinstance(prompt, str) else prompt
    if isinstance(prompt, str) and language == embedded.LANGUAGE:
        if prompt in embedded.VOICES:
            return embedded.voice_path(prompt)
        if prompt in VOICES:
            raise ValueError(
                f"the predefined voice {prompt!r} is of the released models, which language= names; the "
                f"model {language!r} has the voices {', '.join(embedded.VOICES)}, and takes recordings"
            )
    if isinstance(prompt, str) and prompt in VOICES:
        if language is None:
            raise ValueError(
                f"the predefined voice {prompt!r} was made with released weights and fits no others; load "
                "a released model by language=, or pass a recording of the voice"
            )
        return fetch(voice_address(language, prompt))
    if not has_voice_cloning:
        raise ValueError(
            "this model cannot make voices from recordings, because its weights with voice cloning could "
            "not be downloaded; accept the terms at https://huggingface.co/kyutai/pocket-tts and log in "
            "with `hf auth login`, or set HF_TOKEN, then load the model again. It speaks with saved "
            f"voice states and the predefined voices: {', '.join(VOICES)}"
        )
    if isinstance(prompt, str) and is_remote(prompt):
        return fetch(prompt)
    return prompt


def fits_any_model(prompt: str) -> bool:
    """Tell whether a voice is a recording, from which every model makes a voice of its own."""
    return prompt not in VOICES and not is_saved_state(prompt)


def is_saved_state(source: str | PathLike[str]) -> bool:
    """Tell whether a path or address is that of a saved voice state, by its suffix."""
    name = os.fspath(source)
    if name.startswith(("http://", "https://")):
        name = urlsplit(name).path
    elif name.startswith("hf://"):
        name = name.rsplit("@", 1)[0]
    return name.endswith(_STATE_SUFFIX)
