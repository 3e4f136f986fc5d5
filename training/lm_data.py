"""Batches for the language model: voice prompt, text, latents, in rows of few different lengths."""

import queue
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from training.features import LATENT_DIM, PHASES
from training.paths import latents_of
from training.tokens import PieceSplitter

# Silent frames after the speech that the model learns to make once it has seen the end.
TAIL_FRAMES = 5
# Utterances that are sorted by length together.
POOL = 4096
# Prompts in frames of 80 ms; one length for all rows of a batch.
PROMPT_FRAMES = (6, 6, 10, 10, 16, 32)
VALIDATION_PROMPT_FRAMES = 24
# Padding to few lengths: PyTorch's CPU kernels keep memory for each shape.
ROW_MULTIPLE = 8
SPLIT_SHARE = 0.08
# Rows without their text: what the model would say then is what guidance steers away from.
TEXTLESS_SHARE = 0.1
VALIDATION_EVERY = 60


@dataclass
class Batch:
    """Tensors of one step; positions are those of the joined sequence."""

    prompt: torch.Tensor  # [rows, prompt frames, LATENT_DIM]
    text: torch.Tensor  # [rows, tokens], padded with the table's last row
    latents: torch.Tensor  # [rows, frames, LATENT_DIM], seen; silence after the end
    targets: torch.Tensor  # [rows, frames, LATENT_DIM], learnt; others after frames of its own
    order: (
        torch.Tensor
    )  # [rows, length] into prompt + text + frames (one row for the voice's start first)
    frame_positions: torch.Tensor  # [rows, frames] in the joined sequence
    is_frame: torch.Tensor  # [rows, frames], false for padding
    is_end: torch.Tensor  # [rows, frames], 1.0 once the speech has ended

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        return Batch(
            **{name: value.to(device, non_blocking=True) for name, value in self.__dict__.items()}
        )

    def rows(self, chosen: torch.Tensor) -> "Batch":
        """The rows that `chosen` `[rows]` picks."""
        return Batch(**{name: value[chosen] for name, value in self.__dict__.items()})

    def textless(self) -> "Batch":
        """The same rows without their texts."""
        rows, n_frames = self.is_frame.shape
        head, n_text = 1 + self.prompt.shape[1], self.text.shape[1]
        order = torch.cat([torch.arange(head), head + n_text + torch.arange(n_frames)])
        positions = head + torch.arange(n_frames)
        device = self.order.device
        return replace(
            self,
            order=order.to(device).expand(rows, -1),
            frame_positions=positions.to(device).expand(rows, -1),
        )


@dataclass
class Item:
    """An utterance: its pieces, and its frames among those of all shards."""

    ids: list[int]
    start: int
    n_frames: int
    voice: int

    @property
    def length(self) -> int:
        """Tokens and frames together, the silence after it included."""
        return len(self.ids) + self.n_frames + TAIL_FRAMES


