"""Write SentencePiece models by hand, and tiny models that have a given tokenizer."""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from model_files import unigram_pieces
from pocket_tts_native import TTSModel
from tiny_model import tiny_config, write_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PieceKind: TypeAlias = Literal["normal", "unknown", "control", "user_defined", "unused", "byte"]
PieceEntry: TypeAlias = tuple[str, float, PieceKind]

_KINDS: Final[dict[PieceKind, int]] = {
    "normal": 1,
    "unknown": 2,
    "control": 3,
    "user_defined": 4,
    "unused": 5,
    "byte": 6,
}
_MODEL_TYPES: Final = {"unigram": 1, "bpe": 2, "word": 3, "char": 4}


def _varint(number: int) -> bytes:
    encoded = b""
    while number >= 0x80:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _piece(text: str, score: float, kind: PieceKind) -> bytes:
    message = _bytes(1, text.encode()) + _varint(2 << 3 | 5) + struct.pack("<f", score)
    return message + _number(3, _KINDS[kind])


def sentencepiece_entries(n_pieces: int, *, byte_fallback: bool = False) -> list[PieceEntry]:
    """The pieces of `model_files.unigram_pieces` with their kinds."""
    entries: list[PieceEntry] = []
    for text, score in unigram_pieces(n_pieces, byte_fallback=byte_fallback):
        kind: PieceKind = "normal"
        if text == "<unk>":
            kind = "unknown"
        elif text in {"<s>", "</s>", "<pad>"}:
            kind = "control"
        elif re.fullmatch("<0x[0-9A-F]{2}>", text):
            kind = "byte"
        entries.append((text, score, kind))
    return entries


def sentencepiece_bytes(
    entries: Sequence[PieceEntry],
    *,
    model_type: Literal["unigram", "bpe", "word", "char"] = "unigram",
    byte_fallback: bool = False,
    add_dummy_prefix: bool = True,
    remove_extra_whitespaces: bool = True,
) -> bytes:
    """A `.model` file without rules for characters.

    Args:
        entries: Its pieces: text, score and kind.
        model_type: How text is cut.
        byte_fallback: Spell unknown characters as bytes; `entries` hold all 256.
        add_dummy_prefix: Put a space before every text.
        remove_extra_whitespaces: Collapse runs of spaces, strip those at the ends.
    """
    trainer = _number(3, _MODEL_TYPES[model_type]) + _number(35, int(byte_fallback))
    normalizer = _number(3, int(add_dummy_prefix)) + _number(4, int(remove_extra_whitespaces))
    pieces = b"".join(_bytes(1, _piece(*entry)) for entry in entries)
    return pieces + _bytes(2, trainer) + _bytes(3, normalizer)


def model_with_tokenizer(
    directory: Path,
    tokenizer: Path,
    n_bins: int,
    *,
    kind: str = "sentencepiece",
    settings: Mapping[str, Any] | None = None,
) -> TTSModel:
    """Write and load a tiny model that has the file `tokenizer` of `n_bins` tokens.

    Args:
        directory: Where to write the model.
        tokenizer: A `tokenizer.json` or a `.model`.
        n_bins: Its vocabulary.
        kind: `flow_lm.lookup_table.tokenizer`.
        settings: Keys of the configuration that concern texts.
    """
    overrides = {**(settings or {}), "flow_lm": {"lookup_table": {"n_bins": n_bins}}}
    config = write_model(directory, tiny_config(overrides))
    text = config.read_text(encoding="utf-8")
    text, n_kinds = re.subn(r"(?m)^( +tokenizer:) .*$", rf"\1 {kind}", text)
    path = json.dumps(str(tokenizer))
    text, n_paths = re.subn(r"(?m)^( +tokenizer_path:) .*$", lambda m: f"{m[1]} {path}", text)
    assert n_kinds == n_paths == 1
    config.write_text(text, encoding="utf-8")
    return TTSModel.load_model(config=str(config), num_threads=1)
