"""Voices of recordings, kept on disk: the second use of a clip takes no time.

A voice is stored as a voice state file, under the SHA-256 of the recording, of how it was given and of
everything in the model that decides the voice's bits: a voice from the cache is the one that would be
computed. An entry holds its own name and a checksum; one that is damaged or not the right one is made
again. Nothing that happens to the cache is an error.

| variable | meaning |
|---|---|
| `POCKET_CACHE_DIR` | the folder of all caches, with `voices` in it; empty for none |
| `POCKET_VOICE_CACHE` | `0` switches this cache off |

Without `POCKET_CACHE_DIR` the folder is `pocket-tts-native` in `$XDG_CACHE_HOME` or `~/.cache`, in
`~/Library/Caches` on macOS, in `%LOCALAPPDATA%` on Windows.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from pocket_tts_native.exceptions import PocketTTSError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pocket_tts_native import _native

    # A path stands for the content of its file, an array for its type, shape and values.
    KeyPart: TypeAlias = Path | NDArray[np.float32] | bytes | str | int | None

# Entries that were not used for longest go first.
LIMIT_BYTES: Final = 1 << 30
# A voice of many minutes would drive all others out.
MAX_ENTRY_BYTES: Final = LIMIT_BYTES // 4

_APP: Final = "pocket-tts-native"
_FOLDER: Final = "voices"
_OFF: Final = {"0", "false", "no", "off"}
_ENTRY: Final = re.compile(r"[0-9a-f]{64}\.safetensors")
# What a writer that was killed leaves behind; the engine (`files.rs`) names it.
_SCRATCH: Final = re.compile(r"\.[0-9a-f]{64}\.safetensors\.\d+-\d+\.tmp")
_STALE_S: Final = 3600
_CHUNK_BYTES: Final = 1 << 20

_logger = logging.getLogger("pocket_tts_native")


def cache_root() -> Path | None:
    """Give the folder of all caches, which may not exist yet; None for no caches."""
    chosen = os.environ.get("POCKET_CACHE_DIR")
    try:
        if chosen is not None:
            return Path(chosen).expanduser() if chosen else None
        if sys.platform == "win32":
            local = os.environ.get("LOCALAPPDATA")
            return Path(local) / _APP / "Cache" if local else None
        xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
        if xdg.is_absolute():
            return xdg / _APP
        home = Path.home()
    except RuntimeError:  # nobody's home is known
        return None
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / _APP


def cache_folder(name: str, *, switch: str) -> Path | None:
    """Give the folder of one cache, which may not exist yet; None if the variable `switch` says so."""
    if os.environ.get(switch, "").strip().lower() in _OFF:
        return None
    root = cache_root()
    return None if root is None else root / name


def cached_voice(
    model: _native.Model,
    key_parts: Sequence[KeyPart],
    make: Callable[[], _native.VoiceState],
) -> _native.VoiceState:
    """Give the voice that `make` would, from the cache if it is there, else made and stored.

    Args:
        model: The model that makes the voice.
        key_parts: The recording and everything else that the voice depends on besides the model.
        make: Makes the voice; its exceptions are the caller's.

    Returns:
        The voice, the same bits in either case.
    """
    folder = cache_folder(_FOLDER, switch="POCKET_VOICE_CACHE")
    if folder is None:
        return make()
    stamps = _stamps(key_parts)
    recording = None if stamps is None else _digest(key_parts)
    if recording is None:
        return make()
    key = hashlib.sha256(f"{model.cloning_key}\n{recording}".encode()).hexdigest()
    path = folder / f"{key}.safetensors"
    voice = _read(model, path, key)
    if voice is None:
        voice = make()
        # A file that changed meanwhile may not be the one that was hashed.
        if _stamps(key_parts) == stamps:
            _store(voice, path, key)
    return voice


def _stamps(key_parts: Sequence[KeyPart]) -> list[tuple[int, int, int]] | None:
    """What changes with the files; None if one is no regular file, such as a pipe."""
    stamps = []
    for part in key_parts:
        if isinstance(part, Path):
            try:
                status = part.stat()
            except (OSError, ValueError):
                return None
            if not stat.S_ISREG(status.st_mode):
                return None
            stamps.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return stamps


def _digest(key_parts: Sequence[KeyPart]) -> str | None:
    """SHA-256 of the parts; None if one cannot be read."""
    digest = hashlib.sha256()
    for part in key_parts:
        # Each part says what it is and where it ends, so that none can pass for another.
        digest.update(f"{type(part).__name__}:".encode())
        if isinstance(part, Path):
            try:
                n_bytes = _add_file(digest.update, part)
            except OSError as error:
                _logger.debug("voice cache: not used: %s", error)
                return None
            digest.update(f":{n_bytes}".encode())
        elif isinstance(part, np.ndarray):
            if part.dtype != np.float32 or not part.flags.c_contiguous:
                return None  # refused by the engine
            digest.update(f"{part.shape}:".encode())
            digest.update(part.data)
        elif isinstance(part, bytes):
            digest.update(f"{len(part)}:".encode())
            digest.update(part)
        else:
            text = str(part).encode("utf-8", "surrogatepass")
            digest.update(f"{len(text)}:".encode())
            digest.update(text)
    return digest.hexdigest()


def _add_file(update: Callable[[bytes], None], path: Path) -> int:
    n_bytes = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            update(chunk)
            n_bytes += len(chunk)
    return n_bytes


def _read(model: _native.Model, path: Path, key: str) -> _native.VoiceState | None:
    try:
        voice = model.voice_from_cache(path, key)
    except FileNotFoundError:
        return None
    except (OSError, PocketTTSError) as error:
        _logger.debug("voice cache: made again: %s", error)
        return None
    with contextlib.suppress(OSError):  # others may not be ours to touch
        os.utime(path)
    _logger.debug("voice cache: read %s", path)
    return voice


def _store(voice: _native.VoiceState, path: Path, key: str) -> None:
    try:
        cache, _ = voice.layer(0)
        if cache.nbytes * voice.n_layers > MAX_ENTRY_BYTES:
            _logger.debug("voice cache: a voice of %d positions is not kept", voice.n_positions)
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        voice.save_cached(path, key)
        _tidy(path.parent, newest=path)
    except (OSError, PocketTTSError) as error:
        _logger.debug("voice cache: not stored: %s", error)


def _tidy(folder: Path, newest: Path) -> None:
    """Delete what writers left behind, and the entries beyond the limit; no file of others."""
    entries = []
    for path in folder.iterdir():
        # Other processes tidy too.
        with contextlib.suppress(OSError):
            status = path.lstat()
            if _SCRATCH.fullmatch(path.name) and time.time() - status.st_mtime > _STALE_S:
                path.unlink()
            elif _ENTRY.fullmatch(path.name) and path != newest:
                entries.append((status.st_mtime_ns, status.st_size, path))
    n_bytes = newest.stat().st_size
    for _, size, path in sorted(entries, reverse=True):
        n_bytes += size
        if n_bytes > LIMIT_BYTES:
            with contextlib.suppress(OSError):
                path.unlink()
