"""Outputs of the engine against PyTorch, case by case and at every SIMD level of this CPU."""

from __future__ import annotations

import gc
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from conftest import simd_levels
from parity_cases import CASES, GROUPS, N_FRAMES, N_PROMPT_FRAMES, TEXT, TEXTS
from pocket_tts_native import TTSModel, build_info

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Measured
    from model_files import Array
    from reference_client import CaseData, ReferenceStore

pytestmark = pytest.mark.parity

# float32 rounding moves the reference itself by about 2e-7; the rest is room for another order of
# summation over 40 frames that feed each other.
BOUND: Final = 1e-5
EOS_BOUND: Final = 1e-4
# Grouping may change the order in which a convolution's overlap is added, and nothing else.
GROUPING_BOUND: Final = 1e-6


class Loaded:
    """A case at one SIMD level: our model beside the reference's outputs."""

    def __init__(self, data: CaseData, level: str) -> None:
        """Load the model at `level`."""
        self.data = data
        self.where = f"{data.case.name}-{level}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("POCKET_SIMD", level)
            assert build_info()["simd_level"] == level
            self.model = TTSModel.load_model(
                config=str(data.config),
                temp=data.case.temp,
                sampler_decode_steps=data.case.steps,
                num_threads=1,
            )

    @cached_property
    def audio(self) -> Array:
        """The test latents decoded at once."""
        return self.model.decode_latents(self.data.inputs["decode_in"])

    def latents(self, voice: Path, noise: str) -> tuple[Array, Array]:
        """Latents and EOS logits of the test text over one of the noise inputs."""
        rows = self.data.inputs[noise]
        state = self.model.get_state_for_audio_prompt(voice)
        return self.model.generate_latents(state, TEXT, frames=len(rows), noise=rows)

    def network_share(self, latents: Array, noise: str) -> Array:
        """Latents less the noise that the head passes through, in float64."""
        share = latents.astype(np.float64)
        if self.data.case.passes_noise:
            share -= self.data.inputs[noise].astype(np.float64) * self.data.case.temp**0.5
        return share

    def latent_error(self, ours: Array, output: str, noise: str) -> float:
        """Relative error of the network's share."""
        theirs = self.network_share(self.data.outputs[output], noise)
        return relative_l2(self.network_share(ours, noise), theirs)


def relative_l2(ours: Array, theirs: Array) -> float:
    """`‖ours − theirs‖ / ‖theirs‖`, in float64; infinite where shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    difference = ours.astype(np.float64) - theirs.astype(np.float64)
    return float(np.linalg.norm(difference) / np.linalg.norm(theirs.astype(np.float64)))


def _parameters() -> list[Any]:
    levels, _ = simd_levels()
    return [
        pytest.param(
            (case, level),
            id=f"{case.name}-{level}",
            marks=[pytest.mark.long] if case.is_slow and level != levels[-1] else [],
        )
        for case in CASES
        for level in reversed(levels)
    ]


@pytest.fixture(scope="module", params=_parameters())
def loaded(request: pytest.FixtureRequest, reference_store: ReferenceStore) -> Iterator[Loaded]:
    """One case at one level; the model is let go before the next is loaded."""
    case, level = request.param
    yield Loaded(reference_store.data(case), level)
    gc.collect()


def test_reference_depends_on_its_inputs(loaded: Loaded) -> None:
    """Guard the guards: in this model latents, text, voice and noise change the outputs."""
    outputs = loaded.data.outputs
    assert outputs["sensitivity_audio"] >= 0.5
    assert outputs["sensitivity_text"] >= 0.05
    assert outputs["sensitivity_voice"] >= 0.05
    assert outputs["sensitivity_noise"] >= 0.05
    assert outputs["sensitivity_network_share"] >= 0.2
    assert outputs["latents"].shape == (N_FRAMES, 32)


def test_tokens(loaded: Loaded) -> None:
    """Token ids are equal."""
    for index, text in enumerate(TEXTS):
        theirs = loaded.data.outputs[f"tokens_{index}"].tolist()
        assert loaded.model.tokenize(text) == theirs, f"text {index}: {text!r}"


@pytest.mark.parametrize("name", ["whole", "ragged", "short"])
def test_voice_latents(loaded: Loaded, measured: Measured, name: str) -> None:
    """The codec's encoder, on whole frames, a ragged end and less than a frame."""
    ours = loaded.model.encode_audio(loaded.data.inputs[f"pcm_{name}"])
    error = relative_l2(ours, loaded.data.outputs[f"voice_latents_{name}"])
    measured("voice latents", error, BOUND, loaded.where)


def test_latents(loaded: Loaded, measured: Measured) -> None:
    """Latents and EOS logits over 40 frames, after a voice prompt from a WAV file."""
    latents, logits = loaded.latents(loaded.data.voice_wav, "noise")
    error = loaded.latent_error(latents, "latents", "noise")
    measured("latents", error, BOUND, loaded.where)
    error = relative_l2(logits, loaded.data.outputs["eos_logits"])
    measured("EOS logits", error, EOS_BOUND, loaded.where)


def test_exported_voice(loaded: Loaded, measured: Measured) -> None:
    """A voice state that the reference saved continues as the reference does."""
    latents, logits = loaded.latents(loaded.data.exported_voice, "noise")
    error = loaded.latent_error(latents, "latents", "noise")
    measured("latents, exported voice", error, BOUND, loaded.where)
    error = relative_l2(logits, loaded.data.outputs["eos_logits"])
    measured("EOS logits, exported voice", error, EOS_BOUND, loaded.where)


def test_array_prompt(loaded: Loaded, measured: Measured) -> None:
    """A prompt given as an array is ended on its pause too."""
    array = loaded.data.inputs["voice_array"]
    state = loaded.model.get_state_for_audio_prompt(array, sample_rate=loaded.model.sample_rate)
    noise = loaded.data.inputs["prompt_noise"]
    latents, _ = loaded.model.generate_latents(state, TEXT, frames=N_PROMPT_FRAMES, noise=noise)
    error = loaded.latent_error(latents, "array_latents", "prompt_noise")
    measured("latents, array prompt", error, BOUND, loaded.where)


def test_prompts_at_other_rates(loaded: Loaded, measured: Measured) -> None:
    """16-bit WAV prompts at other rates, mono and stereo, are resampled as the reference does."""
    if not loaded.data.case.has_prompts:
        return
    for name, path in loaded.data.prompts.items():
        latents, _ = loaded.latents(path, "prompt_noise")
        error = loaded.latent_error(latents, f"prompt_latents_{name}", "prompt_noise")
        measured("latents, prompts at other rates", error, BOUND, f"{loaded.where} {name}")


@pytest.mark.parametrize(
    ("frames_per_call", "output"),
    [(None, "audio"), (1, "audio_by_frame"), (GROUPS, "audio_by_group")],
    ids=["at_once", "by_frame", "by_group"],
)
def test_audio(
    loaded: Loaded, measured: Measured, frames_per_call: int | tuple[int, ...] | None, output: str
) -> None:
    """Decoded audio, however the frames are grouped, and the groupings among themselves."""
    decode_in = loaded.data.inputs["decode_in"]
    ours = loaded.model.decode_latents(decode_in, frames_per_call=frames_per_call)
    error = relative_l2(ours, loaded.data.outputs[output])
    measured("audio", error, BOUND, loaded.where)
    error = relative_l2(ours, loaded.audio)
    measured("audio, grouping against at once", error, GROUPING_BOUND, loaded.where)
