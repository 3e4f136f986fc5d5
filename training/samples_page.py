"""Writes `docs/samples/index.html`: the embedded voices beside their teachers, to hear and to see.

`python -m training.samples_page`. The page is complete in itself: sounds and pictures are in it. Needs no
PyTorch.
"""

import base64
import html
import io
import struct
import wave
import zlib
from pathlib import Path

import numpy as np
from pocket_tts_native import TTSModel, embedded

from training.features import (
    FRAME_SAMPLES,
    HOPS_PER_FRAME,
    MEL_BANDS,
    SAMPLE_RATE_HZ,
    Array,
    frame_features,
)
from training.paths import data_folder
from training.speech import Flite, whole_frames

PAGE = Path(__file__).parent.parent / "docs" / "samples" / "index.html"
# None of them is in the training text.
TEXTS = {
    "slt": "Hello world, this is a small voice.",
    "rms": "The wind had dropped, and nobody on the boat said a word.",
    "awb": "Are there any questions about the second chapter?",
}
SEED = 1
# Darkest and brightest log amplitude of the pictures.
RANGE = (-4.0, 2.0)

HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>The embedded voices of pocket-tts-native</title>
<style>
body { font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }
figure { display: inline-block; margin: 0 2em 1em 0; }
img { display: block; height: 128px; image-rendering: pixelated; }
audio { display: block; }
</style>
<h1>The embedded voices</h1>
<p>Left what the package says with <code>--language embedded --seed 1</code>, right the same sentence by the speech
engine that taught it. Above each player the spectrum, 40 Hz to 8 kHz on the mel scale.</p>
"""


def wav_bytes(samples: Array) -> bytes:
    """16-bit mono."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def png_bytes(picture: np.ndarray) -> bytes:
    """Grey levels `[rows, columns]` of 8 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    rows, columns = picture.shape
    lines = b"".join(b"\0" + row.tobytes() for row in picture)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def spectrogram(samples: Array) -> np.ndarray:
    """Log-mel bands, loud ones dark, low ones below, `[bands, hops]`."""
    whole = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES]
    hops = frame_features(whole).reshape(len(whole) // FRAME_SAMPLES * HOPS_PER_FRAME, -1)
    level = (hops[:, :MEL_BANDS] - RANGE[0]) / (RANGE[1] - RANGE[0])
    return (255 * (1 - level.clip(0, 1))).astype(np.uint8).T[::-1]


def figure(caption: str, samples: Array) -> str:
    """A picture and a player."""
    sound = base64.b64encode(wav_bytes(samples)).decode()
    picture = base64.b64encode(png_bytes(spectrogram(samples))).decode()
    return (
        f'<figure><img alt="spectrum" src="data:image/png;base64,{picture}">'
        f'<audio controls src="data:audio/wav;base64,{sound}"></audio>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>\n"
    )


def main() -> None:
    """Write the page."""
    model = TTSModel.load_model(embedded.LANGUAGE)
    flite = Flite(data_folder() / "unpacked")
    parts = [HEAD]
    for voice, text in TEXTS.items():
        ours = model.generate_audio(model.get_state_for_audio_prompt(voice), text, seed=SEED)
        teacher = whole_frames(flite.speak(text, voice))
        parts.append(f"<h2>{voice}</h2>\n<p>{html.escape(text)}</p>\n")
        parts.append(figure("pocket-tts-native", np.asarray(ours)))
        parts.append(figure("flite", teacher))
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text("".join(parts), encoding="utf-8")
    print(f"{PAGE}: {PAGE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
