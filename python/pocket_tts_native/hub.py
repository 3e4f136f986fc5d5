"""Files at addresses, brought to this machine: `hf://owner/repo/file[@revision]` and `http(s)://`.

Files of the Hugging Face hub live in the cache that all its programs share. A file of a pinned
revision, as every released model has, never changes, so it is taken from there without asking and
without importing `huggingface_hub`; a branch or tag is looked up on the hub each time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGGER: Final = logging.getLogger("pocket_tts_native")

_WEB_PREFIXES: Final = ("http://", "https://")
_HUB_PREFIX: Final = "hf://"
_DEFAULT_REVISION: Final = "main"
_DEFAULT_ENDPOINT: Final = "https://huggingface.co"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_TRUE_WORDS: Final = {"1", "ON", "YES", "TRUE"}


def is_remote(source: str) -> bool:
    """Tell whether `source` is an address to download rather than a local path."""
    return source.startswith((*_WEB_PREFIXES, _HUB_PREFIX))


def fetch(address: str) -> Path:
    """Bring the file at `address` to this machine, unless it is there.

    Args:
        address: An `hf://` or `http(s)://` address, or a local path, which is returned as it is.

    Returns:
        Where the file is; its name ends as that of the address.

    Raises:
        ConnectionError: The network or the server failed.
        FileNotFoundError: There is no such file, or it is not cached and downloads are switched off.
        OSError: The cache cannot be written.
        PermissionError: The server wants to know who asks, or refuses.
        ValueError: The address is not of one of the two forms.
    """
    if address.startswith(_HUB_PREFIX):
        return _fetch_from_hub(HubFile.from_address(address))
    if address.startswith(_WEB_PREFIXES):
        from pocket_tts_native.url_cache import fetch_url

        return fetch_url(address, shows_progress=not is_quiet())
    return Path(address)


def is_quiet() -> bool:
    """Tell whether the caller wants to see errors only, by the level of this package's logger."""
    return LOGGER.getEffectiveLevel() > logging.WARNING


@dataclass(frozen=True)
class HubFile:
    """A file of a model repository on the hub."""

    owner: str
    repo: str
    path: str
    revision: str

    @classmethod
    def from_address(cls, address: str) -> HubFile:
        """Take an address apart.

        Raises:
            ValueError: It is not of the form `hf://owner/repo/file[@revision]`.
        """
        parts = address.removeprefix(_HUB_PREFIX).split("/", 2)
        path, at, revision = parts[-1].partition("@")
        is_plain = all(part not in {"", ".", ".."} for part in [*parts[:-1], *path.split("/")])
        if len(parts) != 3 or not is_plain or (at and not revision) or "@" in revision:
            raise ValueError(
                f"{address!r} is no address of a file; use hf://owner/repo/file[@revision]"
            )
        return cls(parts[0], parts[1], path, revision or _DEFAULT_REVISION)

    @property
    def repo_id(self) -> str:
        """The repository, as the hub calls it."""
        return f"{self.owner}/{self.repo}"

    def __str__(self) -> str:
        """The address."""
        return f"{_HUB_PREFIX}{self.repo_id}/{self.path}@{self.revision}"

    def command(self) -> str:
        """The shell command that downloads the file into the cache."""
        return f"hf download {self.repo_id} {self.path} --revision {self.revision}"


def hub_cache() -> Path:
    """The directory of the hub's shared cache, from the variables that `huggingface_hub` reads."""
    chosen = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if chosen:
        return _expanded(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{base}/huggingface"
    return _expanded(home) / "hub"


def is_offline() -> bool:
    """Tell whether the environment switches downloads from the hub off."""
    word = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return word.upper() in _TRUE_WORDS


def cached_hub_file(file: HubFile) -> Path | None:
    """Find a file in the shared cache that need not be looked up on the hub.

    These are the files of pinned revisions and, where downloads are switched off, those that a
    branch or tag had when it was last asked for.
    """
    folder = hub_cache() / f"models--{file.owner}--{file.repo}"
    commit = file.revision
    if not _COMMIT.fullmatch(commit):
        if not is_offline():
            return None
        try:
            commit = (folder / "refs" / file.revision).read_text(encoding="utf-8")
        except OSError:
            return None
    path = folder / "snapshots" / commit / file.path
    return path if path.exists() else None


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(path)).expanduser()


