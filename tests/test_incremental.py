"""Text that arrives in pieces: where its sentences end, and how it is spoken meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import threading
import time
from random import Random
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pytest
from pocket_tts_native import TTSModel
from pocket_tts_native.incremental import TextFeed
from pocket_tts_native.sentences import SentenceSplitter
from signals import voice_like

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from pocket_tts_native import Audio, AudioStream, VoiceState

NEVER: Final = 1e9
WAIT_S: Final = 30.0
TEXT: Final = 'Hello there. "Is it one?" she asked. It is 3.14 or so... he said. One, two'
SENTENCES: Final = ["Hello there.", '"Is it one?" she asked.', "It is 3.14 or so... he said."]
REST: Final = "One, two"


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> TTSModel:
    """A tiny model."""
    return TTSModel.load_model(config=tiny_model_dir / "config.yaml", num_threads=1)


@pytest.fixture(scope="module")
def endless(tiny_model_dir: Path) -> TTSModel:
    """A tiny model that never comes to an end of speech by itself."""
    config = tiny_model_dir / "config.yaml"
    return TTSModel.load_model(config=config, num_threads=1, eos_threshold=NEVER)


@pytest.fixture(scope="module")
def voice(model: TTSModel) -> VoiceState:
    """A voice made of ten frames of sound."""
    return model.get_state_for_audio_prompt(voice_like(1280, 1600))


def _sentences(pieces: list[str], max_tokens: int = 1000) -> list[str]:
    """The sentences of a text whose tokens are words, the rest last."""
    splitter = SentenceSplitter(lambda part: len(part.split()), max_tokens)
    return [*(part for piece in pieces for part in splitter.feed(piece)), splitter.finish()]


def _cut(text: str, random: Random) -> list[str]:
    """The text in random pieces, some of them empty."""
    places = sorted(random.choices(range(len(text) + 1), k=random.randrange(12)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def _spoken(
    model: TTSModel, voice: VoiceState, sentences: list[str], seed: int
) -> npt.NDArray[np.float32]:
    """The sentences, each spoken as a text of its own."""
    parts = [
        model.generate_audio(voice, text, seed=(seed + k) % 2**64)
        for k, text in enumerate(sentences)
    ]
    return np.concatenate(parts)


@pytest.mark.parametrize(
    "sentences",
    [
        ["One.", "Two!", "Three?", "Four\u2026", "Five"],
        ["Pi is 3.14.", "It is 2.718, not 1.5.", "So"],
        ["Dr. Smith and Mrs. J. K. Jones of the U.S. Army left.", "He did, e.g. today.", "So"],
        ["Am 3. Mai um 5. War es.", "Ja"],
        ["1. First thing.", "2. Second thing.", "End"],
        [
            '"Why?" she asked.',
            '"Because!"',
            "\u201cNo.\u201d",
            "(Really.)",
            "\u00abOui.\u00bb",
            "E",
        ],
        ["He waited... and waited\u2026 and left.", "Then...", "Nothing"],
        ["Wait . . . what?", "Hm?!", "Oh"],
        ["Was it 2024?", "It was in 2024.", "Yes, in 2024. 3 people came.", "So"],
        ["See example.com/a.html or x.py.", "Then"],
        [
            "\u4f60\u597d\u3002",
            "\u300c\u306a\u306b\uff1f\u300d\u3068\u8a00\u3063\u305f\u3002",
            "\u7d42",
        ],
        ["\u0928\u092e\u0938\u094d\u0924\u0947\u0964", "\u0915\u0948\u0938\u0947"],
        ["He said no.", "In a min.", "Modern art.", "Yes"],
        ["... well.", "? ! what!", "Yes"],
    ],
)
def test_where_sentences_end(sentences: list[str]) -> None:
    text = " ".join(sentences)
    if "\u3002" in text:
        text = "".join(sentences)
    assert _sentences([text]) == sentences
    assert _sentences(list(text)) == sentences
    assert _sentences([text.replace(" ", "\n")]) == [each.replace(" ", "\n") for each in sentences]


def test_a_sentence_is_complete_at_the_white_space() -> None:
    splitter = SentenceSplitter(len, 1000)
    assert list(splitter.feed("Hello there.")) == []
    assert list(splitter.feed(" ")) == ["Hello there."]
    assert list(splitter.feed('"Why?" ')) == []
    assert list(splitter.feed("S")) == ['"Why?"']


def test_pieces_do_not_matter() -> None:
    """Texts of random marks, words and spaces in random pieces; nothing is lost but white space."""
    random = Random(7)
    alphabet = [
        "a",
        "Dr",
        "word",
        "3",
        "2024",
        ".",
        "!",
        "...",
        '"',
        ")",
        ",",
        ";",
        " ",
        "\n",
        "\u3002",
    ]
    alphabet += [". ", "? ", ", ", "\u2026", "\u0130", "e.g.", " \u201c", "\U0001f600"]
    for _ in range(3000):
        text = "".join(random.choices(alphabet, k=random.randrange(60)))
        whole = _sentences([text], 1000)
        assert _sentences(_cut(text, random), 1000) == whole
        assert "".join("".join(whole).split()) == "".join(text.split())


def test_sentences_end_where_the_reference_splits(model: TTSModel) -> None:
    """A cut of ours is a cut of the whole text; the reference has more."""
    text = "hello there. it is one, or so it is. it is one two. then it is"

    def ends(parts: list[str]) -> set[int]:
        lengths = [sum(not c.isspace() for c in part) for part in parts]
        return {sum(lengths[: k + 1]) for k in range(len(parts) - 1)}

    ours = ends(_sentences([text]))
    assert len(ours) == 3
    assert ours <= ends(model.split_text(text, max_tokens=0))


def test_long_sentences_are_cut_at_weak_marks() -> None:
    text = "one two, three four five, six 1,000 seven eight nine ten; eleven twelve thirteen"
    parts = [
        "one two, three four five,",
        "six 1,000 seven eight nine ten;",
        "eleven twelve thirteen",
    ]
    assert _sentences(list(text), 5) == parts
    assert _sentences(["word " * 500], 5) == [("word " * 500).strip()]
    assert _sentences(["word " * 500 + ", so"], 5)[0].endswith(",")


def test_many_marks_take_no_quadratic_time() -> None:
    text = "hello " + ". " * 20_000 + ", " * 20_000
    begin = time.monotonic()
    assert "".join("".join(_sentences([text])).split()) == "".join(text.split())
    assert time.monotonic() - begin < WAIT_S


def test_audio_is_that_of_the_sentences(model: TTSModel, voice: VoiceState) -> None:
    whole = _spoken(model, voice, [*SENTENCES, REST], 5)
    random = Random(3)
    for pieces in ([TEXT], list(TEXT), _cut(TEXT, random), _cut(TEXT, random)):
        assert np.array_equal(model.generate_audio(voice, iter(pieces), seed=5), whole)
    top = 2**64 - 1
    expected = _spoken(model, voice, ["One.", "Two."], top)
    assert np.array_equal(model.generate_audio(voice, ["One. ", "Two."], seed=top), expected)


def test_speaks_before_the_text_is_complete(model: TTSModel, voice: VoiceState) -> None:
    has_heard = threading.Event()

    def pieces() -> Iterator[str]:
        yield "Hello "
        yield "there. "
        assert has_heard.wait(WAIT_S)
        yield "One"

    with model.generate_audio_stream(voice, pieces(), seed=1) as stream:
        first = next(stream)
        assert len(first) > 0
        has_heard.set()
        rest = list(stream)
    audio = np.concatenate([first, *rest])
    assert np.array_equal(audio, _spoken(model, voice, ["Hello there.", "One"], 1))


def test_state_goes_on_through_the_sentences(model: TTSModel, voice: VoiceState) -> None:
    state, expected_state = copy.copy(voice), copy.copy(voice)
    audio = model.generate_audio(state, ["Hello there. One"], copy_state=False, seed=1)
    parts = [
        model.generate_audio(expected_state, text, copy_state=False, seed=1 + k)
        for k, text in enumerate(["Hello there.", "One"])
    ]
    assert np.array_equal(audio, np.concatenate(parts))
    assert state.n_positions == expected_state.n_positions > voice.n_positions
    name = next(iter(state))
    assert np.array_equal(state[name]["cache"], expected_state[name]["cache"])


def test_an_error_of_the_producer_comes_after_the_audio(model: TTSModel, voice: VoiceState) -> None:
    def pieces() -> Iterator[str]:
        yield "Hello there. One. "
        yield "It is "
        raise ConnectionError("the line went dead")

    stream = model.generate_audio_stream(voice, pieces(), seed=2)
    heard = []
    while samples := _next_or_error(stream, ConnectionError):
        heard.append(samples[0])
    expected = _spoken(model, voice, ["Hello there.", "One."], 2)
    assert np.array_equal(np.concatenate(heard), expected)
    state = copy.copy(voice)
    with pytest.raises(ConnectionError, match="went dead"):
        model.generate_audio(state, pieces(), copy_state=False)
    assert state.n_positions == voice.n_positions


def test_the_producer_waits(endless: TTSModel, voice: VoiceState) -> None:
    """At most one sentence is spoken, one begun and two ready; then the producer is not asked."""
    n_asked = 0

    def pieces() -> Iterator[str]:
        nonlocal n_asked
        while True:
            n_asked += 1
            yield "one two. "

    with endless.generate_audio_stream(voice, pieces()) as stream:
        next(stream)
        time.sleep(0.3)
        assert n_asked <= 5
        n_before = n_asked
        time.sleep(0.2)
        assert n_asked == n_before
    time.sleep(0.2)
    assert n_asked <= n_before + 1, "closing lets no more than the waiting call return"


def test_closing_ends_the_thread_of_the_producer(endless: TTSModel, voice: VoiceState) -> None:
    is_released = threading.Event()

    def pieces() -> Iterator[str]:
        try:
            while True:
                yield "one two. "
        finally:
            is_released.set()

    stream = endless.generate_audio_stream(voice, pieces())
    next(stream)
    stream.close()
    assert is_released.wait(WAIT_S), "nobody holds the generator any more"
    assert next(stream, None) is None

    is_released.clear()
    stream = endless.generate_audio_stream(voice, pieces())
    next(stream)
    del stream
    gc.collect()
    assert is_released.wait(WAIT_S)


def test_close_and_stop_while_the_producer_is_silent(model: TTSModel, voice: VoiceState) -> None:
    is_over = threading.Event()

    def pieces() -> Iterator[str]:
        is_over.wait(WAIT_S)
        yield "one"

    stop = threading.Event()
    stream = model.generate_audio_stream(voice, pieces(), stop=stop)
    threading.Timer(0.1, stop.set).start()
    assert list(stream) == []
    stream = model.generate_audio_stream(voice, pieces())
    threading.Timer(0.1, stream.close).start()
    assert list(stream) == []
    is_over.set()


def test_what_is_no_text(model: TTSModel, voice: VoiceState) -> None:
    wrong: list[object] = [None, 7, b"one", {"one": 1}]
    for text in wrong:
        with pytest.raises(TypeError, match="text_to_generate"):
            model.generate_audio_stream(voice, text)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="pieces of type str, found int"):
        model.generate_audio(voice, [1])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="noise"):
        model.generate_audio_stream(voice, ["one"], noise=np.zeros((9, 8), np.float32))
    for blank in ([], ["", " "]):
        with pytest.raises(ValueError, match="empty"):
            model.generate_audio(voice, blank)

    async def pieces() -> AsyncIterator[str]:
        yield "one"

    with pytest.raises(TypeError, match="astream"):
        model.generate_audio_stream(voice, pieces())  # type: ignore[arg-type]


def test_a_rest_without_sound_is_left_out(model: TTSModel, voice: VoiceState) -> None:
    audio = model.generate_audio(voice, ["Hello there. ", "..."], seed=4)
    assert np.array_equal(audio, _spoken(model, voice, ["Hello there."], 4))


def test_astream_gives_the_same_audio(model: TTSModel, voice: VoiceState) -> None:
    async def pieces() -> AsyncIterator[str]:
        for character in TEXT:
            await asyncio.sleep(0)
            yield character

    async def main() -> None:
        whole = model.generate_audio(voice, TEXT, seed=5)
        audio = [samples async for samples in model.astream(voice, TEXT, seed=5)]
        assert np.array_equal(np.concatenate(audio), whole)
        expected = _spoken(model, voice, [*SENTENCES, REST], 5)
        for text in (pieces(), list(TEXT)):
            audio = [samples async for samples in model.astream(voice, text, seed=5)]
            assert np.array_equal(np.concatenate(audio), expected)

    asyncio.run(main())


def test_astream_speaks_several_at_once(model: TTSModel, voice: VoiceState) -> None:
    """More streams than a loop's own pool has threads, each waiting for its producer."""
    n_streams = 40

    async def main() -> None:
        may_go_on = asyncio.Event()
        n_heard = 0

        async def pieces() -> AsyncIterator[str]:
            yield "Hello there. "
            await may_go_on.wait()
            yield "One"

        async def listen(seed: int) -> npt.NDArray[np.float32]:
            nonlocal n_heard
            audio: list[Audio] = []
            async for samples in model.astream(voice, pieces(), seed=seed):
                if not audio:
                    n_heard += 1
                    if n_heard == n_streams:
                        may_go_on.set()
                audio.append(samples)
            return np.concatenate(audio)

        results = await asyncio.wait_for(
            asyncio.gather(*(listen(seed) for seed in range(n_streams))), WAIT_S
        )
        for seed in (0, n_streams - 1):
            expected = _spoken(model, voice, ["Hello there.", "One"], seed)
            assert np.array_equal(results[seed], expected)

    asyncio.run(main())


