"""The command `pocket-tts-native`.

NumPy and the engine are imported when a command needs them, so that help and errors come at once.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pocket_tts_native.exceptions import PocketTTSError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pocket_tts_native import Audio, AudioStream, TTSModel
    from pocket_tts_native.wav import WavWriter

_STANDARD_STREAM: Final = "-"
_EXIT_ERROR: Final = 1
_EXIT_INTERRUPTED: Final = 130  # as shells report SIGINT
_EXIT_TERMINATED: Final = 143  # and SIGTERM


class _CommandError(Exception):
    """A request that cannot be served; the message is told on stderr."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program's name; None for those of the process.

    Returns:
        Exit status: 0, 1 after an error told on stderr, 130 after Ctrl-C, 143 after SIGTERM.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.version:
        _print_version()
        return 0
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        with _unwinding_at_sigterm():
            arguments.run(arguments)
    except KeyboardInterrupt:
        _say("interrupted")
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on; what Python still holds for stdout would fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _say("error: the output was closed before the end")
        return _EXIT_ERROR
    except (OSError, RuntimeError, ValueError, PocketTTSError, _CommandError) as error:
        _say(f"error: {error}")
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pocket-tts-native", description="Speak text with Pocket TTS models, on the CPU."
    )
    parser.add_argument(
        "--version", action="store_true", help="print the version, the SIMD level and the CPU"
    )
    commands = parser.add_subparsers(dest="command")
    generate = commands.add_parser("generate", help="speak a text into a WAV file")
    generate.set_defaults(run=_generate)
    _add_speech_arguments(generate)
    generate.add_argument(
        "--output-path",
        default="./tts_output.wav",
        help="WAV file, which appears when it is complete, or - for stdout; default: %(default)s",
    )
    stream = commands.add_parser("stream", help="speak a text as bare 16-bit samples to stdout")
    stream.set_defaults(run=_stream)
    _add_speech_arguments(stream)
    stream.add_argument(
        "--measure-first-chunk",
        action="store_true",
        help="print the milliseconds until the first audio instead, and end there",
    )
    return parser


