"""The documented examples of `pocket-tts` 4.0.1 run here, with only the import changed.

| example | documented in | what it shows |
|---|---|---|
| `library` | README, "Using it as a Python library" | the default model, a voice by name, a file by SciPy |
| `export` | README, the same | a recording, its voice saved and loaded |
| `load_model` | docstring of `TTSModel.load_model` | the default model, and quantised |
| `get_state_for_audio_prompt` | docstring of that method | all kinds of voices |
| `generate_audio` | docstring of that method | whole audio |
| `generate_audio_stream` | docstring of that method | pieces of audio |
| `generate` | README, "The generate command" | all defaults |
| `generate --voice` | README, "Standalone binaries" | a text and a voice by name |
| `generate --config` | README, "Models trained by the community" | `https://`, `hf://` with a revision, a local file |
| `export-voice` | `--help` of the command | a recording |

Not run: "Running on GPU", because there is none; the `serve` command. Comments are left out. The parity tests compare the
code with the installed reference, and run `library` with the real SciPy and PyTorch.

Models have the released shapes and addresses and random weights; a hub on this machine serves them.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pocket_tts_native
import pytest
from pocket_tts_native import TTSModel
from pocket_tts_native._native import Config
from pocket_tts_native.catalog import VOICE_ORIGINS, voice_address
from reference_client import ReferenceUnavailableError, reference_interpreter
from signals import voice_like, write_wav
from tiny_model import write_model

if TYPE_CHECKING:
    from hub_server import HubServer

PYTHON: Final = {
    "library": """
from pocket_tts import TTSModel
import scipy.io.wavfile

tts_model = TTSModel.load_model()
voice_state = tts_model.get_state_for_audio_prompt(
    "alba"
)
audio = tts_model.generate_audio(voice_state, "Hello world, this is a test.")
scipy.io.wavfile.write("output.wav", tts_model.sample_rate, audio.numpy())
""",
    "export": """
from pocket_tts import TTSModel, export_model_state

model = TTSModel.load_model()
model_state = model.get_state_for_audio_prompt("some_voice.wav")
export_model_state(model_state, "./some_voice.safetensors")
model_state_copy = model.get_state_for_audio_prompt("./some_voice.safetensors")
audio = model.generate_audio(model_state_copy, "Hello world!")
""",
    "load_model": """
from pocket_tts import TTSModel

model = TTSModel.load_model()
model = TTSModel.load_model(quantize=True)
""",
    "get_state_for_audio_prompt": """
from pocket_tts import TTSModel

model = TTSModel.load_model()
voice_state = model.get_state_for_audio_prompt("hf://kyutai/tts-voices/alba-mackenna/casual.wav")
voice_state = model.get_state_for_audio_prompt("./my_voice.wav")
voice_state = model.get_state_for_audio_prompt("./my_voices.safetensors")
voice_state = model.get_state_for_audio_prompt(
    "https://huggingface.co/kyutai/tts-voices/resolve"
    "/main/expresso/ex01-ex02_default_001_channel1_168s.wav"
)
""",
    "generate_audio": """
from pocket_tts import TTSModel

model = TTSModel.load_model()
voice_state = model.get_state_for_audio_prompt("hf://kyutai/tts-voices/alba-mackenna/casual.wav")
audio = model.generate_audio(voice_state, "Hello world!", frames_after_eos=2, copy_state=True)
print(f"Generated audio shape: {audio.shape}")
print(f"Audio duration: {audio.shape[-1] / model.sample_rate:.2f} seconds")
""",
    "generate_audio_stream": """
from pocket_tts import TTSModel

model = TTSModel.load_model()
voice_state = model.get_state_for_audio_prompt("hf://kyutai/tts-voices/alba-mackenna/casual.wav")
for chunk in model.generate_audio_stream(voice_state, "Long text content..."):
    print(f"Generated chunk: {chunk.shape[0]} samples")
