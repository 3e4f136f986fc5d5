"""SentencePiece models: tokens, decoded texts and chunks of committed files, speech, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from pocket_tts_native import ModelFormatError, TTSModel
from signals import voice_like
from tokenizer_files import model_with_tokenizer, sentencepiece_bytes, sentencepiece_entries

if TYPE_CHECKING:
    from collections.abc import Callable

TESTDATA: Final = Path(__file__).parents[1] / "crates" / "pocket-model" / "testdata"
N_PIECES: Final = 60


@pytest.mark.parametrize("name", ["bytes", "unknown", "bpe"])
def test_committed_models(name: str, tmp_path: Path) -> None:
    """What the reference made of lines; `reference/make_tokenizer_fixtures.py` wrote it down."""
    document = json.loads((TESTDATA / "sentencepiece.json").read_text(encoding="ascii"))
    expected: dict[str, Any] = document[name]
    path = TESTDATA / f"sentencepiece_{name}.model"
    model = model_with_tokenizer(tmp_path, path, expected["vocab_size"])
    assert len(expected["cases"]) > 40
    for line, ids, decoded, max_tokens, chunks in expected["cases"]:
        assert model.tokenize(line) == ids
        assert model.detokenize(ids) == decoded
        if chunks is None:
            with pytest.raises(ValueError, match="empty"):
                model.split_text(line, max_tokens)
        else:
            assert model.split_text(line, max_tokens) == chunks


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A small Unigram model."""
    path = tmp_path / "tokenizer.model"
    path.write_bytes(sentencepiece_bytes(sentencepiece_entries(N_PIECES)))
    return path


def test_a_model_with_a_sentencepiece_tokenizer_speaks(tmp_path: Path, model_file: Path) -> None:
    """The tokens of the same pieces as a `tokenizer.json` are the same, and so is the speech."""
    model = model_with_tokenizer(tmp_path / "model", model_file, N_PIECES)
    twin = model_with_tokenizer(
        tmp_path / "twin", tmp_path / "twin" / "tokenizer.json", N_PIECES, kind="tokenizers"
    )
    text = "hello there, it is one. the end."
    assert model.tokenize(text) == twin.tokenize(text)
    samples = voice_like(1280, 1600)
    audio, expected = (
        m.generate_audio(m.get_state_for_audio_prompt(samples, sample_rate=1600), text, seed=3)
        for m in (model, twin)
    )
    assert len(audio) > 0
    np.testing.assert_array_equal(audio, expected)


def test_the_kind_and_the_suffix_decide(tmp_path: Path, model_file: Path) -> None:
    """`tokenizers`, `json` or a path in `.json` is a `tokenizer.json`; all else a `.model`."""
    named_json = tmp_path / "sentencepiece.json"
    shutil.copy(model_file, named_json)
    with pytest.raises(ModelFormatError, match=r"sentencepiece\.json"):
        model_with_tokenizer(tmp_path / "a", named_json, N_PIECES)
    with pytest.raises(ModelFormatError, match=r"tokenizer\.model"):
        model_with_tokenizer(tmp_path / "b", model_file, N_PIECES, kind="json")
    model = model_with_tokenizer(tmp_path / "c", model_file, N_PIECES, kind="anything")
    assert model.detokenize(model.tokenize("the end")) == "the end"


def test_unknown_tokens_are_refused(tmp_path: Path, model_file: Path) -> None:
    """An id beyond the vocabulary, as in the reference."""
    model = model_with_tokenizer(tmp_path / "model", model_file, N_PIECES)
    with pytest.raises(ModelFormatError, match="60"):
        model.detokenize([5, N_PIECES])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[: len(data) // 2], ["damaged"]),
        (lambda _: b"version https://git-lfs.github.com/spec/v1\n", ["protocol buffer"]),
        (lambda _: b"", ["no pieces"]),
        (lambda data: data.replace(b"<s>", b"</s"), ["occurs twice"]),
        (lambda data: data.replace(b"<unk>", b"<u\0k>"), ["zero byte"]),
    ],
)
def test_damaged_files_are_refused(
    change: Callable[[bytes], bytes], words: list[str], tmp_path: Path, model_file: Path
) -> None:
    """The file, the fault and the setting are named."""
    if words == ["occurs twice"]:
        entries = sentencepiece_entries(N_PIECES)
        entries[2] = ("</s", 0.0, "control")
        model_file.write_bytes(sentencepiece_bytes(entries))
    model_file.write_bytes(change(model_file.read_bytes()))
    with pytest.raises(ModelFormatError) as caught:
        model_with_tokenizer(tmp_path / "model", model_file, N_PIECES)
    for word in [*words, "tokenizer.model", "flow_lm.lookup_table.tokenizer"]:
        assert word in str(caught.value)


def test_another_vocabulary_is_refused(tmp_path: Path, model_file: Path) -> None:
    """Both sizes are told."""
    with pytest.raises((AssertionError, ValueError), match="60") as caught:
        model_with_tokenizer(tmp_path / "model", model_file, N_PIECES + 1)
    assert "61" in str(caught.value)


def test_types(tmp_path: Path, model_file: Path) -> None:
    """Ids are a list of int, and the text of them a str."""
    model: TTSModel = model_with_tokenizer(tmp_path / "model", model_file, N_PIECES)
    tokens = model.tokenize("hello \U0001f642")
    assert all(type(token) is int and 0 <= token < N_PIECES for token in tokens)
    assert model.detokenize(tokens) == "hello  \u2047 "
    assert model.detokenize([]) == ""
