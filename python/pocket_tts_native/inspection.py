"""The single steps of synthesis, for a look inside: tokens, chunks of text, the codec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pocket_tts_native.voice import native_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pocket_tts_native._native import Model
    from pocket_tts_native.voice import ModelState

# Tokens of a chunk of text, where the text has a place to split.
DEFAULT_MAX_TOKENS: Final = 50


class Inspection:
    """What of a model's work can be done by itself; a base of `TTSModel`."""

    _native: Model
    temp: float
    sampler_decode_steps: int

    if TYPE_CHECKING:

        def _check_sampling(self) -> None: ...

    def tokenize(self, text: str) -> list[int]:
        """Turn `text`, as it is, into token ids. For inspection.

        Args:
            text: Any text.

        Returns:
            Token ids.
        """
        return self._native.tokenize(text)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Turn token ids into the text that they read. For inspection.

        Args:
            tokens: Token ids.

        Returns:
            The text, without special tokens. The tokenizer of a `tokenizer.json` leaves unknown
            ids out.

        Raises:
            ModelFormatError: A SentencePiece tokenizer has not got one of the tokens (a
                `ValueError`).
        """
        return self._native.detokenize(tokens)

    def prepare_text(self, text: str) -> tuple[str, int]:
        """Prepare `text` for the tokenizer as the model's configuration says. For inspection.

        Args:
            text: Any text; it is not split.

        Returns:
            The text that is tokenized, and how many frames follow the end of its speech where the
            caller and the configuration leave this open.

        Raises:
            ValueError: Nothing is left of the text.
        """
        return self._native.prepare_text(text)

    def split_text(self, text: str, max_tokens: int = DEFAULT_MAX_TOKENS) -> list[str]:
        """Split `text` into the chunks that are spoken one at a time. For inspection.

        A chunk is prepared once more by itself before it is spoken; see `prepare_text`.

        Args:
            text: Any text.
            max_tokens: Most tokens of a chunk. A sentence without a comma, semicolon or colon stays
                whole even if it has more; with 0 every part of a sentence is a chunk.

        Returns:
            Chunks in order; none if the tokenizer knows no character of the text.

        Raises:
            ValueError: Nothing is left of the text.
        """
        return self._native.split_text(text, max_tokens=max(max_tokens, 0))

    def encode_audio(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode mono samples at the model's rate; nothing is trimmed. For inspection.

        Args:
            pcm: float32 `[samples]` or `[1, samples]`, C-contiguous, at `sample_rate` Hz.

        Returns:
            float32 `[frames, inner_dim]`, one row per frame begun.

        Raises:
            TypeError: `pcm` is no float32 array.
            ValueError: `pcm` has another shape or layout, is empty or not finite.
        """
        return self._native.encode_audio(pcm)

    def forced_latents(
        self,
        state: ModelState,
        text: str,
        latents: NDArray[np.float32],
        *,
        noise: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Generate each frame as if those before it had been `latents`. For inspection.

        Errors do not grow from frame to frame so, which they do where a model hears itself.

        Args:
            state: The voice.
            text: Any text.
            latents: float32 `[frames, latent_dim]`; the last row is not looked at.
            noise: Standard normals, float32 of the same shape; scaled by `sqrt(temp)`.

        Returns:
            As `generate_latents`.

        Raises:
            TypeError: `latents` or `noise` is no float32 array.
            ValueError: They differ in shape, or a sampling attribute is out of range.
        """
        self._check_sampling()
        return self._native.forced_latents(
            native_state(state),
            text,
            latents,
            noise * np.float32(self.temp**0.5),
            self.sampler_decode_steps,
        )

    def decode_latents(
        self,
        latents: NDArray[np.float32],
        frames_per_call: int | Sequence[int] | None = None,
    ) -> NDArray[np.float32]:
        """Decode latents to audio, de-normalised, without a fade. For inspection.

        Args:
            latents: float32 `[frames, latent_dim]`, C-contiguous.
            frames_per_call: Frames in each step of the decoder, or the sizes of the steps, of
                which the last repeats; None for all frames in one step.

        Returns:
            float32 `[samples]` at `sample_rate` Hz.

        Raises:
            TypeError: `latents` is no float32 array.
            ValueError: `latents` has another shape or layout, or a step has no frame.
        """
        if frames_per_call is None:
            sizes = []
        elif isinstance(frames_per_call, int):
            sizes = [frames_per_call]
        else:
            sizes = list(frames_per_call)
        if any(size < 1 for size in sizes):
            raise ValueError(f"frames_per_call must be at least 1, found {frames_per_call}")
        return self._native.decode_latents(latents, sizes)