class Corpus:
    """All latents and texts of the shards that exist."""

    def __init__(
        self, shards: list[Path], tokenizer_path: Path, silence: np.ndarray, longest: int
    ) -> None:
        """Read the shards; utterances above `longest` tokens and frames are left out."""
        tokenizer = Tokenizer.from_file(str(tokenizer_path))
        self._splitter = PieceSplitter(tokenizer)
        self._padding_id = tokenizer.get_vocab_size()
        self._silence = torch.from_numpy(silence.astype(np.float32))
        latents, self.training, self.validation = [], [], []
        by_voice: dict[int, list[np.ndarray]] = {}
        offset = 0
        for path in shards:
            with np.load(path) as shard:
                counts, voices = shard["n_frames"], shard["voice"]
                encodings = tokenizer.encode_batch(shard["text"].tolist())
            rows = np.load(latents_of(path))
            if rows.shape[1] != LATENT_DIM:
                raise ValueError(
                    f"{latents_of(path)} has {rows.shape[1]} numbers a frame, expected {LATENT_DIM}: "
                    "remove it and run training.latents"
                )
            encoded = path.parent.parent / "prompts" / f"{path.stem}.npy"
            prompts = np.load(encoded) if encoded.exists() else rows[::PHASES]
            starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
            for index, encoding in enumerate(encodings):
                item = Item(
                    encoding.ids,
                    offset + int(starts[index]),
                    int(counts[index]),
                    int(voices[index]),
                )
                by_voice.setdefault(item.voice, []).append(
                    prompts[starts[index] : starts[index] + counts[index]]
                )
                if item.length <= longest and item.n_frames >= 3:
                    (self.validation if index % VALIDATION_EVERY == 0 else self.training).append(
                        item
                    )
            latents.append(rows)
            offset += len(rows) // PHASES
        self._phased = torch.from_numpy(np.concatenate(latents))
        self._latents = self._phased[::PHASES]
        self._by_voice = {
            voice: torch.from_numpy(np.concatenate(rows)) for voice, rows in by_voice.items()
        }
        self.hours = offset * 0.08 / 3600

    def phased(self, items: list[Item], count: int) -> torch.Tensor:
        """The items' latents every 20 ms, then silence, `[rows, count, LATENT_DIM]`."""
        rows = self._silence.expand(len(items), count, LATENT_DIM).clone()
        for row, item in zip(rows, items, strict=True):
            n = min(count, item.n_frames * PHASES)
            row[:n] = self._phased[item.start * PHASES : item.start * PHASES + n]
        return rows

    def batches(
        self, tokens: int, rng: random.Random, voice_shares: Sequence[float] = ()
    ) -> Iterator[Batch]:
        """`groups` without the items."""
        for _, batch in self.groups(tokens, rng, voice_shares):
            yield batch

    def groups(
        self,
        tokens: int,
        rng: random.Random,
        voice_shares: Sequence[float] = (),
        *,
        textless: float = TEXTLESS_SHARE,
        tail: int = TAIL_FRAMES,
    ) -> Iterator[tuple[list[Item], Batch]]:
        """Without end; each of about `tokens` positions, rows of similar length together.

        `voice_shares` of the utterances are of each voice, where given, `textless` of them lack
        their text, and `tail` silent frames follow each.
        """
        of_voice = [
            [item for item in self.training if item.voice == voice]
            for voice in range(len(voice_shares))
        ]
        while True:
            if voice_shares:
                pool = [
                    item
                    for items, share in zip(of_voice, voice_shares, strict=True)
                    for item in rng.sample(items, min(len(items), round(POOL * share)))
                ]
            else:
                pool = rng.sample(self.training, min(len(self.training), POOL))
            pool.sort(key=lambda item: item.length + rng.random())
            groups = []
            while pool:
                prompt = rng.choice(PROMPT_FRAMES)
                needed = pool[-1].length + tail - TAIL_FRAMES + 3 + 1 + prompt
                longest = -(-needed // ROW_MULTIPLE) * ROW_MULTIPLE
                n_rows = max(1, tokens // longest)
                groups.append((pool[-n_rows:], prompt, longest))
                del pool[-n_rows:]
            rng.shuffle(groups)
            whole = [group for group in groups if len(group[0]) == tokens // group[2]]
            if not whole:
                raise ValueError(
                    f"{len(self.training)} utterances do not fill a batch of {tokens} positions: "
                    "make more data, or the batches smaller"
                )
            for items, prompt, longest in whole:
                batch = self._batch(
                    items, prompt, longest, rng, SPLIT_SHARE, textless=textless, tail=tail
                )
                yield items, batch

    def prefetched(
        self, tokens: int, rng: random.Random, voice_shares: Sequence[float] = ()
    ) -> Iterator[Batch]:
        """`batches` made by a thread beside, for devices that would wait for them."""
        waiting: queue.Queue[Batch] = queue.Queue(maxsize=8)

        def fill() -> None:
            for batch in self.batches(tokens, rng, voice_shares):
                waiting.put(batch)

        threading.Thread(target=fill, daemon=True).start()
        while True:
            yield waiting.get()

    def validation_batches(self, tokens: int) -> Iterator[Batch]:
        """The held-out utterances, always the same."""
        rng = random.Random(0)
        pool = sorted(self.validation, key=lambda item: item.length)[
            :: max(1, len(self.validation) // 160)
        ]
        while pool:
            longest = (
                -(-(pool[-1].length + VALIDATION_PROMPT_FRAMES + 1) // ROW_MULTIPLE) * ROW_MULTIPLE
            )
            n_rows = max(1, tokens // longest)
            yield self._batch(pool[-n_rows:], VALIDATION_PROMPT_FRAMES, longest, rng, 0.0)
            del pool[-n_rows:]

    def held_out(self, count: int) -> tuple[list[Item], Batch]:
        """So many of the held-out utterances, always the same, in one batch."""
        pool = sorted(self.validation, key=lambda item: item.length)
        items = pool[:: max(1, len(pool) // count)][:count]
        longest = max(item.length for item in items) + VALIDATION_PROMPT_FRAMES + 1
        return items, self._batch(items, VALIDATION_PROMPT_FRAMES, longest, random.Random(0), 0.0)

    def whole(self, tokens: int, rng: random.Random) -> Iterator[tuple[list[Item], Batch]]:
        """Every utterance once, with its whole text."""
        pool = sorted(self.training + self.validation, key=lambda item: item.length)
        while pool:
            prompt = rng.choice(PROMPT_FRAMES)
            longest = -(-(pool[-1].length + 1 + prompt) // ROW_MULTIPLE) * ROW_MULTIPLE
            n_rows = max(1, tokens // longest)
            items = pool[-n_rows:]
            del pool[-n_rows:]
            yield items, self._batch(items, prompt, longest, rng, 0.0)

    def _batch(
        self,
        items: list[Item],
        n_prompt: int,
        longest: int,
        rng: random.Random,
        split: float,
        *,
        textless: float = 0.0,
        tail: int = TAIL_FRAMES,
    ) -> Batch:
        texts = []
        for item in items:
            if rng.random() < textless:
                texts.append([])
                continue
            ids = self._splitter.split(item.ids, split, rng) if split else item.ids
            room = longest - 1 - n_prompt - item.n_frames - tail
            texts.append(ids if len(ids) <= room else item.ids)
        n_text = max(map(len, texts))
        n_frames = max(item.n_frames for item in items) + tail
        rows = len(items)
        prompt = torch.empty(rows, n_prompt, LATENT_DIM)
        text = torch.full((rows, n_text), self._padding_id)
        latents = self._silence.expand(rows, n_frames, LATENT_DIM).clone()
        order = torch.zeros(rows, longest, dtype=torch.long)
        frame_positions = torch.zeros(rows, n_frames, dtype=torch.long)
        is_frame = torch.zeros(rows, n_frames, dtype=torch.bool)
        is_end = torch.zeros(rows, n_frames)
        head = 1 + n_prompt
        for row, (item, ids) in enumerate(zip(items, texts, strict=True)):
            voice = self._by_voice[item.voice]
            start = rng.randrange(len(voice) - n_prompt)
            prompt[row] = voice[start : start + n_prompt]
            # The engine ends every prompt with a pause.
            prompt[row, -1] = self._silence
            text[row, : len(ids)] = torch.tensor(ids)
            latents[row, : item.n_frames] = self._latents[item.start : item.start + item.n_frames]
            frames = item.n_frames + tail
            after_text = head + len(ids)
            order[row, :after_text] = torch.arange(after_text)
            order[row, after_text : after_text + frames] = head + n_text + torch.arange(frames)
            frame_positions[row, :frames] = after_text + torch.arange(frames)
            is_frame[row, :frames] = True
            is_end[row, item.n_frames :] = 1.0
        return Batch(prompt, text, latents, latents, order, frame_positions, is_frame, is_end)
