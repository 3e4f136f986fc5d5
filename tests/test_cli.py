"""The command line as a user runs it: files, pipes, errors, Ctrl-C; on a tiny model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from pocket_tts_native import TTSModel
from pocket_tts_native import __version__ as version
from signals import voice_like, write_wav

TEXT: Final = "hello there, it is one."
RATE_HZ: Final = 1600
TAIL_SAMPLES: Final = RATE_HZ // 5
COMMAND: Final = [sys.executable, "-m", "pocket_tts_native.cli"]


@pytest.fixture(scope="module")
def voice_wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of a voice."""
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    return write_wav(path, voice_like(1280, RATE_HZ), RATE_HZ)


@pytest.fixture(scope="module")
def speech(tiny_model_dir: Path, voice_wav: Path) -> list[str]:
    """Options that name a model, a voice and a seed."""
    config = str(tiny_model_dir / "config.yaml")
    return ["--config", config, "--voice", str(voice_wav), "--seed", "7", "--num-threads", "1"]


@pytest.fixture(scope="module")
def expected_pcm(tiny_model_dir: Path, voice_wav: Path) -> bytes:
    """What `TEXT` sounds like: 16 bit, truncated toward zero."""
    config = tiny_model_dir / "config.yaml"
    model = TTSModel.load_model(config=config, num_threads=1)
    voice = model.get_state_for_audio_prompt(voice_wav)
    audio = model.generate_audio(voice, TEXT, seed=7)
    assert np.abs(audio).max() > 1, "no sample is clipped"
    scaled = np.clip(audio, -1, 1) * np.float32(32767)
    pcm: bytes = np.trunc(scaled).astype("<i2").tobytes()
    return pcm


def _run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *arguments], input=stdin, capture_output=True, timeout=60, check=False
    )


def _pcm(path: Path) -> bytes:
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE_HZ)
        assert file.getnframes() * 2 == path.stat().st_size - 44
        return file.readframes(file.getnframes())


def test_generate_writes_a_file(speech: list[str], expected_pcm: bytes, tmp_path: Path) -> None:
    output = tmp_path / "out.wav"
    output.write_bytes(b"an older file")
    done = _run("generate", *speech, "--text", TEXT, "--output-path", str(output))
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    assert _pcm(output) == expected_pcm + bytes(2 * TAIL_SAMPLES)
    assert [path.name for path in tmp_path.iterdir()] == ["out.wav"]
    for word in (b"s of audio", b"real-time factor", b"first audio after", b"out.wav"):
        assert word in done.stderr
    assert b"\r" not in done.stderr, "progress is for terminals"


def test_quiet_says_nothing(speech: list[str], tmp_path: Path) -> None:
    output = str(tmp_path / "out.wav")
    done = _run("generate", *speech, "--text", TEXT, "--output-path", output, "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_default_output(speech: list[str], expected_pcm: bytes, tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "generate", *speech, "--text", TEXT], cwd=tmp_path, timeout=60, check=False
    )
    assert done.returncode == 0
    assert _pcm(tmp_path / "tts_output.wav").startswith(expected_pcm)


