"""Time the start of both packages: help, import, loading, and one short sentence from the shell.

    POCKET_REFERENCE_PYTHON=$(scripts/reference_env.sh) .venv/bin/python benches/startup.py

Every run is a process of its own, timed from its start to its end; the packages take turns, and one
run of each that is not counted comes first, so that the files are in the system's cache. The model
is the random one of `compare.py`, its end of speech disabled: both speak for the same time. The
table is printed, and written to `benches/results/` with `--write`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path
from typing import Final

from compare import machine
from models import model_directory
from rivals import TEXTS

_ROOT: Final = Path(__file__).resolve().parent.parent
_OURS: Final = Path(sys.prefix) / "bin"
_PACKAGES: Final = ("pocket_tts_native", "pocket_tts")
# The programs may differ by what they hold back at the end, less than a frame of 80 ms.
_MAX_DIFFERENCE_S: Final = 0.08

Commands = dict[str, tuple[list[str], ...]]


def commands(reference: Path, model: Path, outputs: tuple[Path, Path]) -> Commands:
    """What is timed: by name, our command and the reference's."""
    pythons = (_OURS / "python", reference / "python")
    programs = (_OURS / "pocket-tts-native", reference / "pocket-tts")

    def code(template: str) -> tuple[list[str], ...]:
        return tuple(
            [str(python), "-c", template.format(package=package)]
            for python, package in zip(pythons, _PACKAGES, strict=True)
        )

    def program(*arguments: str) -> tuple[list[str], ...]:
        return tuple([str(path), *arguments] for path in programs)

    load = f"TTSModel.load_model(config={str(model / 'config.yaml')!r})"
    speak = program(
        *("generate", "--config", str(model / "config.yaml"), "--voice", str(_ROOT / "ref.wav")),
        *("--text", TEXTS["short"], "--eos-threshold", "1e9", "--quiet"),
    )
    speak = tuple(
        [*command, "--output-path", str(output)]
        for command, output in zip(speak, outputs, strict=True)
    )
    return {
        "python, nothing else": code("pass"),
        # The reference's program has no --version.
        "`--version`": ([str(programs[0]), "--version"],),
        "`--help`": program("--help"),
        "`import` of the package": code("import {package}"),
        "`from … import TTSModel`": code("from {package} import TTSModel"),
        "import and `load_model`": code("from {package} import TTSModel; " + load),
        f"`generate --text '{TEXTS['short']}'`": speak,
    }


def seconds(command: list[str]) -> float:
    """How long the command takes as a process; its output is shown if it fails."""
    begin = time.perf_counter()
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=_ROOT / "benches",
        check=False,
    )
    duration = time.perf_counter() - begin
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout.decode()}")
    return duration


def check_outputs(outputs: tuple[Path, Path]) -> None:
    """Both programs must have spoken, and for the same time."""
    lengths = []
    for output in outputs:
        with wave.open(str(output), "rb") as file:
            lengths.append(file.getnframes() / file.getframerate())
    if min(lengths) <= 0 or abs(lengths[0] - lengths[1]) > _MAX_DIFFERENCE_S:
        sys.exit(f"the programs spoke for {lengths[0]:.2f} and {lengths[1]:.2f} s")


def table(durations: dict[str, tuple[list[float], ...]]) -> str:
    """Minimum / median in seconds, and the ratio of the minima."""
    lines = ["| minimum / median, s | ours | reference | reference ÷ ours |", "|---|---|---|---|"]
    for name, sides in durations.items():
        cells = [f"{min(side):.3f} / {statistics.median(side):.3f}" for side in sides]
        ratio = f"{min(sides[1]) / min(sides[0]):.1f}" if len(sides) > 1 else "–"
        lines.append(f"| {name} | {cells[0]} | {cells[1] if len(cells) > 1 else '–'} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    """Time every command of both sides in turns, and print the table."""
    parser = argparse.ArgumentParser(description="Time the start of both packages.")
    parser.add_argument("--runs", type=int, default=5, help="runs of each; default: %(default)s")
    parser.add_argument("--model", type=Path, help="folder of a model; default: the random one")
    parser.add_argument("--write", action="store_true", help="write the table to benches/results/")
    arguments = parser.parse_args()
    model = (arguments.model or model_directory("english")).resolve()
    reference = Path(os.environ["POCKET_REFERENCE_PYTHON"]).parent
    with tempfile.TemporaryDirectory() as scratch:
        outputs = (Path(scratch, "ours.wav"), Path(scratch, "reference.wav"))
        todo = commands(reference, model, outputs)
        durations: dict[str, tuple[list[float], ...]] = {
            name: tuple([] for _ in sides) for name, sides in todo.items()
        }
        for run in range(arguments.runs + 1):
            for name, sides in todo.items():
                for side, command in zip(durations[name], sides, strict=True):
                    duration = seconds(command)
                    if run > 0:
                        side.append(duration)
        check_outputs(outputs)
    today = datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()
    report = (
        f"# Start-up against the reference, {today}\n\n{machine()}\n"
        f"- Whole processes, {arguments.runs} runs each, in turns, after one that is not counted; "
        f"random weights of the English shapes\n\n{table(durations)}\n"
    )
    print(report)
    if arguments.write:
        path = _ROOT / "benches" / "results" / f"{today}-startup.md"
        path.write_text(report, encoding="utf-8")
        print(f"wrote {path.relative_to(_ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
