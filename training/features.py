"""Frames of 80 ms as 48 numbers: log-mel spectrum and pitch, reduced by PCA.

Every analysis window ends inside its frame, so that a causal encoder can compute the same numbers
from the samples. A window is 40 ms long, hence what a frame describes lies 20 ms in the past on
average: the decoder is trained on sound that is `DECODER_DELAY_SAMPLES` late.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ = 16_000
HOP_SAMPLES = 160
HOPS_PER_FRAME = 8
FRAME_SAMPLES = HOP_SAMPLES * HOPS_PER_FRAME
WINDOW_SAMPLES = 640
FFT_SAMPLES = 1024
DECODER_DELAY_SAMPLES = 320
MEL_BANDS = 64
LATENT_DIM = 48
# Latents are kept of every frame that begins so many times within 80 ms, 20 ms apart.
PHASES = 4
LOWEST_HZ = 40.0
# Of the mel amplitudes of speech that peaks near 0.7; 60 dB below a loud vowel, so that the PCA
# spends nothing on the differences between silences.
MEL_FLOOR = 0.02
PITCH_RANGE_HZ = (65.0, 340.0)
PITCH_CENTRE_HZ = 140.0
# Pitch matters more than its share of the variance: these weigh it against 64 log amplitudes.
PITCH_WEIGHT = 10.0
VOICING_WEIGHT = 4.0
VOICING_THRESHOLD = 0.5

Array = npt.NDArray[np.float32]


def _mel_of_hz(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 2595.0 * np.log10(1.0 + hz / 700.0)


@cache
def mel_filters(bands: int = MEL_BANDS, fft_samples: int = FFT_SAMPLES) -> Array:
    """Triangular filters of equal height, `[fft_samples / 2 + 1, bands]`."""
    low, high = _mel_of_hz(np.array([LOWEST_HZ, SAMPLE_RATE_HZ / 2]))
    edges = 700.0 * (10.0 ** (np.linspace(low, high, bands + 2) / 2595.0) - 1.0)
    bins = np.linspace(0.0, SAMPLE_RATE_HZ / 2, fft_samples // 2 + 1)[:, None]
    # At least as wide as the main lobe of the window: narrower ones would see empty bins.
    resolution_hz = SAMPLE_RATE_HZ / fft_samples
    rising = (bins - edges[:-2]) / np.maximum(edges[1:-1] - edges[:-2], resolution_hz)
    falling = (edges[2:] - bins) / np.maximum(edges[2:] - edges[1:-1], resolution_hz)
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def _windows(samples: Array) -> Array:
    """`[hops, WINDOW_SAMPLES]`, each ending with its hop."""
    padded = np.concatenate([np.zeros(WINDOW_SAMPLES - HOP_SAMPLES, np.float32), samples])
    return np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::HOP_SAMPLES]


def log_mel(power: Array) -> Array:
    """Log amplitudes of the bands from a power spectrum `[hops, bins]`."""
    amplitudes: Array = np.maximum(np.sqrt(power @ mel_filters()), np.float32(MEL_FLOOR))
    return np.log(amplitudes)


def pitch_and_voicing(power: Array) -> tuple[Array, Array]:
    """Logarithm of the pitch over its centre, 0 where unvoiced, and voicing as 0 or 1, `[hops]`."""
    cut = int(1200 / SAMPLE_RATE_HZ * FFT_SAMPLES)
    low = power.copy()
    low[:, cut:] = 0.0
    correlation = np.fft.irfft(low, axis=1)
    window = np.hanning(WINDOW_SAMPLES + 1)[:-1]
    own = np.fft.irfft(np.abs(np.fft.rfft(window, FFT_SAMPLES)) ** 2)
    first, last = (int(SAMPLE_RATE_HZ / hz) for hz in PITCH_RANGE_HZ[::-1])
    energy = correlation[:, :1]
    shape = (
        correlation[:, first - 1 : last + 2]
        / np.maximum(energy, 1e-6)
        / (own[first - 1 : last + 2] / own[0])
    )
    inner = shape[:, 1:-1]
    is_peak = (inner >= shape[:, :-2]) & (inner >= shape[:, 2:])
    peaks = np.where(is_peak, inner, 0.0)
    best = peaks.max(axis=1, keepdims=True)
    # The shortest lag that is nearly as good: multiples of the period correlate as well.
    lag = np.argmax(peaks >= 0.9 * best, axis=1)
    voiced = (best[:, 0] > VOICING_THRESHOLD) & (energy[:, 0] > 1e-2)
    pitch = np.log(SAMPLE_RATE_HZ / (lag + first) / PITCH_CENTRE_HZ)
    return np.where(voiced, pitch, 0.0).astype(np.float32), voiced.astype(np.float32)


def frame_features(samples: Array) -> Array:
    """`[frames, 528]` of samples whose number is a multiple of `FRAME_SAMPLES`."""
    if len(samples) % FRAME_SAMPLES:
        raise ValueError(
            f"expected whole frames of {FRAME_SAMPLES} samples, found {len(samples)} samples: pad them"
        )
    window = np.hanning(WINDOW_SAMPLES + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(_windows(samples) * window, FFT_SAMPLES)).astype(np.float32) ** 2
    pitch, voicing = pitch_and_voicing(power)
    hops = np.concatenate(
        [log_mel(power), PITCH_WEIGHT * pitch[:, None], VOICING_WEIGHT * voicing[:, None]], axis=1
    )
    return hops.reshape(len(samples) // FRAME_SAMPLES, -1)


def silent_frame() -> Array:
    """The features of a frame of digital silence, `[1, 528]`."""
    return frame_features(np.zeros(FRAME_SAMPLES, np.float32))


def phased_features(samples: Array) -> Array:
    """`[PHASES * frames, 528]`: the features of frames that begin every 20 ms, silence after the end."""
    hops = frame_features(samples).reshape(len(samples) // HOP_SAMPLES, -1)
    padded = np.concatenate([hops, silent_frame().reshape(HOPS_PER_FRAME, -1)])
    step = HOPS_PER_FRAME // PHASES
    windows = np.lib.stride_tricks.sliding_window_view(padded, HOPS_PER_FRAME, axis=0)
    return windows[: len(hops) : step].swapaxes(1, 2).reshape(len(hops) // step, -1)


@dataclass(frozen=True)
class Pca:
    """A whitening projection of frame features onto `LATENT_DIM` numbers, and back."""

    mean: Array  # [features]
    basis: Array  # [features, LATENT_DIM], orthonormal columns
    scale: Array  # [LATENT_DIM], standard deviations

    @classmethod
    def fit(cls, features: Array) -> "Pca":
        """The directions of largest variance of `[frames, features]`."""
        mean = features.mean(axis=0)
        centred = (features - mean).astype(np.float64)
        values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
        order = np.argsort(values)[::-1][:LATENT_DIM]
        basis = vectors[:, order]
        basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(LATENT_DIM)])
        return cls(mean, basis.astype(np.float32), np.sqrt(values[order]).astype(np.float32))

    @classmethod
    def load(cls, path: Path) -> "Pca":
        """Read what `save` wrote."""
        with np.load(path) as file:
            return cls(file["mean"], file["basis"], file["scale"])

    def save(self, path: Path) -> None:
        """Write an `.npz` file."""
        np.savez(path, mean=self.mean, basis=self.basis, scale=self.scale)

    def latents(self, features: Array) -> Array:
        """`[frames, LATENT_DIM]` of unit variance."""
        return ((features - self.mean) @ self.basis / self.scale).astype(np.float32)

    def features(self, latents: Array) -> Array:
        """The features that latents stand for."""
        return ((latents * self.scale) @ self.basis.T + self.mean).astype(np.float32)
