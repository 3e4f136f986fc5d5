"""One cache for both packages: what the reference downloads serves here, and the other way round."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

import pytest
from pocket_tts_native.hub import fetch
from pocket_tts_native.voices import is_saved_state
from reference_client import reference_interpreter

if TYPE_CHECKING:
    from hub_server import HubServer

pytestmark = pytest.mark.parity

COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"
PINNED: Final = f"hf://owner/repo/folder/file.bin@{COMMIT}"
SOURCES: Final = (
    "voice.safetensors",
    "voice.safetensors.wav",
    "voice.SAFETENSORS",
    ".safetensors",
    "hf://a/b/c.safetensors",
    "hf://a/b/c.safetensors@main",
    "hf://a/b/c.wav@x.safetensors",
    "hf://a/b/c.safetensors@a@b",
    "http://a/b.safetensors?x=1",
    "https://a/b.safetensors#x",
    "https://a/b?x=.safetensors",
    "HTTPS://a/b.safetensors?x",
)


def by_the_reference(code: str, *arguments: str) -> list[str]:
    """The lines that a program prints in the reference's environment."""
    done = subprocess.run(
        [str(reference_interpreter()), "-c", "import sys\n" + code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


_FETCH: Final = (
    "from pocket_tts.utils.utils import download_if_necessary\n"
    "for address in sys.argv[1:]: print(download_if_necessary(address))\n"
)


@pytest.mark.parametrize("first", ["the reference", "ours"])
def test_downloads_are_shared(hub: HubServer, first: str) -> None:
    hub.add(PINNED, b"content")
    hub.repository("owner/repo").branches["main"] = COMMIT
    hub.pages["/voices/one.wav"] = b"a page"
    addresses = [PINNED, f"{hub.url}/voices/one.wav?x=1&y=%20", f"{hub.url}/voices/one.wav"]
    if first == "the reference":
        expected = by_the_reference(_FETCH, *addresses)
        hub.requests.clear()
        found = [str(fetch(address)) for address in addresses]
    else:
        found = [str(fetch(address)) for address in addresses]
        hub.requests.clear()
        expected = by_the_reference(_FETCH, *addresses)
    assert found == expected
    assert hub.requests == []
    # A branch is asked for by both, and is in the same place.
    assert by_the_reference(_FETCH, "hf://owner/repo/folder/file.bin") == [expected[0]]
    assert str(fetch("hf://owner/repo/folder/file.bin@main")) == expected[0]


def test_saved_states_are_told_by_the_same_suffixes() -> None:
    code = (
        "from pocket_tts.models.model_state import _is_safetensors_source as tell\n"
        "for source in sys.argv[1:]: print(tell(source))\n"
    )
    expected = by_the_reference(code, *SOURCES)
    assert [str(is_saved_state(source)) for source in SOURCES] == expected
