"""Tokens, decoded texts and chunks exactly as the reference's, with tokenizers trained here.

Both kinds of files are trained by the libraries that the reference uses, on texts in several
scripts, with the options that change what comes out.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest
from pocket_tts_native import ModelFormatError, PocketTTSError, TTSModel
from text_samples import random_lines, random_texts
from tokenizer_client import TokenizerReference
from tokenizer_files import model_with_tokenizer, sentencepiece_bytes, sentencepiece_entries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.parity

N_TRAINING_LINES: Final = 1500
N_LINES: Final = 1500
N_ID_LISTS: Final = 500
N_TEXTS: Final = 700
LONG_FACTOR: Final = 6
N_DAMAGED: Final = 60
MAX_TOKENS: Final = (50, 50, 50, 0, 1, 4, 12, 25, 200)
_NO_SETTINGS: Final = {"pad_with_spaces_for_short_inputs": False, "remove_semicolons": False}
_FRENCH: Final = {
    "pad_with_spaces_for_short_inputs": True,
    "remove_semicolons": True,
    "replace_characters": {"’": "'", "“": "", "”": "", '"': ""},
}


@dataclass(frozen=True)
class TokenizerCase:
    """A tokenizer to train, and settings for texts."""

    name: str
    options: dict[str, Any]
    tokenizer: dict[str, Any] | None = None  # an empty `tokenizer.json`; None for SentencePiece
    settings: dict[str, Any] = field(default_factory=lambda: _NO_SETTINGS)
    rules: dict[str, str] = field(default_factory=dict)  # options that name files, by their text
    after: dict[str, Any] = field(default_factory=dict)  # parts of a trained `tokenizer.json`
    has_sentence_ends: bool = True  # whether marks are tokens of their own

    @property
    def is_json(self) -> bool:
        """Whether the file is a `tokenizer.json`."""
        return self.tokenizer is not None


_SYMBOLS: Final = ["<laugh>", "[pause]", "Mr.", "日本", "▁said", "é", "."]
# Rules: the characters to replace and what by, in hexadecimal code points.
_RULES: Final = (
    "41\t61\n42\t62 20 62\n61 61\t78\n61 61 61\t79 20\n2E 2E 2E\t2026\nAD\t\n200B\t20\n1F642\t3A 29\n"
    "9\t20\nA\t20\n3000\t20\nA0\t20\n"
)
_BACK: Final = "3A 29\t1F642\n2026\t2E 2E 2E\n78\t61 61\n62\t42\n31\t37\n"

SENTENCEPIECE_CASES: Final = (
    TokenizerCase(
        "family",
        {"vocab_size": 900, "byte_fallback": True, "normalization_rule_name": "nmt_nfkc"},
    ),
    TokenizerCase(
        "folded_symbols",
        {
            "vocab_size": 1500,
            "normalization_rule_name": "nmt_nfkc_cf",
            "user_defined_symbols": _SYMBOLS,
            "control_symbols": ["<ctrl>"],
        },
        settings=_FRENCH,
    ),
    TokenizerCase(
        "identity_as_it_is",
        {
            "vocab_size": 1000,
            "byte_fallback": True,
            "normalization_rule_name": "identity",
            "add_dummy_prefix": False,
            "remove_extra_whitespaces": False,
            "split_by_whitespace": False,
            "allow_whitespace_only_pieces": True,
        },
    ),
    TokenizerCase(
        "identity_prefix_only",
        {
            "vocab_size": 1300,
            "normalization_rule_name": "identity",
            "remove_extra_whitespaces": False,
            "user_defined_symbols": ["  ", "\t"],
            "split_digits": True,
        },
    ),
    TokenizerCase(
        "suffix",
        {
            "vocab_size": 1300,
            "normalization_rule_name": "nfkc",
            "treat_whitespace_as_suffix": True,
            "unk_surface": "?",
            "unk_id": 3,
            "pad_id": 0,
            "bos_id": -1,
        },
        settings=_FRENCH,
    ),
    TokenizerCase(
        "own_rules",
        {"vocab_size": 1000, "byte_fallback": True},
        rules={"normalization_rule_tsv": _RULES},
    ),
    TokenizerCase(
        "own_rules_back",
        {"vocab_size": 1300},
        rules={"normalization_rule_tsv": _RULES, "denormalization_rule_tsv": _BACK},
    ),
    TokenizerCase(
        "bpe",
        {
            "model_type": "bpe",
            "vocab_size": 1100,
            "byte_fallback": True,
            "normalization_rule_name": "nmt_nfkc",
            "user_defined_symbols": _SYMBOLS,
        },
    ),
    TokenizerCase("bpe_unknown", {"model_type": "bpe", "vocab_size": 1300}, settings=_FRENCH),
    TokenizerCase(
        "char", {"model_type": "char", "vocab_size": 300, "user_defined_symbols": ["the"]}
    ),
    TokenizerCase(
        "word",
        {"model_type": "word", "vocab_size": 500, "hard_vocab_limit": False},
        has_sentence_ends=False,
    ),
)

_METASPACE: Final = {
    "type": "Metaspace",
    "replacement": "▁",
    "prepend_scheme": "always",
    "split": True,
}
_BOS: Final = {
    "type": "TemplateProcessing",
    "single": [
        {"SpecialToken": {"id": "<s>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
}
_COLLAPSE: Final = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
_BYTES_DECODER: Final[dict[str, Any]] = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ],
}
_UNIGRAM: Final = {
    "type": "Unigram",
    "unk_id": 0,
    "vocab": [["<unk>", 0.0]],
    "byte_fallback": False,
}
_SPECIALS: Final = ["<unk>", "<s>", "</s>", "<pad>"]
_BYTE_PIECES: Final = [f"<0x{byte:02X}>" for byte in range(256)]


def _empty(model: dict[str, Any], **parts: Any) -> dict[str, Any]:  # noqa: ANN401
    names = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    return {"version": "1.0", **dict.fromkeys(names), "added_tokens": [], "model": model, **parts}


JSON_CASES: Final = (
    TokenizerCase(
        "json_nfkc",
        {"vocab_size": 1200, "special_tokens": _SPECIALS, "unk_token": "<unk>"},
        _empty(
            _UNIGRAM,
            normalizer={"type": "Sequence", "normalizers": [{"type": "NFKC"}, _COLLAPSE]},
            pre_tokenizer=_METASPACE,
            decoder=_METASPACE,
        ),
    ),
    TokenizerCase(
        "json_bos",
        {"vocab_size": 1000, "special_tokens": _SPECIALS, "unk_token": "<unk>"},
        _empty(_UNIGRAM, pre_tokenizer=_METASPACE, decoder=_METASPACE, post_processor=_BOS),
        settings=_FRENCH,
    ),
    TokenizerCase(
        "json_bytes_bos",
        {
            "vocab_size": 1200,
            "special_tokens": _SPECIALS,
            "unk_token": "<unk>",
            "initial_alphabet": [],
        },
        _empty(_UNIGRAM, pre_tokenizer=_METASPACE, decoder=_BYTES_DECODER, post_processor=_BOS),
        after={"pre_tokenizer": {**_METASPACE, "prepend_scheme": "never", "split": False}},
    ),
    TokenizerCase(
        "json_bytes_strip",
        {"vocab_size": 900, "special_tokens": _SPECIALS, "unk_token": "<unk>"},
        _empty(
            _UNIGRAM,
            pre_tokenizer=_METASPACE,
            decoder={
                "type": "Sequence",
                "decoders": [
                    *_BYTES_DECODER["decoders"],
                    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
                ],
            },
        ),
        settings=_FRENCH,
    ),
    TokenizerCase(
        "json_bpe_bytes",
        {"vocab_size": 1400, "special_tokens": [*_SPECIALS, *_BYTE_PIECES]},
        _empty(
            {
                "type": "BPE",
                "unk_token": "<unk>",
                "byte_fallback": True,
                "fuse_unk": True,
                "vocab": {},
                "merges": [],
            },
            pre_tokenizer=_METASPACE,
            decoder=_BYTES_DECODER,
        ),
    ),
)
CASES: Final = (*SENTENCEPIECE_CASES, *JSON_CASES)


@pytest.fixture(scope="module")
def reference() -> Iterator[TokenizerReference]:
    """The reference's process."""
    process = TokenizerReference()
    yield process
    process.close()


