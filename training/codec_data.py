"""Stretches of speech with their latents, for the codec."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from training.features import DECODER_DELAY_SAMPLES, FRAME_SAMPLES, PHASES
from training.paths import latents_of

SILENT_FRAMES = 2
VALIDATION_EVERY = 60


def _with_pauses(
    latents: np.ndarray, counts: np.ndarray, silence: np.ndarray, phases: int
) -> np.ndarray:
    """`[phases * frames, LATENT_DIM]` with `SILENT_FRAMES` after each utterance."""
    pause = np.repeat(silence[None].astype(np.float16), SILENT_FRAMES * phases, 0)
    utterances = np.split(latents, np.cumsum(counts)[:-1] * phases)
    return np.concatenate([part for rows in utterances for part in (rows, pause)])


@dataclass(frozen=True)
class _Shard:
    """Speech with `SILENT_FRAMES` after each utterance."""

    samples: np.ndarray  # [frames * FRAME_SAMPLES], int16
    latents: np.ndarray  # [phases * frames, LATENT_DIM]
    phases: int  # 1 or PHASES
    speakers: np.ndarray  # [frames], index into VOICES


class Stretches:
    """Speech and latents of the shards that exist, as files mapped into memory."""

    def __init__(self, shards: list[Path], cache: Path, silence: np.ndarray) -> None:
        """Unpack new shards into `cache` and join their latents.

        Between utterances lie frames of silence, so that a stretch may begin and end anywhere.
        """
        cache.mkdir(parents=True, exist_ok=True)
        self._shards: list[_Shard] = []
        self._own: list[_Shard] = []
        for path in shards:
            sound_path = cache / f"{path.stem}.samples.npy"
            if not sound_path.exists():
                self._unpack(path, sound_path)
            with np.load(path) as shard:
                counts, voices = shard["n_frames"], shard["voice"]
            sound = np.load(sound_path, mmap_mode="r")
            speakers = np.repeat(voices, counts + SILENT_FRAMES)
            true = _with_pauses(np.load(latents_of(path)), counts, silence, PHASES)
            self._shards.append(_Shard(sound, true, PHASES, speakers))
            own_path = path.parent.parent / "own" / path.name.replace(".npz", ".npy")
            if own_path.exists():
                own = _with_pauses(np.load(own_path), counts, silence, 1)
                self._own.append(_Shard(sound, own, 1, speakers))
        self.has_own = bool(self._own)

    @staticmethod
    def _unpack(path: Path, sound_path: Path) -> None:
        with np.load(path) as shard:
            samples, counts = shard["samples"], shard["n_frames"]
        pause = np.zeros(SILENT_FRAMES * FRAME_SAMPLES, np.int16)
        utterances = np.split(samples, np.cumsum(counts)[:-1] * FRAME_SAMPLES)
        np.save(sound_path, np.concatenate([part for rows in utterances for part in (rows, pause)]))

    def draw(
        self,
        rows: int,
        frames: int,
        generator: np.random.Generator,
        own_share: float = 0.0,
        voice_shares: Sequence[float] = (),
        delay: int = DECODER_DELAY_SAMPLES,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples `[rows, samples]`, late by `delay`, and latents `[rows, frames, LATENT_DIM]`.

        The decoder makes late samples; the encoder sees them with a delay of 0. A stretch begins
        anywhere in steps of 20 ms, where the latents are known so densely. In `own_share` of
        the rows the latents are those of `training.own_latents`; `voice_shares` of the rows begin
        with each voice, where given.
        """
        sounds, latents = [], []
        for _ in range(rows):
            shards = self._own if generator.random() < own_share else self._shards
            sizes = np.array([len(shard.latents) for shard in shards], float)
            shard = shards[generator.choice(len(shards), p=sizes / sizes.sum())]
            starts = np.arange(1, len(shard.speakers) - frames)
            if voice_shares:
                voice = generator.choice(len(voice_shares), p=voice_shares)
                starts = starts[shard.speakers[starts] == voice]
            start = int(generator.choice(starts))
            moment = start * shard.phases + int(generator.integers(shard.phases))
            first = moment * FRAME_SAMPLES // shard.phases - delay
            sounds.append(
                shard.samples[first : first + frames * FRAME_SAMPLES].astype(np.float32) / 32767.0
            )
            chosen = shard.latents[moment :: shard.phases][:frames]
            latents.append(chosen.astype(np.float32))
        return torch.from_numpy(np.stack(sounds)), torch.from_numpy(np.stack(latents))
