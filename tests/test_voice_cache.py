"""The cache of voices on disk: the second use of a clip gives the same bits without the work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from conftest import simd_levels
from pocket_tts_native import TTSModel, VoiceState, _native, voice_cache
from pocket_tts_native.voice_cache import cache_root, cached_voice
from signals import voice_like, write_wav
from tiny_model import tiny_config, write_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_files import Array

RATE_HZ: Final = 1600


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> TTSModel:
    """A tiny model."""
    return TTSModel.load_model(config=tiny_model_dir / "config.yaml", num_threads=1)


@pytest.fixture(scope="module")
def native(tiny_model_dir: Path) -> _native.Model:
    """Its engine."""
    return _native.Model.load(
        _native.Config.from_file(tiny_model_dir / "config.yaml"), num_threads=1
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the entries, of a cache that is on and empty."""
    monkeypatch.setenv("POCKET_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("POCKET_VOICE_CACHE", raising=False)
    return tmp_path / "cache" / "voices"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A recording."""
    return write_wav(tmp_path / "clip.wav", voice_like(3000, RATE_HZ), RATE_HZ)


def _entries(folder: Path) -> list[Path]:
    """The entries; nothing else is there."""
    paths = sorted(folder.iterdir()) if folder.exists() else []
    assert all(re.fullmatch(r"[0-9a-f]{64}\.safetensors", path.name) for path in paths), paths
    return paths


def _bits(voice: VoiceState | _native.VoiceState) -> bytes:
    native = voice if isinstance(voice, _native.VoiceState) else voice._native
    layers = [native.layer(index) for index in range(native.n_layers)]
    return b"".join(cache.tobytes() + bytes([pad]) for cache, pad in layers)


class Making:
    """Makes the voice of a clip, and counts."""

    def __init__(self, native: _native.Model, clip: Path) -> None:
        """Count from zero."""
        self._native, self._clip = native, clip
        self.n_made = 0

    def __call__(self) -> _native.VoiceState:
        self.n_made += 1
        return self._native.voice_from_audio(self._clip, truncate=False, warn=pytest.fail)

    def cached(self) -> _native.VoiceState:
        """Give the voice by way of the cache."""
        return cached_voice(self._native, ("file", self._clip, False), self)


@pytest.fixture
def making(native: _native.Model, clip: Path) -> Making:
    """The maker of the clip's voice."""
    return Making(native, clip)


def test_the_second_use_is_read(making: Making, folder: Path, clip: Path, tmp_path: Path) -> None:
    first = making.cached()
    assert len(_entries(folder)) == making.n_made == 1
    second = making.cached()
    assert making.n_made == 1
    assert _bits(first) == _bits(second) == _bits(making())
    assert second.fingerprint == first.fingerprint is not None
    # The content counts, not the name.
    making._clip = clip.rename(tmp_path / "other name")
    assert _bits(making.cached()) == _bits(first)
    assert making.n_made == 2  # by this test, above


@pytest.mark.parametrize(
    "kind", ["file", "truncated file", "bytes", "samples", "samples at a rate"]
)
def test_prompts_of_all_kinds_are_cached(
    model: TTSModel, folder: Path, clip: Path, kind: str
) -> None:
    """Another voice put under the entry's name shows that the entry is what is read."""
    prompts: dict[str, tuple[str | Path | bytes | Array, dict[str, Any]]] = {
        "file": (str(clip), {}),
        "truncated file": (clip, {"truncate": True}),
        "bytes": (clip.read_bytes(), {}),
        "samples": (voice_like(2500, RATE_HZ), {}),
        "samples at a rate": (voice_like(2500, RATE_HZ), {"sample_rate": 800}),
    }
    prompt, arguments = prompts[kind]
    expected = _bits(model.get_state_for_audio_prompt(prompt, **arguments))
    [entry] = _entries(folder)
    assert _bits(model.get_state_for_audio_prompt(prompt, **arguments)) == expected
    other = model.get_state_for_audio_prompt(voice_like(1500, RATE_HZ, seed=8))
    other._native.save_cached(entry, entry.stem)
    found = model.get_state_for_audio_prompt(prompt, **arguments)
    assert _bits(found) == _bits(other) != expected
    for name, (another, its_arguments) in prompts.items():
        if name != kind:
            found = model.get_state_for_audio_prompt(another, **its_arguments)
            assert _bits(found) != _bits(other), name
    assert len(_entries(folder)) == len(prompts) + 1


def test_cached_voices_speak_alike(model: TTSModel, folder: Path, clip: Path) -> None:
    computed, cached = [model.get_state_for_audio_prompt(clip) for _ in range(2)]
    assert len(_entries(folder)) == 1
    audio = model.generate_audio(computed, "one two three", seed=3)
    assert np.array_equal(audio, model.generate_audio(cached, "one two three", seed=3))


def test_saved_states_are_not_cached(
    model: TTSModel, folder: Path, clip: Path, tmp_path: Path
) -> None:
    model.get_state_for_audio_prompt(clip).save(tmp_path / "voice.safetensors")
    shutil.rmtree(folder)
    model.get_state_for_audio_prompt(tmp_path / "voice.safetensors")
    assert _entries(folder) == []


def test_errors_are_those_of_the_recording(model: TTSModel, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="absent"):
            model.get_state_for_audio_prompt(tmp_path / "absent.wav")
        with pytest.raises(ValueError, match=r"bad\.wav"):
            model.get_state_for_audio_prompt(tmp_path / "bad.wav")
        with pytest.raises(TypeError, match="float32"):
            model.get_state_for_audio_prompt(np.ones(3000, np.int64))
        with pytest.raises(ValueError, match="silent"):
            model.get_state_for_audio_prompt(np.zeros(3000))
    assert _entries(folder) == []


def test_other_models_and_levels_miss(
    native: _native.Model, making: Making, folder: Path, tmp_path: Path
) -> None:
    """Another model has a voice of its own; so has another level, whose bits may differ."""
    making.cached()
    other = _native.Model.load(
        _native.Config.from_file(write_model(tmp_path / "other", tiny_config(), seed=7))
    )
    assert other.fingerprint != native.fingerprint
    voice = cached_voice(
        other,
        ("file", making._clip, False),
        lambda: other.voice_from_audio(making._clip, truncate=False, warn=pytest.fail),
    )
    assert _bits(voice) != _bits(making.cached())
    assert len(_entries(folder)) == 2
    keys = set()
    for level in simd_levels()[0]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("POCKET_SIMD", level)
            at_level = _native.Model.load(
                _native.Config.from_file(tmp_path / "other" / "config.yaml")
            )
        assert at_level.fingerprint == other.fingerprint
        keys.add(at_level.cloning_key)
    assert len(keys) == len(simd_levels()[0])


def _cut(entry: Path, _other: Path) -> None:
    entry.write_bytes(entry.read_bytes()[:-1000])


def _emptied(entry: Path, _other: Path) -> None:
    entry.write_bytes(b"")


def _with_a_flipped_bit(entry: Path, _other: Path) -> None:
    content = bytearray(entry.read_bytes())
    content[-100] ^= 1
    entry.write_bytes(content)


def _swapped(entry: Path, other: Path) -> None:
    content = entry.read_bytes()
    other.replace(entry)
    other.write_bytes(content)


def _plain_state(entry: Path, other: Path) -> None:
    """A voice state file that is no entry."""
    tensors = {"x": np.zeros(3, np.float32)}
    from model_files import write_safetensors

    write_safetensors(entry, tensors)
    assert other.exists()


@pytest.mark.parametrize("damage", [_cut, _emptied, _with_a_flipped_bit, _swapped, _plain_state])
def test_damaged_entries_are_made_again(
    making: Making, folder: Path, damage: Callable[[Path, Path], None]
) -> None:
    expected = _bits(making.cached())
    [entry] = _entries(folder)
    intact = entry.read_bytes()
    cached_voice(making._native, ("other",), making)
    [other] = set(_entries(folder)) - {entry}
    damage(entry, other)
    assert entry.read_bytes() != intact
    n_made = making.n_made
    assert _bits(making.cached()) == expected
    assert making.n_made == n_made + 1
    assert _bits(making.cached()) == expected
    assert making.n_made == n_made + 1


def test_mutated_entries_never_give_another_voice(making: Making, folder: Path) -> None:
    expected = _bits(making.cached())
    [entry] = _entries(folder)
    intact = entry.read_bytes()
    rng = np.random.Generator(np.random.Philox(key=1))
    for _ in range(300):
        content = bytearray(intact)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(len(content) if rng.random() < 0.5 else 800))
            content[at] ^= 1 << int(rng.integers(8))
        if rng.random() < 0.2:
            del content[int(rng.integers(len(content))) :]
        entry.write_bytes(content)
        assert _bits(making.cached()) == expected
    assert making.n_made > 200


