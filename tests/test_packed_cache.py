"""The cache of packed weights: later loads of a model map what the first one packed, the same bits."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest
from pocket_tts_native import TTSModel
from signals import voice_like
from tiny_model import tiny_config, write_model

if TYPE_CHECKING:
    from pathlib import Path

RATE_HZ: Final = 1600
TEXT: Final = "Hello world."
PRECISIONS: Final = ("f32", "bf16", "int8")
# Loads and speaks in a process of its own; the audio goes to stdout.
SPEAK: Final = """
import sys
sys.path.insert(0, sys.argv[2])
from signals import voice_like
from pocket_tts_native import TTSModel
model = TTSModel.load_model(config=sys.argv[1], precision="int8", num_threads=2)
voice = model.get_state_for_audio_prompt(voice_like(3000, 1600))
sys.stdout.buffer.write(model.generate_audio(voice, "Hello world.", seed=1).tobytes())
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the entries, of a cache that is on and empty."""
    monkeypatch.setenv("POCKET_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("POCKET_PACKED_CACHE", raising=False)
    return tmp_path / "cache" / "packed"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration of a model whose files may be changed."""
    return write_model(tmp_path / "model", tiny_config())


def _entries(folder: Path) -> list[Path]:
    """The entries; nothing else is there."""
    paths = sorted(folder.iterdir()) if folder.exists() else []
    name = r"[0-9a-f]{16}-(f32|bf16|int8)-[0-9a-f]{32}\.packed"
    assert all(re.fullmatch(name, path.name) for path in paths), paths
    return paths


def _load(config: Path, precision: str = "f32") -> TTSModel:
    return TTSModel.load_model(config=config, precision=precision)


def _audio(model: TTSModel) -> bytes:
    voice = model.get_state_for_audio_prompt(voice_like(3000, RATE_HZ))
    return model.generate_audio(voice, TEXT, seed=1).tobytes()


def _notes(model: TTSModel) -> list[str]:
    """The first words of what was told about the cache."""
    return [note.split()[0] for note in model._native.load_notes]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_first_and_later_loads_sound_the_same(
    config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    first = _load(config, precision)
    [entry] = _entries(folder)
    assert precision in entry.name
    content = entry.read_bytes()
    second = _load(config, precision)
    assert (_notes(first), _notes(second)) == (["wrote"], ["read"])
    assert entry.read_bytes() == content
    monkeypatch.setenv("POCKET_PACKED_CACHE", "0")
    without = _load(config, precision)
    assert _notes(without) == []
    assert _audio(first) == _audio(second) == _audio(without)
    assert first._native.fingerprint == second._native.fingerprint == without._native.fingerprint
    assert first._native.cloning_key == second._native.cloning_key == without._native.cloning_key


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "another model's"])
def test_damaged_entries_are_made_again(
    config: Path, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    expected = _audio(_load(config))
    [entry] = _entries(folder)
    content = entry.read_bytes()
    if damage == "another model's":
        other = write_model(tmp_path / "other", tiny_config(), seed=7)
        _load(other)
        [source] = [path for path in _entries(folder) if path != entry]
        damaged = source.read_bytes()
    else:
        flipped = bytearray(content)
        flipped[-100] ^= 1
        damaged = {"truncated": content[:-1], "flipped": bytes(flipped), "empty": b""}[damage]
    assert damaged != content
    entry.unlink()
    entry.write_bytes(damaged)
    with caplog.at_level(logging.DEBUG, "pocket_tts_native"):
        model = _load(config)
    assert _notes(model) == ["made", "wrote"]
    assert all(record.levelno == logging.DEBUG for record in caplog.records), caplog.records
    assert f"packed weights: wrote {entry}" in caplog.messages
    assert _audio(model) == expected
    assert entry.read_bytes() == content


def test_weights_that_change_are_packed_anew(config: Path, folder: Path, tmp_path: Path) -> None:
    """Replaced by another model's of the same size, the time of change kept."""
    first = _audio(_load(config))
    [old] = _entries(folder)
    weights = config.parent / "model.safetensors"
    status = weights.stat()
    other = write_model(tmp_path / "other", tiny_config(), seed=7).parent / "model.safetensors"
    assert other.stat().st_size == status.st_size
    weights.write_bytes(other.read_bytes())
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    model = _load(config)
    assert _notes(model) == ["wrote"]
    assert _audio(model) != first
    [new] = _entries(folder)
    assert new != old


def test_models_in_use_outlive_their_entry(config: Path, folder: Path) -> None:
    _load(config)
    model = _load(config)
    expected = _audio(model)
    shutil.rmtree(folder)
    assert _audio(model) == expected


@pytest.mark.parametrize("root", ["", "{file}", "{file}/below", "/dev/null/below"])
def test_no_folder_no_cache(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.setenv("POCKET_PACKED_CACHE", "0")
    expected = _audio(_load(config))
    file = tmp_path / "a file"
    file.write_text("x", encoding="utf-8")
    monkeypatch.delenv("POCKET_PACKED_CACHE")
    monkeypatch.setenv("POCKET_CACHE_DIR", root.format(file=file))
    for _ in range(2):
        model = _load(config)
        assert "wrote" not in _notes(model)
        assert _audio(model) == expected
    assert file.read_text(encoding="utf-8") == "x"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is a read-only folder on Linux only")
def test_read_only_folders_are_no_error(
    config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissions do not bind root, so the folder is one that nobody can write to."""
    expected = _audio(_load(config))
    assert len(_entries(folder)) == 1
    monkeypatch.setenv("POCKET_CACHE_DIR", "/proc/self")
    model = _load(config)
    assert _notes(model) == ["not"]
    assert _audio(model) == expected


@pytest.mark.parametrize("value", ["0", "off", "False", " no "])
def test_switched_off(
    config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("POCKET_PACKED_CACHE", value)
    assert _notes(_load(config)) == []
    assert not folder.exists()


def test_processes_may_load_at_once(
    config: Path, folder: Path, request: pytest.FixtureRequest
) -> None:
    expected = _audio(_load(config, "int8"))
    shutil.rmtree(folder)
    command = [sys.executable, "-c", SPEAK, str(config), str(request.path.parent)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    outputs = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert outputs == [expected] * 4
    assert len(_entries(folder)) == 1
