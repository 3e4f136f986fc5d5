"""Arrays of samples, of any common type and layout, as mono float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The value that integers of each type have at full scale, and the one that they have at rest.
_INTEGER_SCALES: Final = {
    "int8": (2.0**7, 0),
    "uint8": (2.0**7, 2**7),
    "int16": (2.0**15, 0),
    "int32": (2.0**31, 0),
}
_MAX_CHANNELS: Final = 32


def mono_samples(array: NDArray[Any]) -> NDArray[np.float32]:
    """Give the mean of the channels, float32 `[samples]`, C-contiguous.

    Args:
        array: Samples `[samples]`, `[channels, samples]` or `[samples, channels]`, floats in -1..1
            or integers that use the range of their type.

    Raises:
        TypeError: The type is no common one for audio.
        ValueError: It cannot be told which axis the channels are on.
    """
    channels = _with_channels_first(_as_float32(array))
    mono = channels[0] if len(channels) == 1 else channels.mean(axis=0, dtype=np.float32)
    return np.ascontiguousarray(mono)


def _as_float32(array: NDArray[Any]) -> NDArray[np.float32]:
    name = array.dtype.name
    if name in {"float16", "float32", "float64"}:
        # A double beyond float32 becomes infinite, which the engine refuses.
        with np.errstate(over="ignore"):
            return array.astype(np.float32, copy=False)
    if name not in _INTEGER_SCALES:
        raise TypeError(
            f"audio_conditioning must hold floats or {', '.join(_INTEGER_SCALES)}, found {name}; "
            "convert it to float32 in -1..1"
        )
    scale, rest = _INTEGER_SCALES[name]
    return ((array.astype(np.float64) - rest) / scale).astype(np.float32)


def _with_channels_first(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give `[channels, samples]`."""
    if array.ndim == 1:
        return array[np.newaxis]
    if array.ndim == 2 and array.shape[0] == 1:
        return array  # as in the reference
    if array.ndim == 2:
        is_channels = [0 < n <= _MAX_CHANNELS for n in array.shape]
        if is_channels == [True, False]:
            return array
        if is_channels == [False, True]:
            return array.T
    raise ValueError(
        "audio_conditioning must have the shape [samples], [channels, samples] or [samples, channels] "
        f"with at most {_MAX_CHANNELS} channels and more samples than that, found "
        f"{list(array.shape)}; pass mono samples [samples]"
    )
