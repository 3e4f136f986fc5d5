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
        (["--text", TEXT, "--quantize", "--precision", "bf16"], b"quantize"),
        (["--text", TEXT, "--checkpoint", "a.pt"], b"a.pt"),
        (["--text", TEXT, "--play"], b"pocket-tts-native[play]"),
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
    [
        ["speek"],
        ["generate", "--texd", "a"],
        ["generate", "--tex", "a"],
        ["generate", "--text"],
        ["generate", "--language", "english", "--config", "a.yaml"],
        ["generate", "--input-file", "a"],
        ["generate", "--output-dir", "a"],
        ["generate", "--input-file", "a", "--output-dir", "b", "--text", "c"],
        ["generate", "--input-file", "a", "--output-dir", "b", "--output-path", "c"],
        ["generate", "--input-file", "a", "--output-dir", "b", "--raw"],
        ["generate", "--input-file", "a", "--output-dir", "b", "--play"],
        ["generate", "--text", "a", "--existing", "skip"],
        ["export-voice", "a.wav"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    done = _run(*arguments)
    assert done.returncode == 2
    assert b"usage:" in done.stderr


def test_raw_samples(speech: list[str], expected_pcm: bytes, tmp_path: Path) -> None:
    tail = bytes(2 * TAIL_SAMPLES)
    done = _run("generate", *speech, "--text", TEXT, "--output-path", "-", "--raw")
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected_pcm + tail
    output = tmp_path / "out.pcm"
    done = _run("generate", *speech, "--text", TEXT, "--output-path", str(output), "--raw")
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == expected_pcm + tail


def test_values_may_begin_with_a_dash(speech: list[str], tmp_path: Path) -> None:
    output = str(tmp_path / "out.wav")
    options = ["--eos-threshold", "-1e9", "--text", "--hello", "--output-path", output]
    done = _run("generate", *speech, *options)
    assert done.returncode == 0, done.stderr


def test_long_recordings_are_used_whole(
    speech: list[str], tiny_model_dir: Path, tmp_path: Path
) -> None:
    """Speaking truncates no prompt, exporting does; as in the reference."""
    long_wav = write_wav(tmp_path / "long.wav", voice_like(35 * RATE_HZ, RATE_HZ), RATE_HZ)
    model = TTSModel.load_model(config=tiny_model_dir / "config.yaml", num_threads=1)
    audio = model.generate_audio(model.get_state_for_audio_prompt(long_wav), TEXT, seed=7)
    output = tmp_path / "out.wav"
    options = ["--voice", str(long_wav), "--text", TEXT, "--output-path", str(output)]
    done = _run("generate", *speech, *options)
    assert done.returncode == 0, done.stderr
    pcm = np.frombuffer(_pcm(output), "<i2")[:-TAIL_SAMPLES]
    assert np.array_equal(pcm, np.trunc(np.clip(audio, -1, 1) * np.float32(32767)))
    exported = tmp_path / "voice.safetensors"
    config = str(tiny_model_dir / "config.yaml")
    done = _run("export-voice", str(long_wav), str(exported), "--config", config)
    assert done.returncode == 0, done.stderr
    assert str(exported).encode() in done.stderr
    truncated = model.get_state_for_audio_prompt(long_wav, truncate=True)
    assert model.get_state_for_audio_prompt(exported).n_positions == truncated.n_positions
    assert truncated.n_positions < model.get_state_for_audio_prompt(long_wav).n_positions


def test_exporting_a_directory(
    voice_wav: Path, tiny_model_dir: Path, speech: list[str], tmp_path: Path
) -> None:
    recordings, voices = tmp_path / "recordings", tmp_path / "deep" / "voices"
    recordings.mkdir()
    config = ["--config", str(tiny_model_dir / "config.yaml")]
    done = _run("export-voice", str(recordings), str(voices), *config)
    assert done.returncode == 1
    assert b"holds no recordings" in done.stderr
    for name in ("a.wav", "B.WAV"):
        (recordings / name).write_bytes(voice_wav.read_bytes())
    (recordings / "bad.wav").write_bytes(b"no sound")
    (recordings / "notes.txt").write_bytes(b"no sound")
    done = _run("export-voice", str(recordings), str(voices), *config)
    assert done.returncode == 1
    assert b"bad.wav" in done.stderr
    assert b"1 of 3 recordings failed" in done.stderr
    assert sorted(path.name for path in voices.iterdir()) == ["B.safetensors", "a.safetensors"]
    done = _run("export-voice", str(recordings), str(voices), *config)
    assert done.returncode == 1
    assert b"exists already" in done.stderr
    (recordings / "bad.wav").unlink()
    done = _run("export-voice", str(recordings), str(voices), *config, "--existing", "skip", "-q")
    assert (done.returncode, done.stderr) == (0, b"")
    done = _run("export-voice", str(voice_wav), str(voices), *config)
    assert (voices / "voice.safetensors").exists()
    output = str(tmp_path / "out.wav")
    options = ["--voice", str(voices / "a.safetensors"), "--output-path", output]
    done = _run("generate", *speech, *options, "--text", "one")
    assert done.returncode == 0, done.stderr


def test_a_text_a_line(
    speech: list[str], expected_pcm: bytes, voice_wav: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "deep" / "folder"
    texts = tmp_path / "texts.txt"
    lines = ["\ufeff" + TEXT, "", "  \t", "one\u2028two \x0b three", TEXT]
    texts.write_bytes("\r\n".join(lines).encode())
    options = ["--input-file", str(texts), "--output-dir", str(folder)]
    done = _run("generate", *speech, *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    assert sorted(path.name for path in folder.iterdir()) == ["0001.wav", "0004.wav", "0005.wav"]
    for name in ("0001.wav", "0005.wav"):
        assert _pcm(folder / name) == expected_pcm + bytes(2 * TAIL_SAMPLES)

    (folder / "0001.wav").write_bytes(b"an older file")
    (folder / "0004.wav").unlink()
    done = _run("generate", *speech, *options)
    assert done.returncode == 1
    assert b"0001.wav exists already" in done.stderr
    assert not (folder / "0004.wav").exists(), "nothing is begun"
    done = _run("generate", *speech, *options, "--existing", "skip", "-q")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (folder / "0001.wav").read_bytes() == b"an older file"
    assert (folder / "0004.wav").exists()
    done = _run("generate", *speech, *options, "--existing", "replace")
    assert done.returncode == 0, done.stderr
    assert _pcm(folder / "0001.wav") == expected_pcm + bytes(2 * TAIL_SAMPLES)


def test_a_line_that_fails_is_named_and_stops_no_other(speech: list[str], tmp_path: Path) -> None:
    """Speech without an end fails; the length of the others is their own."""
    folder = tmp_path / "folder"
    options = ["--input-file", "-", "--output-dir", str(folder), "--eos-threshold", "1e9"]
    done = subprocess.run(
        [*COMMAND, "generate", *speech, *options],
        env={**os.environ, "KPOCKET_TTS_ERROR_WITHOUT_EOS": "1"},
        input=b"one\n\ntwo\n",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert b"error: line 1 of -: " in done.stderr
    assert b"error: line 3 of -: " in done.stderr
    assert done.stderr.splitlines()[-1] == b"error: 2 of 2 lines failed"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"), [(b"\n \n", b"no text"), (b"one\n\xff", b"no UTF-8 at byte 4")]
)
def test_files_without_usable_lines(
    speech: list[str], tmp_path: Path, content: bytes, words: bytes
) -> None:
    texts, folder = tmp_path / "texts.txt", tmp_path / "folder"
    texts.write_bytes(content)
    done = _run("generate", *speech, "--input-file", str(texts), "--output-dir", str(folder))
    assert done.returncode == 1
    assert words in done.stderr
    assert not folder.exists()


_FAKE_SOUND_CARD: Final = """
import pathlib
class PortAudioError(Exception): pass
class RawOutputStream:
    def __init__(self, *, samplerate, channels, dtype):
        assert (samplerate, channels, dtype) == (1600, 1, "int16")
        self._out = open("heard.pcm", "wb")
    def start(self):
        if pathlib.Path("broken").exists():
            raise PortAudioError("no device")
    def write(self, pcm): self._out.write(pcm)
    def stop(self): self._out.write(b"stopped")
    def abort(self): self._out.write(b"aborted")
    def close(self): self._out.close()
"""


def test_playing(speech: list[str], expected_pcm: bytes, tmp_path: Path) -> None:
    """With a module in place of `sounddevice`, which writes what is to be heard into a file."""
    (tmp_path / "sounddevice.py").write_text(_FAKE_SOUND_CARD, encoding="utf-8")

    def play(*options: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*COMMAND, "generate", *speech, "--text", TEXT, "--play", *options],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            timeout=60,
            check=False,
        )

    done = play()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "heard.pcm").read_bytes() == expected_pcm + b"stopped"
    assert not list(tmp_path.glob("*.wav"))
    done = play("--output-path", "out.wav")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "heard.pcm").read_bytes() == expected_pcm + b"stopped"
    assert _pcm(tmp_path / "out.wav") == expected_pcm + bytes(2 * TAIL_SAMPLES)
    (tmp_path / "broken").touch()
    done = play()
    assert done.returncode == 1
    assert b"no device" in done.stderr


def test_old_names_are_told(speech: list[str], tmp_path: Path) -> None:
    output = str(tmp_path / "out.wav")
    options = ["--text", TEXT, "--output-path", output, "--lsd-decode-steps", "2"]
    done = _run("generate", *speech, *options)
    assert done.returncode == 0, done.stderr
    assert b"warning: --lsd-decode-steps is deprecated" in done.stderr


def test_runs_as_a_module(speech: list[str]) -> None:
    for program in (["-m", "pocket_tts_native"], ["-m", "pocket_tts_native.cli"]):
        done = subprocess.run(
            [sys.executable, *program, "--help"], capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0
        assert b"Exit status: 0" in done.stdout
        assert b"export-voice" in done.stdout
        assert done.stderr == b""


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
        "try:\n"
        "    cli.main(['generate', '--help'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'asyncio', 'huggingface_hub', 'numpy', 'pocket_tts_native._native'}\n"
        "assert not heavy & set(sys.modules)\n"
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
