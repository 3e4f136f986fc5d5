"""Writers for the three files of a model: `model.safetensors`, `tokenizer.json`, `config.yaml`.

Only NumPy is needed, so that behaviour tests run without PyTorch and the parity tests do not
depend on the libraries that they check. The formats are small enough to be written by hand.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Array: TypeAlias = npt.NDArray[Any]
FloatDtype: TypeAlias = Literal["F32", "BF16", "F16"]

_NUMPY_TAGS: Final = {"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64"}
_TAG_DTYPES: Final = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "I64": "<i8"}

# ---------------------------------------------------------------------------------------------
# safetensors


def bf16_bits(values: Array) -> npt.NDArray[np.uint16]:
    """Round float32 to the nearest bfloat16 (ties to even) and return the 16-bit patterns."""
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype("<u2")


def rounded_to(values: Array, dtype: FloatDtype) -> Array:
    """The float32 values that a reader sees after `values` were stored as `dtype`."""
    if dtype == "BF16":
        wide = bf16_bits(values).astype("<u4") << np.uint32(16)
        return wide.view("<f4")
    if dtype == "F16":
        return values.astype("<f2").astype("<f4")
    return values.astype("<f4")


def write_safetensors(
    path: Path,
    tensors: Mapping[str, Array],
    *,
    float_dtype: FloatDtype = "F32",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write `tensors` in the order given; float32 entries are stored as `float_dtype`."""
    header: dict[str, Any] = {}
    if metadata:
        header["__metadata__"] = dict(metadata)
    chunks: list[bytes] = []
    offset = 0
    for name, values in tensors.items():
        tag = _NUMPY_TAGS[values.dtype.name]
        if tag == "F32" and float_dtype != "F32":
            tag = float_dtype
        if tag == "BF16":
            data = bf16_bits(values).tobytes()
        else:
            data = np.ascontiguousarray(values, dtype=_TAG_DTYPES[tag]).tobytes()
        span = [offset, offset + len(data)]
        header[name] = {"dtype": tag, "shape": list(values.shape), "data_offsets": span}
        chunks.append(data)
        offset += len(data)
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as out:
        out.write(len(encoded).to_bytes(8, "little"))
        out.write(encoded)
        for data in chunks:
            out.write(data)