def test_what_is_in_the_way_does_not_matter(making: Making, folder: Path) -> None:
    """A folder of the entry's name cannot be replaced."""
    expected = _bits(making.cached())
    [entry] = _entries(folder)
    entry.unlink()
    entry.mkdir()
    assert _bits(making.cached()) == expected
    assert entry.is_dir()


@pytest.mark.parametrize("root", ["", "{file}", "{file}/below", "/dev/null/below"])
def test_no_folder_no_cache(
    making: Making, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    file = tmp_path / "a file"
    file.write_text("x", encoding="utf-8")
    monkeypatch.setenv("POCKET_CACHE_DIR", root.format(file=file))
    monkeypatch.delenv("POCKET_VOICE_CACHE", raising=False)
    assert _bits(making.cached()) == _bits(making.cached())
    assert making.n_made == 2
    assert file.read_text(encoding="utf-8") == "x"


def test_read_only_folders_are_read(
    making: Making, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is used; what is not is made. Permissions do not bind root, so calls fail here."""
    making.cached()

    def refused(*_arguments: object, **_keywords: object) -> None:
        raise PermissionError("read-only")

    for name in ("utime", "mkdir", "unlink", "rename", "replace"):
        monkeypatch.setattr(os, name, refused)
    monkeypatch.setattr(Path, "mkdir", refused)
    making.cached()
    assert making.n_made == 1
    cached_voice(making._native, ("other",), making)
    assert making.n_made == 2
    assert len(_entries(folder)) == 1


@pytest.mark.parametrize("value", ["0", "off", "False", " no "])
def test_switched_off(
    making: Making, folder: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("POCKET_VOICE_CACHE", value)
    making.cached()
    making.cached()
    assert making.n_made == 2
    assert not folder.exists()


def test_files_that_change_meanwhile_are_not_stored(making: Making, folder: Path) -> None:
    clip = making._clip

    def make() -> _native.VoiceState:
        write_wav(clip, voice_like(3100, RATE_HZ, seed=4), RATE_HZ)
        return making()

    cached_voice(making._native, ("file", clip, False), make)
    assert _entries(folder) == []


def test_pipes_are_left_to_the_reader(making: Making, folder: Path, tmp_path: Path) -> None:
    """To hash a pipe would be to empty it."""
    os.mkfifo(tmp_path / "pipe")
    cached_voice(making._native, ("file", tmp_path / "pipe", False), making)
    assert making.n_made == 1
    assert _entries(folder) == []


def test_parts_do_not_run_together(native: _native.Model, making: Making, folder: Path) -> None:
    """No two of these are the same recording."""
    samples = np.arange(6, dtype=np.float32)
    parts: list[Any] = [
        ("a", "b"),
        ("ab", ""),
        ("ab",),
        (b"ab",),
        (1,),
        ("1",),
        (True,),
        (None,),
        (samples,),
        (samples[None],),
        (samples.reshape(2, 3),),
        (samples.tobytes(),),
    ]
    for part in parts:
        cached_voice(native, part, making)
    assert making.n_made == len(_entries(folder)) == len(parts)


def test_oldest_entries_go_first(
    native: _native.Model, making: Making, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(4):
        cached_voice(native, (index,), making)
    size = _entries(folder)[0].stat().st_size
    for path in _entries(folder):
        os.utime(path, (1000, 1000))
    cached_voice(native, (2,), making)  # used again
    assert making.n_made == 4
    name = "0" * 64 + ".safetensors"
    stale, fresh = folder / f".{name}.12-3.tmp", folder / f".{name}.12-4.tmp"
    foreign = [folder / "notes.txt", folder / ".other.tmp", folder / "voice.safetensors"]
    for path in (stale, fresh, *foreign):
        path.write_bytes(b"x" * 3 * size)
        os.utime(path, (1000, 1000))
    os.utime(fresh)
    monkeypatch.setattr(voice_cache, "LIMIT_BYTES", 2 * size)
    cached_voice(native, (9,), making)
    assert not stale.exists()
    for path in (fresh, *foreign):
        path.unlink()
    assert len(_entries(folder)) == 2
    cached_voice(native, (2,), making)
    cached_voice(native, (9,), making)
    assert making.n_made == 5
    assert len(_entries(folder)) == 2


def test_huge_voices_are_not_kept(
    making: Making, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice_cache, "MAX_ENTRY_BYTES", 100)
    making.cached()
    assert _entries(folder) == []


def test_several_processes_at_once(
    making: Making, folder: Path, clip: Path, tiny_model_dir: Path
) -> None:
    """Each gets the whole voice; one entry remains, and nothing half-written."""
    code = """
import hashlib, sys, time
from pathlib import Path
from pocket_tts_native import TTSModel
model = TTSModel.load_model(config=sys.argv[1], num_threads=1)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    voice = model.get_state_for_audio_prompt(sys.argv[2])
    caches = b"".join(tensors["cache"].tobytes() for tensors in voice.values())
    print(hashlib.sha256(caches).hexdigest(), flush=True)
    for path in Path(sys.argv[3]).glob("*.safetensors"):
        path.unlink(missing_ok=True)
"""
    command = [sys.executable, "-c", code, str(tiny_model_dir / "config.yaml"), str(clip)]
    processes = [
        subprocess.Popen([*command, str(folder)], stdin=-1, stdout=-1, text=True) for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    digests = [process.communicate("go\n")[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert [len(lines) for lines in digests] == [20, 20, 20]
    assert len({digest for lines in digests for digest in lines}) == 1
    assert _entries(folder) == []
    making.cached()
    assert len(_entries(folder)) == 1


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/pocket-tts-native"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/pocket-tts-native"),
        ("linux", {}, "/home/me/.cache/pocket-tts-native"),
        ("darwin", {}, "/home/me/Library/Caches/pocket-tts-native"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/pocket-tts-native/Cache"),
        ("win32", {}, None),
        ("linux", {"POCKET_CACHE_DIR": "/mine", "XDG_CACHE_HOME": "/x"}, "/mine"),
        ("linux", {"POCKET_CACHE_DIR": "~/mine"}, "/home/me/mine"),
        ("linux", {"POCKET_CACHE_DIR": ""}, None),
    ],
)
def test_where_the_cache_is(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str | None
) -> None:
    for name in ("POCKET_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_root() == (None if expected is None else Path(expected))


def test_others_cannot_look_in(making: Making, folder: Path) -> None:
    making.cached()
    assert folder.stat().st_mode & 0o077 == 0


def test_use_is_remembered(making: Making, folder: Path) -> None:
    making.cached()
    [entry] = _entries(folder)
    os.utime(entry, (1000, 1000))
    making.cached()
    assert time.time() - entry.stat().st_mtime < 600
