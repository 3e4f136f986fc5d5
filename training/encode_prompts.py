"""Encodes all speech with the trained encoder: `python -m training.encode_prompts`.

The language model then trains on prompts as the engine will give it, instead of the latents that
the encoder only approaches. Run it again after the encoder has changed.
"""

import numpy as np
import torch

from training.codec import Encoder
from training.common import load_configuration, load_restart_point
from training.features import FRAME_SAMPLES
from training.paths import data_folder


def main() -> None:
    """Command line."""
    torch.set_num_threads(1)
    folder = data_folder()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = Encoder(load_configuration().mimi)
    if not load_restart_point(encoder, "encoder", folder / "runs"):
        raise SystemExit("no weights of the encoder: train it first")
    encoder = encoder.to(device).eval()
    prompts = folder / "prompts"
    prompts.mkdir(exist_ok=True)
    for shard_path in sorted((folder / "shards").glob("[0-9][0-9][0-9].npz")):
        with np.load(shard_path) as shard:
            sound, counts = shard["samples"], shard["n_frames"]
        rows, start = [], 0
        for count in counts:
            samples = sound[start * FRAME_SAMPLES : (start + count) * FRAME_SAMPLES]
            with torch.inference_mode():
                latents = encoder(
                    torch.from_numpy(samples.astype(np.float32) / 32767.0)[None].to(device)
                )
            rows.append(latents[0].cpu().numpy().astype(np.float16))
            start += count
        part = prompts / f"{shard_path.stem}.part"
        with part.open("wb") as file:
            np.save(file, np.concatenate(rows))
        part.rename(prompts / f"{shard_path.stem}.npy")
        print(f"{shard_path.stem}: {len(counts)} utterances", flush=True)


if __name__ == "__main__":
    main()
