"""The samples that speech is made of: an array that also answers to a tensor's names."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import numpy as np

from pocket_tts_native.device import check_device

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from typing_extensions import Self


class Audio(np.ndarray[Any, np.dtype[np.float32]]):
    """Mono samples, float32 `[samples]`: an array in every respect.

    Code written for the reference calls `.cpu()`, `.detach()`, `.numpy()`, `.unsqueeze(0)` and the
    like on its tensors; those work here too. `torch.from_numpy` makes a tensor of it.
    """

    def numpy(self) -> NDArray[np.float32]:
        """Give the same samples as a plain array, not copied."""
        return self.view(np.ndarray)

    def cpu(self) -> Self:
        """Give the samples themselves: they are in main memory."""
        return self

    def detach(self) -> Self:
        """Give the samples themselves: they carry no gradient."""
        return self

    def to(self, device: object) -> Self:
        """Give the samples themselves; only `"cpu"` is there.

        Raises:
            ValueError: `device` is another one.
        """
        check_device(device)
        return self

    def float(self) -> Self:
        """Give the samples themselves: they are float32."""
        return self

    def contiguous(self) -> Self:
        """Give the samples one after the other in memory, copied if they are not."""
        return np.ascontiguousarray(self).view(type(self))

    def unsqueeze(self, dim: int) -> Self:
        """Give a view with one more axis, of length 1, at `dim`."""
        return np.expand_dims(self, dim).view(type(self))

    def clamp(self, min: builtins.float | None = None, max: builtins.float | None = None) -> Self:
        """Copy the samples with values below `min` or above `max` replaced by them."""
        return np.clip(self, min, max).view(type(self))

    def dim(self) -> int:
        """Count the axes."""
        return self.ndim

    def numel(self) -> int:
        """Count the samples."""
        return self.size

    def clone(self) -> Self:
        """Copy the samples."""
        return self.copy()

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        _types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Let functions of PyTorch take samples as tensors: `torch.cat(pieces)`."""
        arguments = [_with_tensors(value) for value in args]
        return function(*arguments, **{k: _with_tensors(v) for k, v in (kwargs or {}).items()})

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = True) -> Any:  # noqa: ANN401
        """Let results without dimensions, such as `sum()`, be numbers as usual."""
        return array[()] if array.ndim == 0 else array.view(type(self))


def _with_tensors(value: Any) -> Any:  # noqa: ANN401
    """`value` with samples, also those in a list, replaced by tensors that share their memory."""
    if isinstance(value, Audio):
        import torch

        return torch.from_numpy(value.numpy())
    if isinstance(value, (list, tuple)):
        return type(value)(_with_tensors(each) for each in value)
    return value
