"""What the commands of `pocket-tts-native` do. Messages go to stderr, stdout carries audio only."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pocket_tts_native import embedded
from pocket_tts_native.catalog import DEFAULT_LANGUAGE, default_text, default_voice
from pocket_tts_native.exceptions import PocketTTSError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from pocket_tts_native import Audio, AudioStream, TTSModel, VoiceState

_STANDARD_STREAM: Final = "-"
_DEFAULT_OUTPUT: Final = "./tts_output.wav"
_DEVICES: Final = ("cpu", "cpu:0")
# Digits of the line number in the name of a file.
_MIN_DIGITS: Final = 4
_AUDIO_SUFFIXES: Final = frozenset({".wav", ".flac", ".mp3", ".ogg", ".oga"})


class CommandError(Exception):
    """A request that cannot be served; the message is told on stderr."""


# What ends a command with a message; anything else is a bug and shows where.
ERRORS: Final = (OSError, RuntimeError, ValueError, ImportError, PocketTTSError, CommandError)


def say(message: str) -> None:
    """Tell the user something."""
    print(message, file=sys.stderr)


def translate_old_names(arguments: argparse.Namespace) -> None:
    """Replace names of models that earlier versions of the reference used, and tell so."""
    from pocket_tts_native.old_names import model_names

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        names = model_names(arguments.language, arguments.config, arguments.variant)
    arguments.language, arguments.config = names
    for warning in told:
        say(f"warning: {warning.message}")


def usage_problem(arguments: argparse.Namespace) -> str | None:
    """Tell what is wrong with options that are right by themselves; None if nothing is."""
    if arguments.command != "generate":
        return None
    if (arguments.input_file is None) != (arguments.output_dir is None):
        return "--input-file and --output-dir belong together"
    if arguments.input_file is None:
        if arguments.existing != "fail":
            return "--existing is for --output-dir"
        return None
    for name in ("text", "output_path", "raw", "play"):
        if getattr(arguments, name):
            return f"--input-file and --{name.replace('_', '-')} exclude each other"
    return None


def generate(arguments: argparse.Namespace) -> None:
    """Speak a text into a file or to stdout, or each line of a file into a file."""
    if arguments.input_file is not None:
        _generate_lines(arguments)
        return
    output = arguments.output_path
    if output is None and not arguments.play:
        output = _DEFAULT_OUTPUT
    if output == _STANDARD_STREAM:
        _refuse_terminal()
    player = None
    if arguments.play:
        from pocket_tts_native.player import open_player

        player = open_player
    text = _text(arguments)
    speaker = _Speaker(arguments)
    rate_hz = speaker.model.sample_rate
    with contextlib.ExitStack() as outputs:
        writers: list[Callable[[Audio], None]] = []
        if output is not None:
            writers.append(outputs.enter_context(_file_output(output, rate_hz, arguments.raw)))
        if player is not None:
            writers.append(outputs.enter_context(player(rate_hz)))
        _hand_on(speaker.speak(text), writers, is_quiet=arguments.quiet)
    if not arguments.quiet and output not in {None, _STANDARD_STREAM}:
        say(f"wrote {output}")


def stream(arguments: argparse.Namespace) -> None:
    """Speak a text to stdout as bare samples, or tell when the first would come."""
    text = _text(arguments)
    if arguments.measure_first_chunk:
        speaking = _Speaker(arguments).speak(text)
        next(speaking.pieces())
        print(f"{1000 * (speaking.first_audio_s or 0):.1f}")
        return
    _refuse_terminal()
    speaker = _Speaker(arguments)
    _hand_on(speaker.speak(text), [_write_bare], is_quiet=arguments.quiet)


def export_voice(arguments: argparse.Namespace) -> None:
    """Save the voice of a recording, or of every recording of a directory."""
    set_up_messages(arguments)
    source, dest = Path(arguments.audio_path), Path(arguments.export_path)
    if not source.is_dir():
        if dest.is_dir():
            dest = dest / f"{source.stem}.safetensors"
        # An address is no path: handed on as it came.
        _export(load_for(arguments), {dest: arguments.audio_path}, is_quiet=arguments.quiet)
        return
    recordings = sorted(p for p in source.iterdir() if p.suffix.lower() in _AUDIO_SUFFIXES)
    if not recordings:
        raise CommandError(
            f"{source} holds no recordings; expected files ending in "
            f"{', '.join(sorted(_AUDIO_SUFFIXES))}"
        )
    tasks: dict[Path, str] = {}
    for recording in recordings:
        target = dest / f"{recording.stem}.safetensors"
        if target in tasks:
            raise CommandError(f"{tasks[target]} and {recording} would both become {target}")
        tasks[target] = str(recording)
    targets = _allowed_targets(list(tasks), arguments.existing)
    dest.mkdir(parents=True, exist_ok=True)
    if targets:
        todo = {target: tasks[target] for target in targets}
        _export(load_for(arguments), todo, is_quiet=arguments.quiet)


def _export(model: TTSModel, tasks: dict[Path, str], *, is_quiet: bool) -> None:
    """Save voices; with several, one that fails does not keep the others from being saved."""
    from pocket_tts_native.voice import export_model_state

    n_failed = 0
    for target, recording in tasks.items():
        try:
            voice = model.get_state_for_audio_prompt(recording, truncate=True)
        except ERRORS as error:
            if len(tasks) == 1:
                raise
            n_failed += 1
            say(f"error: {recording}: {error}")
            continue
        export_model_state(voice, target)
        if not is_quiet:
            say(f"wrote {target}")
            if target.suffix != ".safetensors":
                say(f"rename {target} to end in .safetensors, or it will be read as a recording")
    if n_failed:
        raise CommandError(f"{n_failed} of {len(tasks)} recordings failed")


def _generate_lines(arguments: argparse.Namespace) -> None:
    """Speak each line into a file named by its number; a text that fails stops no other."""
    lines = _lines(arguments.input_file)
    if not lines:
        raise CommandError(f"{arguments.input_file} holds no text; give one text a line")
    folder = Path(arguments.output_dir)
    n_digits = max(_MIN_DIGITS, len(str(max(lines))))
    files = {folder / f"{number:0{n_digits}}.wav": number for number in lines}
    targets = _allowed_targets(list(files), arguments.existing)
    folder.mkdir(parents=True, exist_ok=True)
    if not targets:
        return
    speaker = _Speaker(arguments)
    n_failed = 0
    for target in targets:
        number = files[target]
        try:
            with _file_output(str(target), speaker.model.sample_rate, is_raw=False) as write:
                _hand_on(speaker.speak(lines[number]), [write], is_quiet=True)
        except OSError as error:
            raise CommandError(f"line {number} of {arguments.input_file}: {error}") from error
        except ERRORS as error:
            n_failed += 1
            say(f"error: line {number} of {arguments.input_file}: {error}")
        else:
            if not arguments.quiet:
                say(f"wrote {target}")
    if n_failed:
        raise CommandError(f"{n_failed} of {len(targets)} lines failed")


def _lines(source: str) -> dict[int, str]:
    """The lines that hold text, by number from 1."""
    try:
        if source == _STANDARD_STREAM:
            text = sys.stdin.buffer.read().decode("utf-8-sig")
        else:
            text = Path(source).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandError(f"{source} is no UTF-8 at byte {error.start}; convert it") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return {number: line for number, line in enumerate(lines, 1) if line.strip()}


def _allowed_targets(targets: Sequence[Path], existing: str) -> list[Path]:
    """Those of the files that are to be written; refuses what would replace one unasked."""
    present = [target for target in targets if target.exists()]
    if present and existing == "fail":
        raise CommandError(
            f"{present[0]} exists already; pass --existing skip or --existing replace, or another "
            "directory"
        )
    return [target for target in targets if existing == "replace" or target not in present]


class _Speaker:
    """A model and a voice, loaded for the command's options."""

    model: TTSModel
    voice: VoiceState

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Load both."""
        set_up_messages(arguments)
        if arguments.device not in _DEVICES:
            raise CommandError(f"device {arguments.device!r} is not available; leave out --device")
        self._arguments = arguments
        begin = time.perf_counter()
        self.model = load_to_speak(
            arguments,
            temp=arguments.temperature,
            sampler_decode_steps=_decode_steps(arguments),
            noise_clamp=arguments.noise_clamp,
            eos_threshold=arguments.eos_threshold,
            quantize=arguments.quantize,
            precision=arguments.precision,
            checkpoint=arguments.checkpoint,
            num_threads=arguments.num_threads,
        )
        loaded = time.perf_counter()
        voice = arguments.voice
        if voice is None:
            voice = default_voice(arguments.language, arguments.config, arguments.checkpoint)
        self.voice = self.model.get_state_for_audio_prompt(voice)
        prompted = time.perf_counter()
        if not arguments.quiet:
            say(f"loaded in {loaded - begin:.2f} s, voice in {prompted - loaded:.2f} s")

    def speak(self, text: str | None) -> _Speaking:
        """Prepare to speak `text`, or a greeting; it begins with its first piece."""
        stream = self.model.generate_audio_stream(
            self.voice,
            default_text(self._arguments.language) if text is None else text,
            max_tokens=self._arguments.max_tokens,
            frames_after_eos=self._arguments.frames_after_eos,
            seed=self._arguments.seed,
        )
        return _Speaking(self.model, stream, time.perf_counter())


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


def set_up_messages(arguments: argparse.Namespace) -> None:
    """Let only errors through with `--quiet`."""
    if arguments.quiet:
        logging.getLogger("pocket_tts_native").setLevel(logging.ERROR)


def load_for(arguments: argparse.Namespace, **options: object) -> TTSModel:
    """Load the model that the options name."""
    from pocket_tts_native.model import TTSModel

    return TTSModel.load_model(arguments.language, arguments.config, **options)  # type: ignore[arg-type]


def load_to_speak(arguments: argparse.Namespace, **options: object) -> TTSModel:
    """`load_for`; if the default model cannot be had, the one that the package carries.

    That is told even to the quiet, and `arguments.language` is then its name.
    """
    try:
        return load_for(arguments, **options)
    except (ConnectionError, FileNotFoundError):
        if not _may_be_embedded(arguments):
            raise
        say(
            f"warning: the model {DEFAULT_LANGUAGE!r} is not on this machine and cannot be downloaded, so "
            f"the small one that the package carries speaks, as with --language {embedded.LANGUAGE}"
        )
    arguments.language = embedded.LANGUAGE
    return load_for(arguments, **options)


def _may_be_embedded(arguments: argparse.Namespace) -> bool:
    """Whether the options leave the model open, and a voice that they name fits any."""
    from pocket_tts_native.voices import fits_any_model

    is_open = arguments.language is arguments.config is arguments.checkpoint is None
    return is_open and (arguments.voice is None or fits_any_model(arguments.voice))


def _decode_steps(arguments: argparse.Namespace) -> int:
    """Steps per frame; the old name counts, as in the reference."""
    if arguments.lsd_decode_steps is None:
        return int(arguments.sampler_decode_steps)
    say("warning: --lsd-decode-steps is deprecated, use --sampler-decode-steps")
    return int(arguments.lsd_decode_steps)


def _text(arguments: argparse.Namespace) -> str | None:
    """What to speak; None for the greeting of the model that will be there."""
    text: str | None = arguments.text
    if text is None:
        return None
    if text == _STANDARD_STREAM:
        text = sys.stdin.read()
    if not text.strip():
        raise CommandError("the text is empty; give at least one word")
    return text


@contextlib.contextmanager
def _file_output(dest: str, rate_hz: int, is_raw: bool) -> Iterator[Callable[[Audio], None]]:
    """Open a file, or stdout, which has no size until its end; both end in a short silence."""
    from pocket_tts_native.wav import PcmWriter, open_audio

    if dest == _STANDARD_STREAM:
        writer = PcmWriter(sys.stdout.buffer, rate_hz, is_raw=is_raw, is_seekable=False)
        yield writer.write
        writer.finish()
        return
    with open_audio(dest, rate_hz, is_raw=is_raw) as writer:
        yield writer.write


def _write_bare(samples: Audio) -> None:
    """Write samples to stdout, without a silence at the end."""
    from pocket_tts_native.wav import pcm_from_samples

    sys.stdout.buffer.write(pcm_from_samples(samples))
    sys.stdout.buffer.flush()


def _hand_on(
    speaking: _Speaking, writers: Sequence[Callable[[Audio], None]], *, is_quiet: bool
) -> None:
    """Write all pieces, with progress on a terminal and a summary at the end."""
    shows_progress = not is_quiet and sys.stderr.isatty()
    try:
        for samples in speaking.pieces():
            for write in writers:
                write(samples)
            if shows_progress:
                print(f"\r{speaking.audio_s:.1f} s of audio", end="", file=sys.stderr, flush=True)
    finally:
        if shows_progress:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if not is_quiet:
        say(speaking.summary())


def _refuse_terminal() -> None:
    if sys.stdout.isatty():
        raise CommandError("samples are no text for a terminal; redirect stdout")
