"""Train the small SentencePiece models of the Rust and Python tests and write what they give.

    PYTHONPATH=tests $POCKET_REFERENCE_PYTHON -m reference.make_tokenizer_fixtures \
        crates/pocket-model/testdata

Writes `sentencepiece_*.model` and `sentencepiece.json`: for each model its vocabulary, and lines as
`[line, ids, decoded, max_tokens, chunks]`, the chunks null for an empty line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final

import sentencepiece
from pocket_tts.models.text_chunking import split_into_best_sentences
from pocket_tts.modules.text_conditioner import build_tokenizer
from text_samples import random_lines, random_texts

N_LINES: Final = 40
MAX_CHARS: Final = 90
RULES: Final = (
    "41\t61\n42\t62 20 62\n61 61 61\t79 20\n2E 2E 2E\t2026\nAD\t\n200B\t20\n1F642\t3A 29\n"
    "9\t20\nA\t20\n3000\t20\nA0\t20\nFF0E\t2E\n"
)
RULES_BACK: Final = "3A 29\t1F642\n2026\t2E 2E 2E\n62 20 62\t42\n"
MODELS: Final[dict[str, dict[str, Any]]] = {
    "bytes": {"vocab_size": 400, "byte_fallback": True},
    "unknown": {
        "vocab_size": 250,
        "user_defined_symbols": ["<laugh>", "Mr.", "é"],
        "control_symbols": ["<ctrl>"],
        "unk_surface": " ? ",
    },
    "bpe": {"vocab_size": 250, "model_type": "bpe", "remove_extra_whitespaces": False},
}


def corpus() -> list[str]:
    """Lines without rare characters."""
    lines = random_texts(1200, seed=1)
    counts = Counter(c for line in lines for c in set(line) if c.isprintable())
    frequent = {c for c, _ in counts.most_common(110)}
    cleaned = ["".join(c for c in line if c in frequent)[:200] for line in lines]
    return [line for line in cleaned if line.strip()]


def train(name: str, directory: Path) -> Path:
    """Train one model."""
    # The file keeps the names that training was given: short ones, without directories.
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        Path("rules.tsv").write_text(RULES, encoding="utf-8")
        options: dict[str, Any] = {"normalization_rule_tsv": "rules.tsv"}
        if name == "unknown":
            Path("back.tsv").write_text(RULES_BACK, encoding="utf-8")
            options["denormalization_rule_tsv"] = "back.tsv"
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus()),
            model_prefix=name,
            num_threads=1,
            minloglevel=2,
            **options,
            **MODELS[name],
        )
        data = Path(f"{name}.model").read_bytes()
    path = directory / f"sentencepiece_{name}.model"
    path.write_bytes(data)
    return path


def expected(path: Path, seed: int) -> dict[str, Any]:
    """What the reference makes of lines."""
    vocab_size = sentencepiece.SentencePieceProcessor(str(path)).vocab_size()
    tokenizer = build_tokenizer(vocab_size, str(path))
    lines = [line[:MAX_CHARS] for line in ("", " ", *random_lines(N_LINES, seed))]
    cases = []
    for index, line in enumerate(lines):
        ids = tokenizer.encode(line)
        most = (4, 12, 50)[index % 3]
        try:
            chunks = split_into_best_sentences(
                tokenizer,
                line,
                most,
                pad_with_spaces_for_short_inputs=False,
                remove_semicolons=False,
            )
        except ValueError:
            chunks = None
        cases.append([line, ids, tokenizer.decode(ids), most, chunks])
    return {"vocab_size": vocab_size, "cases": cases}


def main() -> None:
    """Write all files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    directory: Path = parser.parse_args().directory.resolve()
    models = {}
    for seed, name in enumerate(MODELS):
        models[name] = expected(train(name, directory), seed)
    lines = [
        f'"{name}": {{"vocab_size": {m["vocab_size"]}, "cases": [\n' for name, m in models.items()
    ]
    bodies = [
        ",\n".join(json.dumps(case, separators=(",", ":")) for case in model["cases"])
        for model in models.values()
    ]
    text = ",\n".join(head + body + "\n]}" for head, body in zip(lines, bodies, strict=True))
    path = directory / "sentencepiece.json"
    path.write_text("{\n" + text + "\n}\n", encoding="ascii")


if __name__ == "__main__":
    main()
