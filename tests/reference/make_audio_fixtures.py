"""Make `tests/fixtures/audio`: one signal in every compressed format, and what libsndfile decodes.

Run by hand in an environment with `soundfile`: `python tests/reference/make_audio_fixtures.py`. The
signal has a formula, so tests compute it again; `*.i16` are the decoded samples, the mean of the
channels, as 16-bit integers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import soundfile

FIXTURES: Final = Path(__file__).parents[1] / "fixtures" / "audio"
RATE_HZ: Final = 8000
N_SAMPLES: Final = 6000


def signal() -> npt.NDArray[np.float64]:
    """Two channels, `[samples, 2]`: a swelling tone each and a common one."""
    time = np.arange(N_SAMPLES) / RATE_HZ
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * 4 * time)
    common = 0.2 * np.sin(2 * np.pi * 700 * time)
    tones = [0.5 * swell * np.sin(2 * np.pi * pitch * time) for pitch in (220, 330)]
    return np.stack([tone + common for tone in tones], axis=1)


def _xing_frame_bytes(data: bytes) -> int:
    """The length of the first MPEG-2.5 frame, which holds the encoder's tag."""
    bitrate = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)[(data[2] >> 4) - 1]
    return 72 * bitrate * 1000 // RATE_HZ + (data[2] >> 1 & 1)


def main() -> None:
    """Write all fixtures."""
    FIXTURES.mkdir(exist_ok=True)
    samples = signal()
    kinds = [
        ("flac16.flac", "FLAC", "PCM_16"),
        ("flac24.flac", "FLAC", "PCM_24"),
        ("vorbis.ogg", "OGG", "VORBIS"),
        ("opus.ogg", "OGG", "OPUS"),
        ("lame.mp3", "MP3", "MPEG_LAYER_III"),
    ]
    for name, kind, subtype in kinds:
        soundfile.write(FIXTURES / name, samples, RATE_HZ, format=kind, subtype=subtype)
    tagged = (FIXTURES / "lame.mp3").read_bytes()
    (FIXTURES / "untagged.mp3").write_bytes(tagged[_xing_frame_bytes(tagged) :])
    for name in ("vorbis.ogg", "lame.mp3", "untagged.mp3"):
        decoded, _ = soundfile.read(FIXTURES / name, dtype="float32")
        mono = np.round(decoded.mean(axis=1) * 32768)
        (FIXTURES / name).with_suffix(".i16").write_bytes(mono.astype("<i2").tobytes())


if __name__ == "__main__":
    main()
