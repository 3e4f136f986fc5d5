"""Make a model of the English shapes with random weights: it computes what the real one does.

    python scripts/random_model.py DIRECTORY

Writes `config.yaml`, `model.safetensors` (438 MB for the English shapes) and `tokenizer.json`. The generator is the one of
the tests, which PyTorch checks there under strict names.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import numpy as np
from tiny_model import random_tensors, write_model

if TYPE_CHECKING:
    from model_files import Array

# The shapes of the reference's `english`.
ENGLISH: Final[dict[str, Any]] = {
    "default_temperature": 0.3,
    "replace_characters": {"’": "'", "‘": "'"},
    "flow_lm": {
        "insert_bos_before_voice": True,
        "dtype": "float32",
        "flow": {"depth": 6, "dim": 512},
        "transformer": {
            "d_model": 1024,
            "hidden_scale": 4,
            "max_period": 10000,
            "num_heads": 16,
            "num_layers": 6,
        },
        "lookup_table": {"dim": 1024, "n_bins": 4000},
    },
    "mimi": {
        "dtype": "float32",
        "sample_rate": 24000,
        "inner_dim": 32,
        "outer_dim": 512,
        "channels": 1,
        "frame_rate": 12.5,
        "seanet": {
            "dimension": 512,
            "channels": 1,
            "n_filters": 64,
            "n_residual_layers": 1,
            "ratios": [6, 5, 4],
            "kernel_size": 7,
            "residual_kernel_size": 3,
            "last_kernel_size": 3,
            "dilation_base": 2,
            "pad_mode": "constant",
            "compress": 2,
        },
        "transformer": {
            "d_model": 512,
            "num_heads": 8,
            "num_layers": 2,
            "layer_scale": 0.01,
            "context": 250,
            "dim_feedforward": 2048,
            "input_dimension": 512,
            "output_dimensions": [512],
        },
        "quantizer": {"dimension": 32, "output_dimension": 512},
    },
}


def released_shapes(name: str) -> dict[str, Any]:
    """The configuration of a released model; its files are replaced when it is written."""
    from pocket_tts_native._native import Config

    config = Config.named(name)
    if config is None:
        raise SystemExit(f"no released model is named {name}; one of {', '.join(Config.names())}")
    return without_none(config.as_dict())


def without_none(config: dict[str, Any]) -> dict[str, Any]:
    """The same without what is not set, which the schema does not allow everywhere."""
    return {
        key: without_none(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if value is not None
    }


def with_norm_outliers(tensors: dict[str, Array], seed: int) -> dict[str, Array]:
    """Multiply 1 % of the weights of the language model's norms by 20."""
    rng = np.random.default_rng(seed)
    changed = dict(tensors)
    for name, values in tensors.items():
        if name.startswith("flow_lm.transformer") and ".norm" in name and name.endswith(".weight"):
            is_outlier = rng.random(values.shape) < 0.01
            changed[name] = np.where(is_outlier, 20 * values, values).astype(values.dtype)
    return changed


def with_torch_gains(tensors: dict[str, Array]) -> dict[str, Array]:
    """Give matrices and convolutions the variance of PyTorch's default, 1 / (3 · inputs)."""
    changed = dict(tensors)
    for name, values in tensors.items():
        if values.ndim > 1 and name.endswith(".weight") and ".embed." not in name:
            is_transposed = ".convtr." in name
            n_inputs = values[0].size if not is_transposed else values[:, 0].size
            factor = 1 / (math.sqrt(3 * n_inputs) * float(values.std()))
            changed[name] = (values * factor).astype(values.dtype)
    return changed


def main() -> None:
    """Write the model into the directory named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="where to write; made if missing")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument(
        "--norm-outliers",
        action="store_true",
        help="multiply 1 %% of the norm weights by 20, which makes quantisation harder",
    )
    parser.add_argument(
        "--torch-gains",
        action="store_true",
        help="matrices as wide as PyTorch's modules are at first, which gives smooth attention",
    )
    parser.add_argument(
        "--shapes",
        metavar="NAME",
        help="released model whose shapes to take, such as english_2m_2026-10; needs the package",
    )
    arguments = parser.parse_args()
    config = ENGLISH if arguments.shapes is None else released_shapes(arguments.shapes)
    tensors = random_tensors(config, arguments.seed)
    if arguments.torch_gains:
        tensors = with_torch_gains(tensors)
    if arguments.norm_outliers:
        tensors = with_norm_outliers(tensors, arguments.seed)
    path = write_model(arguments.directory, config, seed=arguments.seed, tensors=tensors)
    print(f"wrote {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