def test_astream_does_not_block_the_loop(endless: TTSModel, voice: VoiceState) -> None:
    async def main() -> None:
        n_turns = 0

        async def turn() -> None:
            nonlocal n_turns
            while True:
                n_turns += 1
                await asyncio.sleep(0.001)

        turning = asyncio.create_task(turn())
        endless.sampler_decode_steps = 3000
        try:
            async with contextlib.aclosing(endless.astream(voice, "one " * 50)) as stream:
                async for _ in stream:
                    break
        finally:
            endless.sampler_decode_steps = 1
        turning.cancel()
        assert n_turns > 5

    asyncio.run(main())


@pytest.mark.parametrize("way", ["cancel", "aclose", "break"])
def test_leaving_astream_ends_the_work(endless: TTSModel, voice: VoiceState, way: str) -> None:
    is_released = threading.Event()
    n_threads = threading.active_count()

    async def pieces() -> AsyncIterator[str]:
        try:
            while True:
                yield "one two. "
                await asyncio.sleep(0)
        finally:
            is_released.set()

    async def main() -> None:
        heard = asyncio.Event()

        async def listen() -> None:
            async for _ in endless.astream(voice, pieces()):
                heard.set()

        if way == "cancel":
            task = asyncio.create_task(listen())
            await asyncio.wait_for(heard.wait(), WAIT_S)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            stream = endless.astream(voice, pieces())
            await anext_of(stream)
            if way == "aclose":
                await stream.aclose()
            else:
                del stream

    asyncio.run(main())
    assert is_released.wait(WAIT_S)
    deadline = time.monotonic() + WAIT_S
    while threading.active_count() > n_threads + 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    # The engine's two loops stay.
    assert threading.active_count() <= n_threads + 2


