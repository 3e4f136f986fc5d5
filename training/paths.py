"""Where training keeps what it makes: outside of the tree."""

import os
from pathlib import Path


def data_folder() -> Path:
    """`POCKET_TRAINING_DIR`, or a folder in the user's cache."""
    chosen = os.environ.get("POCKET_TRAINING_DIR")
    if chosen:
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "pocket-tts-native" / "training"


def shards_of(folder: Path) -> list[Path]:
    """The shards that exist, in order."""
    return sorted((folder / "shards").glob("[0-9][0-9][0-9].npz"))


def latents_of(shard: Path) -> Path:
    """Where `training.latents` puts those of a shard."""
    return shard.parent.parent / "latents" / f"{shard.stem}.npy"


CHECKPOINTS = Path(__file__).parent / "checkpoints"
EMBEDDED = Path(__file__).parent.parent / "python" / "pocket_tts_native" / "embedded_model"
SHIPPED = EMBEDDED / "model.safetensors"
LOGS = Path(__file__).parent / "logs"
