"""Has the language model say all speech in its own latents: `python -m training.own_latents`.

The decoder then learns to speak what it will be given (`train_codec decoder --own-share`), which is
smoother than the true latents and, after guidance, larger. Each frame follows true frames, every
other one of them replaced by the model's own, so that it still belongs to the sound beside it.
Run it again after the language model has changed.
"""

import argparse
import random

import numpy as np
import torch

from training.common import load_configuration, load_restart_point
from training.features import PHASES, Pca
from training.lm import LanguageModel
from training.lm_data import Corpus
from training.paths import data_folder, latents_of, shards_of
from training.train_lm import latent_weight, silence_latent

OWN_SHARE = 0.5


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=12, help="so many of them")
    parser.add_argument("--tokens", type=int, default=4_096, help="positions at once")
    parser.add_argument(
        "--longest", type=int, default=200, help="longer utterances stay as they are"
    )
    parser.add_argument("--temperature", type=float, default=0.1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    folder = data_folder()
    pca = Pca.load(folder / "pca.npz")
    model = LanguageModel(load_configuration(), latent_weight(pca)).eval()
    if not load_restart_point(model, "lm", folder / "runs"):
        raise SystemExit("no weights of the language model: train it first")
    target = folder / "own"
    target.mkdir(exist_ok=True)
    for path in shards_of(folder)[: arguments.shards]:
        corpus = Corpus([path], folder / "tokenizer.json", silence_latent(pca), arguments.longest)
        own = np.load(latents_of(path))[::PHASES].copy()
        n_own = 0
        for items, batch in corpus.whole(arguments.tokens, random.Random(path.stem)):
            said = model.own_latents(batch, arguments.temperature, OWN_SHARE).numpy()
            for item, latents in zip(items, said, strict=True):
                own[item.start : item.start + item.n_frames] = latents[: item.n_frames]
                n_own += item.n_frames
        with (target / f"{path.stem}.part").open("wb") as file:
            np.save(file, own)
        (target / f"{path.stem}.part").rename(target / f"{path.stem}.npy")
        print(f"{path.stem}: {n_own} of {len(own)} frames", flush=True)


if __name__ == "__main__":
    main()
