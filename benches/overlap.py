"""Whether a caller's own work overlaps with the generation.

    python benches/overlap.py MODEL_DIRECTORY [--runs N]

For several times per frame that the caller needs, prints how long a whole utterance takes against
the longer of the two alone and against their sum. The caller sleeps: it stands for a sound card or
a network, not for a third computation on two cores.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from pathlib import Path

from pocket_tts_native import TTSModel

TEXT = "The quick brown fox jumps over the lazy dog and runs home."


def speak(model: TTSModel, voice: object, caller_ms: float) -> tuple[float, int]:
    """Seconds for one utterance whose caller needs `caller_ms` per frame, and its frames."""
    frame_size = int(model.sample_rate / 12.5)
    n_frames = 0
    begin = time.perf_counter()
    for chunk in model.generate_audio_stream(voice, TEXT, seed=1):
        frames = len(chunk) // frame_size
        n_frames += frames
        time.sleep(caller_ms * frames / 1000)
    return time.perf_counter() - begin, n_frames


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    # Without an end of speech every utterance warns.
    logging.getLogger("pocket_tts_native").setLevel(logging.ERROR)
    # No end of speech: every run has the same number of frames.
    model = TTSModel.load_model(config=arguments.model / "config.yaml", eos_threshold=1e9)
    voice = model.get_state_for_audio_prompt("ref.wav")
    speak(model, voice, 0.0)
    own = statistics.median(speak(model, voice, 0.0)[0] for _ in range(arguments.runs))
    _, n_frames = speak(model, voice, 0.0)
    print(f"{n_frames} frames; generation alone {own:.2f} s")
    print("| caller ms/frame | caller alone s | measured s | against max | against sum |")
    print("|---|---|---|---|---|")
    for ratio in (0.25, 0.5, 1.0, 2.0):
        caller_ms = ratio * own / n_frames * 1000
        alone = caller_ms * n_frames / 1000
        both = statistics.median(speak(model, voice, caller_ms)[0] for _ in range(arguments.runs))
        print(
            f"| {caller_ms:.1f} | {alone:.2f} | {both:.2f} | {both / max(own, alone):.2f} "
            f"| {both / (own + alone):.2f} |"
        )


if __name__ == "__main__":
    main()
