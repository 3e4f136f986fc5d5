"""The one device there is, under the names that code for PyTorch asks by."""

from __future__ import annotations

from typing import Final


class Device(str):
    """A device as text that also answers like `torch.device`."""

    __slots__ = ()

    @property
    def type(self) -> str:
        """Kind of device."""
        return self.partition(":")[0]

    @property
    def index(self) -> None:  # type: ignore[override]
        """Which of several; there are not."""


CPU: Final = Device("cpu")
_NAMES: Final = ("cpu", "cpu:0")


def check_device(device: object) -> None:
    """Refuse what is not the CPU.

    Raises:
        ValueError: It is another device, or no device.
    """
    if str(device) not in _NAMES:
        raise ValueError(f"device {str(device)!r} is not available; everything is on 'cpu'")