""",
}
COMMANDS: Final = {
    "generate": "generate",
    "generate --voice": 'generate --text "Hello world." --voice marius',
    "generate --config": "generate --config {}",
    "export-voice": "export-voice some_voice.wav some_voice.safetensors",
}
COMMUNITY_CONFIGS: Final = {
    "https": "https://raw.githubusercontent.com/kyutai-labs/pocket-tts/refs/heads/main/pocket_tts/"
    "config/english_2026-04.yaml",
    "hf": "hf://user/repo/config_file.yaml@commit_hash",
    "local": "./english_2026-04.yaml",
}
LANGUAGE: Final = "english"
WEB_VOICE: Final = (
    "https://huggingface.co/kyutai/tts-voices/resolve/main/expresso/"
    "ex01-ex02_default_001_channel1_168s.wav"
)
TAIL_SAMPLES: Final = 4800
# In place of SciPy, which is the user's own and not among our tools.
_WAVFILE: Final = """
import wave, numpy
def write(filename, rate, data):
    assert type(data) is numpy.ndarray and data.dtype == numpy.float32 and data.ndim == 1
    with wave.open(filename, "wb") as file:
        file.setnchannels(1); file.setsampwidth(2); file.setframerate(rate)
        file.writeframes((data.clip(-1, 1) * 32767).astype("<i2").tobytes())
"""


def _without_nones(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_nones(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None
    }


def _reference_python() -> Path:
    try:
        return reference_interpreter()
    except ReferenceUnavailableError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random model of the released shapes, a recording and a voice of both."""
    config = Config.named(LANGUAGE)
    assert config is not None
    folder = tmp_path_factory.mktemp("released")
    values = {k: v for k, v in config.as_dict().items() if k != "replace_characters"}
    path = write_model(folder, _without_nones(values), dtype="BF16")
    recording = write_wav(folder / "voice.wav", voice_like(24_000, 24_000), 24_000)
    model = TTSModel.load_model(config=path)
    state = model.get_state_for_audio_prompt(recording)
    pocket_tts_native.export_model_state(state, folder / "voice.safetensors")
    return folder


