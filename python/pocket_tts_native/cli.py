"""The command `pocket-tts-native`: its options, and how it ends.

What the commands do is in `commands.py`. NumPy and the engine are imported when a command needs
them, so that help and errors come at once.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from pocket_tts_native import commands, embedded, measuring_commands
from pocket_tts_native.catalog import LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_EXIT_ERROR: Final = 1
_EXIT_INTERRUPTED: Final = 130  # as shells report SIGINT
_EXIT_TERMINATED: Final = 143  # and SIGTERM
_EPILOG: Final = (
    "Exit status: 0 when everything was done; 1 after an error, told on stderr; 2 for a wrong "
    "command line; 130 after Ctrl-C; 143 after SIGTERM. Messages go to stderr, and stdout carries "
    "audio or reports only. A file appears under its name when it is complete."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program's name; None for those of the process.

    Returns:
        Exit status: 0, 1 after an error told on stderr, 130 after Ctrl-C, 143 after SIGTERM.
    """
    parser, subparsers = _parser()
    argv = sys.argv[1:] if argv is None else argv
    arguments = parser.parse_args(_with_joined_values(argv, subparsers))
    if arguments.version:
        _print_version()
        return 0
    if arguments.command is None:
        parser.print_help()
        return 0
    problem = commands.usage_problem(arguments)
    if problem is not None:
        subparsers[arguments.command].error(problem)
    try:
        with _unwinding_at_sigterm():
            commands.translate_old_names(arguments)
            arguments.run(arguments)
    except KeyboardInterrupt:
        commands.say("interrupted")
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on; what Python still holds for stdout would fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        commands.say("error: the output was closed before the end")
        return _EXIT_ERROR
    except commands.ERRORS as error:
        commands.say(f"error: {error}")
        return _EXIT_ERROR
    return 0


