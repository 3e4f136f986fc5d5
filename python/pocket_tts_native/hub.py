"""Files at addresses: what would have to be downloaded."""

from __future__ import annotations

from typing import Final

from pocket_tts_native.exceptions import UnsupportedError

_REMOTE_PREFIXES: Final = ("http://", "https://", "hf://")


def is_remote(source: str) -> bool:
    """Tell whether `source` is an address to download rather than a local path."""
    return source.startswith(_REMOTE_PREFIXES)


def refuse_remote(source: str, advice: str) -> None:
    """Raise if `source` would have to be downloaded."""
    if is_remote(source):
        raise UnsupportedError(
            f"{source!r} would have to be downloaded, which this version cannot do; {advice}"
        )