def _corpus() -> list[str]:
    """Training texts without rare characters, which stay unknown, and control characters."""
    texts = [*random_texts(N_TRAINING_LINES, seed=100), *random_lines(N_TRAINING_LINES, seed=101)]
    lines = [text[:1000] for text in texts]
    counts = Counter(c for line in lines for c in set(line))
    cleaned = ["".join(c for c in line if counts[c] > 10 and c.isprintable()) for line in lines]
    return [line for line in cleaned if line.strip()]


@dataclass(frozen=True)
class Trained:
    """A trained tokenizer and our model with it."""

    case: TokenizerCase
    model: TTSModel
    n_bins: int
    request: dict[str, Any]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def trained(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    reference: TokenizerReference,
) -> Trained:
    """Train one tokenizer and load a model with it."""
    case: TokenizerCase = request.param
    folder = tmp_path_factory.mktemp(case.name)
    options = case.options
    for name, text in case.rules.items():
        path = folder / f"{name}.tsv"
        path.write_text(text, encoding="utf-8")
        options = {**options, name: str(path)}
    path = folder / ("trained.json" if case.is_json else "trained.model")
    order = {"path": str(path), "corpus": _corpus(), "options": options}
    if case.is_json:
        n_bins = reference.ask("train_json", tokenizer=case.tokenizer, **order)["vocab_size"]
        n_bins += _finish_json(path, case)
    else:
        n_bins = reference.ask("train_sentencepiece", **order)["vocab_size"]
    # The suffix decides for a `.json`; any other name is a SentencePiece model unless it is told.
    kind = "sentencepiece"
    model = model_with_tokenizer(folder / "model", path, n_bins, kind=kind, settings=case.settings)
    return Trained(case, model, n_bins, {"path": str(path), "kind": kind, "n_bins": n_bins})


