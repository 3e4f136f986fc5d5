"""Downloads with the hub's real client against a server of our own."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hub_server import Cut
from pocket_tts_native import hub as hub_module
from pocket_tts_native.hub import HubFile, cached_hub_file, fetch, hub_cache
from pocket_tts_native.url_cache import cached_url_path

if TYPE_CHECKING:
    from hub_server import HubServer

COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT: Final = "f" * 40
ADDRESS: Final = f"hf://owner/repo/folder/file.bin@{COMMIT}"
MOVING: Final = "hf://owner/repo/folder/file.bin"
CONTENT: Final = bytes(range(256)) * 1000
NEW_CONTENT: Final = b"the next version"


def leftovers(folder: Path) -> list[Path]:
    """Files that only an unfinished download of ours may have."""
    return [path for path in folder.rglob("*") if path.suffix == ".part"]


def finished(folder: Path) -> list[Path]:
    """What others would take for downloaded files."""
    snapshots = [path for path in folder.glob("models--*/snapshots/*/**/*") if path.is_file()]
    blobs = [p for p in folder.glob("models--*/blobs/*") if ".incomplete" not in p.name]
    return snapshots + blobs


def in_another_process(address: str) -> subprocess.Popen[str]:
    """Start a process that fetches `address` and prints where it is and whether it met the client."""
    code = (
        "import sys; from pocket_tts_native.hub import fetch\n"
        "print(fetch(sys.argv[1])); print('huggingface_hub' in sys.modules)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output_of(process: subprocess.Popen[str]) -> list[str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.splitlines()


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client retry at once."""
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


# ---------------------------------------------------------------------------------------------
# Pinned revisions


def test_a_pinned_file_is_downloaded_once(hub: HubServer) -> None:
    hub.add(ADDRESS, CONTENT)
    path = fetch(ADDRESS)
    assert path.read_bytes() == CONTENT
    assert path.name == "file.bin"
    assert {request.method for request in hub.asked_for(hub.path_of(ADDRESS))} == {"HEAD", "GET"}

    hub.requests.clear()
    assert fetch(ADDRESS) == path
    assert hub.requests == []


def test_a_cached_file_needs_no_client(hub: HubServer) -> None:
    hub.add(ADDRESS, CONTENT)
    path = fetch(ADDRESS)
    hub.requests.clear()
    assert output_of(in_another_process(ADDRESS)) == [str(path), "False"]
    assert hub.requests == []


