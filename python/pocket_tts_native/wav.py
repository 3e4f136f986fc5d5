"""Writing audio as 16-bit PCM, piece by piece: WAV files, WAV streams and bare samples."""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from numpy.typing import NDArray

_FULL_SCALE: Final = 32767
_TAIL_S: Final = 0.2
# What a size field holds when the size is not known, or does not fit.
_UNKNOWN_SIZE: Final = 0xFFFFFFFF
# What of a file its RIFF size counts besides the samples.
_RIFF_BYTES: Final = 36


def pcm_from_samples(samples: NDArray[np.float32]) -> bytes:
    """Convert float32 `[samples]`, clipped to -1..1, to 16-bit little-endian PCM."""
    # Truncated toward zero, as the reference does.
    return (np.clip(samples, -1.0, 1.0) * np.float32(_FULL_SCALE)).astype("<i2").tobytes()


class PcmWriter:
    """Writes mono samples to a binary file, the sizes in the header last where it can seek."""

    def __init__(
        self, file: IO[bytes], sample_rate_hz: int, *, is_seekable: bool, is_raw: bool = False
    ) -> None:
        """Write the header, unless `is_raw`; the sizes in it are unknown until `finish`."""
        self._file = file
        self._rate_hz = sample_rate_hz
        self._gets_sizes = is_seekable and not is_raw
        self._n_bytes = 0
        if not is_raw:
            file.write(_header(sample_rate_hz, None))

    def write(self, samples: NDArray[np.float32]) -> None:
        """Write float32 `[samples]` through to the file; values outside -1..1 are clipped."""
        self._write(pcm_from_samples(samples))
        self._file.flush()

    def finish(self) -> None:
        """Write 200 ms of silence, so that players do not cut the end, and the sizes."""
        self._write(bytes(2 * int(_TAIL_S * self._rate_hz)))
        if self._gets_sizes:
            self._file.seek(0)
            self._file.write(_header(self._rate_hz, self._n_bytes))
        self._file.flush()

    def _write(self, pcm: bytes) -> None:
        self._n_bytes += len(pcm)
        self._file.write(pcm)


@contextlib.contextmanager
def open_audio(
    dest: str | PathLike[str], sample_rate_hz: int, *, is_raw: bool = False
) -> Iterator[PcmWriter]:
    """Open a WAV file that appears under its name when the block ends, and not after an exception.

    A destination that is no regular file, such as a pipe, is written directly, its sizes unknown.

    Args:
        dest: File to write; links are followed.
        sample_rate_hz: Samples per second.
        is_raw: Write bare samples, without a header.

    Yields:
        The writer.

    Raises:
        OSError: The file cannot be written.
    """
    path = Path(dest).resolve()
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            writer = PcmWriter(file, sample_rate_hz, is_seekable=False, is_raw=is_raw)
            yield writer
            writer.finish()
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            writer = PcmWriter(file, sample_rate_hz, is_seekable=True, is_raw=is_raw)
            yield writer
            writer.finish()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _header(sample_rate_hz: int, n_bytes: int | None) -> bytes:
    """The header of a mono file with `n_bytes` of samples; None where that is not known."""
    data = _UNKNOWN_SIZE if n_bytes is None else min(n_bytes, _UNKNOWN_SIZE)
    riff = _UNKNOWN_SIZE if n_bytes is None else min(n_bytes + _RIFF_BYTES, _UNKNOWN_SIZE)
    layout = (16, 1, 1, sample_rate_hz, 2 * sample_rate_hz, 2, 16)
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", riff, b"WAVE", b"fmt ", *layout, b"data", data
    )