def _add_speech_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text", required=True, help="what to speak, or - to read stdin")
    parser.add_argument(
        "--voice",
        required=True,
        help="predefined voice, WAV, FLAC, MP3 or OGG file (its first 30 s) or .safetensors voice "
        "state; a name, a path, https:// or hf://",
    )
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--config", help="YAML configuration: a path, https:// or hf://")
    model.add_argument("--language", help="name of a released model; default: english")
    parser.add_argument("--checkpoint", help=argparse.SUPPRESS)
    parser.add_argument(
        "--sampler-decode-steps", type=int, default=1, help="steps per frame; default: 1"
    )
    parser.add_argument("--lsd-decode-steps", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--temperature", type=float, help="default: the configuration's")
    parser.add_argument("--noise-clamp", type=float, help="bound of the noise; default: none")
    parser.add_argument("--eos-threshold", type=float, help="default: the configuration's")
    parser.add_argument(
        "--frames-after-eos", type=int, help="80 ms frames after the end; default: by the text"
    )
    parser.add_argument("--max-tokens", type=int, default=50, help="per chunk; default: 50")
    parser.add_argument("--seed", type=int, help="makes the audio repeatable")
    parser.add_argument("--num-threads", type=int, help="default: all CPUs of the process")
    parser.add_argument("--quantize", action="store_true", help="not available yet")
    parser.add_argument("--device", default="cpu", help="only cpu")
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")


def _print_version() -> None:
    from pocket_tts_native._native import build_info

    info = build_info()
    print(f"pocket-tts-native {info['version']}")
    print(f"SIMD level: {info['simd_level']} of {', '.join(info['simd_levels_available'])}")
    print(f"CPU features: {', '.join(info['cpu_features']) or 'none of those in use'}")
    print(f"threads: {info['num_threads']}")


@dataclass
class _Speaking:
    """An utterance on its way, with what the summary tells about it."""

    model: TTSModel
    stream: AudioStream
    begin_s: float
    n_samples: int = 0
    first_audio_s: float | None = None

    def pieces(self) -> Iterator[Audio]:
        """Hand on the audio, taking the times."""
        with self.stream:
            for samples in self.stream:
                if self.first_audio_s is None:
                    self.first_audio_s = time.perf_counter() - self.begin_s
                self.n_samples += len(samples)
                yield samples

    @property
    def audio_s(self) -> float:
        """Seconds of audio so far."""
        return self.n_samples / self.model.sample_rate

    def summary(self) -> str:
        """Tell how long the audio is and how long it took."""
        took_s = time.perf_counter() - self.begin_s
        return (
            f"{self.audio_s:.2f} s of audio in {took_s:.2f} s: real-time factor "
            f"{took_s / self.audio_s:.3f}, first audio after {1000 * (self.first_audio_s or 0):.0f} ms"
        )


def _speak(arguments: argparse.Namespace) -> _Speaking:
    """Load model and voice; the utterance begins with its first piece."""
    if arguments.device != "cpu":
        raise _CommandError(f"device {arguments.device!r} is not available; leave out --device")
    text = sys.stdin.read() if arguments.text == _STANDARD_STREAM else arguments.text
    if not text.strip():
        raise _CommandError("the text is empty; give at least one word")
    if arguments.quiet:
        logging.getLogger("pocket_tts_native").setLevel(logging.ERROR)

    from pocket_tts_native.model import TTSModel

    begin = time.perf_counter()
    model = TTSModel.load_model(
        language=arguments.language,
        config=arguments.config,
        temp=arguments.temperature,
        sampler_decode_steps=arguments.sampler_decode_steps,
        noise_clamp=arguments.noise_clamp,
        eos_threshold=arguments.eos_threshold,
        quantize=arguments.quantize,
        checkpoint=arguments.checkpoint,
        lsd_decode_steps=arguments.lsd_decode_steps,
        num_threads=arguments.num_threads,
    )
    loaded = time.perf_counter()
    voice = model.get_state_for_audio_prompt(arguments.voice, truncate=True)
    prompted = time.perf_counter()
    if not arguments.quiet:
        _say(f"loaded in {loaded - begin:.2f} s, voice in {prompted - loaded:.2f} s")
    stream = model.generate_audio_stream(
        voice,
        text,
        max_tokens=arguments.max_tokens,
        frames_after_eos=arguments.frames_after_eos,
        seed=arguments.seed,
    )
    return _Speaking(model, stream, prompted)


def _generate(arguments: argparse.Namespace) -> None:
    if arguments.output_path == _STANDARD_STREAM:
        _refuse_terminal()
    speaking = _speak(arguments)
    with _wav_output(arguments.output_path, speaking.model.sample_rate) as writer:
        _hand_on(speaking, writer.write, is_quiet=arguments.quiet)
    if not arguments.quiet and arguments.output_path != _STANDARD_STREAM:
        _say(f"wrote {arguments.output_path}")


def _stream(arguments: argparse.Namespace) -> None:
    from pocket_tts_native.wav import pcm_from_samples

    if arguments.measure_first_chunk:
        speaking = _speak(arguments)
        next(speaking.pieces())
        print(f"{1000 * (speaking.first_audio_s or 0):.1f}")
        return
    _refuse_terminal()
    speaking = _speak(arguments)

    def write(samples: Audio) -> None:
        sys.stdout.buffer.write(pcm_from_samples(samples))
        sys.stdout.buffer.flush()

    _hand_on(speaking, write, is_quiet=arguments.quiet)


@contextlib.contextmanager
def _wav_output(dest: str, sample_rate_hz: int) -> Iterator[WavWriter]:
    """Open the WAV file, or stdout, which has no size until its end."""
    from pocket_tts_native.wav import WavWriter, open_wav

    if dest == _STANDARD_STREAM:
        writer = WavWriter(sys.stdout.buffer, sample_rate_hz, is_seekable=False)
        yield writer
        writer.finish()
        return
    with open_wav(dest, sample_rate_hz) as writer:
        yield writer


def _hand_on(speaking: _Speaking, write: Callable[[Audio], None], *, is_quiet: bool) -> None:
    """Write all pieces, with progress on a terminal and a summary at the end."""
    shows_progress = not is_quiet and sys.stderr.isatty()
    try:
        for samples in speaking.pieces():
            write(samples)
            if shows_progress:
                print(f"\r{speaking.audio_s:.1f} s of audio", end="", file=sys.stderr, flush=True)
    finally:
        if shows_progress:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if not is_quiet:
        _say(speaking.summary())


def _refuse_terminal() -> None:
    if sys.stdout.isatty():
        raise _CommandError("samples are no text for a terminal; redirect stdout")


def _say(message: str) -> None:
    print(message, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
