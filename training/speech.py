"""Speech of flite's voices, cut to whole frames."""

import os
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.features import FRAME_SAMPLES, HOP_SAMPLES, SAMPLE_RATE_HZ

# Brings the voices to about the same loudness.
GAINS = {"slt": 0.75, "rms": 1.35, "awb": 1.2}
LEAD_SAMPLES = 800
TAIL_SAMPLES = 960
SPEECH_THRESHOLD_DB = -38.0
FADE_SAMPLES = 160

Samples = npt.NDArray[np.float32]


class SpeechError(RuntimeError):
    """Flite gave no usable speech for a text."""


class Flite:
    """Flite as unpacked from Debian's packages."""

    def __init__(self, unpacked: Path) -> None:
        """Find the program and its libraries."""
        self._program = unpacked / "flite/usr/bin/flite"
        folders = [
            next((unpacked / package).glob(f"usr/lib/*/{library}")).parent
            for package, library in (
                ("libflite1", "libflite.so.1"),
                ("libasound2", "libasound.so.2"),
            )
        ]
        self._environment = os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, folders))}

    def speak(self, text: str, voice: str) -> Samples:
        """All that flite says, `[samples]` at 16 kHz, silence around it included."""
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "text"), Path(folder, "speech.wav")
            source.write_text(text, encoding="ascii")
            subprocess.run(
                [self._program, "-voice", voice, "-f", source, "-o", target],
                env=self._environment,
                check=True,
                timeout=120,
                stdin=subprocess.DEVNULL,
            )
            with wave.open(str(target)) as file:
                if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (
                    SAMPLE_RATE_HZ,
                    1,
                    2,
                ):
                    raise SpeechError(
                        f"expected 16 kHz mono of 16 bit from voice {voice}: check the version of flite"
                    )
                data = file.readframes(file.getnframes())
        samples = np.frombuffer(data, "<i2").astype(np.float32) / 32768.0
        return samples * np.float32(GAINS[voice])


def speech_span(samples: Samples) -> tuple[int, int]:
    """Where the speech begins, a fixed lead before its onset (may be negative), and where it ends."""
    n_hops = len(samples) // HOP_SAMPLES
    hops = samples[: n_hops * HOP_SAMPLES].reshape(n_hops, HOP_SAMPLES)
    power = (hops**2).mean(axis=1) + 1e-12
    loud = np.flatnonzero(power > power.max() * 10 ** (SPEECH_THRESHOLD_DB / 10))
    if n_hops == 0 or power.max() < 1e-5:
        raise SpeechError("expected speech, found silence: leave this text out")
    start = loud[0] * HOP_SAMPLES - LEAD_SAMPLES
    end = min(len(samples), (loud[-1] + 1) * HOP_SAMPLES + TAIL_SAMPLES)
    return int(start), int(end)


def whole_frames(samples: Samples) -> Samples:
    """The speech alone, a fade at both ends, zeros up to a whole frame."""
    start, end = speech_span(samples)
    cut = np.concatenate([np.zeros(max(0, -start), np.float32), samples[max(0, start) : end]])
    ramp = np.linspace(0.0, 1.0, FADE_SAMPLES, dtype=np.float32)
    cut[:FADE_SAMPLES] *= ramp
    cut[-FADE_SAMPLES:] *= ramp[::-1]
    return np.concatenate([cut, np.zeros(-len(cut) % FRAME_SAMPLES, np.float32)]).clip(-1.0, 1.0)