@pytest.mark.parametrize(
    "variable", ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", None]
)
def test_the_cache_is_where_the_client_has_it(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    """The place that we look at is the one that the client takes from the same variables."""
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("PLACE", "chosen")
    if variable is not None:
        monkeypatch.setenv(
            variable, f"{tmp_path}/$PLACE" if variable != "XDG_CACHE_HOME" else str(tmp_path)
        )
    hub.add(ADDRESS, CONTENT)
    code = (
        "import sys; from huggingface_hub import hf_hub_download\n"
        f"print(hf_hub_download('owner/repo', 'folder/file.bin', revision={COMMIT!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    hub.requests.clear()
    assert str(fetch(ADDRESS)) == done.stdout.strip()
    assert hub.requests == []


def test_our_look_up_agrees_with_the_client(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For pinned and moving revisions, cached or not."""
    from huggingface_hub import try_to_load_from_cache

    hub.add(ADDRESS, CONTENT)
    hub.repository("owner/repo").branches["main"] = COMMIT
    fetch(MOVING)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for revision in [COMMIT, "main", OTHER_COMMIT, "elsewhere"]:
        for name in ["folder/file.bin", "folder/none.bin"]:
            known = try_to_load_from_cache(
                "owner/repo", name, cache_dir=str(hub_cache()), revision=revision
            )
            found = cached_hub_file(HubFile("owner", "repo", name, revision))
            assert found == (Path(known) if isinstance(known, str) else None), (revision, name)


def test_offline_a_cached_file_serves(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(ADDRESS, CONTENT)
    hub.repository("owner/repo").branches["main"] = COMMIT
    path = fetch(MOVING)
    hub.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch(ADDRESS) == path
    assert fetch(MOVING) == path
    assert hub.requests == []


@pytest.mark.parametrize("word", ["1", "true", "YES", "On"])
def test_offline_without_the_file_tells_how_to_get_it(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", word)
    with pytest.raises(FileNotFoundError) as caught:
        fetch(ADDRESS)
    message = str(caught.value)
    assert ADDRESS in message
    assert f"hf download owner/repo folder/file.bin --revision {COMMIT}" in message
    assert str(hub_cache()) in message
    assert "HF_HUB_OFFLINE" in message
    assert hub.requests == []


def test_without_a_network_the_error_tells_how_to_get_the_file(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, no_waiting: None
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConnectionError) as caught:
        fetch(ADDRESS)
    message = str(caught.value)
    assert ADDRESS in message
    assert "hf download owner/repo" in message
    assert hub.requests == []


# ---------------------------------------------------------------------------------------------
# Moving revisions


def test_a_moving_revision_is_looked_up_each_time(hub: HubServer) -> None:
    repository = hub.repository("owner/repo")
    hub.add(ADDRESS, CONTENT)
    hub.add(f"hf://owner/repo/folder/file.bin@{OTHER_COMMIT}", NEW_CONTENT)
    repository.branches["main"] = COMMIT
    assert fetch(MOVING).read_bytes() == CONTENT
    repository.branches["main"] = OTHER_COMMIT
    assert fetch(MOVING).read_bytes() == NEW_CONTENT
    assert fetch(ADDRESS).read_bytes() == CONTENT


def test_a_branch_of_any_name_can_be_asked_for(hub: HubServer) -> None:
    hub.add(ADDRESS, CONTENT)
    hub.repository("owner/repo").branches["v1.0"] = COMMIT
    assert fetch(f"{MOVING}@v1.0").read_bytes() == CONTENT


# ---------------------------------------------------------------------------------------------
# Tokens and gates


def test_a_stale_token_is_left_out(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hub.add(ADDRESS, CONTENT)
    monkeypatch.setenv("HF_TOKEN", "stale")
    with caplog.at_level(logging.WARNING, "pocket_tts_native"):
        assert fetch(ADDRESS).read_bytes() == CONTENT
    assert "trying without" in caplog.text
    tokens = [request.token for request in hub.asked_for(hub.path_of(ADDRESS))]
    assert tokens[0] == "stale"
    assert tokens[-1] is None


def test_a_good_token_is_sent(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(ADDRESS, CONTENT)
    hub.repository("owner/repo").is_gated = True
    hub.members.add("good")
    monkeypatch.setenv("HF_TOKEN", "good")
    assert fetch(ADDRESS).read_bytes() == CONTENT
    assert {request.token for request in hub.requests} == {"good"}


@pytest.mark.parametrize("token", [None, "stale", "of a stranger"])
def test_a_gate_tells_where_to_accept_the_terms(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    hub.add(ADDRESS, CONTENT)
    hub.repository("owner/repo").is_gated = True
    hub.tokens.add("of a stranger")
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(PermissionError, match=r"huggingface\.co/owner/repo.*hf auth login"):
        fetch(ADDRESS)
    assert finished(hub_cache()) == []


def test_what_the_hub_lacks_is_not_found(hub: HubServer) -> None:
    hub.add(ADDRESS, CONTENT)
    for address, reason in {
        f"hf://owner/repo/folder/none.bin@{COMMIT}": "no such file",
        f"hf://owner/repo/folder/file.bin@{OTHER_COMMIT}": "no revision",
        f"hf://owner/none/folder/file.bin@{COMMIT}": "no repository",
    }.items():
        with pytest.raises(FileNotFoundError, match=reason):
            fetch(address)


@pytest.mark.parametrize(
    "address",
    [
        "hf://",
        "hf://owner",
        "hf://owner/repo",
        "hf://owner/repo/",
        "hf://owner/repo/file@",
        "hf://owner/repo/file@a@b",
        "hf://owner/repo/../file",
        "hf://owner/repo/folder//file",
        "hf://../repo/file",
        "hf:///repo/file",
        "hf://owner/re po/file",
    ],
)
def test_addresses_without_sense_are_refused(hub: HubServer, address: str) -> None:
    with pytest.raises(ValueError, match="hf://"):
        fetch(address)
    assert hub.requests == []


# ---------------------------------------------------------------------------------------------
# Broken connections, several processes


def test_a_cut_connection_leaves_nothing_under_the_name(hub: HubServer, no_waiting: None) -> None:
    hub.add(ADDRESS, CONTENT)
    hub.cuts[hub.path_of(ADDRESS)] = Cut(after_bytes=1000, times=100)
    with pytest.raises(ConnectionError, match=r"hf://owner/repo/folder/file\.bin"):
        fetch(ADDRESS)
    assert finished(hub_cache()) == []

    hub.cuts.clear()
    assert fetch(ADDRESS).read_bytes() == CONTENT


def test_two_processes_at_once_get_the_same_file(hub: HubServer) -> None:
    hub.add(ADDRESS, CONTENT)
    processes = [in_another_process(ADDRESS) for _ in range(2)]
    paths = {output_of(process)[0] for process in processes}
    assert len(paths) == 1
    assert Path(paths.pop()).read_bytes() == CONTENT


def test_bars_follow_the_level_of_the_logger(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's own switch is set only for the time of a download."""
    from huggingface_hub import utils

    seen: list[bool] = []

    def download(**_arguments: object) -> str:
        seen.append(utils.are_progress_bars_disabled())  # type: ignore[attr-defined]
        return "somewhere"

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    logger = logging.getLogger("pocket_tts_native")
    for level in (logging.WARNING, logging.ERROR):
        monkeypatch.setattr(logger, "level", level)
        logger.manager._clear_cache()  # type: ignore[attr-defined]
        fetch(ADDRESS)
    assert seen == [False, True]
    assert not utils.are_progress_bars_disabled()  # type: ignore[attr-defined]
    assert hub.requests == []


# ---------------------------------------------------------------------------------------------
# http(s)


def test_a_url_is_kept_where_the_reference_keeps_it(hub: HubServer) -> None:
    hub.pages["/voices/one.wav"] = CONTENT
    url = f"{hub.url}/voices/one.wav?version=2"
    path = fetch(url)
    digest = hashlib.sha256(url.encode()).hexdigest()
    assert path == Path(os.environ["HOME"]) / ".cache" / "pocket_tts" / f"{digest}.wav"
    assert path.read_bytes() == CONTENT

    hub.requests.clear()
    assert fetch(url) == path
    assert hub.requests == []


def test_a_url_may_hold_any_character(hub: HubServer) -> None:
    hub.pages["/ein Gruß.wav"] = CONTENT
    assert fetch(f"{hub.url}/ein Gruß.wav").read_bytes() == CONTENT
    assert fetch(f"{hub.url}/ein%20Gru%C3%9F.wav").read_bytes() == CONTENT


def test_a_cut_url_leaves_nothing(hub: HubServer) -> None:
    hub.pages["/one.wav"] = CONTENT
    hub.cuts["/one.wav"] = Cut(after_bytes=1000, times=1)
    url = f"{hub.url}/one.wav"
    with pytest.raises(ConnectionError, match=rf"one\.wav: .*1000 of {len(CONTENT)} bytes"):
        fetch(url)
    assert not cached_url_path(url).exists()
    assert list(cached_url_path(url).parent.iterdir()) == []
    assert fetch(url).read_bytes() == CONTENT
    assert leftovers(cached_url_path(url).parent) == []


def test_url_errors_have_the_class_of_their_kind(hub: HubServer) -> None:
    with pytest.raises(FileNotFoundError, match="404"):
        fetch(f"{hub.url}/none.wav")
    hub.repository("owner/repo").is_gated = True
    with pytest.raises(PermissionError, match="401"):
        fetch(f"{hub.url}/owner/repo/resolve/main/one.wav")
    with pytest.raises(ConnectionError, match="check the network"):
        fetch("http://127.0.0.1:9/one.wav")
    for url in ("http://", "http:///one.wav", "http://127.0.0.1:port/one.wav"):
        with pytest.raises((ValueError, ConnectionError)):
            fetch(url)


def test_two_processes_at_once_get_the_same_url(hub: HubServer) -> None:
    hub.pages["/one.wav"] = CONTENT
    processes = [in_another_process(f"{hub.url}/one.wav") for _ in range(2)]
    paths = {output_of(process)[0] for process in processes}
    assert len(paths) == 1
    path = Path(paths.pop())
    assert path.read_bytes() == CONTENT
    assert leftovers(path.parent) == []


def test_progress_is_told_on_terminals_only(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.pages["/one.wav"] = hub.pages["/two.wav"] = hub.pages["/three.wav"] = CONTENT
    fetch(f"{hub.url}/one.wav")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    fetch(f"{hub.url}/two.wav")
    assert "two.wav: 0.3 of 0.3 MB" in capsys.readouterr().err
    monkeypatch.setattr(hub_module, "is_quiet", lambda: True)
    fetch(f"{hub.url}/three.wav")
    assert capsys.readouterr().err == ""
