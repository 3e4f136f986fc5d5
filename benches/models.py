"""The random models of `compare.py`, made once and kept in the user's cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

_ROOT: Final = Path(__file__).resolve().parent.parent
#: Released models whose shapes the small ones have.
SMALL: Final = {
    "2M": "english_2m_2026-10",
    "7M": "english_7m_2026-10",
    "18M": "english_18m_2026-10",
}
# How wide the voice rows of `ptts` are: its encoder has the shapes of `english_2026-01`.
_PTTS_VOICE_DIM: Final = 512


def model_directory(name: str) -> Path:
    """The folder of the random model `name`, `english` or one of `SMALL`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pocket-tts-native"
    directory = cache / ("bench-model" if name == "english" else f"bench-model-{name}")
    if not (directory / "config.yaml").exists():
        script = [sys.executable, str(_ROOT / "scripts" / "random_model.py"), str(directory)]
        if name != "english":
            script += ["--shapes", SMALL[name]]
        subprocess.run(script, check=True)
    return directory


def write_ptts_directory(model: Path, interpreter: str) -> None:
    """Write `model`'s weights into `model/ptts` as `ptts` reads them, unless they are there.

    A folder with `config.json`, `model.safetensors` and `tokenizer.json`. The names of the tensors
    are the reference's. The language model, head and decoder are the same; only the row before the
    voice is left out, and what makes voices gets the widths that `ptts` insists on.
    """
    directory = model / "ptts"
    if (directory / "config.json").exists():
        return
    directory.mkdir(exist_ok=True)
    code = "import sys; from models import convert_for_ptts; convert_for_ptts(*sys.argv[1:])"
    path = os.pathsep.join([str(Path(__file__).parent)])
    subprocess.run(
        [interpreter, "-c", code, str(model), str(directory)],
        env=dict(os.environ, PYTHONPATH=path),
        check=True,
    )


def convert_for_ptts(source: str, target: str) -> None:
    """Do so, in an interpreter that has `safetensors`."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    tensors = load_file(Path(source) / "model.safetensors")
    rng = np.random.default_rng(0)

    def widened(name: str, *shape: int) -> None:
        scale = float(tensors[name].std())
        tensors[name] = (scale * rng.standard_normal(shape)).astype(np.float32)

    del tensors["flow_lm.bos_before_voice"]
    d_model = tensors["flow_lm.speaker_proj_weight"].shape[0]
    widened("flow_lm.speaker_proj_weight", d_model, _PTTS_VOICE_DIM)
    kernel = tensors["mimi.downsample.conv.conv.weight"].shape
    widened("mimi.downsample.conv.conv.weight", _PTTS_VOICE_DIM, *kernel[1:])
    save_file(tensors, Path(target) / "model.safetensors")
    tokenizer = (Path(source) / "tokenizer.json").read_bytes()
    (Path(target) / "tokenizer.json").write_bytes(tokenizer)
    # Last: its presence tells that the folder is complete.
    config = json.dumps(_PTTS_CONFIG, indent=2)
    (Path(target) / "config.json").write_text(config, encoding="utf-8")


_PTTS_CONFIG: Final[dict[str, Any]] = {
    "flow_lm": {
        "d_model": 1024,
        "num_heads": 16,
        "num_layers": 6,
        "dim_feedforward": 4096,
        "max_period": 10000.0,
        "n_bins": 4000,
        "lut_dim": 1024,
        "flow_dim": 512,
        "flow_depth": 6,
        "ldim": 32,
    },
    "mimi": {
        "channels": 1,
        "sample_rate": 24000,
        "frame_rate": 12.5,
        "dimension": 512,
        "quantizer_dimension": 32,
        "quantizer_output_dimension": 512,
        "n_filters": 64,
        "n_residual_layers": 1,
        "ratios": [6, 5, 4],
        "kernel_size": 7,
        "last_kernel_size": 3,
        "residual_kernel_size": 3,
        "dilation_base": 2,
        "compress": 2,
        "transformer_d_model": 512,
        "transformer_num_heads": 8,
        "transformer_num_layers": 2,
        "transformer_layer_scale": 0.01,
        "transformer_context": 250,
        "transformer_max_period": 10000.0,
        "transformer_dim_feedforward": 2048,
        "downsample_channel_wise": False,
    },
    "temp": 0.3,
    "lsd_decode_steps": 1,
    "eos_threshold": -4.0,
    "conditioners": [],
    "fuser": {"sum": [], "streaming_sum": [], "prepend": [], "cross": []},
    "model_id": None,
}