def test_links_are_followed(speech: list[str], expected_pcm: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    link = tmp_path / "link.wav"
    link.symlink_to(folder / "real.wav")
    done = _run("generate", *speech, "--text", TEXT, "--output-path", str(link))
    assert done.returncode == 0, done.stderr
    assert link.is_symlink()
    assert _pcm(folder / "real.wav").startswith(expected_pcm)


@pytest.mark.skipif(sys.platform == "win32", reason="devices of POSIX")
def test_devices_are_written_directly(speech: list[str]) -> None:
    done = _run("generate", *speech, "--text", TEXT, "--output-path", os.devnull)
    assert done.returncode == 0, done.stderr


def test_stdin_and_stdout(speech: list[str], expected_pcm: bytes) -> None:
    """Of a stream the sizes are unknown, which the format writes as all ones."""
    stdin = TEXT.encode()
    done = _run("generate", *speech, "--text", "-", "--output-path", "-", stdin=stdin)
    assert done.returncode == 0, done.stderr
    unknown = b"\xff" * 4
    header, pcm = done.stdout[:44], done.stdout[44:]
    assert header[:4] + header[8:12] == b"RIFFWAVE"
    assert header[4:8] == header[40:44] == unknown
    assert pcm == expected_pcm + bytes(2 * TAIL_SAMPLES)


def test_stream_writes_bare_samples(speech: list[str], expected_pcm: bytes) -> None:
    done = _run("stream", *speech, "--text", TEXT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected_pcm


def test_stream_measures_the_first_chunk(speech: list[str]) -> None:
    done = _run("stream", *speech, "--text", TEXT, "--measure-first-chunk", "-q")
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout) < 60_000
    assert done.stderr == b""


def test_sampling_options_reach_the_model(
    speech: list[str], tiny_model_dir: Path, voice_wav: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.wav"
    options = ["--temperature", "0.7", "--sampler-decode-steps", "3", "--noise-clamp", "0.9"]
    options += ["--eos-threshold=-1e9", "--frames-after-eos", "4", "--max-tokens", "20"]
    done = _run("generate", *speech, *options, "--text", TEXT, "--output-path", str(output))
    assert done.returncode == 0, done.stderr
    model = TTSModel.load_model(
        config=tiny_model_dir / "config.yaml",
        temp=0.7,
        sampler_decode_steps=3,
        noise_clamp=0.9,
        eos_threshold=-1e9,
        num_threads=1,
    )
    voice = model.get_state_for_audio_prompt(voice_wav)
    audio = model.generate_audio(voice, TEXT, 20, 4, seed=7)
    pcm = np.frombuffer(_pcm(output), "<i2")[:-TAIL_SAMPLES]
    assert np.array_equal(pcm, np.trunc(np.clip(audio, -1, 1) * np.float32(32767)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--text", ""], b"empty"),
        (["--text", " \n"], b"empty"),
        (["--text", "-"], b"empty"),
        (["--text", TEXT, "--config", "nowhere.yaml"], b"nowhere.yaml"),
        (["--text", TEXT, "--voice", "nowhere.wav"], b"nowhere.wav"),
        (["--text", TEXT, "--voice", "alba"], b"alba"),
        (["--text", TEXT, "--quantize"], b"quantize"),
        (["--text", TEXT, "--checkpoint", "a.pt"], b"checkpoint"),
        (["--text", TEXT, "--device", "cuda"], b"cuda"),
        (["--text", TEXT, "--temperature", "-1"], b"temp"),
        (["--text", TEXT, "--num-threads", "0"], b"num_threads"),
        (["--text", TEXT, "--output-path", "no/such/folder/out.wav"], b"no/such/folder"),
    ],
)
def test_errors_leave_nothing_behind(
    speech: list[str], tmp_path: Path, options: list[str], words: bytes
) -> None:
    done = subprocess.run(
        [*COMMAND, "generate", *speech, *options],
        cwd=tmp_path,
        input=b"",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout == b""
    assert words in done.stderr
    assert done.stderr.splitlines()[-1].startswith(b"error: ")
    assert b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_error_while_speaking_keeps_the_older_file(speech: list[str], tmp_path: Path) -> None:
    """Speech without an end is an error if the environment says so."""
    output = tmp_path / "out.wav"
    output.write_bytes(b"an older file")
    done = subprocess.run(
        [*COMMAND, "generate", *speech, "--text", TEXT, "--eos-threshold", "1e9"]
        + ["--output-path", str(output)],
        env={**os.environ, "KPOCKET_TTS_ERROR_WITHOUT_EOS": "1"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert b"error: " in done.stderr
    assert output.read_bytes() == b"an older file"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize(
    "arguments",
    [["generate"], ["generate", "--text", "one"], ["speek"], ["generate", "--texd", "a"]],
)
def test_wrong_usage(arguments: list[str]) -> None:
    done = _run(*arguments)
    assert done.returncode == 2
    assert b"usage:" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_signals_leave_nothing_behind(
    speech: list[str], tmp_path: Path, number: str, status: int
) -> None:
    output = tmp_path / "out.wav"
    process = subprocess.Popen(
        [*COMMAND, "generate", *speech, "--text", "one " * 300, "--output-path", str(output)]
        + ["--eos-threshold", "1e9", "--sampler-decode-steps", "5000"],
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 30
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(tmp_path.iterdir()), "it never began to write"
    time.sleep(0.2)
    process.send_signal(signal.Signals[number])
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == status, stderr
    assert b"Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_closed_output_is_an_error(speech: list[str]) -> None:
    process = subprocess.Popen(
        [*COMMAND, "stream", *speech, "--text", "one " * 100, "--eos-threshold", "1e9"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    stderr = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=30) == 1
    assert b"output was closed" in stderr
    assert b"Traceback" not in stderr
    assert b"Exception ignored" not in stderr


def test_version() -> None:
    done = _run("--version")
    assert done.returncode == 0
    assert version.encode() in done.stdout
    assert b"SIMD level" in done.stdout


def test_starts_without_heavy_imports() -> None:
    """`import`, `--help` and `--version` need no NumPy and no client of the hub."""
    code = (
        "import sys, pocket_tts_native\n"
        "assert 'pocket_tts_native._native' not in sys.modules\n"
        "from pocket_tts_native import cli\n"
        "assert 'pocket_tts_native._native' not in sys.modules\n"
        "cli.main(['--version'])\n"
        "assert not {'numpy', 'huggingface_hub', 'urllib.request'} & set(sys.modules)\n"
        "assert set(pocket_tts_native.__all__) <= set(dir(pocket_tts_native))\n"
        "assert all(getattr(pocket_tts_native, name) for name in pocket_tts_native.__all__)\n"
        "assert not hasattr(pocket_tts_native, 'nothing')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