@contextlib.contextmanager
def _unwinding_at_sigterm() -> Iterator[None]:
    """Let SIGTERM leave the block by an exception, so that unfinished files are removed."""

    def leave(_number: int, _frame: object) -> None:
        sys.exit(_EXIT_TERMINATED)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser and those of the commands, by name."""
    parser = argparse.ArgumentParser(
        prog="pocket-tts-native",
        description="Speak text with Pocket TTS models, on the CPU.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="store_true", help="print the version, the SIMD level and the CPU"
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")

    def add(name: str, summary: str) -> argparse.ArgumentParser:
        return subparsers.add_parser(name, help=summary, epilog=_EPILOG, allow_abbrev=False)

    generate = add("generate", "speak a text into a WAV file, or a file of texts into many")
    generate.set_defaults(run=commands.generate)
    _add_speech_arguments(generate)
    _add_output_arguments(generate)
    stream = add("stream", "speak a text as bare 16-bit samples to stdout")
    stream.set_defaults(run=commands.stream)
    _add_speech_arguments(stream)
    stream.add_argument(
        "--measure-first-chunk",
        action="store_true",
        help="print the milliseconds until the first audio instead, and end there",
    )
    export = add("export-voice", "save the voice of a recording, which then loads faster")
    export.set_defaults(run=commands.export_voice)
    export.add_argument(
        "audio_path",
        metavar="AUDIO",
        help="recording, its first 30 s, of a voice; or a directory of recordings",
    )
    export.add_argument(
        "export_path",
        metavar="OUT",
        help=".safetensors file to write; a directory gets one file per recording",
    )
    _add_existing_argument(export, "of a directory that exist already")
    _add_model_arguments(export)
    benchmark = add("benchmark", "measure speed and memory on this machine")
    benchmark.set_defaults(run=measuring_commands.benchmark)
    _add_measuring_arguments(benchmark)
    _add_precision_arguments(benchmark)
    benchmark.add_argument(
        "--html", metavar="FILE", help="also write a page with charts, complete in itself"
    )
    verify = add("verify", "compare the faster precisions with f32 on this machine")
    verify.set_defaults(run=measuring_commands.verify)
    _add_measuring_arguments(verify)
    verify.add_argument(
        "--precision", choices=["bf16", "int8"], help="compare this one only; default: all"
    )
    return parser, {
        "generate": generate,
        "stream": stream,
        "export-voice": export,
        "benchmark": benchmark,
        "verify": verify,
    }


def _add_measuring_arguments(parser: argparse.ArgumentParser) -> None:
    model = _add_model_arguments(parser)
    model.add_argument(
        "--model", metavar="MODEL", help="a released model's name, or a .yaml configuration"
    )
    _add_checkpoint_argument(parser)
    parser.add_argument(
        "--voice",
        help="as for generate; default: one made up of 8 s of sound, which needs no file",
    )
    _add_threads_argument(parser)
    parser.add_argument(
        "--runs", type=int, default=3, metavar="N", help="how often to measure; default: 3"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def _add_speech_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--text", help="what to speak, or - to read stdin; default: a greeting in the language"
    )
    parser.add_argument(
        "--voice",
        help="recording or .safetensors voice: a path, an https:// or hf:// address, or the name "
        "of a released voice; default: that of the language, or alba's recording with --config or "
        "--checkpoint",
    )
    _add_model_arguments(parser)
    _add_checkpoint_argument(parser)
    parser.add_argument(
        "--sampler-decode-steps", type=int, default=1, metavar="N", help="per frame; default: 1"
    )
    parser.add_argument("--lsd-decode-steps", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--temperature", type=float, help="default: the configuration's")
    parser.add_argument("--noise-clamp", type=float, help="bound of the noise; default: none")
    parser.add_argument("--eos-threshold", type=float, help="default: the configuration's")
    parser.add_argument(
        "--frames-after-eos",
        type=int,
        metavar="N",
        help="80 ms frames after the end; default: by the text",
    )
    parser.add_argument(
        "--max-tokens", type=int, default=50, metavar="N", help="per chunk; default: 50"
    )
    parser.add_argument("--seed", type=int, help="makes the audio repeatable")
    _add_threads_argument(parser)
    parser.add_argument("--device", default="cpu", help="cpu is the only one")
    _add_precision_arguments(parser)


def _add_checkpoint_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint",
        metavar="PT",
        help="training checkpoint instead of the weights of the configuration; needs torch",
    )


def _add_threads_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--num-threads", type=int, metavar="N", help="default: all physical cores")


def _add_precision_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quantize",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="the same as --precision int8",
    )
    parser.add_argument(
        "--precision",
        choices=["f32", "bf16", "int8", "auto"],
        help="arithmetic; f32, the default, is exact, int8 the smallest and fastest",
    )


def _add_model_arguments(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Add the options that name a model; returns the group of those that exclude each other."""
    model = parser.add_mutually_exclusive_group()
    model.add_argument(
        "--language",
        metavar="NAME",
        help=f"model, default: english; {embedded.LANGUAGE}, which the package carries, or a released "
        f"one: {', '.join(LANGUAGES)}",
    )
    model.add_argument(
        "--config", metavar="YAML", help="configuration: a path, an https:// or hf:// address"
    )
    model.add_argument("--variant", help=argparse.SUPPRESS)
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    return model


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument(
        "--output-path",
        metavar="WAV",
        help="file to write, or - for stdout; default: ./tts_output.wav",
    )
    output.add_argument(
        "--raw", action="store_true", help="write bare 16-bit little-endian samples, no header"
    )
    output.add_argument(
        "--play",
        action="store_true",
        help="play while speaking, and write a file only with --output-path; needs the extra: "
        "pip install 'pocket-tts-native[play]'",
    )
    output.add_argument(
        "--input-file",
        metavar="TEXTS",
        help="UTF-8 file, or - for stdin, with one text a line; line 7 is spoken into 0007.wav",
    )
    output.add_argument(
        "--output-dir", metavar="DIR", help="where those files go; made if it does not exist"
    )
    _add_existing_argument(output, "of --output-dir that exist already")


def _add_existing_argument(parser: argparse._ActionsContainer, which: str) -> None:
    parser.add_argument(
        "--existing",
        choices=("fail", "skip", "replace"),
        default="fail",
        help=f"what to do about files {which}; fail, the default, begins nothing then",
    )


def _with_joined_values(
    argv: Sequence[str], subparsers: dict[str, argparse.ArgumentParser]
) -> list[str]:
    """Write `--option value` as `--option=value`, so that values may begin with a dash."""
    takes_value = {
        option
        for parser in subparsers.values()
        for action in parser._actions
        for option in action.option_strings
        if action.nargs is None and option.startswith("--")
    }
    joined: list[str] = []
    rest = iter(argv)
    for argument in rest:
        if argument == "--":
            joined += [argument, *rest]
        elif argument in takes_value and (value := next(rest, None)) is not None:
            joined.append(f"{argument}={value}")
        else:
            joined.append(argument)
    return joined


def _print_version() -> None:
    from pocket_tts_native._native import build_info

    info = build_info()
    print(f"pocket-tts-native {info['version']}")
    print(f"SIMD level: {info['simd_level']} of {', '.join(info['simd_levels_available'])}")
    print(f"CPU features: {', '.join(info['cpu_features']) or 'none of those in use'}")
    print(f"threads: {info['num_threads']}")


if __name__ == "__main__":
    sys.exit(main())
