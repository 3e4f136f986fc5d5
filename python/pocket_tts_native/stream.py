"""Speech as it is generated: an iterator over pieces of audio that can be closed at any time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from pocket_tts_native.audio import Audio

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self

    from pocket_tts_native import _native
    from pocket_tts_native.incremental import IncrementalSpeech

_LOGGER = logging.getLogger("pocket_tts_native")


class StopEvent(Protocol):
    """What tells a stream to end: a `threading.Event`, or anything that can be asked."""

    def is_set(self) -> bool:
        """Tell whether the work is to end."""


def tell_overlong(native: _native.AudioStream | IncrementalSpeech) -> None:
    """Warn of the chunks of a text that are longer than asked for."""
    for index, n_tokens in native.overlong_chunks:
        _LOGGER.warning(
            "chunk %d of the text has %d tokens and no place to split it, "
            "generation may skip words",
            index,
            n_tokens,
        )


class AudioStream(Iterator[Audio]):
    """The audio of one utterance, in pieces of one frame or more; `generate_audio_stream` makes it.

    The work starts at the first `next()` and goes on while the caller does other things, up to
    some seconds of audio that nobody has read. It ends with the last piece, `close()`, the end of
    a `with` block, the last reference to the stream, a set `stop` event or Ctrl-C; at most the
    frame that is being computed then is still finished. `stop` is looked at while the stream is
    read.
    """

    def __init__(
        self,
        start: Callable[[], _native.AudioStream | IncrementalSpeech],
        *,
        stop: StopEvent | None = None,
        on_final_state: Callable[[_native.VoiceState], None] | None = None,
    ) -> None:
        """Prepare a stream that `start` begins; for `TTSModel.generate_audio_stream`."""
        self._start = start
        self._stop = stop
        self._on_final_state = on_final_state
        self._native: _native.AudioStream | IncrementalSpeech | None = None
        # Re-entrant: a signal handler may close the stream in the middle of its start.
        self._starting = threading.RLock()
        self._is_over = False
        self._n_cuts_told = 0

    @property
    def n_frames_generated(self) -> int:
        """Frames of 80 ms that the language model has generated so far, read or not."""
        return 0 if self._native is None else self._native.n_frames_generated

    def __iter__(self) -> Self:
        """Return the stream itself."""
        return self

    def __next__(self) -> Audio:
        """Wait for the next piece of audio.

        Returns:
            float32 `[samples]`.

        Raises:
            RuntimeError: A part of the text reached its longest length without an end of speech,
                and `KPOCKET_TTS_ERROR_WITHOUT_EOS` is 1.
            StopIteration: The utterance is over, or the stream was closed or stopped.
            ValueError: The text is empty, or the given noise has too few rows.
        """
        if self._is_over:
            raise StopIteration
        try:
            samples = self._advance()
        except BaseException:
            self.close()
            raise
        if samples is None:
            self.close()
            raise StopIteration
        return samples.view(Audio)

    def _advance(self) -> NDArray[np.float32] | None:
        native = self._started()
        if native is None:
            return None
        samples = native.next(self._stop)
        for _ in range(native.n_chunks_cut - self._n_cuts_told):
            self._n_cuts_told += 1
            _LOGGER.warning(
                "maximum generation length reached without EOS, this very often indicates an error"
            )
        if samples is None and self._on_final_state is not None:
            final = native.final_state()
            if final is not None:
                self._on_final_state(final)
        return samples

    def _started(self) -> _native.AudioStream | IncrementalSpeech | None:
        """The engine's stream, begun if need be; None when there is nothing to begin any more."""
        with self._starting:
            if self._native is None and not self._is_over:
                if self._stop is not None and self._stop.is_set():
                    return None
                self._native = self._start()
                tell_overlong(self._native)
            return self._native

    def close(self) -> None:
        """End the work; further pieces are not delivered. May be called from any thread."""
        self._is_over = True
        with self._starting:
            native = self._native
        if native is not None:
            native.cancel()

    def __enter__(self) -> Self:
        """Return the stream itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the stream."""
        self.close()
