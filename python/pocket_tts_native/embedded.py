"""The model that the package carries: no download, no terms, one file of 9 MB.

`docs/embedded-voice.md` tells what it was made of and how well it speaks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

LANGUAGE: Final = "embedded"
VOICES: Final = ("slt", "rms", "awb")
# The one that is understood best: see docs/embedded-voice.md.
DEFAULT_VOICE: Final = "rms"
DEFAULT_TEXT: Final = "Hello world. This voice came with the package."

_FOLDER: Final = Path(__file__).parent / "embedded_model"


def config_path() -> Path:
    """The configuration, whose paths are names of files beside it."""
    return _FOLDER / "config.yaml"


def file_path(name: str) -> Path:
    """A file that the configuration names."""
    return _FOLDER / name


def voice_path(voice: str) -> Path:
    """The saved state of one of `VOICES`."""
    return _FOLDER / f"{voice}.safetensors"
