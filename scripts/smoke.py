"""Show that an installed package works on this machine: what it is, and one tiny model that speaks.

    python scripts/smoke.py

Needs NumPy and the package, nothing of the tree but `tests/tiny_model.py`.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from pathlib import Path
from typing import Final

_TESTS: Final = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(_TESTS))

import numpy as np
import pocket_tts_native
from pocket_tts_native import TTSModel, build_info
from tiny_model import tiny_config, write_model

_TEXT: Final = "hello there, it is one."


def main() -> None:
    """Speak twice with one seed, whole and as a stream, and compare."""
    home = Path(pocket_tts_native.__file__).resolve().parent
    if home.is_relative_to(_TESTS.parent / "python"):
        sys.exit(f"{home} is the tree's package, not an installed one")
    info = build_info()
    sys.stdout.write(f"{platform.platform()}, Python {platform.python_version()}\n{home}\n{info}\n")
    if platform.machine().lower() in {"aarch64", "arm64"} and "neon" not in info["simd_level"]:
        sys.exit(f"expected a SIMD level of NEON on {platform.machine()}")
    with tempfile.TemporaryDirectory() as scratch:
        config = write_model(Path(scratch), tiny_config())
        model = TTSModel.load_model(config=config)
        rng = np.random.default_rng(1)
        prompt = rng.uniform(-0.5, 0.5, model.sample_rate).astype(np.float32)
        voice = model.get_state_for_audio_prompt(prompt, sample_rate=model.sample_rate)
        whole = model.generate_audio(voice, _TEXT, seed=7)
        with model.generate_audio_stream(voice, _TEXT, seed=7) as stream:
            pieces = list(stream)
        # Windows removes no file that is mapped.
        del model, voice
    if not np.isfinite(whole).all() or np.abs(whole).max() < 0.01:
        sys.exit("the speech is silent or not finite")
    if not np.array_equal(np.concatenate(pieces), whole):
        sys.exit("the stream differs from the whole")
    sys.stdout.write(f"spoke {whole.size} samples\n")


if __name__ == "__main__":
    main()
