"""The commands `benchmark` and `verify`: reports go to stdout, progress to stderr."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from pocket_tts_native.commands import CommandError, load_for, say, set_up_messages

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from pocket_tts_native import TTSModel, VoiceState

_YAML_SUFFIXES: Final = (".yaml", ".yml")


def resolve_model(arguments: argparse.Namespace) -> None:
    """Take `--model` for the name of a released model or for a configuration, by its suffix."""
    model = arguments.model
    if model is None:
        return
    name = model.split("@")[0] if model.startswith("hf://") else model
    if PurePath(name).suffix in _YAML_SUFFIXES:
        arguments.config = model
    else:
        arguments.language = model


def benchmark(arguments: argparse.Namespace) -> None:
    """Measure one model on this machine and report."""
    from pocket_tts_native import benchmarking

    _check_runs(arguments)
    _prepare(arguments)
    begin_s = time.perf_counter()
    model = load_for(
        arguments,
        quantize=arguments.quantize,
        precision=arguments.precision,
        checkpoint=arguments.checkpoint,
        num_threads=arguments.num_threads,
    )
    loaded_s = time.perf_counter()
    voice = _voice(arguments, model)
    voice_s = time.perf_counter() - loaded_s
    report = benchmarking.measure(
        model,
        voice,
        n_runs=arguments.runs,
        load_s=loaded_s - begin_s,
        voice_s=voice_s,
        description={
            "model": str(arguments.config or arguments.language or model.origin),
            "precision": model.precision,
            "threads": str(arguments.num_threads or "all physical cores"),
            "voice": arguments.voice or "made up",
        },
        progress=_progress(arguments),
    )
    if arguments.html is not None:
        from pocket_tts_native.report_html import page

        _write(Path(arguments.html), page(report))
        _progress(arguments)(f"wrote {arguments.html}")
    if arguments.json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        print(benchmarking.table(report))


def verify(arguments: argparse.Namespace) -> None:
    """Compare precisions with f32; an error if one is outside the documented bounds."""
    from pocket_tts_native import verification

    _check_runs(arguments)
    _prepare(arguments)
    chosen = [arguments.precision] if arguments.precision else list(verification.BOUNDS)
    verdicts = verification.verify(
        lambda precision: load_for(
            arguments,
            precision=precision,
            checkpoint=arguments.checkpoint,
            num_threads=arguments.num_threads,
        ),
        lambda model: _voice(arguments, model),
        chosen,
        n_runs=arguments.runs,
        progress=_progress(arguments),
    )
    if arguments.json:
        print(json.dumps([verdict.as_dict() for verdict in verdicts], indent=2))
    else:
        print(verification.table(verdicts))
    outside = [verdict.precision for verdict in verdicts if not verdict.is_within]
    if outside:
        raise CommandError(
            f"{' and '.join(outside)} of this model are further from f32 than docs/precision.md "
            "allows; use f32, or listen before you use them"
        )


def _check_runs(arguments: argparse.Namespace) -> None:
    if arguments.runs < 1:
        raise CommandError(f"--runs must be at least 1, found {arguments.runs}")


def _prepare(arguments: argparse.Namespace) -> None:
    resolve_model(arguments)
    set_up_messages(arguments)
    # That a text is cut at its longest length is no news here.
    logging.getLogger("pocket_tts_native").setLevel(logging.ERROR)


def _progress(arguments: argparse.Namespace) -> Callable[[str], None]:
    return (lambda _message: None) if arguments.quiet else say


def _voice(arguments: argparse.Namespace, model: TTSModel) -> VoiceState:
    if arguments.voice is None:
        from pocket_tts_native.benchmarking import made_up_voice

        return made_up_voice(model)
    return model.get_state_for_audio_prompt(arguments.voice)


def _write(path: Path, text: str) -> None:
    """Write a file that appears under its name when it is complete."""
    path = path.resolve()
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
