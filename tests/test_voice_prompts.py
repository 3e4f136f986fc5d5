"""Voice prompts as files and arrays, at the model's rate and at others, on a tiny model."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pocket_tts_native import TTSModel, _native
from signals import read_wav, voice_like, with_silence, write_wav
from wav_bytes import wav_bytes, wav_header

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from model_files import Array
    from pocket_tts_native.prompt import Prompt

RATE_HZ = 1600
FIXTURES = Path(__file__).parent / "fixtures" / "audio"


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> TTSModel:
    """A tiny model at 1,600 Hz."""
    return TTSModel.load_model(config=str(tiny_model_dir / "config.yaml"), num_threads=1)


def _latents(model: TTSModel, prompt: Prompt, *, sample_rate: int | None = None) -> Array:
    voice = model.get_state_for_audio_prompt(prompt, sample_rate=sample_rate)
    return model.generate_latents(voice, "one", frames=5, seed=1)[0]


def test_file_and_array_agree(model: TTSModel, tmp_path: Path) -> None:
    """A 16-bit file and its samples divided by 32768 are the same prompt."""
    path = write_wav(tmp_path / "prompt.wav", voice_like(3000, RATE_HZ), RATE_HZ)
    samples, rate = read_wav(path)
    from_file = _latents(model, path)
    assert np.array_equal(from_file, _latents(model, str(path)))
    assert np.array_equal(from_file, _latents(model, samples, sample_rate=rate))


def test_array_without_a_rate_is_at_the_models(model: TTSModel) -> None:
    """`sample_rate` defaults to the model's rate."""
    samples = voice_like(3000, RATE_HZ)
    with_rate = _latents(model, samples, sample_rate=RATE_HZ)
    assert np.array_equal(_latents(model, samples), with_rate)


@pytest.mark.parametrize("rate", [800, 1000, 2400, 4410])
def test_file_and_array_agree_at_other_rates(model: TTSModel, tmp_path: Path, rate: int) -> None:
    """Both are resampled alike."""
    path = write_wav(tmp_path / "prompt.wav", voice_like(2 * rate, rate), rate)
    samples, _ = read_wav(path)
    assert np.array_equal(_latents(model, path), _latents(model, samples, sample_rate=rate))


def test_trailing_silence_does_not_matter(model: TTSModel) -> None:
    """Prompts end at their last loud 20 ms."""
    loud = voice_like(3200, RATE_HZ)
    loud[-160:] = 0.2
    once = _latents(model, with_silence(loud, RATE_HZ, seconds=0.1), sample_rate=RATE_HZ)
    longer = _latents(model, with_silence(loud, RATE_HZ, seconds=0.5), sample_rate=RATE_HZ)
    assert np.array_equal(once, longer)


def test_stereo_is_averaged(model: TTSModel, tmp_path: Path) -> None:
    """Two equal channels are the mono prompt."""
    samples = voice_like(3000, RATE_HZ)
    mono = write_wav(tmp_path / "mono.wav", samples, RATE_HZ)
    stereo = write_wav(tmp_path / "stereo.wav", np.stack([samples, samples], axis=1), RATE_HZ)
    assert np.array_equal(_latents(model, mono), _latents(model, stereo))


def test_voices_differ(model: TTSModel) -> None:
    """Another voice gives other latents."""
    low = _latents(model, voice_like(3000, RATE_HZ, pitch_hz=60, seed=1), sample_rate=RATE_HZ)
    high = _latents(model, voice_like(3000, RATE_HZ, pitch_hz=140, seed=2), sample_rate=RATE_HZ)
    assert np.linalg.norm(low - high) > 0.01 * np.linalg.norm(low)


@pytest.mark.parametrize("name", ["flac16.flac", "flac24.flac", "lame.mp3", "vorbis.ogg"])
def test_sources_of_one_recording_agree(model: TTSModel, tmp_path: Path, name: str) -> None:
    """A path, the bytes, a file and the decoded samples are the same prompt, whatever the name."""
    path = FIXTURES / name
    content = path.read_bytes()
    expected = _latents(model, path)
    renamed = tmp_path / "voice.wav"
    renamed.write_bytes(content)
    samples, rate = _native.decode_audio(path)
    with path.open("rb") as file:
        for prompt in (content, bytearray(content), memoryview(content), file, io.BytesIO(content)):
            assert np.array_equal(expected, _latents(model, prompt)), type(prompt)
    assert np.array_equal(expected, _latents(model, renamed))
    assert np.array_equal(expected, _latents(model, samples, sample_rate=rate))


class _Tensor:
    """What a PyTorch tensor answers to."""

    def __init__(self, array: Array) -> None:
        self._array = array

    def detach(self) -> _Tensor:
        """The tensor itself."""
        return self

    def cpu(self) -> _Tensor:
        """The tensor itself."""
        return self

    def numpy(self) -> Array:
        """The array."""
        return self._array


def test_arrays_of_any_layout_agree(model: TTSModel) -> None:
    """Types, axes, strides and tensors do not matter."""
    mono = np.round(voice_like(3000, RATE_HZ) * 127) / 128
    stereo = np.stack([mono, mono])
    expected = _latents(model, mono.astype(np.float32))
    strided = np.zeros((3000, 5), np.float32)
    strided[:, 2] = mono
    prompts: list[Any] = [
        mono.astype(np.float64),
        mono.astype(np.float16),
        (mono * 128).astype(np.int8),
        (mono * 128 + 128).astype(np.uint8),
        (mono * 32768).astype(np.int16),
        (mono * 2.0**31).astype(np.int32),
        mono.astype(">f4"),
        strided[:, 2],
        mono[np.newaxis],
        mono[:, np.newaxis],
        stereo,
        stereo.T,
        _Tensor(mono[np.newaxis].astype(np.float32)),
    ]
    for i, prompt in enumerate(prompts):
        assert np.array_equal(expected, _latents(model, prompt)), i


