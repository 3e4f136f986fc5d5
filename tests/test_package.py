"""The installed distribution: what it contains, what it asks for, and where it is imported from."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import os
import pkgutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

import pocket_tts_native
import pytest

DISTRIBUTION: Final = "pocket-tts-native"
# Modules of the standard library that only POSIX systems have.
POSIX_ONLY: Final = {"fcntl", "grp", "posix", "pwd", "resource", "syslog", "termios", "tty"}


@pytest.mark.wheel
def test_the_wheel_is_what_is_tested() -> None:
    files = importlib.metadata.files(DISTRIBUTION)
    assert files is not None
    installed = {Path(str(file.locate())).resolve() for file in files}
    for name in ("", *_submodules()):
        module = importlib.import_module(f"pocket_tts_native{name}")
        assert module.__file__ is not None
        assert Path(module.__file__).resolve() in installed
        assert Path(module.__file__).is_relative_to(sys.prefix)


@pytest.mark.wheel
def test_contents() -> None:
    files = {str(file) for file in importlib.metadata.files(DISTRIBUTION) or ()}
    for name in ("__init__.py", "py.typed", "_native.pyi"):
        assert f"pocket_tts_native/{name}" in files
    assert any(name.endswith("licenses/LICENSE") for name in files)
    tops = {Path(name).parts[0] for name in files}
    version = importlib.metadata.version(DISTRIBUTION)
    # `..` is the way to the command.
    assert tops <= {"pocket_tts_native", f"pocket_tts_native-{version}.dist-info", ".."}


def test_metadata() -> None:
    metadata = importlib.metadata.metadata(DISTRIBUTION)
    assert metadata["Version"] == pocket_tts_native.__version__
    assert metadata["License-Expression"] == "MIT"
    hard = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(line.split(">")[0].replace("-", "_") for line in hard) == [
        "huggingface_hub",
        "numpy",
    ]
    assert "play" in metadata.get_all("Provides-Extra", [])


def test_command(tmp_path: Path) -> None:
    name = f"{DISTRIBUTION}{'.exe' if os.name == 'nt' else ''}"
    command = Path(sysconfig.get_path("scripts")) / name
    done = subprocess.run(
        [command, "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert pocket_tts_native.__version__ in done.stdout


def test_no_module_needs_posix() -> None:
    """What only POSIX has is imported behind a condition, or where it is used."""
    for path in Path(pocket_tts_native.__path__[0]).rglob("*.py"):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.Import):
                names = {alias.name for alias in statement.names}
            elif isinstance(statement, ast.ImportFrom):
                names = {statement.module or ""}
            else:
                continue
            assert not names & POSIX_ONLY, f"{path.name}, line {statement.lineno}"


def _submodules() -> list[str]:
    found = pkgutil.walk_packages(pocket_tts_native.__path__, ".")
    return [module.name for module in found if not module.name.endswith("__main__")]
