"""What `pocket-tts-native verify` checks: how far each precision is from f32, and how much faster.

Teacher-forced: every precision sees the same latents and noise before each frame, so errors do not
grow from frame to frame. `docs/precision.md` tells what the ratios mean and where the bounds come
from.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pocket_tts_native.model import TTSModel
    from pocket_tts_native.voice import VoiceState


class Bounds(NamedTuple):
    """Least signal-to-error ratios against f32, in dB."""

    latents_db: float
    audio_db: float


#: `docs/precision.md` gives them; f32 is compared with nothing.
BOUNDS: Final = {"bf16": Bounds(46.0, 40.0), "int8": Bounds(40.0, 40.0)}
EXACT: Final = "f32"
TEXT: Final = "The quick brown fox jumps over the lazy dog, and then it rests."
N_FRAMES: Final = 100
_SEED: Final = 1
# Above every logit: all precisions speak the same number of frames.
_NO_EOS: Final = 1e9


@dataclass(frozen=True)
class Verdict:
    """What one precision costs and brings.

    Attributes:
        precision: Its name.
        latents_db: Signal-to-error ratio of the network's share of the latents; infinite where
            nothing differs.
        eos_db: The same of the end-of-speech logits.
        audio_db: The same of the audio that the codec makes of the same latents.
        bounds: What the first and the last must reach.
        rtf: Real-time factor, the smallest of the runs.
        exact_rtf: That of f32 in the same minutes, in turns.
    """

    precision: str
    latents_db: float
    eos_db: float
    audio_db: float
    bounds: Bounds
    rtf: float
    exact_rtf: float

    @property
    def is_within(self) -> bool:
        """Whether both ratios reach their bounds."""
        # A comparison with NaN is false, as it should be.
        return self.latents_db >= self.bounds.latents_db and self.audio_db >= self.bounds.audio_db

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON, which has no infinity: None where nothing differs."""
        return {
            "precision": self.precision,
            "latents_db": _finite(self.latents_db),
            "eos_db": _finite(self.eos_db),
            "audio_db": _finite(self.audio_db),
            "least_latents_db": self.bounds.latents_db,
            "least_audio_db": self.bounds.audio_db,
            "is_within_bounds": self.is_within,
            "rtf": self.rtf,
            "exact_rtf": self.exact_rtf,
            "speedup": self.exact_rtf / self.rtf,
        }


def verify(
    load: Callable[[str], TTSModel],
    make_voice: Callable[[TTSModel], VoiceState],
    precisions: Sequence[str],
    *,
    n_runs: int,
    progress: Callable[[str], None],
) -> list[Verdict]:
    """Compare precisions with f32, one after the other.

    Args:
        load: Loads the model in a precision.
        make_voice: Makes the voice that all of them speak with.
        precisions: Names out of `BOUNDS`.
        n_runs: How often each pair is timed.
        progress: Called with a sentence before each part.

    Returns:
        A verdict for each.
    """
    progress(f"loading {EXACT}")
    exact = load(EXACT)
    voice = make_voice(exact)
    latent_dim = exact._native.latent_dim
    shape = (N_FRAMES + 1, latent_dim)
    normals = np.random.default_rng(_SEED).standard_normal(shape, dtype=np.float32)
    latents, _ = exact.generate_latents(voice, TEXT, frames=N_FRAMES, noise=normals)
    noise = np.ascontiguousarray(normals[:N_FRAMES] * np.float32(math.sqrt(exact.temp)))
    verdicts = []
    for precision in precisions:
        progress(f"loading {precision}")
        model = load(precision)
        progress(f"comparing {precision} over {N_FRAMES} frames")
        ratios_db = exact._native.fidelity(model._native, voice._native, TEXT, latents, noise)
        progress(f"timing {precision}")
        rtf, exact_rtf = _in_turns([model, exact], voice, n_runs)
        verdicts.append(Verdict(precision, *ratios_db, BOUNDS[precision], rtf, exact_rtf))
    return verdicts


def table(verdicts: Sequence[Verdict]) -> str:
    """The verdicts for a terminal."""
    head = (
        f"{'precision':<10}{'latents dB':>18}{'end of speech dB':>18}{'audio dB':>18}{'RTF':>8}"
        f"{'f32 RTF':>9}{'faster':>9}  verdict"
    )
    lines = [head]
    for verdict in verdicts:
        latents = f"{verdict.latents_db:.1f} (≥ {verdict.bounds.latents_db:.0f})"
        audio = f"{verdict.audio_db:.1f} (≥ {verdict.bounds.audio_db:.0f})"
        lines.append(
            f"{verdict.precision:<10}{latents:>18}{verdict.eos_db:>18.1f}{audio:>18}"
            f"{verdict.rtf:>8.3f}{verdict.exact_rtf:>9.3f}{verdict.exact_rtf / verdict.rtf:>8.2f}×  "
            f"{'within bounds' if verdict.is_within else 'OUTSIDE the bounds'}"
        )
    return "\n".join(lines)


def _in_turns(models: Sequence[TTSModel], voice: VoiceState, n_runs: int) -> list[float]:
    """The smallest real-time factor of each, over runs in turns."""
    for model in models:
        model.warmup()
        model.eos_threshold = _NO_EOS
    rtf: list[list[float]] = [[] for _ in models]
    for _ in range(n_runs):
        for model, own in zip(models, rtf, strict=True):
            begin_s = time.perf_counter()
            n_samples = len(model.generate_audio(voice, TEXT, seed=_SEED))
            own.append((time.perf_counter() - begin_s) * model.sample_rate / n_samples)
    return [min(own) for own in rtf]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
