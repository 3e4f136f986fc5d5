"""Stretches of speech with their latents, for the codec."""

from pathlib import Path

import numpy as np
import torch

from training.features import DECODER_DELAY_SAMPLES, FRAME_SAMPLES

SILENT_FRAMES = 2
VALIDATION_EVERY = 60


class Stretches:
    """Speech and latents of the shards that exist, as files mapped into memory."""

    def __init__(self, shards: list[Path], cache: Path, silence: np.ndarray) -> None:
        """Unpack new shards into `cache` and join their latents.

        Between utterances lie frames of silence, so that a stretch may begin and end anywhere.
        """
        cache.mkdir(parents=True, exist_ok=True)
        self._shards: list[tuple[np.ndarray, np.ndarray]] = []
        self._own: list[tuple[np.ndarray, np.ndarray]] = []
        for path in shards:
            sound_path, latents_path = (
                cache / f"{path.stem}.samples.npy",
                cache / f"{path.stem}.latents.npy",
            )
            if not latents_path.exists():
                self._unpack(path, sound_path, latents_path, silence)
            sound = np.load(sound_path, mmap_mode="r")
            self._shards.append((sound, np.load(latents_path)))
            own_path = path.parent.parent / "own" / path.name.replace(".npz", ".npy")
            if own_path.exists():
                with np.load(path) as shard:
                    own = self._with_pauses(np.load(own_path), shard["n_frames"], silence)
                self._own.append((sound, own))
        self.has_own = bool(self._own)

    @staticmethod
    def _unpack(path: Path, sound_path: Path, latents_path: Path, silence: np.ndarray) -> None:
        with np.load(path) as shard:
            samples, latents, counts = shard["samples"], shard["latents"], shard["n_frames"]
        sounds, start = [], 0
        for count in counts:
            sounds += [samples[start * FRAME_SAMPLES : (start + count) * FRAME_SAMPLES]]
            sounds += [np.zeros(SILENT_FRAMES * FRAME_SAMPLES, np.int16)]
            start += count
        np.save(sound_path, np.concatenate(sounds))
        np.save(latents_path, Stretches._with_pauses(latents, counts, silence))

    @staticmethod
    def _with_pauses(latents: np.ndarray, counts: np.ndarray, silence: np.ndarray) -> np.ndarray:
        pause = np.repeat(silence[None].astype(np.float16), SILENT_FRAMES, 0)
        utterances = np.split(latents, np.cumsum(counts)[:-1])
        return np.concatenate([part for rows in utterances for part in (rows, pause)])

    def draw(
        self, rows: int, frames: int, generator: np.random.Generator, own_share: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples `[rows, samples]` as the decoder should make them, and latents `[rows, frames, LATENT_DIM]`.

        In `own_share` of the rows they are latents of `training.own_latents`.
        """
        return self._stretches(rows, frames, generator, DECODER_DELAY_SAMPLES, own_share)

    def draw_undelayed(
        self, rows: int, frames: int, generator: np.random.Generator, own_share: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples as the encoder sees them, and latents."""
        return self._stretches(rows, frames, generator, 0, own_share)

    def _stretches(
        self,
        rows: int,
        frames: int,
        generator: np.random.Generator,
        delay: int,
        own_share: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        sounds, latents = [], []
        for _ in range(rows):
            shards = self._own if generator.random() < own_share else self._shards
            sizes = np.array([len(values) for _, values in shards], float)
            sound, values = shards[generator.choice(len(shards), p=sizes / sizes.sum())]
            start = int(generator.integers(1, len(values) - frames))
            first = start * FRAME_SAMPLES - delay
            sounds.append(
                sound[first : first + frames * FRAME_SAMPLES].astype(np.float32) / 32767.0
            )
            latents.append(values[start : start + frames].astype(np.float32))
        return torch.from_numpy(np.stack(sounds)), torch.from_numpy(np.stack(latents))
