"""The training code on the reference's modules: what a batch computes is what the stream will."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from reference_client import ReferenceUnavailableError, reference_interpreter
from test_parity import BOUND

if TYPE_CHECKING:
    from conftest import Measured

pytestmark = pytest.mark.parity

_TESTS: Final = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The figures of `reference/check_training.py`."""
    try:
        interpreter = reference_interpreter()
    except ReferenceUnavailableError as error:
        pytest.fail(str(error), pytrace=False)
    script = _TESTS / "reference" / "check_training.py"
    folder = tmp_path_factory.mktemp("training")
    done = subprocess.run(
        [str(interpreter), "-W", "ignore", str(script), str(folder)],
        env={
            **os.environ,
            "PYTHONPATH": str(_TESTS.parent),
            "OMP_NUM_THREADS": "1",
            "POCKET_TRAINING_DIR": str(folder),
        },
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def test_a_batch_is_what_streaming_computes(found: dict[str, float], measured: Measured) -> None:
    assert found["n_items"] == 4
    measured("training, conditions of a batch", found["backbone"], BOUND, "embedded")
    assert found["text_matters"] > 0.1


def test_own_latents_are_one_step_after_the_frames_before(found: dict[str, float]) -> None:
    assert found["own"] < BOUND
    assert found["own_after_own"] > 0.1


def test_guidance_moves_what_the_head_learns_and_nothing_else(found: dict[str, float]) -> None:
    assert found["guided_flow"] > 0.01
    assert found["guided_regression"] == 0.0
    assert found["guided_without_text"] < BOUND


def test_own_speech_is_what_streaming_generates(
    found: dict[str, float], measured: Measured
) -> None:
    assert found["n_spoken"] == 4
    measured("training, speech of the model's own", found["spoken"], BOUND, "embedded")


def test_too_few_utterances_for_a_batch_are_an_error(found: dict[str, float]) -> None:
    assert found["too_few_refused"] == 1


def test_own_speech_is_matched_to_its_moments(found: dict[str, float]) -> None:
    assert found["misplaced"] == 0
    assert found["cost"] < BOUND


def test_after_own_speech_comes_what_the_engine_says_next(found: dict[str, float]) -> None:
    assert found["taught"] == 0.0
    assert found["ends"] == 0


def test_the_losses_fall(found: dict[str, float]) -> None:
    assert found["learnt"] < 0.8


@pytest.mark.parametrize("half", ["decoder", "encoder"])
def test_a_stretch_is_what_streaming_computes(
    found: dict[str, float], measured: Measured, half: str
) -> None:
    measured(f"training, a stretch through the {half}", found[half], BOUND, "embedded")


def test_the_decoder_learns(found: dict[str, float]) -> None:
    assert found["no_distance"] == 0.0
    assert found["decoder_learnt"] < 0.8


def test_a_step_of_muon_moves_all_directions_of_a_kernel_alike(found: dict[str, float]) -> None:
    assert found["muon_smallest"] > 0.5
    assert found["muon_largest"] < 1.3


@pytest.mark.parametrize("kind", ["true", "own"])
def test_latents_stand_beside_their_own_samples(found: dict[str, float], kind: str) -> None:
    assert found[f"{kind}_aligned"] == 0.0
    assert found[f"{kind}_pause"] == 0.0


def test_stretches_of_one_voice(found: dict[str, float]) -> None:
    assert found["other_voices"] == 0
    assert found["starts"] > 5
