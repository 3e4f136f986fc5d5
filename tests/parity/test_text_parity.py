"""Texts prepared and split exactly as by the reference, for several settings and tokenizers."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest
from pocket_tts_native import TTSModel
from text_samples import random_texts
from tiny_model import tiny_config, write_model

if TYPE_CHECKING:
    from pathlib import Path

    from reference_client import ReferenceStore

pytestmark = pytest.mark.parity

N_TEXTS: Final = 2500
N_PIECES: Final = 600
MAX_TOKENS: Final = (50, 50, 50, 0, 1, 4, 12, 25, 200, 10_000)
_CASES_OF_NOTE: Final = (
    *("", " ", "\x1c\n\u2028", "\u200b", ".", "...", '"', "’", "…", ",", "-", "—,;:", ")]"),
    *("a", "ß", "ǆ", "ʼn", "ŉ", "ﬃx", "1", "é", "é", "🙂", "ɤ", "日本語。"),
    "I have 2. 3 are gone.",
    "Version 2.0.1 costs 3.50. It is 5. 6 is next. Pi is 3.14159, e is 2.718.",
    "He left the U.S.A. in May. She said \"Hi?\", then 'Bye!'; nothing else: no.",
    '"Hi?", she said. "Oh…" , he said.',
    "L’été, à Zürich ; c’est « beau » : non ?",
    "¡Hola! ¿Qué tal? ¡¿Cómo?! Bien…",
    "one two three four",
    "one two three four five",
    "one\ntwo\r\nthree    four     five",
    "word " * 300,
    "word, " * 300,
    "no full stop " * 20 + "but a comma, here; and: there",
    "a.b!c?d" * 80,
    "1.2 " * 200 + "3. 4" * 50,
    "</s>" * 100 + "5.5. 5</s>.</s>5",
)
# Decoders other than Metaspace, whose pieces are not decoded one by one.
_LLAMA_DECODER: Final[dict[str, Any]] = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ],
}


@dataclass(frozen=True)
class TextCase:
    """Settings for texts and options of the tokenizer."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, Any] = field(default_factory=dict)
    decoder: dict[str, Any] | None | str = "as written"


_APOSTROPHES: Final = {"’": "'", "‘": "'"}
_DELETIONS: Final = {**dict.fromkeys('"“”„«»', ""), **_APOSTROPHES}
_CHAINS: Final = {
    "a": "e",
    "e": "a",
    "ß": "a. ,b",
    "…": "...",
    "–": " , ",
    "\u00a0": "",
    "I": "ı\n",
}
TEXT_CASES: Final = (
    TextCase("english", {"replace_characters": _APOSTROPHES}),
    TextCase("defaults_bos", tokenizer={"bos": True}),
    TextCase(
        "french",
        {"replace_characters": _DELETIONS, "remove_semicolons": True},
        {"prepend_scheme": "first", "normalizer": True},
    ),
    TextCase(
        "as_it_is",
        {"append_terminal_punctuation": False, "capitalize_first_letter": False},
        {"prepend_scheme": "never", "byte_fallback": True},
    ),
    TextCase(
        "padded",
        {"pad_with_spaces_for_short_inputs": True, "replace_characters": _CHAINS},
        {"split": False, "bos": True},
    ),
    TextCase(
        "no_capital",
        {"capitalize_first_letter": False, "remove_semicolons": True},
        {"byte_fallback": True},
        decoder=_LLAMA_DECODER,
    ),
    TextCase("no_mark", {"append_terminal_punctuation": False}, decoder=None),
)


@pytest.mark.parametrize("case", TEXT_CASES, ids=lambda case: case.name)
def test_texts(case: TextCase, tmp_path: Path, reference_store: ReferenceStore) -> None:
    """Every text, prepared and split, at several numbers of tokens."""
    overrides = {**case.settings, "flow_lm": {"lookup_table": {"n_bins": N_PIECES}}}
    config = write_model(tmp_path, tiny_config(overrides), tokenizer=case.tokenizer)
    if not isinstance(case.decoder, str):
        path = tmp_path / "tokenizer.json"
        document = json.loads(path.read_text(encoding="utf-8"))
        document["decoder"] = case.decoder
        path.write_text(json.dumps(document), encoding="utf-8")
    model = TTSModel.load_model(config=str(config), num_threads=1)

    texts = [*_CASES_OF_NOTE, *random_texts(N_TEXTS, seed=TEXT_CASES.index(case))]
    rng = random.Random(7)
    max_tokens = [rng.choice(MAX_TOKENS) for _ in texts]
    expected = reference_store.prepare_and_split(config, texts, max_tokens)
    n_split = 0
    for text, most, prepared, chunks in zip(texts, max_tokens, *expected, strict=True):
        if prepared is None or chunks is None:
            with pytest.raises(ValueError, match="empty"):
                model.prepare_text(text)
            with pytest.raises(ValueError, match="empty"):
                model.split_text(text, most)
            continue
        assert model.prepare_text(text) == prepared, f"{text!r}"
        assert model.split_text(text, most) == chunks, f"{text!r} at {most}"
        n_split += len(chunks) > 1
    assert n_split > N_TEXTS // 5, "too few texts have several chunks"
