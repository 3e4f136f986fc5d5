"""Save voice states with the reference, and speak with its own and with ours.

    PYTHONPATH=tests $POCKET_REFERENCE_PYTHON -m reference.exchange_states REQUEST.json

The request names the model (`config`, `temp`, `steps`), `voice_wav`, `text`, `noise` (`.npy`, a row per
frame), `pad`, `folder` to save states in, `ours` (states by name) and `output`. The folder gets one
file per state of `saved_states`; the output holds `latents_<who>_<name>` and `logits_<who>_<name>` of
every state, `theirs` and `ours`, each read from its file.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch
import torch
from pocket_tts.models.model_state import export_model_state

from reference.run_reference import Reference, State

if TYPE_CHECKING:
    from collections.abc import Iterator

ALWAYS = -1e9


def saved_states(reference: Reference, request: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    """Save a voice in every form that the reference leaves or reads, and one that went on."""
    folder = Path(request["folder"])
    voice = reference.voice_state(request["voice_wav"])

    def saved(name: str, state: State) -> tuple[str, Path]:
        path = folder / f"{name}.safetensors"
        export_model_state(state, path)
        return name, path

    yield saved("prompt", voice)
    longer = copy.deepcopy(voice)
    end = reference.model._flow_lm_current_end(longer)
    reference.model._expand_kv_cache(longer, sequence_length=end + 19)
    yield saved("longer", longer)
    without_pad = {m: {k: v for k, v in t.items() if k != "pad"} for m, t in longer.items()}
    yield saved("without_pad", without_pad)
    padded = copy.deepcopy(voice)
    for tensors in padded.values():
        tensors["pad"].fill_(request["pad"])
    yield saved("padded", padded)
    # Earlier versions told the offset by the length of a tensor.
    older = folder / "older.safetensors"
    flat = {f"{m}/cache": t["cache"] for m, t in longer.items()}
    flat.update({f"{m}/current_end": torch.zeros(end) for m in longer})
    safetensors.torch.save_file(flat, older)
    yield "older", older
    continued = copy.deepcopy(voice)
    reference.model.eos_threshold = ALWAYS
    with reference.frame_noise(np.load(request["noise"])):
        reference.model.generate_audio(continued, request["text"], copy_state=False)
    yield saved("continued", continued)


def main() -> None:
    """Answer one request."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    reference = Reference(Path(request["config"]), temp=request["temp"], steps=request["steps"])
    noise = np.load(request["noise"])
    results: dict[str, Any] = {}
    theirs = [("theirs", name, str(path)) for name, path in saved_states(reference, request)]
    ours = [("ours", name, path) for name, path in request["ours"].items()]
    for who, name, path in theirs + ours:
        latents, logits = reference.generate(
            reference.voice_state(path), request["text"], noise[: request["n_frames"]]
        )
        results[f"latents_{who}_{name}"] = latents
        results[f"logits_{who}_{name}"] = logits
    np.savez(request["output"], **results)


if __name__ == "__main__":
    main()
