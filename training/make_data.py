"""Makes the training data: `python -m training.make_data`.

Debian packages → sentences → speech of flite → latents, in shards that appear one by one, so that
training can begin on the first. Running it again goes on where it stopped. Everything follows from
the seed and the versions of the packages, which `manifest.json` names.
"""

import argparse
import json
import random
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import repeat
from pathlib import Path

import numpy as np

from training.corpus import (
    VOICES,
    Utterance,
    held_out_sentences,
    training_utterances,
    word_utterances,
)
from training.features import FRAME_SAMPLES, LATENT_DIM, SAMPLE_RATE_HZ, Pca, frame_features
from training.latents import write_latents
from training.packages import unpack
from training.paths import CHECKPOINTS, data_folder
from training.speech import Flite, Samples, SpeechError, whole_frames
from training.tokens import train_tokenizer

SHARD_UTTERANCES = 1_500
WORD_UTTERANCES = 12_000


def _spoken(utterance: Utterance, unpacked: Path) -> Samples | None:
    try:
        return whole_frames(Flite(unpacked).speak(utterance.text, utterance.voice))
    except SpeechError:
        return None


def _write_shard(path: Path, utterances: list[Utterance], speech: list[Samples]) -> float:
    """A shard as one `.npz`; its seconds of speech. Written beside and renamed."""
    part = path.with_suffix(".part.npz")
    np.savez(
        part,
        samples=(np.concatenate(speech) * 32767.0).round().astype(np.int16),
        n_frames=np.array([len(samples) // FRAME_SAMPLES for samples in speech], np.int32),
        voice=np.array([VOICES.index(utterance.voice) for utterance in utterances], np.int8),
        text=np.array([utterance.text for utterance in utterances]),
        source=np.array([utterance.source for utterance in utterances]),
    )
    part.rename(path)
    return sum(map(len, speech)) / SAMPLE_RATE_HZ


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--shards",
        type=int,
        default=40,
        help=f"at most this many, of {SHARD_UTTERANCES} utterances",
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="tokenizer and PCA anew, not those of the committed weights",
    )
    arguments = parser.parse_args()

    folder = data_folder()
    packages = unpack(folder)
    unpacked = folder / "unpacked"
    utterances = training_utterances(unpacked, arguments.seed)
    held_out = held_out_sentences(
        unpacked, (utterance.text for utterance in utterances), arguments.seed
    )
    utterances += word_utterances(
        unpacked,
        [utterance.text for utterance in utterances],
        [str(entry["text"]) for entry in held_out],
        arguments.seed,
        WORD_UTTERANCES,
    )
    (folder / "held_out.json").write_text(json.dumps(held_out, indent=1))
    manifest = {
        "seed": arguments.seed,
        "voices": VOICES,
        "packages": [asdict(package) for package in packages],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    n_unseen = len({word for entry in held_out for word in entry["unseen"]})
    print(
        f"{len(utterances)} utterances, {len(held_out)} held-out sentences, {n_unseen} unseen words",
        flush=True,
    )

    for name in () if arguments.fresh else ("tokenizer.json", "pca.npz"):
        if (CHECKPOINTS / name).exists() and not (folder / name).exists():
            shutil.copyfile(CHECKPOINTS / name, folder / name)
    if not (folder / "tokenizer.json").exists():
        train_tokenizer((utterance.text for utterance in utterances), folder / "tokenizer.json")

    shards = folder / "shards"
    shards.mkdir(exist_ok=True)
    pca_path = folder / "pca.npz"
    seconds = 0.0
    waiting = []
    with ProcessPoolExecutor(arguments.processes) as pool:
        for number in range(arguments.shards):
            chosen = utterances[number * SHARD_UTTERANCES : (number + 1) * SHARD_UTTERANCES]
            path = shards / f"{number:03d}.npz"
            if path.exists() or not chosen:
                continue
            results = list(pool.map(_spoken, chosen, repeat(unpacked), chunksize=16))
            kept = [
                (utterance, speech)
                for utterance, speech in zip(chosen, results, strict=True)
                if speech is not None
            ]
            if not pca_path.exists():
                first = random.Random(arguments.seed).sample(
                    [speech for _, speech in kept], min(600, len(kept))
                )
                features = np.concatenate([frame_features(speech) for speech in first])
                Pca.fit(features).save(pca_path)
                pca = Pca.load(pca_path)
                rest = features - pca.features(pca.latents(features))
                share = 1.0 - (rest**2).sum() / ((features - features.mean(axis=0)) ** 2).sum()
                print(f"PCA: {LATENT_DIM} numbers keep {share:.4f} of the variance", flush=True)
            seconds += _write_shard(path, [u for u, _ in kept], [s for _, s in kept])
            waiting.append(pool.submit(write_latents, path, Pca.load(pca_path)))
            print(
                f"shard {number}: {len(kept)} utterances, {seconds / 3600:.2f} hours in this run",
                flush=True,
            )
        for latents in waiting:
            latents.result()


if __name__ == "__main__":
    main()