def read_safetensors(path: Path) -> dict[str, Array]:
    """Read a file that holds F32, F64, F16, BF16 or I64 tensors; BF16 comes back as float32."""
    raw = path.read_bytes()
    header_len = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + header_len])
    header.pop("__metadata__", None)
    tensors: dict[str, Array] = {}
    for name, entry in header.items():
        begin, end = (8 + header_len + offset for offset in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            wide = np.frombuffer(raw[begin:end], "<u2").astype("<u4") << np.uint32(16)
            values = wide.view("<f4")
        else:
            values = np.frombuffer(raw[begin:end], _TAG_DTYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"])
    return tensors


# ---------------------------------------------------------------------------------------------
# tokenizer.json: a Unigram model with Metaspace

_SPECIALS: Final = ("<unk>", "<s>", "</s>", "<pad>")
_ALPHABET: Final = (
    "▁etaoinshrdlucmfwypvbgkjqxzETAOINSHRDLUCMFWYPVBGKJQXZ.,'!?;:-0123456789"
    '"()&%$/+*=@#[]_~éèêàùçôîûäöüßñáíóúÄÖÜ’“”…–—£€'
)
_CORPUS: Final = """
The quick brown fox jumps over the lazy dog, and the dog does not mind. Hello world, this is a small
test of a small voice. She said that it was not the first time; he had asked for it three times before.
In the morning the light came in through the window and fell on the table where the old clock stood.
How many people were there? Nobody knew, but someone had counted twenty seven, or perhaps thirty one.
It is better to have a little of everything than to have nothing at all, my grandmother used to say.
They walked along the river until the rain began, then they ran back to the house and closed the door.
There is no reason to hurry when the train has already left the station and the next one comes at noon.
Please remember to bring the keys, the letter and the photographs that we talked about on Wednesday.
What would you have done in her place? I would have waited, answered the telephone, and gone to sleep.
Speech is made of sounds, sounds are made of waves, and waves are made of numbers in a long sequence.
The committee decided yesterday that the new regulation should apply to every company in the country.
Science advances one measurement at a time, and every measurement depends on the instrument behind it.
Winter was coming to an end; the snow melted slowly from the roofs and the children played outside again.
Everything that happens once can never happen again, but everything that happens twice will surely happen
a third time. Thank you very much for your patience. Good night, good luck, and see you tomorrow morning!
"""


def unigram_pieces(n_pieces: int, *, byte_fallback: bool = False) -> list[tuple[str, float]]:
    """Exactly `n_pieces` Unigram pieces with log-probabilities, the same on every machine.

    Specials, optional byte pieces and an alphabet come first; the rest are the substrings of a
    small English text that save most characters, and made-up words once those are used up.
    """
    pieces = [(piece, 0.0) for piece in _SPECIALS]
    if byte_fallback:
        pieces += [(f"<0x{byte:02X}>", -15.0) for byte in range(256)]
    words = ["▁" + word for word in _CORPUS.split()]
    counts = Counter(
        word[begin:end]
        for word in words
        for begin in range(len(word))
        for end in range(begin + 1, min(len(word), begin + 12) + 1)
    )
    total = sum(counts.values())
    for char in _ALPHABET:
        if len(pieces) < n_pieces:
            pieces.append((char, math.log((counts[char] + 0.1) / total) - 2.0))
    ranked = sorted(
        (piece for piece in counts if len(piece) > 1),
        key=lambda piece: (-counts[piece] * (len(piece) - 1), piece),
    )
    for piece in ranked[: max(0, n_pieces - len(pieces))]:
        pieces.append((piece, math.log(counts[piece] / total)))
    for index in range(n_pieces - len(pieces)):
        pieces.append((f"▁madeup{index}", -20.0))
    return [(piece, round(score, 4)) for piece, score in pieces]


def write_tokenizer(
    path: Path,
    n_pieces: int,
    *,
    bos: bool = False,
    byte_fallback: bool = False,
    prepend_scheme: Literal["always", "first", "never"] = "always",
    split: bool = True,
    normalizer: bool = False,
) -> None:
    """Write a `tokenizer.json` of `n_pieces` pieces.

    Args:
        path: File to write.
        n_pieces: Vocabulary size, specials included.
        bos: Add a post-processor that puts `<s>` before every text.
        byte_fallback: Spell unknown characters as UTF-8 bytes.
        prepend_scheme: Where Metaspace puts a leading `▁`.
        split: Whether Metaspace cuts the text at spaces before the Unigram search.
        normalizer: Apply NFKC and collapse runs of spaces first.
    """
    metaspace = {
        "type": "Metaspace",
        "replacement": "▁",
        "prepend_scheme": prepend_scheme,
        "split": split,
    }
    collapse = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    template: dict[str, Any] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [
            {"Sequence": {"id": "A", "type_id": 0}},
            {"Sequence": {"id": "B", "type_id": 1}},
        ],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    added = [
        {
            "id": index,
            "content": piece,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for index, piece in enumerate(_SPECIALS)
    ]
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": (
            {"type": "Sequence", "normalizers": [{"type": "NFKC"}, collapse]}
            if normalizer
            else None
        ),
        "pre_tokenizer": metaspace,
        "post_processor": template if bos else None,
        "decoder": metaspace,
        "model": {
            "type": "Unigram",
            "unk_id": 0,
            "vocab": unigram_pieces(n_pieces, byte_fallback=byte_fallback),
            "byte_fallback": byte_fallback,
        },
    }
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


# ---------------------------------------------------------------------------------------------
# config.yaml

_PLAIN: Final = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*\Z")
_RESERVED: Final = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


def _scalar(value: object) -> str:
    if isinstance(value, str):
        if _PLAIN.match(value) and value.lower() not in _RESERVED:
            return value
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def _yaml_lines(value: Mapping[str, Any] | Sequence[Any], indent: str) -> list[str]:
    lines: list[str] = []
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, (dict, list, tuple)) and len(item) > 0:
                lines.append(f"{indent}{_scalar(key)}:")
                step = "  " if isinstance(item, dict) else ""
                lines += _yaml_lines(item, indent + step)
            elif isinstance(item, (dict, list, tuple)):
                lines.append(f"{indent}{_scalar(key)}: {'{}' if isinstance(item, dict) else '[]'}")
            else:
                lines.append(f"{indent}{_scalar(key)}: {_scalar(item)}")
    else:
        lines += [f"{indent}- {_scalar(item)}" for item in value]
    return lines


def write_yaml(path: Path, config: Mapping[str, Any]) -> None:
    """Write a nested mapping of scalars and lists of scalars as block YAML."""
    path.write_text("\n".join(_yaml_lines(config, "")) + "\n", encoding="utf-8")
