"""Which phones each frame of the training speech holds: `python -m training.phones`.

Flite speaks every utterance of the shards again and says where its phones lie; the language model
can learn to name them beside predicting latents (`train_lm --phones`), which shows what it means to
say. The shards of lone words come first, and training uses what exists when a leg begins.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.corpus import VOICES
from training.features import FRAME_SAMPLES, SAMPLE_RATE_HZ
from training.paths import data_folder
from training.speech import Flite, speech_span

PHONES = [
    "pau",
    "aa",
    "ae",
    "ah",
    "ao",
    "aw",
    "ax",
    "ay",
    "b",
    "ch",
    "d",
    "dh",
    "eh",
    "er",
    "ey",
    "f",
    "g",
    "hh",
    "ih",
    "iy",
    "jh",
    "k",
    "l",
    "m",
    "n",
    "ng",
    "ow",
    "oy",
    "p",
    "r",
    "s",
    "sh",
    "t",
    "th",
    "uh",
    "uw",
    "v",
    "w",
    "y",
    "z",
    "zh",
]
# Equally spaced in a frame of 80 ms.
PHONES_PER_FRAME = 4
UNKNOWN = 255


def frame_phones(
    segments: list[tuple[str, float]], start_sample: int, n_frames: int
) -> npt.NDArray[np.uint8]:
    """Indices into `PHONES`, `[n_frames, PHONES_PER_FRAME]`, of speech cut at `start_sample`.

    `segments` are flite's phones and the seconds at which each ends.
    """
    ends = np.array([end for _, end in segments])
    indices = np.array([PHONES.index(phone) for phone, _ in segments] + [0], np.uint8)
    n = n_frames * PHONES_PER_FRAME
    instants = (np.arange(n) + 0.5) * (FRAME_SAMPLES / PHONES_PER_FRAME) + start_sample
    found = indices[np.searchsorted(ends, instants / SAMPLE_RATE_HZ, side="right")]
    return found.reshape(n_frames, PHONES_PER_FRAME)


def _labels(text: str, voice: int, n_frames: int, unpacked: Path) -> npt.NDArray[np.uint8]:
    samples, segments = Flite(unpacked).speak_phones(text, VOICES[voice])
    start, end = speech_span(samples)
    if -(-(end - start) // FRAME_SAMPLES) != n_frames:
        raise ValueError(
            f"expected {n_frames} frames of {text!r}: another version of flite made the shards; "
            "remove them and run make_data"
        )
    return frame_phones(segments, start, n_frames)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    folder = data_folder()
    target = folder / "phones"
    target.mkdir(exist_ok=True)
    shards = sorted((folder / "shards").glob("[0-9][0-9][0-9].npz"))

    def of_words(path: Path) -> bool:
        with np.load(path) as shard:
            return bool((shard["source"] == "words").all())

    shards.sort(key=lambda path: (not of_words(path), path))
    with ProcessPoolExecutor(arguments.processes) as pool:
        for path in shards:
            done = target / f"{path.stem}.npy"
            if done.exists():
                continue
            with np.load(path) as shard:
                rows = pool.map(
                    _labels,
                    shard["text"].tolist(),
                    shard["voice"].tolist(),
                    shard["n_frames"].tolist(),
                    repeat(folder / "unpacked"),
                    chunksize=16,
                )
                labels = np.concatenate(list(rows))
            part = done.with_suffix(".part.npy")
            np.save(part, labels)
            part.rename(done)
            print(f"phones of shard {path.stem}", flush=True)


if __name__ == "__main__":
    main()
