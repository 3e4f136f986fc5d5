"""Files from the web, kept where the reference keeps them: `~/.cache/pocket_tts/<sha256 of the URL>`.

A file appears there when it is complete. It is never looked up again, as in the reference.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import secrets
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Of a connection attempt, and of each wait for data.
_TIMEOUT_S: Final = 60
_BLOCK_BYTES: Final = 1 << 18
_MEGABYTE: Final = 1_000_000
# Everything but what may not stand in an address; `%` stays, for what is already quoted.
_SAFE: Final = "!#$%&'()*+,/:;=?@[]~"


def cached_url_path(url: str) -> Path:
    """Where the file of `url` is kept."""
    digest = hashlib.sha256(url.encode()).hexdigest()
    return Path.home() / ".cache" / "pocket_tts" / (digest + Path(urlsplit(url).path).suffix)


def fetch_url(url: str, *, shows_progress: bool) -> Path:
    """Download the file at `url`, unless it is cached.

    Args:
        url: An `http://` or `https://` address.
        shows_progress: Tell on stderr how far the download is, if that is a terminal.

    Returns:
        Where the file is; its suffix is that of the URL.

    Raises:
        ConnectionError: The network or the server failed.
        FileNotFoundError: The server has no such file.
        OSError: The cache cannot be written.
        PermissionError: The server refuses.
        ValueError: The URL makes no sense.
    """
    target = cached_url_path(url)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as out:
            for block in _blocks(url, shows_progress=shows_progress and sys.stderr.isatty()):
                out.write(block)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _blocks(url: str, *, shows_progress: bool) -> Iterator[bytes]:
    """The content at `url`; raises unless it is complete."""
    with _plain_errors(url):
        request = urllib.request.Request(
            quote(url, safe=_SAFE),
            headers={"User-Agent": "pocket-tts-native", "Accept-Encoding": "identity"},
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            length = response.headers.get("Content-Length")
            n_expected = int(length) if length is not None and length.isdigit() else None
            n_read = 0
            with _progress_line(url, n_expected, is_shown=shows_progress) as tell:
                while block := response.read(_BLOCK_BYTES):
                    n_read += len(block)
                    tell(n_read)
                    yield block
    if n_expected is not None and n_read != n_expected:
        raise ConnectionError(
            f"cannot download {url}: the connection ended after {n_read} of {n_expected} bytes; try again"
        )


@contextlib.contextmanager
def _plain_errors(url: str) -> Iterator[None]:
    """Turn the exceptions of the HTTP client into builtin ones that name the URL."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        fault = f"cannot download {url}: HTTP status {error.code} ({error.reason})"
        if error.code in {404, 410}:
            raise FileNotFoundError(f"{fault}; check the address") from error
        if error.code in {401, 403}:
            raise PermissionError(
                f"{fault}; download the file by other means and pass its path"
            ) from error
        raise ConnectionError(f"{fault}; try again later") from error
    except http.client.InvalidURL as error:
        raise ValueError(f"{url!r} is no address to download: {error}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, OSError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise ConnectionError(
            f"cannot download {url}: {reason or type(error).__name__}; check the network, or download "
            "the file by other means and pass its path"
        ) from error


@contextlib.contextmanager
def _progress_line(
    url: str, n_expected: int | None, *, is_shown: bool
) -> Iterator[Callable[[int], None]]:
    """Hand out what tells on the terminal how many bytes have come; the line is wiped at the end."""
    name = Path(urlsplit(url).path).name or url
    total = f" of {n_expected / _MEGABYTE:.1f}" if n_expected is not None else ""

    def tell(n_read: int) -> None:
        if is_shown:
            line = f"\r{name}: {n_read / _MEGABYTE:.1f}{total} MB"
            print(line, end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        if is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
