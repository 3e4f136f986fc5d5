"""Bad files and arguments: an exception of the natural class whose message says what is wrong."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from model_files import read_safetensors, write_safetensors
from pocket_tts_native import TTSModel, UnsupportedError
from signals import voice_like, write_wav
from tiny_model import random_tensors, tiny_config, write_model
from wav_bytes import wav_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_files import Array


def _load(directory: Path) -> TTSModel:
    return TTSModel.load_model(config=str(directory / "config.yaml"), num_threads=1)


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> TTSModel:
    """A tiny model that is not broken."""
    return _load(tiny_model_dir)


@pytest.fixture
def broken(tmp_path: Path, tiny_model_dir: Path) -> Path:
    """A copy of the tiny model, to be broken."""
    directory = tmp_path / "model"
    shutil.copytree(tiny_model_dir, directory)
    config = directory / "config.yaml"
    text = config.read_text(encoding="utf-8").replace(str(tiny_model_dir), str(directory))
    config.write_text(text, encoding="utf-8")
    return directory


def _edit_config(directory: Path, old: str, new: str) -> None:
    path = directory / "config.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_missing_config(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(FileNotFoundError, match="nowhere"):
        TTSModel.load_model(config=str(tmp_path / "nowhere.yaml"))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_missing_file(broken: Path, name: str) -> None:
    """The missing file is named."""
    (broken / name).unlink()
    with pytest.raises(FileNotFoundError, match=name.replace(".", r"\.")):
        _load(broken)


def test_unknown_config_key_is_named_with_the_nearest_known(broken: Path) -> None:
    """A typing error shows itself."""
    _edit_config(broken, "insert_bos_before_voice:", "insert_bos_before_voise:")
    with pytest.raises(ValueError, match="insert_bos_before_voise") as caught:
        _load(broken)
    assert "insert_bos_before_voice" in str(caught.value)


def test_config_without_weights(broken: Path) -> None:
    """A model without weights would be noise: refused."""
    _edit_config(broken, "weights_path: ", "# ")
    with pytest.raises(ValueError, match="weights_path"):
        _load(broken)


def test_vocabulary_of_another_size(broken: Path) -> None:
    """Both sizes are told."""
    _edit_config(broken, "n_bins: 60", "n_bins: 61")
    with pytest.raises((AssertionError, ValueError), match="60") as caught:
        _load(broken)
    assert "61" in str(caught.value)


def _without_a_tensor(tensors: dict[str, Array]) -> None:
    del tensors["flow_lm.out_eos.bias"]


def _with_another_tensor(tensors: dict[str, Array]) -> None:
    tensors["flow_lm.surplus.weight"] = np.zeros(3, np.float32)


def _with_another_shape(tensors: dict[str, Array]) -> None:
    tensors["flow_lm.bos_emb"] = np.zeros(5, np.float32)


def _with_integers(tensors: dict[str, Array]) -> None:
    tensors["flow_lm.bos_emb"] = np.zeros(8, np.int64)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without_a_tensor, ["flow_lm.out_eos.bias"]),
        (_with_another_tensor, ["flow_lm.surplus.weight"]),
        (_with_another_shape, ["flow_lm.bos_emb", "8", "5"]),
        (_with_integers, ["flow_lm.bos_emb"]),
    ],
)
def test_tensors_that_do_not_fit(
    broken: Path, change: Callable[[dict[str, Array]], None], words: list[str]
) -> None:
    """The tensor is named, and for shapes the expected and the found one."""
    tensors = random_tensors(tiny_config(), 0)
    change(tensors)
    write_safetensors(broken / "model.safetensors", tensors)
    with pytest.raises(ValueError, match=r"flow_lm\.") as caught:
        _load(broken)
    for word in words:
        assert word in str(caught.value)


def test_encoder_tensors_are_required(broken: Path) -> None:
    """Names are strict even for the half that only cloning uses."""
    tensors = random_tensors(tiny_config(), 0)
    kept = {k: v for k, v in tensors.items() if not k.startswith("mimi.encoder.")}
    write_safetensors(broken / "model.safetensors", kept)
    with pytest.raises(ValueError, match=r"mimi\.encoder\."):
        _load(broken)


def _header(text: str, data: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text.encode() + data


def _entry(**changes: str | list[int]) -> bytes:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}
    return _header(json.dumps({"flow_lm.bos_emb": entry}), bytes(8))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01\x02\x03",
        (1 << 63).to_bytes(8, "little") + b"{}",
        (10**9).to_bytes(8, "little") + b"{}",
        _header("not json"),
        _header("[]"),
        _header('{"a": 3}'),
        _entry(data_offsets=[0, 400]),
        _entry(data_offsets=[8, 0]),
        _entry(data_offsets=[-8, 0]),
        _entry(shape=[3]),
        _entry(shape=[1 << 40, 1 << 40]),
        _entry(dtype="F31"),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    ],
    ids=[
        "empty",
        "three_bytes",
        "huge_header",
        "header_beyond_the_end",
        "no_json",
        "a_list",
        "a_number_for_an_entry",
        "offsets_beyond_the_end",
        "offsets_reversed",
        "offset_negative",
        "shape_larger_than_data",
        "shape_overflows",
        "unknown_dtype",
        "pointer_file",
    ],
)
def test_files_that_are_no_safetensors(broken: Path, content: bytes) -> None:
    """Hostile and truncated headers are refused, the file named."""
    (broken / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="model"):
        _load(broken)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_truncated_weights(broken: Path, kept: float) -> None:
    """A download that broke off is refused, the file named."""
    path = broken / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ValueError, match="model"):
        _load(broken)


def test_tokenizer_that_is_no_json(broken: Path) -> None:
    """The tokenizer file is named."""
    (broken / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="tokenizer"):
        _load(broken)


def test_language_and_config_exclude_each_other(tiny_model_dir: Path) -> None:
    """One of the two is given."""
    with pytest.raises(ValueError, match=r"config.*language|language.*config"):
        TTSModel.load_model("english", config=str(tiny_model_dir / "config.yaml"))


def test_unknown_language_lists_the_known() -> None:
    """The names to choose from are told."""
    with pytest.raises(FileNotFoundError, match="english_2m_2026-10"):
        TTSModel.load_model("klingon")


@pytest.mark.parametrize("precision", ["f31", "", "F64"])
def test_unknown_precision(tiny_model_dir: Path, precision: str) -> None:
    """Precisions that do not exist are named."""
    with pytest.raises(ValueError, match="precision"):
        TTSModel.load_model(config=str(tiny_model_dir / "config.yaml"), precision=precision)


class TestPrompts:
    """Voice prompts that cannot be used."""

    @pytest.mark.parametrize(
        "samples",
        [
            np.zeros(0, np.float32),
            np.zeros(2000, np.float32),
            np.full(2000, np.nan, np.float32),
            np.r_[voice_like(2000, 1600), np.float32(np.inf)],
        ],
        ids=["empty", "silent", "nan", "infinite"],
    )
    def test_unusable_samples(self, model: TTSModel, samples: Array) -> None:
        """Empty, silent, NaN and infinite prompts are refused."""
        with pytest.raises(ValueError, match=r"(?i)audio|prompt|sample|silen|empty|nan|finite"):
            model.get_state_for_audio_prompt(samples, sample_rate=1600)

    @pytest.mark.parametrize("rate", [0, -1])
    def test_impossible_rate(self, model: TTSModel, rate: int) -> None:
        """A rate is positive."""
        with pytest.raises((ValueError, OverflowError)):
            model.get_state_for_audio_prompt(voice_like(2000, 1600), sample_rate=rate)

    @pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.bool_, np.complex64, object])
    def test_other_dtypes_are_refused(self, model: TTSModel, dtype: type) -> None:
        """Types without a common scale are refused."""
        with pytest.raises(TypeError, match="audio_conditioning must hold floats"):
            model.get_state_for_audio_prompt(np.ones(2000, dtype), sample_rate=1600)

    @pytest.mark.parametrize("shape", [(2, 3, 2000), (20, 20), (2000, 2000), (0, 2000), ()])
    def test_shapes_without_a_channel_axis_are_refused(
        self, model: TTSModel, shape: tuple[int, ...]
    ) -> None:
        """Where channels could be on either axis, or on none, nothing is guessed."""
        with pytest.raises(ValueError, match="audio_conditioning must have the shape"):
            model.get_state_for_audio_prompt(np.ones(shape, np.float32), sample_rate=1600)

    @pytest.mark.parametrize("prompt", [None, 3, [0.1, 0.2], io.StringIO("text")])
    def test_other_types_are_refused(self, model: TTSModel, prompt: Any) -> None:  # noqa: ANN401
        """The argument is named."""
        with pytest.raises(TypeError, match="audio_conditioning"):
            model.get_state_for_audio_prompt(prompt)

    def test_folder(self, model: TTSModel, tmp_path: Path) -> None:
        """A folder is named."""
        with pytest.raises(OSError, match="is a directory"):
            model.get_state_for_audio_prompt(tmp_path)

    def test_opus(self, model: TTSModel) -> None:
        """Opus cannot be decoded, and the message says what can."""
        path = Path(__file__).parent / "fixtures" / "audio" / "opus.ogg"
        for prompt in (path, path.read_bytes()):
            with pytest.raises(UnsupportedError, match="Opus.*convert it to WAV"):
                model.get_state_for_audio_prompt(prompt)

    def test_nan_in_a_float_file(self, model: TTSModel, tmp_path: Path) -> None:
        """The file and the sample are named."""
        samples = voice_like(2000, 1600)
        samples[1234] = np.nan
        path = tmp_path / "prompt.wav"
        path.write_bytes(wav_bytes(samples, 1600))
        with pytest.raises(ValueError, match=r"prompt\.wav.*sample 1234 is NaN"):
            model.get_state_for_audio_prompt(path)

    def test_missing_file(self, model: TTSModel, tmp_path: Path) -> None:
        """The path is named."""
        with pytest.raises(FileNotFoundError, match="absent"):
            model.get_state_for_audio_prompt(tmp_path / "absent.wav")

    @pytest.mark.parametrize("content", [b"", b"RIFF", b"<html>not found</html>" * 50])
    def test_files_that_are_no_wav(self, model: TTSModel, tmp_path: Path, content: bytes) -> None:
        """The file is named."""
        path = tmp_path / "prompt.wav"
        path.write_bytes(content)
        with pytest.raises(ValueError, match="prompt"):
            model.get_state_for_audio_prompt(path)

    def test_wav_without_samples(self, model: TTSModel, tmp_path: Path) -> None:
        """A header alone is no prompt."""
        path = write_wav(tmp_path / "prompt.wav", np.zeros(0, np.float32), 1600)
        with pytest.raises(ValueError, match="prompt"):
            model.get_state_for_audio_prompt(path)

    @pytest.mark.parametrize("kept", [10, 40, 43])
    def test_truncated_wav_header(self, model: TTSModel, tmp_path: Path, kept: int) -> None:
        """A broken header is refused."""
        path = write_wav(tmp_path / "prompt.wav", voice_like(2000, 1600), 1600)
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(ValueError, match="prompt"):
            model.get_state_for_audio_prompt(path)


class TestVoiceFiles:
    """Exported voice states that do not fit the model."""

    SHAPE = (2, 1, 5, 2, 8)

    def _write(self, path: Path, cache: Array, **changes: Array) -> Path:
        tensors: dict[str, Array] = {}
        for layer in range(2):
            name = f"transformer.layers.{layer}.self_attn"
            tensors[f"{name}/cache"] = cache
            tensors[f"{name}/offset"] = np.array([5], np.int64)
        write_safetensors(path, {**tensors, **changes})
        return path

    def test_a_fitting_state_is_taken(self, model: TTSModel, tmp_path: Path) -> None:
        """The shapes of this class are the right ones."""
        path = self._write(tmp_path / "voice.safetensors", np.ones(self.SHAPE, np.float32))
        voice = model.get_state_for_audio_prompt(path)
        latents, _ = model.generate_latents(voice, "one", frames=3, seed=1)
        assert np.isfinite(latents).all()

    def test_the_tail_beyond_the_offset_is_ignored(self, model: TTSModel, tmp_path: Path) -> None:
        """Caches may be longer than what they hold, the rest NaN."""
        short = self._write(tmp_path / "short.safetensors", np.ones(self.SHAPE, np.float32))
        cache = np.full((2, 1, 9, 2, 8), np.nan, np.float32)
        cache[:, :, :5] = 1
        long = self._write(tmp_path / "long.safetensors", cache)
        first, second = [
            model.generate_latents(model.get_state_for_audio_prompt(path), "one", frames=3, seed=1)[
                0
            ]
            for path in (short, long)
        ]
        assert np.array_equal(first, second)

    @pytest.mark.parametrize(
        "shape", [(2, 1, 5, 3, 8), (2, 1, 5, 2, 6), (1, 1, 5, 2, 8), (2, 2, 5, 2, 8), (2, 5, 2, 8)]
    )
    def test_other_shapes(self, model: TTSModel, tmp_path: Path, shape: tuple[int, ...]) -> None:
        """The expected and the found shape are told."""
        path = self._write(tmp_path / "voice.safetensors", np.ones(shape, np.float32))
        with pytest.raises(ValueError, match=r"shape|cache"):
            model.get_state_for_audio_prompt(path)

    @pytest.mark.parametrize("offset", [6, -1, 10**12])
    def test_offset_outside_the_cache(self, model: TTSModel, tmp_path: Path, offset: int) -> None:
        """An offset beyond the cache is refused."""
        changes = {
            f"transformer.layers.{layer}.self_attn/offset": np.array([offset], np.int64)
            for layer in range(2)
        }
        cache = np.ones(self.SHAPE, np.float32)
        path = self._write(tmp_path / "voice.safetensors", cache, **changes)
        with pytest.raises(ValueError, match="offset"):
            model.get_state_for_audio_prompt(path)

    def test_missing_layer(self, model: TTSModel, tmp_path: Path) -> None:
        """A state of a model with fewer layers is refused."""
        path = self._write(tmp_path / "voice.safetensors", np.ones(self.SHAPE, np.float32))
        tensors = read_safetensors(path)
        write_safetensors(path, {k: v for k, v in tensors.items() if ".layers.1." not in k})
        with pytest.raises(ValueError, match="layer"):
            model.get_state_for_audio_prompt(path)

    def test_truncated_file(self, model: TTSModel, tmp_path: Path) -> None:
        """The file is named."""
        path = self._write(tmp_path / "voice.safetensors", np.ones(self.SHAPE, np.float32))
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(ValueError, match="voice"):
            model.get_state_for_audio_prompt(path)

    def test_state_of_another_model(self, model: TTSModel, tmp_path: Path) -> None:
        """A state object made by a model of other sizes is refused."""
        wide = tiny_config({"flow_lm": {"transformer": {"d_model": 24, "num_heads": 3}}})
        wide["flow_lm"]["lookup_table"]["dim"] = 24
        other = _load(write_model(tmp_path / "wide", wide).parent)
        voice = other.get_state_for_audio_prompt(voice_like(1280, 1600), sample_rate=1600)
        with pytest.raises(ValueError, match=r"voice|state|shape"):
            model.generate_latents(voice, "one", frames=2, seed=1)
