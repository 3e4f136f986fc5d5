"""Who speaks: a linear classifier of spectra, trained on the teachers."""

import numpy as np
import numpy.typing as npt

from training.features import FRAME_SAMPLES, HOPS_PER_FRAME, MEL_BANDS, Array, frame_features

# Added to the covariance, in shares of its mean diagonal: there are fewer utterances than numbers squared.
RIDGE = 0.05


def describe(samples: Array) -> npt.NDArray[np.float64]:
    """Mean and deviation of the log-mel bands over the loud hops, and the mean pitch where voiced."""
    whole = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES]
    hops = frame_features(whole).reshape(len(whole) // FRAME_SAMPLES * HOPS_PER_FRAME, -1)
    bands, pitch, voicing = hops[:, :MEL_BANDS], hops[:, MEL_BANDS], hops[:, MEL_BANDS + 1]
    loudness = bands.mean(axis=1)
    loud = bands[loudness > np.median(loudness)]
    voiced = pitch[voicing > 0]
    mean_pitch = voiced.mean() if len(voiced) else 0.0
    # Loudness itself tells the recording, not the speaker.
    centred = loud.mean(axis=0) - loud.mean()
    return np.concatenate([centred, loud.std(axis=0), [mean_pitch]]).astype(np.float64)


class Speakers:
    """Linear discriminants with a common covariance."""

    def __init__(self, utterances: dict[str, list[Array]]) -> None:
        """Learn from utterances of every speaker."""
        self.names = list(utterances)
        rows = [np.stack([describe(samples) for samples in group]) for group in utterances.values()]
        self._means = np.stack([group.mean(axis=0) for group in rows])
        centred = np.concatenate(
            [group - mean for group, mean in zip(rows, self._means, strict=True)]
        )
        covariance = centred.T @ centred / len(centred)
        covariance += RIDGE * np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
        self._weights = np.linalg.solve(covariance, self._means.T)
        self._offsets = -0.5 * np.einsum("sf,fs->s", self._means, self._weights)

    def of(self, samples: Array) -> str:
        """The most likely speaker."""
        return self.names[int(np.argmax(describe(samples) @ self._weights + self._offsets))]