def _fetch_from_hub(file: HubFile) -> Path:
    cached = cached_hub_file(file)
    if cached is not None:
        return cached
    if is_offline():
        raise FileNotFoundError(
            f"{file} is not in the cache {hub_cache()}, and HF_HUB_OFFLINE switches downloads off; unset it, "
            f"or run `{file.command()}` where there is a network and copy that cache here"
        )
    try:
        return _download(file, token=None)
    except Exception as error:
        if not _refuses_token(error):
            raise _plain_error(file, error) from error
        LOGGER.warning(
            "the hub refused the token for %s; trying without one. Renew it with `hf auth login`, or "
            "unset HF_TOKEN",
            file,
        )
    try:
        return _download(file, token=False)
    except Exception as error:
        raise _plain_error(file, error) from error


def _download(file: HubFile, *, token: bool | None) -> Path:
    """Let the hub's own client download `file`; None stands for the token that it finds."""
    from huggingface_hub import hf_hub_download

    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
    _check_name(endpoint or _DEFAULT_ENDPOINT)
    with _hub_progress():
        path = hf_hub_download(
            repo_id=file.repo_id,
            filename=file.path,
            revision=file.revision,
            cache_dir=str(hub_cache()),
            endpoint=endpoint or None,
            token=token,
        )
    return Path(path)


def _check_name(endpoint: str) -> None:
    """Raise an error at once where the hub's name is unknown; its client tries for half a minute."""
    from urllib.request import getproxies

    host = urlsplit(endpoint).hostname
    if host is None or getproxies():
        # The client knows what is wrong, and a proxy may know more names.
        return
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror as error:
        raise ConnectionError(f"the name {host} is unknown here, as without a network") from error


@contextlib.contextmanager
def _hub_progress() -> Iterator[None]:
    """Leave the client's progress bars, which appear on terminals, unless the caller is quiet."""
    from huggingface_hub import utils

    if not is_quiet() or utils.are_progress_bars_disabled():  # type: ignore[attr-defined]
        yield
        return
    utils.disable_progress_bars()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        utils.enable_progress_bars()  # type: ignore[attr-defined]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and what caused it."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _status(error: BaseException) -> int | None:
    """The HTTP status that `error` is about; its class differs between versions of the client."""
    for cause in _chain(error):
        response: Any = getattr(cause, "response", None)
        status = getattr(response, "status_code", None)
        if isinstance(status, int):
            return status
    return None


def _refuses_token(error: BaseException) -> bool:
    """Tell whether a token was sent and refused, while the file may be public."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import GatedRepoError

    is_gated = any(isinstance(cause, GatedRepoError) for cause in _chain(error))
    return _status(error) in {401, 403} and not is_gated and get_token() is not None


def _plain_error(file: HubFile, error: Exception) -> Exception:
    """The builtin exception that stands for one of the client's."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, HFValidationError):
        return ValueError(f"{file}: {error}")
    if any(isinstance(cause, GatedRepoError) for cause in _chain(error)):
        return PermissionError(
            f"cannot download {file}: the repository is open to those who accepted its terms; accept "
            f"them at https://huggingface.co/{file.repo_id} and log in with `hf auth login`, or set HF_TOKEN"
        )
    if isinstance(error, RepositoryNotFoundError):
        return FileNotFoundError(
            f"cannot download {file}: the hub has no repository {file.repo_id}, or it is private; check "
            "the name, and log in with `hf auth login` if it is yours"
        )
    if isinstance(error, RevisionNotFoundError):
        return FileNotFoundError(
            f"cannot download {file}: the repository has no revision {file.revision}; check it"
        )
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return FileNotFoundError(
            f"cannot download {file}: the repository has no such file in this revision; check the path"
        )
    status = _status(error)
    if status in {401, 403}:
        return PermissionError(
            f"cannot download {file}: the hub refused with HTTP status {status}; log in with "
            "`hf auth login`, or set HF_TOKEN"
        )
    if isinstance(error, OSError) and error.errno is not None:
        # A fault of this machine, such as a full disk.
        return error
    reason = f"HTTP status {status}" if status is not None else _reason(error)
    return ConnectionError(
        f"cannot download {file}: {reason}; check the network and HF_ENDPOINT, or run "
        f"`{file.command()}` elsewhere and copy the cache to {hub_cache()}"
    )


def _reason(error: Exception) -> str:
    """The first line of the innermost cause, or its class where it says nothing."""
    cause = list(_chain(error))[-1]
    lines = str(cause).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(cause).__name__
