"""WAV files of any sample format, in memory."""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_CODES: Final = {"i": 1, "u": 1, "f": 3}


def wav_bytes(samples: npt.NDArray[Any], rate_hz: int, *, n_data_bytes: int | None = None) -> bytes:
    """A WAV file of samples `[n]` or `[n, channels]` of uint8, int16, int32, float32 or float64.

    `n_data_bytes` is what the header claims, the true number when None.
    """
    n_channels = 1 if samples.ndim == 1 else samples.shape[1]
    return wav_header(samples.dtype, n_channels, rate_hz, n_data_bytes or samples.nbytes) + (
        samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    )


def wav_header(dtype: np.dtype[Any], n_channels: int, rate_hz: int, n_data_bytes: int) -> bytes:
    """The header of such a file."""
    block = n_channels * dtype.itemsize
    fields = (_CODES[dtype.kind], n_channels, rate_hz, rate_hz * block, block, 8 * dtype.itemsize)
    chunk = b"fmt " + struct.pack("<IHHIIHH", 16, *fields)
    sizes = struct.pack("<I", 36 + n_data_bytes), struct.pack("<I", n_data_bytes)
    return b"RIFF" + sizes[0] + b"WAVE" + chunk + b"data" + sizes[1]
