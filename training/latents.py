"""Computes the latents of all speech: `python -m training.latents`.

Apart from the speech, which takes longer and stays the same when the latents change.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np

from training.features import FRAME_SAMPLES, Pca, phased_features
from training.paths import data_folder, latents_of, shards_of


def write_latents(shard_path: Path, pca: Pca) -> None:
    """`[PHASES * frames, LATENT_DIM]` of a shard, float16; written beside and renamed."""
    with np.load(shard_path) as shard:
        sound, counts = shard["samples"], shard["n_frames"]
    utterances = np.split(sound, np.cumsum(counts)[:-1] * FRAME_SAMPLES)
    rows = [
        pca.latents(phased_features(samples.astype(np.float32) / 32767.0)).astype(np.float16)
        for samples in utterances
    ]
    path = latents_of(shard_path)
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.save(file, np.concatenate(rows))
    part.rename(path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    folder = data_folder()
    missing = [path for path in shards_of(folder) if not latents_of(path).exists()]
    with ProcessPoolExecutor(arguments.processes) as pool:
        list(pool.map(write_latents, missing, repeat(Pca.load(folder / "pca.npz"))))
    print(f"latents of {len(missing)} shards", flush=True)


if __name__ == "__main__":
    main()
