"""Streams for `async for`: one thread waits for the audio, the event loop for the thread."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable

    from pocket_tts_native.audio import Audio
    from pocket_tts_native.incremental import TextFeed
    from pocket_tts_native.stream import AudioStream


async def audio_of(
    stream: AudioStream, pieces: AsyncIterable[str] | None = None, feed: TextFeed | None = None
) -> AsyncGenerator[Audio, None]:
    """Give the audio of `stream`; text comes from `pieces` through `feed`, if they are given."""
    loop = asyncio.get_running_loop()
    # A thread of its own: waits in the loop's pool would keep others from it.
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pocket-tts-stream")
    reading = None
    if pieces is not None and feed is not None:
        reading = loop.create_task(_read(pieces, feed))
    try:
        while (samples := await loop.run_in_executor(thread, next, stream, None)) is not None:
            yield samples
    finally:
        # Also on cancellation and `aclose()`: the thread's wait ends with the stream.
        stream.close()
        thread.shutdown(wait=False)
        if reading is not None and feed is not None:
            feed.close()
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading


async def _read(pieces: AsyncIterable[str], feed: TextFeed) -> None:
    """Read `pieces` into `feed` until either ends; errors go the same way as the text."""
    loop = asyncio.get_running_loop()
    has_space = asyncio.Event()

    def on_space() -> None:
        # Once the loop is closed, nobody waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(has_space.set)

    feed.on_space(on_space)
    try:
        async for piece in pieces:
            if feed.is_closed:
                return
            feed.put(piece)
            while not feed.has_space:
                has_space.clear()
                # The space may have come before the event was cleared.
                if not feed.has_space:
                    await has_space.wait()
    except BaseException as error:
        # Cancelled from within rather than by the end of the stream is an error like any other.
        feed.finish(error)
        if isinstance(error, asyncio.CancelledError):
            raise
    else:
        feed.finish()
