"""Compare this engine with the PyTorch reference: the same model, voice and texts, the same frames.

    POCKET_REFERENCE_PYTHON=$(scripts/reference_env.sh) .venv/bin/python benches/compare.py

Every run is a process of its own; the engines take turns, so that a machine that slows down slows
all of them. The end of speech is disabled: each text lasts as long as the length rule allows, the
same number of frames for all, which is asserted. The table is printed, and written to
`benches/results/` with `--write`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_ROOT: Final = Path(__file__).resolve().parent.parent
_INTERPRETER_VARIABLE: Final = "POCKET_REFERENCE_PYTHON"
_FRAME_RATE_HZ: Final = 12.5
# Above every logit.
_NO_EOS: Final = 1e9

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
    """One way to run one engine."""

    engine: str
    precision: str
    threads: int

    @property
    def name(self) -> str:
        """As the table calls it."""
        return f"{self.engine} {self.precision}, {self.threads} thread{'s' * (self.threads > 1)}"


CONTENDERS: Final = (
    Contender("ours", "f32", 1),
    Contender("ours", "f32", 2),
    Contender("ours", "int8", 1),
    Contender("ours", "int8", 2),
    Contender("reference", "f32", 1),
    Contender("reference", "f32", 2),
    Contender("reference", "int8", 1),
    Contender("reference", "int8", 2),
)
# Ratios of the table: the reference's best against our best, by precision.
_RATIOS: Final = (("f32", "f32"), ("f32", "int8"), ("int8", "int8"))

# ---------------------------------------------------------------------------------------------
# One run, in a process of its own


def _load_ours(config: str, contender: Contender) -> Any:  # noqa: ANN401  either engine's class
    from pocket_tts_native import TTSModel

    return lambda: TTSModel.load_model(
        config=config,
        eos_threshold=_NO_EOS,
        precision=contender.precision,
        num_threads=contender.threads,
    )


def _load_reference(config: str, contender: Contender) -> Any:  # noqa: ANN401  either engine's class
    import torch
    from pocket_tts import TTSModel

    # The package sets one thread when it is imported.
    torch.set_num_threads(contender.threads)
    is_quantized = contender.precision == "int8"
    return lambda: TTSModel.load_model(config=config, eos_threshold=_NO_EOS, quantize=is_quantized)


def measure(contender: Contender, config: str, voice: str) -> dict[str, Any]:
    """Import, load, make the voice, then speak every text once after a short one to warm up."""
    import logging
    import warnings

    # Every text reaches its longest length, and both engines say so.
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    begin = time.perf_counter()
    load = {"ours": _load_ours, "reference": _load_reference}[contender.engine](config, contender)
    imported = time.perf_counter()
    model = load()
    loaded = time.perf_counter()
    state = model.get_state_for_audio_prompt(voice)
    results: dict[str, Any] = {
        "import_s": imported - begin,
        "load_s": loaded - imported,
        "voice_s": time.perf_counter() - loaded,
        "texts": {},
    }
    frame_size = int(model.sample_rate / _FRAME_RATE_HZ)
    for name, text in [("warm-up", TEXTS["short"]), *TEXTS.items()]:
        cpu, begin = time.process_time(), time.perf_counter()
        first = 0.0
        n_samples = 0
        for chunk in model.generate_audio_stream(state, text):
            first = first or time.perf_counter() - begin
            n_samples += len(chunk)
        results["texts"][name] = {
            "wall_s": time.perf_counter() - begin,
            "cpu_s": time.process_time() - cpu,
            "first_audio_s": first,
            "frames": n_samples // frame_size,
        }
    results["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return results


# ---------------------------------------------------------------------------------------------
# All runs, and the table


def _run(contender: Contender, config: Path, voice: Path) -> dict[str, Any]:
    interpreter = sys.executable
    if contender.engine == "reference":
        interpreter = os.environ[_INTERPRETER_VARIABLE]
    environment = dict(os.environ, OMP_NUM_THREADS=str(contender.threads), POCKET_VOICE_CACHE="0")
    command = [interpreter, __file__, "--measure", str(CONTENDERS.index(contender))]
    done = subprocess.run(
        [*command, str(config), str(voice)], env=environment, stdout=subprocess.PIPE, check=True
    )
    results: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return results


def _check_frames(runs: dict[str, list[dict[str, Any]]]) -> dict[str, int]:
    """The frames of every text, the same in all runs."""
    frames: dict[str, int] = {}
    for name in TEXTS:
        counts = {run["texts"][name]["frames"] for results in runs.values() for run in results}
        if len(counts) != 1:
            message = f"the engines made different numbers of frames of the {name} text: {counts}"
            raise AssertionError(message)
        frames[name] = counts.pop()
    return frames


def _figures(run: dict[str, Any], frames: dict[str, int]) -> dict[str, float]:
    """What the table shows of one run, lower is better for all."""
    texts = run["texts"]
    audio_s = {name: n / _FRAME_RATE_HZ for name, n in frames.items()}
    return {
        "RTF, long": texts["long"]["wall_s"] / audio_s["long"],
        "RTF, medium": texts["medium"]["wall_s"] / audio_s["medium"],
        "first audio, short, ms": 1e3 * texts["short"]["first_audio_s"],
        "first audio, medium, ms": 1e3 * texts["medium"]["first_audio_s"],
        "CPU-s per s of audio": texts["long"]["cpu_s"] / audio_s["long"],
        "peak RSS, MB": run["peak_rss_mb"],
        "import, s": run["import_s"],
        "load, s": run["load_s"],
        "voice, s": run["voice_s"],
    }


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.2f}"


def _table(figures: dict[str, list[dict[str, float]]]) -> str:
    """Minimum / median per contender, and ratios of the better minimum of each side."""
    rows = list(next(iter(figures.values()))[0])
    ratios = [f"reference {theirs} ÷ ours {ours}" for theirs, ours in _RATIOS]
    lines = [
        "| minimum / median | " + " | ".join([*figures, *ratios]) + " |",
        "|---" * (len(figures) + len(_RATIOS) + 1) + "|",
    ]
    for row in rows:
        best: dict[tuple[str, str], float] = {}
        cells = []
        for contender in CONTENDERS:
            values = [run[row] for run in figures[contender.name]]
            key = (contender.engine, contender.precision)
            best[key] = min(best.get(key, float("inf")), *values)
            cells.append(f"{_number(min(values))} / {_number(statistics.median(values))}")
        cells += [
            f"{best['reference', theirs] / best['ours', ours]:.2f}" for theirs, ours in _RATIOS
        ]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _output(*command: str) -> str:
    done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout.strip()


def machine() -> str:
    """CPU, compiler, commit and versions, as lines of a list in Markdown."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    commit = _output("git", "rev-parse", "--short", "HEAD")
    dirty = ", with changes" if _output("git", "status", "--porcelain", "--", "crates") else ""
    torch = _output(
        os.environ[_INTERPRETER_VARIABLE],
        "-c",
        "import importlib.metadata as m; print(m.version('pocket-tts'), 'torch', m.version('torch'))",
    )
    from pocket_tts_native import build_info

    return (
        f"- CPU: {cpu}, {len(os.sched_getaffinity(0))} cores, SIMD level "
        f"{build_info()['simd_level']}\n"
        f"- Compiler: {_output('rustc', '--version')}; commit {commit}{dirty}\n"
        f"- Reference: pocket-tts {torch}; Python {platform.python_version()}"
    )


