"""Make a random model from one of the reference's configurations.

    PYTHONPATH=tests $POCKET_REFERENCE_PYTHON -m reference.model_factory DIRECTORY SPEC.json

A specification is a JSON object: `base` (name of a shipped configuration, or `tiny`), `overrides`
(nested), `seed`, `dtype` (`F32`, `BF16`, `F16`), `layout` (`bundle`, `bundle_and_mimi`, `split`) and
`tokenizer` (options of `model_files.write_tokenizer`); all but `base` may be left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from typing import Any

import yaml
from tiny_model import Config, merged, tiny_config, write_model


def base_config(name: str) -> Config:
    """The configuration `name` of the installed reference, without importing PyTorch."""
    if name == "tiny":
        return tiny_config()
    spec = importlib.util.find_spec("pocket_tts")
    if spec is None or spec.origin is None:
        message = "pocket-tts is not installed in this environment"
        raise ModuleNotFoundError(message)
    path = Path(spec.origin).parent / "config" / f"{name}.yaml"
    loaded: Config = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


def make_model(directory: Path, spec: dict[str, Any]) -> Path:
    """Write the model that `spec` describes and return the path of its `config.yaml`."""
    config = merged(base_config(spec["base"]), spec.get("overrides", {}))
    return write_model(
        directory,
        config,
        seed=spec.get("seed", 0),
        dtype=spec.get("dtype", "F32"),
        layout=spec.get("layout", "bundle"),
        tokenizer=spec.get("tokenizer"),
    )


def main() -> None:
    """Make one model, then check that its audio depends on its latents."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("spec", type=Path)
    arguments = parser.parse_args()
    spec = json.loads(arguments.spec.read_text(encoding="utf-8"))
    config_path = make_model(arguments.directory, spec)

    from reference.run_reference import Reference

    reference = Reference(config_path, temp=0.3, steps=spec.get("steps", 1))
    print(json.dumps(reference.check_sensitivity(), indent=1))


if __name__ == "__main__":
    main()
