"""Pocket TTS, natively: Kyutai's small text-to-speech models on a Rust engine, without PyTorch.

Names are imported at their first use, so that `import pocket_tts_native` and the command line start
without NumPy and the compiled module.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pocket_tts_native._native import __version__, build_info
    from pocket_tts_native.audio import Audio
    from pocket_tts_native.exceptions import (
        InternalError,
        ModelFormatError,
        PocketTTSError,
        UnsupportedError,
        VoiceStateError,
    )
    from pocket_tts_native.model import TTSModel
    from pocket_tts_native.stats import Stats
    from pocket_tts_native.stream import AudioStream
    from pocket_tts_native.voice import VoiceState, export_model_state
else:
    _HOMES = {
        "Audio": "audio",
        "AudioStream": "stream",
        "InternalError": "exceptions",
        "ModelFormatError": "exceptions",
        "PocketTTSError": "exceptions",
        "Stats": "stats",
        "TTSModel": "model",
        "UnsupportedError": "exceptions",
        "VoiceState": "voice",
        "VoiceStateError": "exceptions",
        "__version__": "_native",
        "build_info": "_native",
        "export_model_state": "voice",
    }

    def __getattr__(name: str) -> object:
        """Import the module that `name` lives in."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """All public names, imported or not."""
        return sorted({*globals(), *_HOMES})


__all__ = [
    "Audio",
    "AudioStream",
    "InternalError",
    "ModelFormatError",
    "PocketTTSError",
    "Stats",
    "TTSModel",
    "UnsupportedError",
    "VoiceState",
    "VoiceStateError",
    "__version__",
    "build_info",
    "export_model_state",
]
