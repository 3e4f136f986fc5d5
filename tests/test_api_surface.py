"""Everything public of the reference is here, with the same parameters and defaults.

`fixtures/reference_api.json` is the table; the parity test compares it with the installed reference.
What is missing stands in a table here and in `docs/differences.md`.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import pocket_tts_native
import pytest
from pocket_tts_native import TTSModel
from pocket_tts_native.cli import _parser
from reference_client import ReferenceUnavailableError, reference_interpreter

_TESTS: Final = Path(__file__).parent
_TABLE: Final = _TESTS / "fixtures" / "reference_api.json"
_DIFFERENCES: Final = (_TESTS.parent / "docs" / "differences.md").read_text(encoding="utf-8")
REFERENCE: Final[dict[str, Any]] = json.loads(_TABLE.read_text(encoding="utf-8"))

MISSING_FUNCTIONS: Final = {"TTSModel.load_training_checkpoint"}
MISSING_ATTRIBUTES: Final = {"flow_lm", "mimi"}
MISSING_COMMANDS: Final = {"serve"}


def _ours(name: str) -> Any:  # noqa: ANN401
    value: Any = pocket_tts_native
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


@pytest.mark.parametrize("name", sorted(REFERENCE["functions"]))
def test_parameters(name: str) -> None:
    if name in MISSING_FUNCTIONS:
        assert _ours(name) is None
        assert f"`{name.split('.')[-1]}`" in _DIFFERENCES
        return
    parameters = [p for p in inspect.signature(_ours(name)).parameters.values() if p.name != "self"]
    expected = REFERENCE["functions"][name]
    found = [
        [p.name, p.kind.name, "required" if p.default is p.empty else repr(p.default)]
        for p in parameters
    ]
    assert found[: len(expected)] == expected
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters[len(expected) :])


def test_attributes(tiny_model_dir: Path) -> None:
    model = TTSModel.load_model(config=tiny_model_dir / "config.yaml", num_threads=1)
    names = set(REFERENCE["attributes"]["TTSModel"])
    assert {name for name in names if not hasattr(model, name)} == MISSING_ATTRIBUTES
    for name in MISSING_ATTRIBUTES:
        assert f"`{name}`" in _DIFFERENCES


def test_commands() -> None:
    _, subparsers = _parser()
    assert set(REFERENCE["commands"]) - set(subparsers) == MISSING_COMMANDS
    for name, options in REFERENCE["commands"].items():
        if name in MISSING_COMMANDS:
            assert f"`{name}`" in _DIFFERENCES
            continue
        actions: dict[str, argparse.Action] = {
            key: action
            for action in subparsers[name]._actions
            for key in (*action.option_strings, action.dest)
        }
        for option, default in options.items():
            # Where it is not given, another default may depend on other options.
            found = "./tts_output.wav" if option == "--output-path" else actions[option].default
            assert repr(found) == default, f"{name} {option}"
    assert "-q" in subparsers["generate"].format_help()


@pytest.mark.parity
def test_the_table_is_the_reference() -> None:
    try:
        interpreter = reference_interpreter()
    except ReferenceUnavailableError as error:
        pytest.fail(str(error), pytrace=False)
    done = subprocess.run(
        [str(interpreter), "-m", "reference.api_surface"],
        env={**os.environ, "PYTHONPATH": str(_TESTS)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == REFERENCE
