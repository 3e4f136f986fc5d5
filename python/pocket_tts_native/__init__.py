"""Pocket TTS, natively: Kyutai's small text-to-speech models on a Rust engine, without PyTorch."""

from pocket_tts_native._native import VoiceState, __version__, build_info
from pocket_tts_native.exceptions import (
    InternalError,
    ModelFormatError,
    PocketTTSError,
    UnsupportedError,
    VoiceStateError,
)
from pocket_tts_native.model import TTSModel, export_model_state

__all__ = [
    "InternalError",
    "ModelFormatError",
    "PocketTTSError",
    "TTSModel",
    "UnsupportedError",
    "VoiceState",
    "VoiceStateError",
    "__version__",
    "build_info",
    "export_model_state",
]
