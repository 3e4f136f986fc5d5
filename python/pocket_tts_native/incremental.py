"""Speaking a text that is still being written, sentence by sentence.

    pieces of text → sentences → feed (≤ 2) → an utterance each, the next begun during the last

`TextFeed` joins two sides: whoever reads the producer, a thread or a task of an event loop, and
`IncrementalSpeech`, which the reader of the audio drives. A full feed makes the producer wait.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol, TypedDict

from pocket_tts_native.sentences import SentenceSplitter
from pocket_tts_native.stream import tell_overlong

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from pocket_tts_native import _native
    from pocket_tts_native.stream import StopEvent

# Sentences that wait to be spoken before the producer has to.
_MAX_WAITING: Final = 2
# How often a wait for text looks at `stop`, and lets Ctrl-C in where waits cannot be interrupted.
_SLICE_S: Final = 0.05


class SpeakOptions(TypedDict):
    """What all sentences of a text have in common; see `_native.Model.speak`."""

    max_tokens: int
    frames_after_eos: int | None
    temp: float
    decode_steps: int
    noise_clamp: float | None
    eos_threshold: float
    noise: NDArray[np.float32] | None
    continues: bool
    requires_eos: bool
    max_frames_per_call: int


class Speak(Protocol):
    """Starts to speak one sentence."""

    def __call__(
        self, text: str, index: int, state: _native.VoiceState | None
    ) -> _native.AudioStream:
        """Speak sentence number `index`, continuing `state` if it is given."""


class TextFeed:
    """Sentences on their way from the producer's side to the speaker's; any threads."""

    def __init__(self, count_tokens: Callable[[str], int], max_tokens: int) -> None:
        """Begin an empty text."""
        self._splitter = SentenceSplitter(count_tokens, max_tokens)
        self._changed = threading.Condition()
        self._sentences: deque[str] = deque()
        self._n_put = 0
        self._is_over = False
        self._is_closed = False
        self._error: BaseException | None = None
        self._on_space: Callable[[], None] | None = None

    @property
    def is_closed(self) -> bool:
        """Whether nobody wants more text."""
        return self._is_closed

    @property
    def has_space(self) -> bool:
        """Whether the producer may go on; True once nobody wants more."""
        return self._is_closed or len(self._sentences) < _MAX_WAITING

    def on_space(self, tell: Callable[[], None]) -> None:
        """Call `tell`, from any thread, whenever the producer may go on."""
        self._on_space = tell

    def put(self, piece: object) -> None:
        """Take a piece of text.

        Raises:
            TypeError: It is no string.
        """
        if not isinstance(piece, str):
            raise TypeError(
                f"text_to_generate must yield pieces of type str, found {type(piece).__name__}"
            )
        for sentence in self._splitter.feed(piece):
            self._put_sentence(sentence)

    def finish(self, error: BaseException | None = None) -> None:
        """End the text; after an `error` its unfinished sentence is not spoken."""
        rest = "" if error is not None else self._splitter.finish()
        # A rest without a letter or a digit has no sound, unless it is all there is.
        is_spoken = any(character.isalnum() for character in rest) or self._n_put == 0
        if error is None and is_spoken:
            self._put_sentence(rest)
        with self._changed:
            self._error = error
            self._is_over = True
            self._changed.notify_all()

    def close(self) -> None:
        """Tell both sides that no more text is wanted."""
        with self._changed:
            self._is_closed = True
            self._sentences.clear()
            self._changed.notify_all()
        self._tell_space()

    def wait_for_space(self) -> None:
        """Wait until the producer may go on."""
        with self._changed:
            self._changed.wait_for(lambda: self.has_space)

    def wait_for_sentence(self, timeout_s: float) -> bool:
        """Wait until `take` has something to tell, at most `timeout_s`; tell whether it has."""
        with self._changed:
            return self._changed.wait_for(self._is_ready, timeout_s)

    def take_waiting(self) -> str | None:
        """Give the next sentence if it is there."""
        with self._changed:
            sentence = self._sentences.popleft() if self._sentences else None
            self._changed.notify_all()
        if sentence is not None:
            self._tell_space()
        return sentence

    def take(self) -> str | None:
        """Give the next sentence; None at the end of the text.

        Raises:
            BaseException: What the producer raised, after its last sentence.
        """
        sentence = self.take_waiting()
        if sentence is None and self._error is not None and not self._is_closed:
            raise self._error
        return sentence

    def _is_ready(self) -> bool:
        return bool(self._sentences) or self._is_over or self._is_closed

    def _put_sentence(self, sentence: str) -> None:
        with self._changed:
            if not self._is_closed:
                self._sentences.append(sentence)
                self._n_put += 1
                self._changed.notify_all()

    def _tell_space(self) -> None:
        if self._on_space is not None and self.has_space:
            self._on_space()


class IncrementalSpeech:
    """The audio of a text that is being written; behaves as the engine's stream of one utterance.

    One thread at a time calls `next`; `cancel` may come from any.
    """

    # Told of each sentence when it begins.
    overlong_chunks: Final[list[tuple[int, int]]] = []

    def __init__(self, feed: TextFeed, speak: Speak, *, continues: bool) -> None:
        """Prepare to speak what comes through `feed`; with `continues`, each after the last."""
        self._feed = feed
        self._speak = speak
        self._continues = continues
        self._n_begun = 0
        self._n_frames_over = 0
        self._n_cuts_over = 0
        self._current: _native.AudioStream | None = None
        self._ahead: _native.AudioStream | None = None
        self._error: Exception | None = None  # of the beginning of the utterance ahead
        self._state: _native.VoiceState | None = None
        self._is_cancelled = False
        # The producer's side outlives a stream that nobody closes.
        weakref.finalize(self, feed.close)

    def next(self, stop: StopEvent | None) -> NDArray[np.float32] | None:
        """Wait for the next samples; None at the end, after `cancel`, and once `stop` is set.

        Raises:
            BaseException: What the producer or an utterance raised, after the audio before it.
        """
        while not self._is_cancelled:
            if self._current is None:
                self._current = self._next_utterance(stop)
                if self._current is None:
                    return None
                if self._is_cancelled:
                    break
            samples = self._current.next(stop)
            if samples is not None:
                # What continues an utterance needs its end; others may overlap it.
                if self._ahead is None and self._error is None and not self._continues:
                    self._begin_ahead()
                    if self._is_cancelled:
                        break
                return samples
            if stop is not None and stop.is_set():
                self.cancel()
                return None
            self._leave()
        self.cancel()
        return None

    def _next_utterance(self, stop: StopEvent | None) -> _native.AudioStream | None:
        """Wait for the next sentence to speak; None if there is none, or `stop` is set."""
        if self._error is not None:
            raise self._error
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return ahead
        while not self._feed.wait_for_sentence(_SLICE_S):
            if stop is not None and stop.is_set():
                self.cancel()
                return None
        sentence = self._feed.take()
        return None if sentence is None else self._begin(sentence)

    def _begin_ahead(self) -> None:
        """Begin the next sentence if it is there; its errors wait for their turn."""
        sentence = self._feed.take_waiting()
        if sentence is not None:
            try:
                self._ahead = self._begin(sentence)
            except Exception as error:  # noqa: BLE001 -- raised after the audio before it
                self._error = error

    def _begin(self, sentence: str) -> _native.AudioStream:
        utterance = self._speak(sentence, self._n_begun, self._state)
        self._n_begun += 1
        tell_overlong(utterance)
        return utterance

    def _leave(self) -> None:
        """Let go of the utterance that has come to its end."""
        if self._current is None:
            return
        self._n_frames_over += self._current.n_frames_generated
        self._n_cuts_over += self._current.n_chunks_cut
        if self._continues:
            self._state = self._current.final_state()
            if self._state is None:
                self.cancel()
        self._current = None

    def cancel(self) -> None:
        """End the work: at most the frame that is being computed is still finished."""
        self._is_cancelled = True
        self._feed.close()
        for utterance in self._utterances():
            utterance.cancel()

    def final_state(self) -> _native.VoiceState | None:
        """Tell the state after the last sentence of a finished text that continues."""
        return None if self._is_cancelled else self._state

    @property
    def n_frames_generated(self) -> int:
        """Frames that the language model has generated so far."""
        return self._n_frames_over + sum(each.n_frames_generated for each in self._utterances())

    @property
    def n_chunks_cut(self) -> int:
        """Chunks that reached their longest length without an end of speech."""
        return self._n_cuts_over + sum(each.n_chunks_cut for each in self._utterances())

    def _utterances(self) -> list[_native.AudioStream]:
        return [each for each in (self._current, self._ahead) if each is not None]


def check_text(text: object, noise: object, *, is_async: bool) -> None:
    """Refuse what is no text and no pieces of one.

    Raises:
        TypeError: It is neither.
        ValueError: It comes in pieces, which given noise cannot be shared out to.
    """
    if isinstance(text, str):
        return
    is_pieces = hasattr(text, "__iter__") or (is_async and hasattr(text, "__aiter__"))
    if not is_pieces or isinstance(text, (bytes, bytearray, Mapping)):
        advice = "; astream takes asynchronous ones" if hasattr(text, "__aiter__") else ""
        raise TypeError(
            "text_to_generate must be a str or an iterable of pieces of type str, found "
            f"{type(text).__name__}{advice}"
        )
    if noise is not None:
        raise ValueError("noise is for whole texts; pass seed= with pieces of text, or one str")


def begin_incremental(
    held: list[Iterable[str] | AsyncIterable[str]], feed: TextFeed, speak: Speak, *, continues: bool
) -> IncrementalSpeech:
    """Begin to read the pieces in a thread; asynchronous ones are read by the event loop's side.

    They are taken out of `held`, so that only who reads them keeps them alive.
    """
    pieces = held.pop()
    speech = IncrementalSpeech(feed, speak, continues=continues)
    if not hasattr(pieces, "__aiter__"):
        pull = threading.Thread(
            target=_pull, args=(iter(pieces), feed), name="pocket-tts-text", daemon=True
        )
        pull.start()
    return speech


def _pull(pieces: Iterator[str], feed: TextFeed) -> None:
    """Read `pieces` into `feed` until either ends."""
    error: BaseException | None = None
    try:
        for piece in pieces:
            if feed.is_closed:
                return
            feed.put(piece)
            feed.wait_for_space()
            if feed.is_closed:
                return
    except BaseException as raised:  # noqa: BLE001 -- raised where the audio is read
        error = raised
    feed.finish(error)
