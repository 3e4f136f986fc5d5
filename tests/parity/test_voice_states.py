"""Voice states go both ways: the reference's continue here and ours there, with equal latents."""

from __future__ import annotations

import copy
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from model_files import read_safetensors
from parity_cases import CASES, TEXT, Case
from pocket_tts_native import TTSModel, VoiceState, export_model_state
from reference_client import reference_interpreter
from test_parity import BOUND, EOS_BOUND, relative_l2

if TYPE_CHECKING:
    from conftest import Measured
    from model_files import Array
    from reference_client import ReferenceStore

pytestmark = pytest.mark.parity

# Equal heads; three query heads on one of keys.
NAMES: Final = ("lsd_4_steps", "english_2m")
THEIRS: Final = ("prompt", "longer", "without_pad", "padded", "older", "continued")
OURS: Final = ("prompt", "padded", "continued")
ALWAYS: Final = -1e9
PAD: Final = 5
N_FRAMES: Final = 16


class Exchange:
    """A case: our states and the reference's, and what each side speaks with them."""

    def __init__(self, case: Case, store: ReferenceStore, folder: Path) -> None:
        """Save our states, then let the reference save its own and speak with all."""
        data = store.data(case)
        self.case = case
        self.folder = folder
        latent_dim = int(data.inputs["noise"].shape[1])
        rng = np.random.Generator(np.random.Philox(key=5))
        self.noise = rng.standard_normal((200, latent_dim), dtype=np.float32)
        self.model = TTSModel.load_model(
            config=data.config, temp=case.temp, sampler_decode_steps=case.steps, num_threads=2
        )
        self.model.eos_threshold = ALWAYS
        for name, state in self._our_states(data.voice_wav).items():
            export_model_state(state, self.path("ours", name))
        self._ask(data.config, data.voice_wav)
        with np.load(folder / "outputs.npz") as archive:
            self.outputs = dict(archive)

    def path(self, who: str, name: str) -> Path:
        """The file of a state."""
        return self.folder / ("" if who == "theirs" else "ours") / f"{name}.safetensors"

    def _our_states(self, voice_wav: Path) -> dict[str, Any]:
        (self.folder / "ours").mkdir()
        voice = self.model.get_state_for_audio_prompt(voice_wav)
        padded = {module: dict(tensors) for module, tensors in voice.items()}
        for tensors in padded.values():
            tensors["pad"] = np.array([PAD])
        continued = copy.copy(voice)
        self.model.generate_audio(continued, TEXT, copy_state=False, noise=self.noise)
        return {"prompt": voice, "padded": padded, "continued": continued}

    def _ask(self, config: Path, voice_wav: Path) -> None:
        noise, request = self.folder / "noise.npy", self.folder / "request.json"
        np.save(noise, self.noise)
        content = {
            "config": str(config),
            "temp": self.case.temp,
            "steps": self.case.steps,
            "voice_wav": str(voice_wav),
            "text": TEXT,
            "noise": str(noise),
            "n_frames": N_FRAMES,
            "pad": PAD,
            "folder": str(self.folder),
            "ours": {name: str(self.path("ours", name)) for name in OURS},
            "output": str(self.folder / "outputs.npz"),
        }
        request.write_text(json.dumps(content), encoding="utf-8")
        subprocess.run(
            [str(reference_interpreter()), "-m", "reference.exchange_states", str(request)],
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parents[1]),
                "OMP_NUM_THREADS": "1",
            },
            check=True,
            timeout=300,
        )

    def check(self, who: str, name: str, measured: Measured) -> None:
        """Compare what both sides speak with one file."""
        voice = self.model.get_state_for_audio_prompt(self.path(who, name))
        noise = self.noise[:N_FRAMES]
        latents, logits = self.model.generate_latents(voice, TEXT, frames=N_FRAMES, noise=noise)
        # The heads of these cases pass the noise through; it would hide the network's share.
        passed = noise * np.float32(self.case.temp**0.5)
        where = f"{self.case.name} {who} {name}"
        error = relative_l2(latents - passed, self.outputs[f"latents_{who}_{name}"] - passed)
        measured("latents, exchanged voice states", error, BOUND, where)
        error = relative_l2(logits, self.outputs[f"logits_{who}_{name}"])
        measured("EOS logits, exchanged voice states", error, EOS_BOUND, where)


@pytest.fixture(scope="module", params=NAMES)
def exchange(
    request: pytest.FixtureRequest,
    reference_store: ReferenceStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> Exchange:
    """One case."""
    case = next(case for case in CASES if case.name == request.param)
    assert case.passes_noise
    return Exchange(case, reference_store, tmp_path_factory.mktemp("states"))


@pytest.mark.parametrize("name", THEIRS)
def test_theirs_continue_here(exchange: Exchange, measured: Measured, name: str) -> None:
    exchange.check("theirs", name, measured)


@pytest.mark.parametrize("name", OURS)
def test_ours_continue_there(exchange: Exchange, measured: Measured, name: str) -> None:
    exchange.check("ours", name, measured)


def _filled(path: Path) -> dict[str, Array]:
    """The filled positions of every layer."""
    tensors = read_safetensors(path)
    offsets = {k.removesuffix("/offset"): int(v[0]) for k, v in tensors.items() if "/offset" in k}
    assert len(offsets) > 1
    return {module: tensors[f"{module}/cache"][:, :, :end] for module, end in offsets.items()}


@pytest.mark.parametrize("name", OURS)
def test_states_are_equal(exchange: Exchange, measured: Measured, name: str) -> None:
    """Keys and values, of as many positions."""
    ours, theirs = (_filled(exchange.path(who, name)) for who in ("ours", "theirs"))
    assert ours.keys() == theirs.keys()
    for module, cache in ours.items():
        error = relative_l2(cache, theirs[module])
        measured("voice states", error, BOUND, f"{exchange.case.name} {name} {module}")


def test_states_matter(exchange: Exchange) -> None:
    """Guard the guards: padding and going on change what is spoken; other forms do not."""
    base = exchange.outputs["latents_theirs_prompt"]
    for name in ("padded", "continued"):
        assert relative_l2(exchange.outputs[f"latents_theirs_{name}"], base) > 100 * BOUND
        assert relative_l2(exchange.outputs[f"latents_ours_{name}"], base) > 100 * BOUND
    for name in ("longer", "without_pad", "older"):
        assert relative_l2(exchange.outputs[f"latents_theirs_{name}"], base) < BOUND
    caches = [
        v for k, v in read_safetensors(exchange.path("theirs", "longer")).items() if "cache" in k
    ]
    assert all(np.isnan(cache[:, :, -19:]).all() for cache in caches)


def test_files_tell_the_model(exchange: Exchange) -> None:
    """Ours hold a fingerprint, which the reference does not mind; its own hold none."""
    ours = exchange.model.get_state_for_audio_prompt(exchange.path("ours", "continued"))
    theirs = exchange.model.get_state_for_audio_prompt(exchange.path("theirs", "continued"))
    assert isinstance(ours, VoiceState)
    assert ours.fingerprint is not None
    assert theirs.fingerprint is None
