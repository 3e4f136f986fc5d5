"""Start the reference in its own interpreter, ask it for outputs and keep them between runs.

Models and outputs are stored in one directory per case, named by a hash of everything that they
depend on: the scripts, the specification and the inputs. A change of any makes new ones; directories
of the same case that went unused for a week are deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import parity_cases
from parity_cases import FRAME_SAMPLES, GROUPS, SAMPLE_RATE_HZ, TEXT, TEXTS, Case, Speech
from signals import Floats, voice_like, with_silence, write_wav

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

REFERENCE_VERSION: Final = "4.0.1"
INTERPRETER_VARIABLE: Final = "POCKET_REFERENCE_PYTHON"
_TESTS: Final = Path(__file__).parent
_MODEL_SOURCES: Final = ("tiny_model.py", "model_files.py", "reference/model_factory.py")
_OUTPUT_SOURCES: Final = ("reference/run_reference.py", "signals.py", "reference_client.py")
_PROMPT_RATES_HZ: Final = {
    "8k": 8000,
    "16k": 16000,
    "22k": 22050,
    "44k_stereo": 44100,
    "48k": 48000,
}
_WEEK_S: Final = 7 * 86400


class ReferenceUnavailableError(RuntimeError):
    """The reference environment is missing or of another version."""


def _environment() -> dict[str, str]:
    """The reference's environment variables: our scripts importable, one thread."""
    return {
        **os.environ,
        "PYTHONPATH": str(_TESTS),
        "OMP_NUM_THREADS": "1",
        "PYTHONIOENCODING": "utf-8",
    }


