"""Playing audio on the sound card while it is spoken; needs the extra `play`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pocket_tts_native.wav import pcm_from_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pocket_tts_native.audio import Audio


@contextlib.contextmanager
def open_player(sample_rate_hz: int) -> Iterator[Callable[[Audio], None]]:
    """Open the sound card; what is written is heard to its end unless an exception leaves.

    Raises:
        ImportError: `sounddevice` or the library that it needs is missing.
        RuntimeError: There is no usable sound card.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise ImportError(
            "--play needs sounddevice; install it with pip install 'pocket-tts-native[play]'"
        ) from error
    except OSError as error:
        raise ImportError(
            f"--play needs the PortAudio library ({error}); on Debian: apt-get install libportaudio2"
        ) from error
    try:
        card = sounddevice.RawOutputStream(samplerate=sample_rate_hz, channels=1, dtype="int16")
        card.start()
    except sounddevice.PortAudioError as error:
        raise RuntimeError(
            f"the sound card cannot be opened ({error}); leave out --play and pass --output-path"
        ) from error
    try:
        yield lambda samples: card.write(pcm_from_samples(samples))
    except BaseException:
        card.abort()
        raise
    else:
        card.stop()  # waits for what is buffered
    finally:
        card.close()
