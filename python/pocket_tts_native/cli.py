"""The command `pocket-tts-native`."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from pocket_tts_native import PocketTTSError, TTSModel, build_info
from pocket_tts_native.wav import write_wav

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program's name; None for those of the process.

    Returns:
        Exit status: 0, or 1 after an error told on stderr.
    """
    arguments = _parser().parse_args(argv)
    if arguments.version:
        _print_version()
        return 0
    if arguments.command is None:
        _parser().print_help()
        return 0
    try:
        _speak(arguments)
    except (OSError, ValueError, PocketTTSError) as error:
        _say(f"error: {error}")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pocket-tts-native", description="Speak text with Pocket TTS models, on the CPU."
    )
    parser.add_argument(
        "--version", action="store_true", help="print the version, the SIMD level and the CPU"
    )
    commands = parser.add_subparsers(dest="command")
    speak = commands.add_parser("speak", help="speak one sentence into a WAV file")
    speak.add_argument("--text", required=True, help="the sentence, spoken as it is")
    speak.add_argument("--config", required=True, help="YAML configuration with local weights")
    speak.add_argument("--voice", required=True, help="16-bit WAV file or .safetensors voice state")
    speak.add_argument("--output-path", default="hello.wav", help="default: %(default)s")
    speak.add_argument("--frames", type=int, help="exactly as many 80 ms frames")
    speak.add_argument("--seed", type=int, help="makes the result repeatable")
    speak.add_argument("--num-threads", type=int, help="default: the engine's choice")
    return parser


def _print_version() -> None:
    info = build_info()
    print(f"pocket-tts-native {info['version']}")
    print(f"SIMD level: {info['simd_level']} of {', '.join(info['simd_levels_available'])}")
    print(f"CPU features: {', '.join(info['cpu_features']) or 'none of those in use'}")
    print(f"threads: {info['num_threads']}")


def _speak(arguments: argparse.Namespace) -> None:
    begin = time.perf_counter()
    model = TTSModel.load_model(config=arguments.config, num_threads=arguments.num_threads)
    loaded = time.perf_counter()
    voice = model.get_state_for_audio_prompt(arguments.voice, truncate=True)
    prompted = time.perf_counter()
    latents, _ = model.generate_latents(
        voice, arguments.text, frames=arguments.frames, seed=arguments.seed
    )
    samples = model.decode_latents(latents)
    done = time.perf_counter()
    write_wav(arguments.output_path, samples, model.sample_rate)
    audio_s = len(samples) / model.sample_rate
    _say(
        f"loaded in {loaded - begin:.2f} s, voice in {prompted - loaded:.2f} s, "
        f"{audio_s:.2f} s of audio in {done - prompted:.2f} s"
    )
    _say(f"wrote {arguments.output_path}")


def _say(message: str) -> None:
    print(message, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