def reference_interpreter() -> Path:
    """The interpreter of the reference environment, with its version checked.

    Raises:
        ReferenceUnavailableError: The variable is not set, or it names an environment without
            `pocket-tts` 4.0.1.
    """
    value = os.environ.get(INTERPRETER_VARIABLE)
    if not value:
        message = (
            f"{INTERPRETER_VARIABLE} is not set; point it at the Python of an environment with "
            f"pocket-tts {REFERENCE_VERSION}, or run `make test`, which makes one"
        )
        raise ReferenceUnavailableError(message)
    code = "import importlib.metadata as m; print(m.version('pocket-tts'))"
    try:
        done = subprocess.run(
            [value, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=_environment(),
        )
    except OSError as error:
        message = f"{INTERPRETER_VARIABLE}={value} cannot be run: {error}"
        raise ReferenceUnavailableError(message) from error
    if done.stdout.strip() != REFERENCE_VERSION:
        found = done.stdout.strip() or "none"
        message = (
            f"{INTERPRETER_VARIABLE}={value} has pocket-tts {found}, expected {REFERENCE_VERSION}; "
            "install that version there"
        )
        raise ReferenceUnavailableError(message)
    return Path(value)


class ReferenceWorker:
    """The process that answers requests; started at the first one."""

    def __init__(self, interpreter: Path) -> None:
        """Remember the interpreter; nothing is started yet."""
        self._interpreter = interpreter
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send one request and wait for its reply.

        Raises:
            RuntimeError: The reference failed; the message holds its traceback.
        """
        if self._process is None:
            self._log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
            self._process = subprocess.Popen(
                [str(self._interpreter), "-m", "reference.run_reference"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                encoding="utf-8",
                env=_environment(),
            )
        process = self._process
        if process.stdin is None or process.stdout is None:
            message = "the worker was started without pipes"
            raise RuntimeError(message)
        line = ""
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if not line:
            message = f"the reference process ended:\n{self._log_tail()}"
            raise RuntimeError(message)
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            message = f"the reference failed:\n{reply['error']}"
            raise RuntimeError(message)
        return reply

    def _log_tail(self) -> str:
        if self._log is None:
            return ""
        self._log.seek(0)
        return self._log.read()[-4000:]

    def close(self) -> None:
        """End the process."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait(timeout=60)
        if self._log is not None:
            self._log.close()


@dataclass(frozen=True)
class CaseData:
    """A model on disk and what the reference made of it."""

    case: Case
    config: Path
    directory: Path
    inputs: dict[str, Any]
    outputs: dict[str, Any]

    @property
    def voice_wav(self) -> Path:
        """The voice prompt, 16-bit at the model's rate."""
        return self.directory / "voice.wav"

    @property
    def exported_voice(self) -> Path:
        """The state that the reference made of `voice_wav`."""
        return self.directory / "voice.safetensors"

    @property
    def prompts(self) -> dict[str, Path]:
        """Prompts at other rates."""
        return {name: self.directory / f"prompt_{name}.wav" for name in _PROMPT_RATES_HZ}


def _digest(sources: Iterable[str], *values: object) -> str:
    digest = hashlib.sha256(REFERENCE_VERSION.encode())
    for source in sources:
        digest.update((_TESTS / source).read_bytes())
    digest.update(json.dumps(values, sort_keys=True).encode())
    return digest.hexdigest()[:16]


class ReferenceStore:
    """Models and outputs of all cases, made on demand."""

    def __init__(self, root: Path, worker: ReferenceWorker) -> None:
        """Keep everything under `root`."""
        self._root = root
        self._worker = worker
        self.log: list[str] = []  # what this run made, and how long it took

    def _directory(self, kind: str, name: str, key: str, make: Callable[[Path], None]) -> Path:
        """The directory `<kind>-<name>-<key>`, made by `make` if it is missing."""
        self._root.mkdir(parents=True, exist_ok=True)
        path = self._root / f"{kind}-{name}-{key}"
        if not path.exists():
            started = time.monotonic()
            # The model's configuration holds absolute paths, so its name must be final; the
            # outputs are moved into place whole.
            partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=self._root))
            try:
                make(partial)
                partial.rename(path)
            except OSError:
                if not path.exists():  # another run was not faster
                    raise
            finally:
                shutil.rmtree(partial, ignore_errors=True)
            self.log.append(f"{kind} {name}: made in {time.monotonic() - started:.1f} s")
        os.utime(path)
        for other in self._root.glob(f"{kind}-{name}-" + "?" * len(key)):
            if other != path and time.time() - other.stat().st_mtime > _WEEK_S:
                shutil.rmtree(other, ignore_errors=True)
        return path

    def model(self, case: Case) -> Path:
        """Path of the case's `config.yaml`."""

        def make(directory: Path) -> None:
            request = {"op": "make", "directory": str(directory), "spec": case.spec}
            self._worker.ask(request)
            config = directory / "config.yaml"
            final = str(self._root / f"model-{case.name}-{key}")
            text = config.read_text(encoding="utf-8").replace(str(directory.resolve()), final)
            config.write_text(text, encoding="utf-8")

        key = _digest(_MODEL_SOURCES, case.spec)
        return self._directory("model", case.name, key, make) / "config.yaml"

    def prepare_and_split(
        self, config: Path, texts: Sequence[str], max_tokens: Sequence[int]
    ) -> tuple[list[tuple[str, int] | None], list[list[str] | None]]:
        """Each text prepared, with its frames after the end of speech, and its chunks.

        None for texts of which nothing is left. Not kept: it takes seconds.
        """
        request = {
            "op": "texts",
            "config": str(config),
            "texts": list(texts),
            "max_tokens": list(max_tokens),
        }
        reply = self._worker.ask(request)
        return [pair and (pair[0], pair[1]) for pair in reply["prepared"]], reply["chunks"]

    def run(
        self,
        config: Path,
        directory: Path,
        inputs: dict[str, Any],
        *,
        temp: float,
        **request: object,
    ) -> dict[str, Any]:
        """Outputs of a model that is not the store's; see `Reference.run`. Not kept."""
        directory.mkdir()
        np.savez(directory / "inputs.npz", allow_pickle=False, **inputs)
        paths = {name: str(directory / f"{name}.npz") for name in ("inputs", "output")}
        self._worker.ask(
            {"op": "run", "config": str(config), "temp": temp, "steps": 1, **paths, **request}
        )
        with np.load(paths["output"]) as archive:
            return dict(archive)

    def data(self, case: Case) -> CaseData:
        """The case's model, inputs and reference outputs."""
        config = self.model(case)
        inputs = {**parity_cases.case_inputs(), **_audio_inputs()}

        def make(directory: Path) -> None:
            voice = with_silence(voice_like(38_000, SAMPLE_RATE_HZ, seed=1), SAMPLE_RATE_HZ)
            write_wav(directory / "voice.wav", voice, SAMPLE_RATE_HZ)
            prompts = _write_prompts(directory) if case.has_prompts else {}
            np.savez(directory / "inputs.npz", allow_pickle=False, **inputs)
            request = {
                "op": "run",
                "config": str(config),
                "temp": case.temp,
                "steps": case.steps,
                "inputs": str(directory / "inputs.npz"),
                "output": str(directory / "outputs.npz"),
                "text": TEXT,
                "texts": TEXTS,
                "voice_wav": str(directory / "voice.wav"),
                "voice_export": str(directory / "voice.safetensors"),
                "prompts": prompts,
                "groups": GROUPS,
            }
            self._worker.ask(request)

        sources = (*_MODEL_SOURCES, *_OUTPUT_SOURCES, "parity_cases.py")
        parameters = [case.spec, case.temp, case.steps, case.has_prompts]
        directory = self._directory("output", case.name, _digest(sources, *parameters), make)
        with np.load(directory / "outputs.npz") as archive:
            outputs = dict(archive)
        return CaseData(case, config, directory, inputs, outputs)

    def speech(self, case: Case, speeches: Sequence[Speech]) -> dict[str, Any]:
        """The reference's audio of `speeches`; `Reference.speak` lists the outputs."""
        config = self.model(case)
        requests = [asdict(speech) for speech in speeches]

        def make(directory: Path) -> None:
            np.save(directory / "noise.npy", parity_cases.speech_noise())
            request = {
                "op": "speak",
                "config": str(config),
                "temp": case.temp,
                "steps": case.steps,
                "voice": str(self.data(case).exported_voice),
                "noise": str(directory / "noise.npy"),
                "speeches": requests,
                "output": str(directory / "outputs.npz"),
            }
            self._worker.ask(request)

        sources = (*_MODEL_SOURCES, *_OUTPUT_SOURCES, "parity_cases.py")
        parameters = [case.spec, case.temp, case.steps, requests]
        directory = self._directory("speech", case.name, _digest(sources, *parameters), make)
        with np.load(directory / "outputs.npz") as archive:
            return dict(archive)


def _audio_inputs() -> dict[str, Floats]:
    """Audio to encode: whole frames, a ragged end, less than a frame; and a prompt array."""
    audio = voice_like(20 * FRAME_SAMPLES, SAMPLE_RATE_HZ, seed=2)
    return {
        "pcm_whole": audio,
        "pcm_ragged": audio[: 9 * FRAME_SAMPLES + 777].copy(),
        "pcm_short": audio[4000:4500].copy(),
        "voice_array": with_silence(voice_like(25_111, SAMPLE_RATE_HZ, seed=3), SAMPLE_RATE_HZ),
    }


def _write_prompts(directory: Path) -> dict[str, str]:
    """Write the prompts at other rates; returns their paths."""
    paths = {}
    for index, (name, rate) in enumerate(_PROMPT_RATES_HZ.items()):
        samples = with_silence(voice_like(int(1.237 * rate), rate, seed=index), rate, seconds=0.17)
        if name.endswith("stereo"):
            other = voice_like(len(samples), rate, pitch_hz=210.0, seed=50)
            other[int(1.1 * rate) :] *= np.float32(0.001)
            samples = np.stack([samples, other], axis=1)
        paths[name] = str(write_wav(directory / f"prompt_{name}.wav", samples, rate))
    return paths
