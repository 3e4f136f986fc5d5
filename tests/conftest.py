"""Fixtures and reports shared by all tests: SIMD levels, the reference store, measured errors."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hub_server import HubServer
from reference_client import (
    ReferenceStore,
    ReferenceUnavailableError,
    ReferenceWorker,
    reference_interpreter,
)
from tiny_model import tiny_config, write_model

if TYPE_CHECKING:
    from collections.abc import Iterator

# CPU flags of Linux that each level needs, from the slowest level to the fastest.
_LEVEL_FLAGS: Final = {
    "scalar": set[str](),
    "sse4": {"sse4_1"},
    "avx2": {"avx2", "fma", "f16c"},
    "avx2vnni": {"avx2", "fma", "f16c", "avx_vnni"},
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "avx512vnni": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"},
    "avx512bf16": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16"},
    "amx": {
        *("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"),
        *("amx_tile", "amx_int8", "amx_bf16"),
    },
    "neon": {"asimd"},
    "neondot": {"asimd", "asimddp"},
    "neoni8mm": {"asimd", "asimddp", "i8mm"},
}
MEASURED: Final = pytest.StashKey[dict[str, tuple[float, float, str]]]()
STORE: Final = pytest.StashKey[ReferenceStore]()


def _arm_features() -> set[str]:
    """What the kernel tells each process; `/proc/cpuinfo` is the host's under emulation."""
    if sys.platform == "darwin":
        asked = {"asimddp": "FEAT_DotProd", "i8mm": "FEAT_I8MM"}
        command = ["sysctl", "-n", *(f"hw.optional.arm.{name}" for name in asked.values())]
        answers = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        return {"asimd"} | {flag for flag, has in zip(asked, answers, strict=True) if has == "1"}
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.argtypes, getauxval.restype = [ctypes.c_ulong], ctypes.c_ulong
    hwcap, hwcap2 = getauxval(16), getauxval(26)
    bits = {"asimd": hwcap >> 1, "asimddp": hwcap >> 20, "i8mm": hwcap2 >> 13}
    return {flag for flag, bit in bits.items() if bit & 1}


def _x86_features() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return set(line.split())


def simd_levels() -> tuple[list[str], list[str]]:
    """Levels that this CPU has, slowest first, and those that it lacks."""
    is_arm = platform.machine().lower() in {"aarch64", "arm64"}
    flags = _arm_features() if is_arm else _x86_features()
    present = [level for level, needed in _LEVEL_FLAGS.items() if needed <= flags]
    return present, [level for level in _LEVEL_FLAGS if level not in present]


@pytest.fixture(autouse=True)
def _messages_of_the_package() -> Iterator[None]:
    """Let no command that silences messages, run in this process, silence those of later tests."""
    logger = logging.getLogger("pocket_tts_native")
    level = logger.level
    yield
    logger.setLevel(level)


class Measured:
    """Collects measured errors, so that the report shows how far each bound is."""

    def __init__(self, worst: dict[str, tuple[float, float, str]]) -> None:
        """Write into `worst`: error, bound and place by quantity."""
        self._worst = worst

    def __call__(self, quantity: str, error: float, bound: float, where: str) -> None:
        """Record an error and fail if it is above its bound or no number."""
        if quantity not in self._worst or not error <= self._worst[quantity][0]:
            self._worst[quantity] = (error, bound, where)
        assert error <= bound, f"{quantity} of {where}: error {error:.3g}, allowed {bound:.1g}"


@pytest.fixture(scope="session", autouse=True)
def _own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests out of the user's caches; a voice is computed except where the cache is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POCKET_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("POCKET_VOICE_CACHE", "0")
        yield


@pytest.fixture(scope="session")
def measured(request: pytest.FixtureRequest) -> Measured:
    """The recorder of measured errors."""
    return Measured(request.config.stash.setdefault(MEASURED, {}))


@pytest.fixture(scope="session")
def reference_store(request: pytest.FixtureRequest) -> Iterator[ReferenceStore]:
    """Models and outputs of the reference; fails where the reference is missing."""
    try:
        interpreter = reference_interpreter()
    except ReferenceUnavailableError as error:
        pytest.fail(str(error), pytrace=False)
    chosen = os.environ.get("POCKET_TEST_CACHE")
    root = Path(chosen) if chosen else Path(request.config.cache.mkdir("parity"))
    worker = ReferenceWorker(interpreter)
    store = ReferenceStore(root.resolve(), worker)
    request.config.stash[STORE] = store
    yield store
    worker.close()


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tiny random model; tests that change files copy it first."""
    return write_model(tmp_path_factory.mktemp("tiny"), tiny_config()).parent


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub on this machine that this process and its children ask, with empty caches and no token."""
    home = tmp_path / "home"
    home.mkdir()
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING")) or name in {
            "TRANSFORMERS_OFFLINE",
            "XDG_CACHE_HOME",
        }:
            monkeypatch.delenv(name)
    server = HubServer()
    server.start()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_HOME", str(home / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("NO_PROXY", "*")
    # The client looks for a token in a file whose path it took from the environment when imported.
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(home / "hf" / "token"))
    yield server
    server.stop()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print levels that were not run, the worst errors, and what the reference made."""
    measured = config.stash.get(MEASURED, {})
    if not measured and STORE not in config.stash:
        return
    terminalreporter.section("parity")
    for quantity, (error, bound, where) in sorted(measured.items()):
        terminalreporter.line(f"{quantity}: worst {error:.2e} of {bound:.0e} allowed ({where})")
    if STORE in config.stash:
        for line in config.stash[STORE].log:
            terminalreporter.line(line)
    for level in simd_levels()[1]:
        terminalreporter.line(f"NOT RUN: {level} (CPU lacks it)")
