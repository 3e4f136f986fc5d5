"""Writing audio to 16-bit WAV files."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

_FULL_SCALE: Final = 32767
_TAIL_S: Final = 0.2


def write_wav(dest: str | PathLike[str], samples: NDArray[np.float32], sample_rate_hz: int) -> None:
    """Write mono audio and 200 ms of silence; the file appears under its name when complete.

    Args:
        dest: File to write.
        samples: float32 `[samples]`; values outside -1..1 are clipped.
        sample_rate_hz: Samples per second.

    Raises:
        OSError: The file cannot be written.
    """
    path = Path(dest)
    # Truncated toward zero, as the reference does.
    pcm = (np.clip(samples, -1.0, 1.0) * _FULL_SCALE).astype("<i2")
    partial = path.with_name(f".{path.name}.part")
    try:
        with wave.open(str(partial), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(sample_rate_hz)
            out.writeframes(pcm.tobytes())
            out.writeframes(bytes(2 * int(_TAIL_S * sample_rate_hz)))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
