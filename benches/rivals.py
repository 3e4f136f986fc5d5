"""One run of one engine, in a process and an interpreter of its own; `compare.py` starts it.

    python benches/rivals.py '{"engine": "ours", ...}' MODEL_DIRECTORY RECORDING

Nothing but the standard library and the engine is imported, so that load times are the engine's.
"""

from __future__ import annotations

import abc
import json
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FRAME_RATE_HZ: Final = 12.5
# Above every logit.
_NO_EOS: Final = 1e9
# Frames of a recording as long as ref.wav.
_VOICE_FRAMES: Final = 112

TEXTS: Final = {
    "short": "Hello world.",
    "medium": "The quick brown fox jumps over the lazy dog, and the dog does not mind at all.",
    "long": (
        "In the morning the light came in through the window and fell on the table. "
        "How many people were there? Nobody knew, but someone had counted twenty seven. "
        "There is no reason to hurry when the train has already left the station. "
        "Speech is made of sounds, sounds are made of waves, and waves are made of numbers. "
        "Thank you very much for your patience, and good night."
    ),
}


@dataclass(frozen=True)
class Contender:
    """One way to run one engine.

    Attributes:
        engine: `ours`, `reference` or `ptts`.
        precision: The engine's own word.
        threads: Threads that it is given.
        model: Whose shapes: `english`, or a small model.
        simd: Level that our engine is forced to.
    """

    engine: str
    precision: str
    threads: int
    model: str = "english"
    simd: str = ""

    @property
    def name(self) -> str:
        """As the table calls it."""
        level = f" at {self.simd}" if self.simd else ""
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"{self.engine} {self.precision}{level}, {threads}"

    @property
    def kind(self) -> str:
        """The same without the threads: a rival counts at its better number."""
        return self.name.rpartition(", ")[0]

    def as_argument(self) -> str:
        """For the command line of this file."""
        return json.dumps(asdict(self))


class Engine(abc.ABC):
    """One engine, imported and ready to load."""

    sample_rate_hz: int

    def __init__(self, contender: Contender, directory: Path) -> None:
        """Import it."""
        self.contender = contender
        self.directory = directory

    @abc.abstractmethod
    def load(self) -> None:
        """Load the model."""

    @abc.abstractmethod
    def make_voice(self, recording: str) -> None:
        """Make the voice that it speaks with."""

    @abc.abstractmethod
    def speak(self, text: str) -> Iterable[Any]:
        """Speak; yields pieces of samples."""


class Pocket(Engine):
    """Ours and the reference, whose classes answer to the same names."""

    def __init__(self, contender: Contender, directory: Path) -> None:
        """Import it."""
        super().__init__(contender, directory)
        options: dict[str, Any] = {
            "config": str(directory / "config.yaml"),
            "eos_threshold": _NO_EOS,
        }
        if contender.engine == "ours":
            from pocket_tts_native import TTSModel

            options |= {"precision": contender.precision, "num_threads": contender.threads}
        else:
            import torch
            from pocket_tts import TTSModel

            # The package sets one thread when it is imported.
            torch.set_num_threads(contender.threads)
            options["quantize"] = contender.precision == "int8"
        self._load: Callable[[], Any] = lambda: TTSModel.load_model(**options)

    def load(self) -> None:
        """Load the model."""
        self._model = self._load()
        self.sample_rate_hz = self._model.sample_rate

    def make_voice(self, recording: str) -> None:
        """Encode the recording."""
        self._voice = self._model.get_state_for_audio_prompt(recording)

    def speak(self, text: str) -> Iterable[Any]:
        """Speak."""
        pieces: Iterable[Any] = self._model.generate_audio_stream(self._voice, text)
        return pieces


class Ptts(Engine):
    """The package `ptts`, which reads a directory with a `config.json` of its own."""

    def __init__(self, contender: Contender, directory: Path) -> None:
        """Import it."""
        super().__init__(contender, directory / "ptts")
        import ptts

        ptts.set_num_threads(contender.threads)
        self._package = ptts

    def load(self) -> None:
        """Load the model."""
        self._model = self._package.TTS(
            str(self.directory),
            quant=self.contender.precision,
            lang="none",
            eos_threshold=_NO_EOS,
        )
        self.sample_rate_hz = self._model.sample_rate

    def make_voice(self, recording: str) -> None:
        """Take random rows, as many as the recording has: no encoder is timed."""
        import numpy as np

        assert Path(recording).exists()
        width = json.loads((self.directory / "config.json").read_text())["flow_lm"]["d_model"]
        rows = np.random.default_rng(1).standard_normal((_VOICE_FRAMES, width), dtype=np.float32)
        self._model.add_voice_from_embedding("voice", rows)

    def speak(self, text: str) -> Iterable[Any]:
        """Speak."""
        with self._model.stream(text, voice="voice") as stream:
            yield from stream


_ENGINES: Final[dict[str, type[Engine]]] = {"ours": Pocket, "reference": Pocket, "ptts": Ptts}


def measure(contender: Contender, directory: Path, recording: str) -> dict[str, Any]:
    """Import, load, make the voice, then speak every text once after a short one to warm up."""
    import logging
    import warnings

    # Every text reaches its longest length, and the engines say so.
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    begin = time.perf_counter()
    engine = _ENGINES[contender.engine](contender, directory)
    imported = time.perf_counter()
    engine.load()
    loaded = time.perf_counter()
    engine.make_voice(recording)
    results: dict[str, Any] = {
        "import_s": imported - begin,
        "load_s": loaded - imported,
        "voice_s": time.perf_counter() - loaded,
        "texts": {},
    }
    frame_size = int(engine.sample_rate_hz / FRAME_RATE_HZ)
    anonymous_mb = 0.0
    for name, text in [("warm-up", TEXTS["short"]), *TEXTS.items()]:
        cpu, begin = time.process_time(), time.perf_counter()
        first = 0.0
        n_samples = 0
        for piece in engine.speak(text):
            first = first or time.perf_counter() - begin
            n_samples += len(piece)
        results["texts"][name] = {
            "wall_s": time.perf_counter() - begin,
            "cpu_s": time.process_time() - cpu,
            "first_audio_s": first,
            "frames": n_samples // frame_size,
        }
        anonymous_mb = max(anonymous_mb, _status_mb("RssAnon"))
    results["peak_rss_mb"] = _status_mb("VmHWM") or _peak_mb()
    results["anonymous_mb"] = anonymous_mb
    return results


def _status_mb(key: str) -> float:
    """A figure of /proc/self/status; 0 where there is none."""
    path = Path("/proc/self/status")
    if path.exists():
        for line in path.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def environment(contender: Contender) -> dict[str, str]:
    """The environment of the process that `contender` runs in."""
    variables = {"OMP_NUM_THREADS": str(contender.threads), "POCKET_VOICE_CACHE": "0"}
    if contender.simd:
        variables["POCKET_SIMD"] = contender.simd
    return dict(os.environ, **variables)


if __name__ == "__main__":
    print(json.dumps(measure(Contender(**json.loads(sys.argv[1])), Path(sys.argv[2]), sys.argv[3])))