@pytest.fixture
def desk(hub: HubServer, released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory of a user whose hub has everything that the examples name."""
    config = Config.named(LANGUAGE)
    assert config is not None
    sources = config.sources()
    hub.add(sources["weights_path"], (released / "model.safetensors").read_bytes())
    tokenizer = next(released.glob("tokenizer*")).read_bytes()
    hub.add(sources["flow_lm.lookup_table.tokenizer_path"], tokenizer)
    recording, state = (released / "voice.wav"), (released / "voice.safetensors").read_bytes()
    for voice in ("alba", "marius"):
        hub.add(voice_address(LANGUAGE, voice), state)
    origin = VOICE_ORIGINS["alba"]
    hub.add(f"{origin}@{'a' * 40}", recording.read_bytes())
    hub.repository("kyutai/tts-voices").branches["main"] = "a" * 40
    yaml = (released / "config.yaml").read_bytes()
    hub.add(COMMUNITY_CONFIGS["hf"], yaml)
    home = Path(os.environ["HOME"])
    for url, content in ((WEB_VOICE, recording.read_bytes()), (COMMUNITY_CONFIGS["https"], yaml)):
        # What an earlier download of this address, by either package, has left.
        name = hashlib.sha256(url.encode()).hexdigest() + Path(url).suffix
        cached = home / ".cache" / "pocket_tts" / name
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.write_bytes(content)
    desk = tmp_path / "desk"
    desk.mkdir()
    for name in ("some_voice.wav", "my_voice.wav"):
        shutil.copy(recording, desk / name)
    (desk / "my_voices.safetensors").write_bytes(state)
    (desk / COMMUNITY_CONFIGS["local"]).write_bytes(yaml)
    monkeypatch.chdir(desk)
    return desk


def _run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def _ours(code: str) -> str:
    """The example for this package."""
    assert code.count("from pocket_tts import") == 1
    return code.replace("from pocket_tts import", "from pocket_tts_native import")


def _n_samples(path: Path) -> int:
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
        assert np.frombuffer(file.readframes(-1), "<i2").any()
        return file.getnframes()


@pytest.mark.parametrize("name", list(PYTHON))
def test_python(desk: Path, name: str) -> None:
    stand_ins = desk / "stand_ins"
    (stand_ins / "scipy" / "io").mkdir(parents=True)
    for package in ("scipy", "scipy/io"):
        (stand_ins / package / "__init__.py").touch()
    (stand_ins / "scipy" / "io" / "wavfile.py").write_text(_WAVFILE, encoding="utf-8")
    done = _run([sys.executable, "-c", _ours(PYTHON[name])], PYTHONPATH=str(stand_ins))
    if name == "library":
        assert _n_samples(desk / "output.wav") > 0
    if name == "export":
        assert (desk / "some_voice.safetensors").stat().st_size > 0
    if name == "generate_audio":
        assert "Audio duration: " in done.stdout
    if name == "generate_audio_stream":
        assert done.stdout.count("Generated chunk: ") > 1


@pytest.mark.parametrize("name", list(COMMANDS))
def test_command(desk: Path, name: str) -> None:
    words = COMMANDS[name].replace('"Hello world."', "Hello_world.").split()
    command = [sys.executable, "-m", "pocket_tts_native", *words]
    if name == "export-voice":
        _run(command)
        assert (desk / "some_voice.safetensors").stat().st_size > 0
        return
    output = desk / "tts_output.wav"
    for address in COMMUNITY_CONFIGS.values() if name == "generate --config" else [""]:
        _run([word.format(address).replace("_world", " world") for word in command])
        assert _n_samples(output) > TAIL_SAMPLES
        with wave.open(str(output), "rb") as file:
            tail = file.readframes(-1)[-2 * TAIL_SAMPLES :]
        assert not any(tail), "a file ends in 200 ms of silence"
        output.unlink()


def _documented(interpreter: Path) -> dict[str, str]:
    """The examples in the docstrings and the README of the installed reference."""
    code = (
        "import importlib.metadata as m, json, re, textwrap; from pocket_tts import TTSModel\n"
        "blocks = lambda text: re.findall(r'```python\\n(.*?)```', textwrap.dedent(text), re.S)\n"
        "readme = blocks(m.metadata('pocket-tts').get_payload())\n"
        "found = {'library': readme[0], 'export': readme[1]}\n"
        "for name in ('load_model', 'get_state_for_audio_prompt', 'generate_audio',"
        " 'generate_audio_stream'):\n"
        "    [text] = re.findall(r'```python\\n(.*?)```', getattr(TTSModel, name).__doc__, re.S)\n"
        "    found[name] = textwrap.dedent(text)\n"
        "print(json.dumps([found, m.metadata('pocket-tts').get_payload()]))"
    )
    import json

    examples, readme = json.loads(_run([str(interpreter), "-c", code]).stdout)
    return {**examples, "README": readme}


@pytest.mark.parity
def test_the_examples_are_the_documented_ones() -> None:
    documented = _documented(_reference_python())
    for name, code in PYTHON.items():
        found = ast.parse(documented[name]).body
        assert [ast.dump(node) for node in found] == [ast.dump(n) for n in ast.parse(code).body]
    readme = documented["README"]
    for command in ("generate", "generate --voice"):
        assert f"pocket-tts {COMMANDS[command]}\n" in readme
    for address in COMMUNITY_CONFIGS.values():
        assert address in readme


@pytest.mark.parity
def test_with_the_real_scipy_and_pytorch(desk: Path) -> None:
    """The first example, and PyTorch's functions on its result as the API's pages show them."""
    package = str(Path(pocket_tts_native.__file__).parents[1])
    code = _ours(PYTHON["library"]) + (
        "import torch\n"
        "full = torch.cat([audio, audio], dim=0)\n"
        "assert full.shape == (2 * len(audio),) and full.dtype == torch.float32\n"
        "assert torch.equal(full[: len(audio)], torch.from_numpy(audio))\n"
    )
    _run([str(_reference_python()), "-c", code], PYTHONPATH=package)
    import struct

    content = (desk / "output.wav").read_bytes()
    assert struct.unpack_from("<HHI", content, 20) == (3, 1, 24_000), "32-bit float"
