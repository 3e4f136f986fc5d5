"""Memory and load times, with and without the cache of packed weights.

    .venv/bin/python benches/memory.py [--model DIRECTORY ...] [--write]

Every run is a process of its own that loads a model, makes the voice of `ref.wav` and speaks, with its
end of speech disabled. Peaks are those of the kernel (resident) and the largest of a thread's looks every
2 ms (anonymous). `cold` runs find none of the model's files in the system's cache. The table is printed,
and written to `benches/results/` with `--write`.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from models import model_directory

_ROOT: Final = Path(__file__).resolve().parent.parent
_PRECISIONS: Final = ("int8", "bf16", "f32")
_TEXT: Final = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all."
_MODES: Final = ("no cache", "first load", "packed cache", "packed cache, cold")
# One run: it imports what a user's program would, so that nothing else is measured.
_RUN: Final = """
import logging, sys, threading, time
from pocket_tts_native import TTSModel

def status(key):
    for line in open("/proc/self/status", encoding="ascii"):
        if line.startswith(key):
            return int(line.split()[1]) * 1024 / 1e6

def watch():
    while True:
        peak[0] = max(peak[0], status("RssAnon"))
        time.sleep(0.002)

config, precision, recording, text = sys.argv[1:]
logging.getLogger("pocket_tts_native").setLevel(logging.ERROR)  # without an end of speech all warn
peak = [0.0]
threading.Thread(target=watch, daemon=True).start()
begin = time.perf_counter()
model = TTSModel.load_model(config=config, precision=precision, eos_threshold=1e9)
load_s, loaded_mb = time.perf_counter() - begin, status("VmRSS")
begin = time.perf_counter()
voice = model.get_state_for_audio_prompt(recording)
voice_s = time.perf_counter() - begin
audio = model.generate_audio(voice, text, seed=1)
print({
    "load_s": load_s, "loaded_mb": loaded_mb, "voice_s": voice_s, "peak_mb": status("VmHWM"),
    "peak_anonymous_mb": peak[0], "n_samples": len(audio), "notes": model._native.load_notes,
})
"""
# A row of the table, and its key in a run's figures.
_ROWS: Final = (
    ("load, s", "load_s"),
    ("peak resident, MB", "peak_mb"),
    ("peak anonymous, MB", "peak_anonymous_mb"),
    ("resident after the load, MB", "loaded_mb"),
    ("voice, s", "voice_s"),
)


def _forget(*folders: Path) -> None:
    """Drop the files of folders from the system's cache."""
    os.sync()
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        file = os.open(path, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def measure(model: Path, precision: str, mode: str, cache: Path) -> dict[str, Any]:
    """One run, in a process of its own."""
    environment = dict(os.environ, POCKET_CACHE_DIR=str(cache), POCKET_VOICE_CACHE="0")
    if mode == "no cache":
        environment["POCKET_PACKED_CACHE"] = "0"
    if mode == "first load":
        for entry in cache.rglob(f"*-{precision}-*.packed"):
            entry.unlink()
    if mode.endswith("cold"):
        _forget(model, cache)
    arguments = [str(model / "config.yaml"), precision, str(_ROOT / "ref.wav"), _TEXT]
    command = [sys.executable, "-c", _RUN, *arguments]
    output = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    figures: dict[str, Any] = ast.literal_eval(output)
    expected = {"no cache": [], "first load": ["wrote"]}.get(mode, ["read"])
    notes = [note.split()[0] for note in figures["notes"]]
    if notes != expected or figures["n_samples"] == 0:
        sys.exit(f"{mode}: the run was not what it should be: {figures}")
    return figures


def program(model: Path, precision: str, cache: Path, n_runs: int) -> list[float]:
    """Seconds of `generate --text "Hello world."` as a whole process, all caches warm."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            *(str(Path(sys.prefix) / "bin" / "pocket-tts-native"), "generate"),
            *("--config", str(model / "config.yaml"), "--voice", str(_ROOT / "ref.wav")),
            *("--text", "Hello world.", "--eos-threshold", "1e9", "--quiet"),
            *("--precision", precision, "--output-path", str(Path(scratch, "hello.wav"))),
        ]
        environment = dict(os.environ, POCKET_CACHE_DIR=str(cache))
        durations = []
        for _ in range(n_runs + 1):
            begin = time.perf_counter()
            subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL)
            durations.append(time.perf_counter() - begin)
    return durations[1:]


def _cell(values: list[float], digits: int) -> str:
    return f"{min(values):.{digits}f} / {statistics.median(values):.{digits}f}"


def table(model: Path, precision: str, n_runs: int) -> str:
    """The figures of one model and precision, minimum / median."""
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch)
        runs: dict[str, list[dict[str, Any]]] = {mode: [] for mode in _MODES}
        for _ in range(n_runs):
            for mode in _MODES:
                runs[mode].append(measure(model, precision, mode, cache))
        [entry] = cache.rglob("*.packed")
        packed_mb = entry.stat().st_size / 1e6
        whole = program(model, precision, cache, n_runs)
    head = (
        f"{precision}, packed to {packed_mb:.0f} MB; `generate --text 'Hello world.'` as a process, "
        f"caches warm: {_cell(whole, 2)} s\n"
    )
    lines = [
        head,
        f"| minimum / median | {' | '.join(_MODES)} |",
        "|---" * (len(_MODES) + 1) + "|",
    ]
    for name, key in _ROWS:
        digits = 3 if key == "load_s" else 2 if key.endswith("_s") else 0
        cells = [_cell([run[key] for run in runs[mode]], digits) for mode in _MODES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _machine() -> str:
    from pocket_tts_native import build_info

    info = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next(
        (line.partition(":")[2].strip() for line in info if line.startswith("model name")), ""
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return (
        f"- CPU: {cpu or platform.machine()}, {len(os.sched_getaffinity(0))} cores, SIMD level "
        f"{build_info()['simd_level']}; Linux {platform.release()}\n"
        f"- Commit {commit}; Python {platform.python_version()}"
    )


def main() -> None:
    """Measure every model in every precision, and print the tables."""
    parser = argparse.ArgumentParser(description="Measure memory and load times.")
    parser.add_argument("--model", type=Path, nargs="+", help="folders; default: the random one")
    parser.add_argument("--runs", type=int, default=3, help="runs of each; default: %(default)s")
    parser.add_argument("--precision", nargs="+", default=_PRECISIONS, choices=_PRECISIONS)
    parser.add_argument("--write", action="store_true", help="write the table to benches/results/")
    arguments = parser.parse_args()
    models = [path.resolve() for path in arguments.model or [model_directory("english")]]
    parts = [
        f"## {model.name}: {(model / 'model.safetensors').stat().st_size / 1e6:.0f} MB, {table(model, precision, arguments.runs)}"
        for model in models
        for precision in arguments.precision
    ]
    today = datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()
    report = (
        f"# Memory and load times, {today}\n\n{_machine()}\n- {arguments.runs} runs of each, in turns, one process "
        f'each: load, voice of `ref.wav`, then "{_TEXT}"\n\n' + "\n\n".join(parts) + "\n"
    )
    print(report)
    if arguments.write:
        path = _ROOT / "benches" / "results" / f"{today}-memory.md"
        path.write_text(report, encoding="utf-8")
        print(f"wrote {path.relative_to(_ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
