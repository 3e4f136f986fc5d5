"""What all training programs share: configuration, averages of weights, logs, restart points."""

import argparse
import json
import signal
import time
from pathlib import Path

import torch
import yaml
from pocket_tts.utils.config import Config
from safetensors.torch import load_file, save_file
from torch import nn

from training.codec import DECODER_PARTS, ENCODER_PARTS
from training.corpus import VOICES
from training.paths import CHECKPOINTS, LOGS, SHIPPED, data_folder

# Modules of each trained part, and what their tensors' names begin with in the bundle.
_BUNDLE_NAMES = {
    "lm": {"flow_lm": "flow_lm"},
    "decoder": {part: f"mimi.{part}" for part in DECODER_PARTS},
    "encoder": {part: f"mimi.{part}" for part in ENCODER_PARTS},
}
CONFIG_PATH = Path(__file__).parent / "embedded.yaml"


def load_configuration() -> Config:
    """The embedded model's configuration, its tokenizer in the data folder or the committed one."""
    config = Config(**yaml.safe_load(CONFIG_PATH.read_text(encoding="utf-8")))
    path = data_folder() / "tokenizer.json"
    known = path if path.exists() else CHECKPOINTS / "tokenizer.json"
    config.flow_lm.lookup_table.tokenizer_path = str(known)
    return config


def add_shared_options(parser: argparse.ArgumentParser) -> None:
    """The options of both training programs."""
    parser.add_argument(
        "--voice-shares",
        type=float,
        nargs=len(VOICES),
        default=[],
        metavar=tuple(voice.upper() for voice in VOICES),
        help="how much of the speech is of each voice, 1 in all; as it comes without",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="never from the weights that the package carries"
    )
    parser.add_argument(
        "--bf16",
        action="store_true",
        help="products in bf16, as always on CUDA: for CPUs with AMX; without, six times slower",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


class StopRequest:
    """Set by SIGTERM and SIGINT, so that a leg ends after its step and saves."""

    def __init__(self) -> None:
        """Catch the signals."""
        self.is_set = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._catch)

    def _catch(self, number: int, frame: object) -> None:
        del number, frame
        self.is_set = True


class Ema:
    """A moving average of a module's parameters, kept in float32."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Start from the parameters as they are."""
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the module; faster in the first steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in module.named_parameters():
            self.values[name].lerp_(value, 1.0 - decay)

    @torch.no_grad()
    def swap(self, module: nn.Module) -> None:
        """Exchange the module's parameters with the average; twice is once back."""
        for name, value in module.named_parameters():
            kept = value.clone()
            value.copy_(self.values[name])
            self.values[name].copy_(kept)


class Means:
    """Means of what is added under each name, since the last time they were taken."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: dict[str, torch.Tensor], prefix: str = "") -> None:
        """One value of each name."""
        for name, value in values.items():
            key = prefix + name
            self._sums[key] = self._sums.get(key, 0.0) + float(value)
            self._counts[key] = self._counts.get(key, 0) + 1

    def take(self) -> dict[str, float]:
        """The means, which begin afresh."""
        means = {name: value / self._counts[name] for name, value in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


class Log:
    """Lines of JSON in `training/logs` and on the screen."""

    def __init__(self, name: str) -> None:
        """Append to the log of that name."""
        LOGS.mkdir(exist_ok=True)
        self._path = LOGS / f"{name}.jsonl"
        self._start = time.monotonic()

    def write(self, **values: object) -> None:
        """One line; floats are rounded."""
        line = {
            key: round(value, 5) if isinstance(value, float) else value
            for key, value in values.items()
        }
        line["minutes"] = round((time.monotonic() - self._start) / 60, 1)
        text = json.dumps(line)
        print(text, flush=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def save_small(values: dict[str, torch.Tensor], path: Path) -> None:
    """The averaged weights in bf16, for `load_restart_point` and the bundle; written beside and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file(
        {
            name: value.detach().to(torch.bfloat16).contiguous().cpu()
            for name, value in values.items()
        },
        part,
    )
    part.rename(path)


def load_restart_point(module: nn.Module, part: str, folder: Path | None = None) -> bool:
    """Read the averaged weights of "lm", "decoder" or "encoder" into a module.

    They come from `folder`, where a leg left them, else from the bundle that the package carries,
    which lacks what only training needs. False if neither has them.
    """
    path = folder / f"{part}.safetensors" if folder else SHIPPED
    if path.exists():
        stored = load_file(path)
    elif SHIPPED.exists():
        path, stored = SHIPPED, load_file(SHIPPED)
    else:
        return False
    wanted = {name for name, _ in module.named_parameters()}
    if path == SHIPPED:
        prefixes = _BUNDLE_NAMES[part]
        wanted = {name for name in wanted if name.split(".")[0] in prefixes}
        in_bundle = {
            name: f"{prefixes[name.split('.')[0]]}.{name.partition('.')[2]}" for name in wanted
        }
        stored = {name: stored[other] for name, other in in_bundle.items() if other in stored}
    if wanted != set(stored):
        raise ValueError(
            f"{path} does not fit the model: {sorted(wanted ^ set(stored))[:4]} ...; train afresh"
        )
    module.load_state_dict({name: value.float() for name, value in stored.items()}, strict=False)
    return True


def save_full(
    path: Path, module: nn.Module, ema: Ema, step: int, **optimizers: torch.optim.Optimizer
) -> None:
    """Everything that continuing needs, for this machine only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(
        {
            "model": module.state_dict(),
            "ema": ema.values,
            "step": step,
            "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
        },
        part,
    )
    part.rename(path)


def load_full(path: Path, module: nn.Module, ema: Ema, **optimizers: torch.optim.Optimizer) -> int:
    """Continue from `save_full`; the step. An optimiser that the file lacks begins afresh."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    module.load_state_dict(state["model"])
    for name, value in state["ema"].items():
        ema.values[name].copy_(value)
    for name, optimizer in optimizers.items():
        if name in state["optimizers"]:
            optimizer.load_state_dict(state["optimizers"][name])
        else:
            print(f"{path} has no state of {name}: it begins afresh", flush=True)
    return int(state["step"])