@pytest.mark.parametrize("n_channels", [1, 2, 3, 5, 7, 8, 9, 11, 16, 31, 130, 300])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_channels_are_averaged_as_by_numpy(n_channels: int, dtype: type) -> None:
    """The mean has the bits of `numpy.mean` over float32."""
    rng = np.random.Generator(np.random.Philox(key=n_channels))
    floats = rng.uniform(-1, 1, (40, n_channels))
    if np.issubdtype(dtype, np.floating):
        samples: npt.NDArray[Any] = floats.astype(dtype)
        as_float32 = samples.astype(np.float32)
    else:
        rest, scale = (128, 128.0) if dtype is np.uint8 else (0, float(-np.iinfo(dtype).min))
        samples = (floats * scale + rest).astype(dtype)
        as_float32 = ((samples.astype(np.float64) - rest) / scale).astype(np.float32)
    mono, rate = _native.decode_audio(wav_bytes(samples, 44100))
    assert rate == 44100
    assert np.array_equal(mono, as_float32.mean(axis=1))


def test_truncation_is_for_files(model: TTSModel, tmp_path: Path) -> None:
    """`truncate` cuts files after 30 s of their own rate and leaves arrays alone."""
    samples = voice_like(32 * RATE_HZ, RATE_HZ)
    path = write_wav(tmp_path / "long.wav", samples, RATE_HZ)
    first = write_wav(tmp_path / "first.wav", samples[: 30 * RATE_HZ], RATE_HZ)

    def positions(prompt: str | Path | bytes | Array, *, truncate: bool) -> int:
        voice = model.get_state_for_audio_prompt(prompt, truncate=truncate)
        return int(voice["transformer.layers.0.self_attn"]["cache"].shape[2])

    assert positions(path, truncate=True) == positions(first, truncate=False)
    assert positions(path.read_bytes(), truncate=True) == positions(first, truncate=False)
    assert positions(path, truncate=False) > positions(first, truncate=False)
    assert positions(samples, truncate=True) == positions(path, truncate=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: np.clip(np.repeat(x, 4) * 20, -1, 1), "clipped in"),
        (lambda x: x[: RATE_HZ // 2], "of sound, too little"),
        (lambda x: x * 32768, "its peak is"),
        (lambda x: np.tile(x, 33), "s long; the voice will take"),
        (lambda x: x, None),
    ],
    ids=["clipped", "short", "scale", "long", "good"],
)
def test_doubtful_recordings_are_told(
    model: TTSModel,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Array], Array],
    words: str | None,
) -> None:
    """The logger is told what may be wrong, and nothing of a good recording."""
    samples = np.ascontiguousarray(change(voice_like(2 * RATE_HZ, RATE_HZ)).astype(np.float32))
    model.get_state_for_audio_prompt(samples, sample_rate=RATE_HZ)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (words is not None), messages
    if words is not None:
        assert words in messages[0]
        assert "audio_conditioning" in messages[0]


def test_short_data_is_told(model: TTSModel, caplog: pytest.LogCaptureFixture) -> None:
    """A WAV that lost its end is used, as by the reference, and the loss is told."""
    samples = voice_like(2 * RATE_HZ, RATE_HZ)
    whole = wav_bytes(samples, RATE_HZ)
    assert np.array_equal(
        _latents(model, wav_bytes(samples, RATE_HZ, n_data_bytes=samples.nbytes + 4 * RATE_HZ)),
        _latents(model, whole),
    )
    assert ["1.00 s fewer" in record.getMessage() for record in caplog.records] == [True]


_MEMORY_SCRIPT = """
import resource, sys
from pocket_tts_native import TTSModel
model = TTSModel.load_model(config=sys.argv[1], num_threads=1)
model.get_state_for_audio_prompt(sys.argv[2], truncate=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model.get_state_for_audio_prompt(sys.argv[3], truncate=sys.argv[4] == "truncate")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts kilobytes on Linux only")
@pytest.mark.parametrize("mode", ["truncate", "whole"])
def test_an_hour_is_not_held_in_memory(tiny_model_dir: Path, tmp_path: Path, mode: str) -> None:
    """An hour of stereo at 44.1 kHz, 635 MB, takes less than 50 MB of memory; the voice is small here."""
    rate, n_channels = 44100, 2
    second = np.stack([voice_like(rate, rate)] * n_channels, axis=1)
    pcm = np.round(second * 32767).astype("<i2").tobytes()
    path, short = tmp_path / "hour.wav", tmp_path / "second.wav"
    n_seconds = 3600 if mode == "truncate" else 600
    dtype = np.dtype(np.int16)
    short.write_bytes(wav_header(dtype, n_channels, rate, len(pcm)) + pcm)
    with path.open("wb") as file:
        file.write(wav_header(dtype, n_channels, rate, n_seconds * len(pcm)))
        for _ in range(n_seconds):
            file.write(pcm)
    config = str(tiny_model_dir / "config.yaml")
    command = [sys.executable, "-c", _MEMORY_SCRIPT, config, str(short), str(path), mode]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert int(done.stdout) < 50_000
