"""What a recogniser hears, and how far that is from what was said."""

from collections.abc import Sequence

import numpy as np
from pocketsphinx import Decoder

from training.corpus import words_of
from training.features import SAMPLE_RATE_HZ, Array

# The recogniser expects some silence around an utterance.
QUIET_SAMPLES = SAMPLE_RATE_HZ // 4


class Recogniser:
    """Pocketsphinx with its own American English model."""

    def __init__(self) -> None:
        """Load the model."""
        self._decoder = Decoder(samprate=SAMPLE_RATE_HZ, loglevel="FATAL")

    def words(self, samples: Array) -> list[str]:
        """The words of `[samples]` at 16 kHz."""
        quiet = np.zeros(QUIET_SAMPLES, np.float32)
        padded = np.concatenate([quiet, samples, quiet])
        self._decoder.start_utt()
        self._decoder.process_raw(
            (padded.clip(-1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True
        )
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return words_of(found.hypstr) if found else []


def edits(said: Sequence[str], heard: Sequence[str]) -> int:
    """Insertions, deletions and substitutions between two sequences of words or characters."""
    row = list(range(len(heard) + 1))
    for i, item in enumerate(said, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (item != other))
    return row[-1]
