"""Stretches of speech with their latents, for the codec."""

from pathlib import Path

import numpy as np
import torch

from training.features import DECODER_DELAY_SAMPLES, FRAME_SAMPLES

SILENT_FRAMES = 2
VALIDATION_EVERY = 60


class Stretches:
    """Speech and latents of the shards that exist, as files mapped into memory."""

    def __init__(self, shards: Path, cache: Path, silence: np.ndarray) -> None:
        """Unpack new shards into `cache` and join their latents.

        Between utterances lie frames of silence, so that a stretch may begin and end anywhere.
        """
        cache.mkdir(parents=True, exist_ok=True)
        self._shards: list[tuple[np.ndarray, np.ndarray]] = []
        for path in sorted(shards.glob("[0-9][0-9][0-9].npz")):
            sound_path, latents_path = (
                cache / f"{path.stem}.samples.npy",
                cache / f"{path.stem}.latents.npy",
            )
            if not latents_path.exists():
                self._unpack(path, sound_path, latents_path, silence)
            self._shards.append((np.load(sound_path, mmap_mode="r"), np.load(latents_path)))
        self._sizes = np.array([len(latents) for _, latents in self._shards], float)

    @staticmethod
    def _unpack(path: Path, sound_path: Path, latents_path: Path, silence: np.ndarray) -> None:
        with np.load(path) as shard:
            samples, latents, counts = shard["samples"], shard["latents"], shard["n_frames"]
        sounds, rows, start = [], [], 0
        for count in counts:
            sounds += [samples[start * FRAME_SAMPLES : (start + count) * FRAME_SAMPLES]]
            sounds += [np.zeros(SILENT_FRAMES * FRAME_SAMPLES, np.int16)]
            rows += [
                latents[start : start + count],
                np.repeat(silence[None].astype(np.float16), SILENT_FRAMES, 0),
            ]
            start += count
        np.save(sound_path, np.concatenate(sounds))
        np.save(latents_path, np.concatenate(rows))

    def draw(
        self, rows: int, frames: int, generator: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples `[rows, samples]` as the decoder should make them, and latents `[rows, frames, LATENT_DIM]`."""
        return self._stretches(rows, frames, generator, DECODER_DELAY_SAMPLES)

    def draw_undelayed(
        self, rows: int, frames: int, generator: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples as the encoder sees them, and latents."""
        return self._stretches(rows, frames, generator, 0)

    def _stretches(
        self, rows: int, frames: int, generator: np.random.Generator, delay: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        sounds, latents = [], []
        for shard in generator.choice(len(self._shards), rows, p=self._sizes / self._sizes.sum()):
            sound, values = self._shards[shard]
            start = int(generator.integers(1, len(values) - frames))
            first = start * FRAME_SAMPLES - delay
            sounds.append(
                sound[first : first + frames * FRAME_SAMPLES].astype(np.float32) / 32767.0
            )
            latents.append(values[start : start + frames].astype(np.float32))
        return torch.from_numpy(np.stack(sounds)), torch.from_numpy(np.stack(latents))
