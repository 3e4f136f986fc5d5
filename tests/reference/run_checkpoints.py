"""Load training checkpoints with the reference and with this package, in one interpreter.

    PYTHONPATH=tests:python $POCKET_REFERENCE_PYTHON -m reference.run_checkpoints DIRECTORY

`DIRECTORY` gets a tiny model, another of the same shapes whose weights become checkpoints in
`case_*.pt`, and `outputs.npz` with, for each case, `theirs_*` and `ours_*`: latents, logits and the
rows of the voice. `errors.json` holds what this package raises for checkpoints that are of no use.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pocket_tts import TTSModel as TheirModel
from pocket_tts_native import TTSModel as OurModel
from safetensors.torch import load_file
from signals import voice_like
from tiny_model import tiny_config, write_model

from reference.run_reference import Floats, Reference

TEXT = "Hello there, it is one."
N_FRAMES = 12


class CheckpointReference(Reference):
    """The reference's model of a checkpoint."""

    def __init__(self, config: Path, checkpoint: Path) -> None:
        """Load it."""
        self.model = TheirModel.load_model(config=str(config), checkpoint=checkpoint)
        self.temp = self.model.temp
        self.latent_dim = int(self.model.flow_lm.ldim)
        mimi = self.model.mimi
        self.codec_stride = int(mimi.encoder_frame_rate / mimi.frame_rate)


def payloads(tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Checkpoints of the same weights in all the ways that they come in."""
    flow_lm = {name: t for name, t in tensors.items() if name.startswith("flow_lm.")}
    wrong = {name: torch.zeros_like(t) for name, t in flow_lm.items()}
    averaged = {name: t for name, t in flow_lm.items() if "out_eos" not in name}
    frozen = {name: t for name, t in flow_lm.items() if "out_eos" in name}
    extra = {"teacher.weight": torch.ones(3), "mimi.quantizer.vq.extra": torch.ones(2)}
    return {
        "plain": {"model": flow_lm, "step": 7},
        "no_average": {
            "model": flow_lm,
            "ema": None,
            "optimizer": {"lr": 1e-3, "betas": [0.9, 0.95]},
        },
        "average": {"model": {**wrong, **frozen}, "ema": averaged},
        "double": {"model": {name: t.double() for name, t in flow_lm.items()}},
        "bfloat16": {"model": {name: t.bfloat16() for name, t in flow_lm.items()}},
        "transposed": {
            "model": {n: t.t().contiguous().t() if t.ndim == 2 else t for n, t in flow_lm.items()}
        },
        "codec": {"model": {**tensors, **extra}},
    }


def useless(tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Checkpoints that no model can be made of."""
    flow_lm = {name: t for name, t in tensors.items() if name.startswith("flow_lm.")}
    without = {name: t for name, t in flow_lm.items() if "out_eos" not in name}
    return {
        "no_model": {"weights": flow_lm},
        "no_language_model": {"model": {"mimi.x": torch.ones(1)}},
        "missing_tensor": {"model": without},
        "unknown_tensor": {"model": {**flow_lm, "flow_lm.extra": torch.ones(1)}},
        "wrong_shape": {"model": {**flow_lm, "flow_lm.emb_std": torch.ones(3)}},
        "no_tensor": {"model": {**flow_lm, "flow_lm.emb_std": 3}},
        "list": [1, 2],
    }


def run(directory: Path) -> None:
    """Write everything."""
    config = write_model(directory / "base", tiny_config(), seed=1)
    other = write_model(directory / "other", tiny_config(), seed=2)
    tensors = load_file(next(other.parent.glob("*.safetensors")))
    prompt = voice_like(1280, 1600)
    noise = np.random.default_rng(0).standard_normal((N_FRAMES, 8), dtype=np.float32)
    outputs: dict[str, Floats] = {}
    for name, payload in payloads(tensors).items():
        path = directory / f"case_{name}.pt"
        torch.save(payload, path)
        reference = CheckpointReference(config, path)
        theirs = reference.generate(reference.voice_state(prompt), TEXT, noise)
        model = OurModel.load_model(config=config, checkpoint=path, num_threads=1)
        voice = model.get_state_for_audio_prompt(prompt)
        ours = model.generate_latents(voice, TEXT, frames=N_FRAMES, noise=noise)
        outputs |= {f"theirs_{name}": theirs[0], f"ours_{name}": ours[0]}
        outputs |= {f"theirs_logits_{name}": theirs[1], f"ours_logits_{name}": ours[1]}
        outputs |= {f"theirs_audio_{name}": reference.decode(theirs[0], [N_FRAMES])}
        outputs |= {f"ours_audio_{name}": model.decode_latents(ours[0])}
        outputs |= {f"is_custom_{name}": np.array(model.has_custom_weights)}
    np.savez(directory / "outputs.npz", allow_pickle=False, **outputs)
    errors = {}
    for name, payload in useless(tensors).items():
        path = directory / f"useless_{name}.pt"
        torch.save(payload, path)
        errors[name] = error_of(config, path)
    broken = directory / "useless_broken.pt"
    broken.write_bytes((directory / "case_plain.pt").read_bytes()[:5000])
    errors["broken"] = error_of(config, broken)
    broken.write_bytes(b"")
    errors["empty"] = error_of(config, broken)
    torch.save({"model": OurModel}, broken)
    errors["code"] = error_of(config, broken)
    (directory / "errors.json").write_text(json.dumps(errors), encoding="utf-8")


def error_of(config: Path, checkpoint: Path) -> tuple[str, str]:
    """The type and the message of what loading raises."""
    try:
        OurModel.load_model(config=config, checkpoint=checkpoint)
    except Exception as error:  # noqa: BLE001 -- which one is the result
        return type(error).__name__, str(error)
    return "", "it was loaded"


if __name__ == "__main__":
    run(Path(sys.argv[1]))
