"""Compare this engine with its rivals: the same weights, voice and texts, the same frames.

    POCKET_REFERENCE_PYTHON=$(scripts/reference_env.sh) POCKET_PTTS_PYTHON=$(scripts/ptts_env.sh) \
        .venv/bin/python benches/compare.py

Rivals are the PyTorch reference and, where its interpreter is named, the package `ptts`. Every run
is a process of its own; the engines take turns, so that a machine that slows down slows all of
them. The end of speech is disabled: each text lasts as long as the length rule allows, the same
number of frames for all, which is asserted. Each rival counts at its better number of threads. The
tables are printed, and written to `benches/results/` with `--write`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models import SMALL, model_directory, write_ptts_directory
from rivals import FRAME_RATE_HZ, TEXTS, Contender, environment

_ROOT: Final = Path(__file__).resolve().parent.parent
_REFERENCE_VARIABLE: Final = "POCKET_REFERENCE_PYTHON"
_PTTS_VARIABLE: Final = "POCKET_PTTS_PYTHON"
_THREADS: Final = (1, 2)
# `ptts` splits texts by rules of its own; its real-time factor counts its own frames.
_MAX_PTTS_DIFFERENCE: Final = 0.15

Runs = dict[Contender, list[dict[str, Any]]]
Figures = dict[Contender, list[dict[str, float]]]


@dataclass(frozen=True)
class Target:
    """A ratio of the rival's best figure to ours, or with no rival our best figure itself."""

    figure: str
    ours: str
    rival: str
    required: float
    aim: float

    def is_met(self, value: float) -> bool:
        """Ratios are to be large, our own figures small."""
        return value >= self.required if self.rival else value <= self.required


_RTF: Final = "RTF, long"
TARGETS: Final = (
    Target(_RTF, "ours int8", "reference f32", 6, 9),
    Target(_RTF, "ours int8", "reference int8", 3.5, 5),
    Target(_RTF, "ours int8", "ptts q8_0", 3.5, 5),
    Target(_RTF, "ours f32", "reference f32", 2, 2.5),
    Target("first audio, short, ms", "ours int8", "reference f32", 5, 5),
    Target("first audio, medium, ms", "ours int8", "reference f32", 5, 5),
    Target(_RTF, "ours int8 at avx2", "reference f32", 3, 5),
    Target(_RTF, "ours int8 at sse4", "reference f32", 1.2, 2),
    Target("first audio, short, ms", "ours int8", "", 15, 15),
    Target("first audio, medium, ms", "ours int8", "", 25, 25),
    Target("peak RSS, MB", "ours int8", "", 200, 150),
    Target("anonymous, MB", "ours int8", "", 60, 60),
    Target("load, s", "ours int8", "", 0.3, 0.1),
)
SMALL_TARGET: Final = Target(_RTF, "ours int8", "reference f32", 8, 20)


def english_contenders() -> list[Contender]:
    """Those of the large model that can run here."""
    from pocket_tts_native import build_info

    kinds = [("ours", "f32"), ("ours", "int8"), ("reference", "f32"), ("reference", "int8")]
    if _PTTS_VARIABLE in os.environ:
        kinds += [("ptts", "f32"), ("ptts", "q8_0"), ("ptts", "q4k")]
    contenders = [Contender(*kind, threads) for kind in kinds for threads in _THREADS]
    levels = build_info()["simd_levels_available"]
    simd = [level for level in ("avx2", "sse4") if level in levels]
    return contenders + [
        Contender("ours", "int8", threads, simd=level) for level in simd for threads in _THREADS
    ]


def small_contenders(model: str) -> list[Contender]:
    """Those of a small model."""
    kinds = [("ours", "f32"), ("ours", "int8"), ("reference", "f32")]
    return [Contender(*kind, threads, model) for kind in kinds for threads in _THREADS]


def _run(contender: Contender, voice: Path) -> dict[str, Any]:
    interpreters = {
        "ours": sys.executable,
        "reference": os.environ.get(_REFERENCE_VARIABLE, ""),
        "ptts": os.environ.get(_PTTS_VARIABLE, ""),
    }
    script = str(Path(__file__).with_name("rivals.py"))
    directory = str(model_directory(contender.model))
    command = [interpreters[contender.engine], script, contender.as_argument(), directory]
    done = subprocess.run(
        [*command, str(voice)], env=environment(contender), stdout=subprocess.PIPE, check=True
    )
    results: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return results


def _run_in_turns(contenders: list[Contender], voice: Path, n_runs: int) -> Runs:
    runs: Runs = {contender: [] for contender in contenders}
    for index in range(n_runs):
        for contender in contenders:
            print(
                f"run {index + 1} of {n_runs}: {contender.model}, {contender.name}", file=sys.stderr
            )
            runs[contender].append(_run(contender, voice))
    return runs


def _check_frames(runs: Runs) -> dict[str, int]:
    """The frames of every text, the same in all runs; those of `ptts` nearly so."""
    frames: dict[str, int] = {}
    for name in TEXTS:
        counts = {
            engine: {
                run["texts"][name]["frames"]
                for contender, results in runs.items()
                if (contender.engine == "ptts") == (engine == "ptts")
                for run in results
            }
            for engine in ("ours", "ptts")
        }
        if len(counts["ours"]) != 1:
            raise AssertionError(
                f"different numbers of frames of the {name} text: {counts['ours']}"
            )
        frames[name] = counts["ours"].pop()
        for other in counts["ptts"]:
            if abs(other / frames[name] - 1) > _MAX_PTTS_DIFFERENCE:
                raise AssertionError(f"ptts made {other} frames of the {name} text, not {frames}")
    return frames


