"""The samples that speech is made of: an array that also answers to a tensor's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self


class Audio(np.ndarray[Any, np.dtype[np.float32]]):
    """Mono samples, float32 `[samples]`: an array in every respect.

    Code written for the reference calls `.cpu()`, `.detach()`, `.clone()` and `.numpy()` on its
    tensors; those work here too.
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

    def clone(self) -> Self:
        """Copy the samples."""
        return self.copy()

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = True) -> Any:  # noqa: ANN401
        """Let results without dimensions, such as `sum()`, be numbers as usual."""
        return array[()] if array.ndim == 0 else array.view(type(self))
