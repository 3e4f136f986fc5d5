"""What the reference makes of prompts before it encodes them.

    PYTHONPATH=tests $POCKET_REFERENCE_PYTHON -m reference.run_prompts in.npz out.npz

The keys of `in.npz` are `<kind>/<rate in Hz>/<any name>`: `resample` and `prompt` hold samples
`[samples]`, `file` and `truncated` the bytes of a 16-bit WAV file. `out.npz` has the same keys.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from pocket_tts.data.audio import audio_read
from pocket_tts.data.audio_utils import convert_audio, end_on_pause

MODEL_RATE_HZ: Final = 24000


def answer(kind: str, rate_hz: int, value: Any) -> Any:  # noqa: ANN401
    """The reference's samples for one input."""
    if kind in {"file", "truncated"}:
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            Path(file.name).write_bytes(value.tobytes())
            wav, found = audio_read(file.name)
        assert found == rate_hz
        if kind == "truncated":
            wav = wav[..., : int(30 * rate_hz)]
    else:
        wav = torch.from_numpy(value)[None]
    wav = convert_audio(wav, rate_hz, MODEL_RATE_HZ, 1)
    if kind != "resample":
        wav = end_on_pause(wav, MODEL_RATE_HZ)
    return wav[0].numpy()


def main() -> None:
    """Answer everything in the first file in the second."""
    answers = {}
    with np.load(sys.argv[1]) as inputs:
        for key in inputs.files:
            kind, rate, _ = key.split("/")
            answers[key] = answer(kind, int(rate), inputs[key])
    np.savez(sys.argv[2], **answers)


if __name__ == "__main__":
    main()
