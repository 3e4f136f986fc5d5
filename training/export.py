"""Writes a bundle of the family from trained weights: `python -m training.export [OUT]`.

The folder gets `config.yaml`, `model.safetensors` (bf16, but for the fixed frequencies),
`tokenizer.json` and a saved voice of each speaker. Without `OUT` it is the one that the package
carries, whose configuration names the files beside it; in any other, paths are those from the
working directory.
"""

import argparse
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
import yaml
from pocket_tts import TTSModel
from pocket_tts.models.model_state import export_model_state
from safetensors.torch import save_file

from training.codec import Decoder, Encoder, whole_codec
from training.common import CONFIG_PATH, load_configuration, load_restart_point
from training.corpus import VOICES
from training.features import LATENT_DIM, Pca, frame_features
from training.lm import LanguageModel
from training.paths import CHECKPOINTS, EMBEDDED, data_folder
from training.speech import Flite, whole_frames
from training.train_lm import silence_latent

LARGEST_BYTES = 10_000_000
PROMPT_TEXT = "The old clock in the kitchen had stopped at a quarter past nine, and nobody wanted to wind it again."
# 1.84 s and the pause that ends every prompt: as long as those of the training's judgements.
PROMPT_FRAMES = 23


def teacher_prompt(voice: str) -> torch.Tensor:
    """`[PROMPT_FRAMES + 1, LATENT_DIM]`: what a perfect encoder would make of the teacher's speech."""
    folder = data_folder()
    pca = Pca.load(folder / "pca.npz")
    spoken = whole_frames(Flite(folder / "unpacked").speak(PROMPT_TEXT, voice))
    latents = torch.from_numpy(pca.latents(frame_features(spoken))).float()
    return torch.cat([latents[:PROMPT_FRAMES], torch.from_numpy(silence_latent(pca))[None]])


def bundle(source: Path) -> dict[str, torch.Tensor]:
    """All tensors of the bundle; a part without trained weights is random, with a warning."""
    config = load_configuration()
    torch.manual_seed(0)
    parts = {
        "lm": LanguageModel(config, torch.ones(LATENT_DIM)),
        "decoder": Decoder(config.mimi),
        "encoder": Encoder(config.mimi),
    }
    for name, module in parts.items():
        if not load_restart_point(module, name, source):
            print(f"warning: the {name} has not been trained: its weights are random")
    mimi = whole_codec(config.mimi, parts["decoder"], parts["encoder"])
    tensors = {f"flow_lm.{name}": value for name, value in parts["lm"].flow_lm.state_dict().items()}
    tensors |= {f"mimi.{name}": value for name, value in mimi.state_dict().items()}
    return {
        name: (value if name.endswith("freqs") else value.to(torch.bfloat16)).contiguous()
        for name, value in tensors.items()
    }


def _write_config(path: Path, folder: Path | None) -> None:
    """The configuration, with files of `folder`, or beside it."""
    config = yaml.safe_load(CONFIG_PATH.read_text(encoding="utf-8"))
    if folder is not None:
        config["weights_path"] = str(folder / config["weights_path"])
        table = config["flow_lm"]["lookup_table"]
        table["tokenizer_path"] = str(folder / table["tokenizer_path"])
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


@torch.no_grad()
def _write_voices(out: Path) -> None:
    """A saved state for each of the teachers, by the reference."""
    model = TTSModel.load_model(config=out / "config.yaml")
    for voice in VOICES:
        conditions = F.linear(teacher_prompt(voice)[None], model.flow_lm.speaker_proj_weight)
        with mock.patch.object(model, "_encode_audio", lambda _audio, rows=conditions: rows):
            state = model.get_state_for_audio_prompt(torch.zeros(1, 1))
        export_model_state(state, out / f"{voice}.safetensors")


def export(out: Path, source: Path) -> None:
    """Write the bundle into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    tensors = bundle(source)
    save_file(tensors, out / "model.safetensors")
    tokenizer = data_folder() / "tokenizer.json"
    committed = CHECKPOINTS / "tokenizer.json"
    (out / "tokenizer.json").write_bytes(
        (tokenizer if tokenizer.exists() else committed).read_bytes()
    )
    _write_config(out / "config.yaml", out)
    _write_voices(out)
    if out == EMBEDDED:
        _write_config(out / "config.yaml", None)
    files = [path for path in out.iterdir() if path.is_file()]
    for path in files:
        path.chmod(0o644)
    size = sum(path.stat().st_size for path in files)
    n_values = sum(value.numel() for value in tensors.values())
    print(f"{out}: {len(tensors)} tensors, {n_values} values, {size} bytes")
    if size > LARGEST_BYTES:
        raise SystemExit(
            f"the bundle has {size} bytes, expected at most {LARGEST_BYTES}: make the model smaller"
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", default=EMBEDDED)
    parser.add_argument(
        "--source", type=Path, default=data_folder() / "runs", help="folder of trained weights"
    )
    arguments = parser.parse_args()
    export(arguments.out, arguments.source)


if __name__ == "__main__":
    main()