def _next_or_error(stream: AudioStream, kind: type[Exception]) -> tuple[Audio] | None:
    """The next samples; None where reading them raises an error of that kind."""
    try:
        return (next(stream),)
    except kind:
        return None


async def anext_of(stream: AsyncIterator[Audio]) -> Audio:
    """The next samples, as Python 3.10's `anext` gives them."""
    return await stream.__anext__()


def test_errors_of_astream(model: TTSModel, voice: VoiceState) -> None:
    async def failing() -> AsyncIterator[str]:
        yield "Hello there. One"
        raise ConnectionError("the line went dead")

    async def cancelled() -> AsyncIterator[str]:
        yield "Hello there. One"
        raise asyncio.CancelledError

    async def main() -> None:
        with pytest.raises(TypeError, match="text_to_generate"):
            model.astream(voice, 7)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="empty"):
            await anext_of(model.astream(voice, " "))
        audio: list[Audio] = []
        with contextlib.suppress(ConnectionError):
            async for samples in model.astream(voice, failing(), seed=1):
                audio.append(samples)
            pytest.fail("the error did not arrive")
        assert np.array_equal(np.concatenate(audio), _spoken(model, voice, ["Hello there."], 1))
        with pytest.raises(asyncio.CancelledError):
            async for _ in model.astream(voice, cancelled(), seed=1):
                pass

    asyncio.run(asyncio.wait_for(main(), WAIT_S))


def test_a_closed_feed_takes_nothing() -> None:
    feed = TextFeed(len, 50)
    feed.close()
    feed.put("One. Two. Three. ")
    assert feed.take() is None
    assert feed.has_space
