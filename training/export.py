"""Writes a bundle of the family from restart points: `python -m training.export OUT`.

`OUT` gets `config.yaml`, `model.safetensors` (bf16, but for the fixed frequencies) and
`tokenizer.json`; paths in the configuration are those from the working directory.
"""

import argparse
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from training.codec import Decoder, Encoder, whole_codec
from training.common import CONFIG_PATH, load_configuration, load_small
from training.features import LATENT_DIM
from training.lm import LanguageModel
from training.paths import CHECKPOINTS, data_folder

LARGEST_BYTES = 10_000_000


def find(name: str, source: Path) -> Path | None:
    """A restart point in `source`, else among the committed ones."""
    for folder in (source, CHECKPOINTS):
        if (folder / f"{name}.safetensors").exists():
            return folder / f"{name}.safetensors"
    return None


def bundle(source: Path) -> dict[str, torch.Tensor]:
    """All tensors of the bundle; a part without a restart point is random, with a warning."""
    config = load_configuration()
    torch.manual_seed(0)
    parts = {
        "lm": LanguageModel(config, torch.ones(LATENT_DIM)),
        "decoder": Decoder(config.mimi),
        "encoder": Encoder(config.mimi),
    }
    for name, module in parts.items():
        path = find(name, source)
        if path:
            load_small(module, path)
        else:
            print(f"warning: no restart point of the {name}: its weights are random")
    mimi = whole_codec(config.mimi, parts["decoder"], parts["encoder"])
    tensors = {f"flow_lm.{name}": value for name, value in parts["lm"].flow_lm.state_dict().items()}
    tensors |= {f"mimi.{name}": value for name, value in mimi.state_dict().items()}
    return {
        name: (value if name.endswith("freqs") else value.to(torch.bfloat16)).contiguous()
        for name, value in tensors.items()
    }


def export(out: Path, source: Path) -> None:
    """Write the bundle into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    tensors = bundle(source)
    save_file(tensors, out / "model.safetensors")
    (out / "model.safetensors").chmod(0o644)
    tokenizer = data_folder() / "tokenizer.json"
    committed = CHECKPOINTS / "tokenizer.json"
    (out / "tokenizer.json").write_bytes(
        (tokenizer if tokenizer.exists() else committed).read_bytes()
    )
    config = yaml.safe_load(CONFIG_PATH.read_text(encoding="utf-8"))
    config["weights_path"] = str(out / "model.safetensors")
    config["flow_lm"]["lookup_table"]["tokenizer_path"] = str(out / "tokenizer.json")
    (out / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    size = sum(path.stat().st_size for path in out.iterdir() if path.is_file())
    print(
        f"{out}: {len(tensors)} tensors, {sum(value.numel() for value in tensors.values())} values, {size} bytes"
    )
    if size > LARGEST_BYTES:
        raise SystemExit(
            f"the bundle has {size} bytes, expected at most {LARGEST_BYTES}: make the model smaller"
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--source", type=Path, default=data_folder() / "runs", help="folder of restart points"
    )
    arguments = parser.parse_args()
    export(arguments.out, arguments.source)


if __name__ == "__main__":
    main()