def _figures(run: dict[str, Any]) -> dict[str, float]:
    """What the table shows of one run, lower is better for all."""
    texts = run["texts"]
    audio_s = {name: texts[name]["frames"] / FRAME_RATE_HZ for name in TEXTS}
    return {
        _RTF: texts["long"]["wall_s"] / audio_s["long"],
        "RTF, medium": texts["medium"]["wall_s"] / audio_s["medium"],
        "first audio, short, ms": 1e3 * texts["short"]["first_audio_s"],
        "first audio, medium, ms": 1e3 * texts["medium"]["first_audio_s"],
        "CPU-s per s of audio": texts["long"]["cpu_s"] / audio_s["long"],
        "peak RSS, MB": run["peak_rss_mb"],
        "anonymous, MB": run["anonymous_mb"],
        "import, s": run["import_s"],
        "load, s": run["load_s"],
        "voice, s": run["voice_s"],
    }


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.3g}"


def _table(figures: Figures) -> str:
    """Minimum / median per contender."""
    rows = list(next(iter(figures.values()))[0])
    lines = ["| minimum / median | " + " | ".join(rows) + " |", "|---" * (len(rows) + 1) + "|"]
    for contender, runs in figures.items():
        cells = []
        for row in rows:
            values = [run[row] for run in runs]
            cells.append(f"{_number(min(values))} / {_number(statistics.median(values))}")
        lines.append(f"| {contender.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _best(figures: Figures, kind: str, figure: str) -> float | None:
    """The smallest value of a kind, at whichever number of threads; None if it did not run."""
    values = [run[figure] for c, runs in figures.items() if c.kind == kind for run in runs]
    return min(values) if values else None


def _verdicts(figures: Figures, targets: tuple[Target, ...]) -> str:
    lines = ["| figure | against | measured | required | aim | |", "|---|---|---|---|---|---|"]
    for target in targets:
        ours = _best(figures, target.ours, target.figure)
        rival = _best(figures, target.rival, target.figure) if target.rival else 1.0
        name = f"{target.figure}: {target.ours}"
        against = target.rival or "–"
        sign, unit = ("≥", "×") if target.rival else ("≤", "")
        bounds = f"{sign} {target.required:g}{unit} | {target.aim:g}{unit}"
        if ours is None or rival is None:
            lines.append(f"| {name} | {against} | NOT RUN | {bounds} | |")
            continue
        value = rival / ours if target.rival else ours
        verdict = "pass" if target.is_met(value) else "**miss**"
        lines.append(f"| {name} | {against} | {_number(value)}{unit} | {bounds} | {verdict} |")
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
        os.environ[_REFERENCE_VARIABLE],
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


def _section(title: str, runs: Runs, targets: tuple[Target, ...]) -> str:
    frames = _check_frames(runs)
    figures = {c: [_figures(run) for run in results] for c, results in runs.items()}
    lengths = ", ".join(f"{name} {n} frames" for name, n in frames.items())
    return f"## {title}\n\n{lengths}\n\n{_table(figures)}\n\n{_verdicts(figures, targets)}\n"


def main() -> None:
    """Run all contenders in turns and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--voice", type=Path, default=_ROOT / "ref.wav", help="default: ref.wav")
    parser.add_argument("--runs", type=int, default=5, help="per contender; default: %(default)s")
    parser.add_argument(
        "--only", choices=["english", *SMALL], help="one model's shapes; default: all"
    )
    parser.add_argument("--write", action="store_true", help="write the tables to benches/results/")
    arguments = parser.parse_args()
    if _REFERENCE_VARIABLE not in os.environ:
        parser.error(f"set {_REFERENCE_VARIABLE} to the path that scripts/reference_env.sh prints")
    if _PTTS_VARIABLE in os.environ:
        write_ptts_directory(model_directory("english"), os.environ[_PTTS_VARIABLE])
    else:
        print(f"NOT RUN: ptts; scripts/ptts_env.sh prints {_PTTS_VARIABLE}", file=sys.stderr)

    sections = []
    if arguments.only in {None, "english"}:
        runs = _run_in_turns(english_contenders(), arguments.voice, arguments.runs)
        sections.append(_section("English shapes, 100M", runs, TARGETS))
    for model in SMALL:
        if arguments.only in {None, model}:
            runs = _run_in_turns(small_contenders(model), arguments.voice, arguments.runs)
            sections.append(_section(f"{model} shapes", runs, (SMALL_TARGET,)))
    today = datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()
    report = (
        f"# Against the rivals, {today}\n\n{machine()}\n"
        f"- Random weights, end of speech disabled; {arguments.runs} runs each, in turns, one "
        "process each. Ratios are of minima, each side at its better number of threads.\n\n"
        + "\n".join(sections)
    )
    print(report)
    if arguments.write:
        path = _ROOT / "benches" / "results" / f"{today}-compare.md"
        path.write_text(report, encoding="utf-8")
        print(f"wrote {path.relative_to(_ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
