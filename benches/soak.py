"""Many utterances with random early ends: threads, memory and sound must stay as they were.

    python benches/soak.py MODEL_DIRECTORY [--utterances N] [--precision int8]

Prints resident memory and threads as it goes; fails if an utterance after an early end differs from
the first one, or if memory or threads grow.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import threading
from pathlib import Path

import numpy as np
from pocket_tts_native import TTSModel

TEXT = "The quick brown fox jumps over the lazy dog and runs home."
#: Growth allowed between the first tenth and the end: the allocator's own unrest.
MAX_GROWTH_MB = 8.0


def status(key: str) -> int:
    """A number of /proc/self/status."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise KeyError(key)


def main() -> int:
    """Run and judge; 1 on a failure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--utterances", type=int, default=1000)
    parser.add_argument("--precision", choices=["f32", "bf16", "int8"], default="f32")
    arguments = parser.parse_args()
    # Without an end of speech every utterance warns.
    logging.getLogger("pocket_tts_native").setLevel(logging.ERROR)
    model = TTSModel.load_model(
        config=arguments.model / "config.yaml", eos_threshold=1e9, precision=arguments.precision
    )
    voice = model.get_state_for_audio_prompt("ref.wav")
    first = np.asarray(model.generate_audio(voice, TEXT, seed=1))
    choose = random.Random(1)
    baseline = (0, 0)
    step = max(arguments.utterances // 10, 1)
    print("| utterances | RSS MB | threads | Python threads |")
    print("|---|---|---|---|")
    for i in range(arguments.utterances + 1):
        if i % step == 0:
            again = np.asarray(model.generate_audio(voice, TEXT, seed=1))
            if not np.array_equal(again, first):
                print(f"utterance {i} differs from the first", file=sys.stderr)
                return 1
            now = (status("VmRSS"), status("Threads"))
            print(f"| {i} | {now[0] / 1024:.1f} | {now[1]} | {threading.active_count()} |")
            if i == step:
                baseline = now
        n_chunks = choose.randrange(4)
        stream = model.generate_audio_stream(voice, TEXT, seed=i)
        for _, _chunk in zip(range(n_chunks), stream, strict=False):
            pass
        if choose.random() < 0.5:
            stream.close()
        del stream
    grown_mb = (status("VmRSS") - baseline[0]) / 1024
    if grown_mb > MAX_GROWTH_MB or status("Threads") > baseline[1]:
        print(f"memory grew by {grown_mb:.1f} MB, threads to {status('Threads')}", file=sys.stderr)
        return 1
    stats = model.stats()
    n_over = stats.n_complete + stats.n_cancelled
    if stats.n_errors or n_over != stats.n_streams:
        print(f"streams went astray: {stats}", file=sys.stderr)
        return 1
    print(f"{n_over} streams, {stats.n_cancelled} of them ended early")
    print(f"memory grew by {grown_mb:.1f} MB, no thread was left")
    return 0


if __name__ == "__main__":
    sys.exit(main())
