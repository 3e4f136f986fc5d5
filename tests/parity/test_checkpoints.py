"""Training checkpoints: the weights that count are those that the reference takes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pocket_tts_native
import pytest
from reference_client import ReferenceUnavailableError, reference_interpreter
from test_parity import BOUND, relative_l2

if TYPE_CHECKING:
    from conftest import Measured

pytestmark = pytest.mark.parity

CASES: Final = ("plain", "no_average", "average", "double", "bfloat16", "transposed", "codec")
_TESTS: Final = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `reference.run_checkpoints` wrote."""
    try:
        interpreter = reference_interpreter()
    except ReferenceUnavailableError as error:
        pytest.fail(str(error), pytrace=False)
    folder = tmp_path_factory.mktemp("checkpoints")
    package = Path(pocket_tts_native.__file__).parents[1]
    done = subprocess.run(
        [str(interpreter), "-m", "reference.run_checkpoints", str(folder)],
        env={**os.environ, "PYTHONPATH": f"{_TESTS}{os.pathsep}{package}"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def outputs(folder: Path) -> dict[str, Any]:
    """Outputs of both, by name."""
    with np.load(folder / "outputs.npz") as archive:
        return dict(archive)


@pytest.mark.parametrize("name", CASES)
def test_same_speech(outputs: dict[str, Any], measured: Measured, name: str) -> None:
    for quantity in ("", "logits_", "audio_"):
        ours, theirs = outputs[f"ours_{quantity}{name}"], outputs[f"theirs_{quantity}{name}"]
        assert ours.shape == theirs.shape
        what = f"checkpoints, {quantity.strip('_') or 'latents'}"
        measured(what, relative_l2(ours, theirs), BOUND, name)
    assert outputs[f"is_custom_{name}"]


def test_the_weights_decide(outputs: dict[str, Any]) -> None:
    """Exact types change nothing, rounded ones do; the codec of the checkpoint is another."""
    for name in ("no_average", "average", "double", "transposed"):
        assert np.array_equal(outputs[f"ours_{name}"], outputs["ours_plain"])
    assert relative_l2(outputs["ours_bfloat16"], outputs["ours_plain"]) > 1e-4
    assert relative_l2(outputs["ours_audio_codec"], outputs["ours_audio_plain"]) > 0.1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_model", "'model'"),
        ("list", "'model'"),
        ("no_language_model", "flow_lm"),
        ("missing_tensor", "out_eos"),
        ("unknown_tensor", "flow_lm.extra"),
        ("wrong_shape", "emb_std"),
        ("no_tensor", "emb_std"),
        ("broken", "useless_broken.pt"),
        ("empty", "useless_broken.pt"),
        ("code", "useless_broken.pt"),
    ],
)
def test_useless_checkpoints_are_refused(folder: Path, name: str, words: str) -> None:
    kind, message = json.loads((folder / "errors.json").read_text(encoding="utf-8"))[name]
    assert kind == "ModelFormatError", message
    assert words in message