def _finish_json(path: Path, case: TokenizerCase) -> int:
    """Give a trained file its byte pieces and the parts that training needs otherwise.

    Returns:
        How many pieces it got.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    document.update(case.after)
    n_added = 0
    if "ByteFallback" in json.dumps(document["decoder"]):
        document["model"]["byte_fallback"] = True
        # Trained as special tokens, where the trainer has no other way to reserve them.
        added = document["added_tokens"]
        document["added_tokens"] = [t for t in added if t["content"] not in _BYTE_PIECES]
        if document["model"]["type"] == "Unigram":
            document["model"]["vocab"] += [[piece, -25.0] for piece in _BYTE_PIECES]
            n_added = len(_BYTE_PIECES)
    path.write_text(json.dumps(document), encoding="utf-8")
    return n_added


def _random_ids(rng: random.Random, n_bins: int, lines: list[list[int]]) -> list[list[int]]:
    """Ids that no text has: any order, also cut and joined from those of texts."""
    lists: list[list[int]] = [[], *([token] for token in range(min(n_bins, 300)))]
    while len(lists) < N_ID_LISTS:
        ids = [rng.randrange(n_bins) for _ in range(rng.randint(1, 20))]
        first, second = rng.choice(lines), rng.choice(lines)
        begin, end = rng.randint(0, len(first)), rng.randint(0, len(second))
        lists.append(rng.choice((ids, first[begin:] + second[:end], ids + second[:end])))
    return lists


def _check_lines(trained: Trained, reference: TokenizerReference, n_lines: int, seed: int) -> None:
    lines = ["", " ", "▁", "\n", "  a  b  ", *random_lines(n_lines, seed)]
    own = [trained.model.tokenize(line) for line in lines]
    id_lists = _random_ids(random.Random(seed), trained.n_bins, own)
    reply = reference.ask("run", lines=lines, id_lists=id_lists, **trained.request)
    for line, ids, expected in zip(lines, own, reply["ids"], strict=True):
        assert ids == expected, f"{line!r}"
    decoded = zip([*own, *id_lists], [*reply["decoded"], *reply["texts"]], strict=True)
    n_decoded = 0
    for ids, text in decoded:
        if text is None:
            with pytest.raises(PocketTTSError):
                trained.model.detokenize(ids)
            continue
        assert trained.model.detokenize(ids) == text, f"{ids}"
        n_decoded += text != ""
    assert n_decoded > (len(own) + len(id_lists)) // 2


def _check_splits(trained: Trained, reference: TokenizerReference, n_texts: int, seed: int) -> None:
    texts = random_texts(n_texts, seed) + random_lines(n_texts // 4, seed)
    rng = random.Random(seed)
    max_tokens = [rng.choice(MAX_TOKENS) for _ in texts]
    settings = trained.case.settings
    order = {"texts": texts, "max_tokens": max_tokens, "settings": settings}
    expected = reference.ask("split", **order, **trained.request)["chunks"]
    n_split = 0
    for text, most, chunks in zip(texts, max_tokens, expected, strict=True):
        if chunks is None:
            with pytest.raises(ValueError, match="empty"):
                trained.model.split_text(text, most)
            continue
        assert trained.model.split_text(text, most) == chunks, f"{text!r} at {most}"
        n_split += len(chunks) > 1
    assert (n_split > n_texts // 10) == trained.case.has_sentence_ends


def test_tokens_and_decoded_texts(trained: Trained, reference: TokenizerReference) -> None:
    """Every line, and lists of ids."""
    _check_lines(trained, reference, N_LINES, seed=CASES.index(trained.case))


def test_splits(trained: Trained, reference: TokenizerReference) -> None:
    """Random texts at several numbers of tokens."""
    _check_splits(trained, reference, N_TEXTS, seed=50 + CASES.index(trained.case))


@pytest.mark.long
@pytest.mark.parametrize("part", range(LONG_FACTOR))
def test_many_more(trained: Trained, reference: TokenizerReference, part: int) -> None:
    """The same with other texts."""
    _check_lines(trained, reference, N_LINES, seed=1000 * (part + 1))
    _check_splits(trained, reference, N_TEXTS, seed=1000 * (part + 1))


def _mutated(rng: random.Random, original: bytes) -> bytes:
    data = bytearray(original)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data))
        change = rng.randrange(5)
        if change == 0:
            del data[rng.randrange(len(data)) :]
        elif change == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif change == 2:
            data[at] = rng.randrange(256)
        elif change == 3:
            del data[at : at + rng.randint(1, 4)]
        else:
            data[at:at] = rng.randbytes(rng.randint(1, 4))
        if not data:
            break
    return bytes(data)


@pytest.mark.parametrize("model_type", ["unigram", "bpe", "word", "char"])
def test_damaged_files_are_refused_alike(
    model_type: Literal["unigram", "bpe", "word", "char"],
    tmp_path: Path,
    reference: TokenizerReference,
) -> None:
    """What the reference opens opens here and gives the same tokens; the rest is refused."""
    n_pieces = 90
    entries = sentencepiece_entries(n_pieces)
    entries[80] = ("he o", 0.0, "user_defined")
    entries[81] = (*entries[81][:2], "unused")
    original = sentencepiece_bytes(entries, model_type=model_type)
    lines = ["Hello world, this is it.", "the other", "日本 🙂", " a\u2581b ", "aaa bbb 12.5"]
    rng = random.Random(4)
    n_opened = n_refused = 0
    for index in range(N_DAMAGED):
        path = tmp_path / f"{index}.model"
        path.write_bytes(original if index == 0 else _mutated(rng, original))
        reply = reference.ask("open", path=str(path), lines=lines)
        n_bins = n_pieces if reply["ids"] is None else reply["vocab_size"]
        if reply["ids"] is None:
            with pytest.raises(ModelFormatError, match=rf"{index}\.model"):
                model_with_tokenizer(tmp_path / "model", path, n_bins)
            n_refused += 1
            continue
        model = model_with_tokenizer(tmp_path / "model", path, n_bins)
        assert [model.tokenize(line) for line in lines] == reply["ids"], f"file {index}"
        n_opened += 1
    assert n_opened > N_DAMAGED // 10
    assert n_refused > N_DAMAGED // 10