def default_model() -> Path:
    """The folder of the random English model, made at the first call."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "pocket-tts-native" / "bench-model"
    if not (directory / "config.yaml").exists():
        script = _ROOT / "scripts" / "random_model.py"
        subprocess.run([sys.executable, str(script), str(directory)], check=True)
    return directory


def main() -> None:
    """Run all contenders in turns and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="directory of scripts/random_model.py")
    parser.add_argument("--voice", type=Path, default=_ROOT / "ref.wav", help="default: ref.wav")
    parser.add_argument("--runs", type=int, default=5, help="per contender; default: %(default)s")
    parser.add_argument("--write", action="store_true", help="write a table to benches/results/")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        index, model, recording = arguments.measure
        print(json.dumps(measure(CONTENDERS[int(index)], model, recording)))
        return
    if _INTERPRETER_VARIABLE not in os.environ:
        parser.error(
            f"set {_INTERPRETER_VARIABLE} to the path that scripts/reference_env.sh prints"
        )

    config = (arguments.model or default_model()) / "config.yaml"
    runs: dict[str, list[dict[str, Any]]] = {contender.name: [] for contender in CONTENDERS}
    for index in range(arguments.runs):
        for contender in CONTENDERS:
            print(f"run {index + 1} of {arguments.runs}: {contender.name}", file=sys.stderr)
            runs[contender.name].append(_run(contender, config, arguments.voice))
    frames = _check_frames(runs)
    figures = {name: [_figures(run, frames) for run in results] for name, results in runs.items()}
    today = datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()
    lengths = ", ".join(f"{name} {n} frames" for name, n in frames.items())
    report = (
        f"# Against the reference, {today}\n\n{machine()}\n"
        f"- Random weights of the English shapes, end of speech disabled: {lengths}; "
        f"{arguments.runs} runs each, in turns, one process each\n\n{_table(figures)}\n"
    )
    print(report)
    if arguments.write:
        path = _ROOT / "benches" / "results" / f"{today}-compare.md"
        path.write_text(report, encoding="utf-8")
        print(f"wrote {path.relative_to(_ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
