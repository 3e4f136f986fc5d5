"""Train tokenizers and serve what the reference makes of texts with them: JSON lines in and out.

    PYTHONPATH=tests $POCKET_REFERENCE_PYTHON -m reference.run_tokenizers

Requests:

- `{"op": "train_sentencepiece", "path": …, "corpus": […], "options": {…}}` writes a `.model`; `options`
  are those of SentencePiece's trainer. Replies `vocab_size`.
- `{"op": "train_json", "path": …, "corpus": […], "tokenizer": {…}, "options": {…}}` writes a
  `tokenizer.json`: an empty tokenizer, as JSON, is trained with the `options` of its trainer. Replies
  `vocab_size`.
- `{"op": "run", "path": …, "kind": …, "n_bins": …, "lines": […], "id_lists": […]}` replies `ids` of
  the lines, `decoded` of these, and `texts` of the lists; null where the reference fails.
- `{"op": "split", …, "texts": […], "max_tokens": […], "settings": {…}}` replies `chunks`, null for an
  empty text.
- `{"op": "open", "path": …, "lines": […]}` opens a perhaps broken `.model`: replies `ids` and
  `vocab_size`, or `ids` null if it is refused.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sentencepiece
import tokenizers
from pocket_tts.models.text_chunking import split_into_best_sentences
from pocket_tts.modules.text_conditioner import Tokenizer, build_tokenizer

logging.disable(logging.WARNING)  # one line per text that has a long chunk


def _decoded(tokenizer: Tokenizer, ids: list[int]) -> str | None:
    try:
        text: str = tokenizer.decode(ids)
    except (UnicodeDecodeError, IndexError, RuntimeError, ValueError):
        return None
    return text


def train_sentencepiece(request: dict[str, Any]) -> dict[str, Any]:
    """Train with the library's own trainer."""
    path = Path(request["path"])
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(request["corpus"]),
        model_prefix=str(path.with_suffix("")),
        num_threads=1,
        minloglevel=2,
        **request["options"],
    )
    path.with_suffix(".vocab").unlink()
    return {"vocab_size": sentencepiece.SentencePieceProcessor(str(path)).vocab_size()}


def train_json(request: dict[str, Any]) -> dict[str, Any]:
    """Train with the trainer that belongs to the model."""
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(request["tokenizer"]))
    make = {
        "Unigram": tokenizers.trainers.UnigramTrainer,
        "BPE": tokenizers.trainers.BpeTrainer,
    }[request["tokenizer"]["model"]["type"]]
    tokenizer.train_from_iterator(
        request["corpus"], make(show_progress=False, **request["options"])
    )
    tokenizer.save(request["path"])
    return {"vocab_size": tokenizer.get_vocab_size()}


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Encode lines, decode what comes out and the lists of ids."""
    tokenizer = build_tokenizer(request["n_bins"], request["path"], request["kind"])
    ids = [tokenizer.encode(line) for line in request["lines"]]
    return {
        "ids": ids,
        "decoded": [_decoded(tokenizer, line) for line in ids],
        "texts": [_decoded(tokenizer, line) for line in request["id_lists"]],
    }


def split(request: dict[str, Any]) -> dict[str, Any]:
    """Split texts into chunks."""
    tokenizer = build_tokenizer(request["n_bins"], request["path"], request["kind"])
    chunks: list[list[str] | None] = []
    for text, most in zip(request["texts"], request["max_tokens"], strict=True):
        try:
            chunks.append(split_into_best_sentences(tokenizer, text, most, **request["settings"]))
        except ValueError as error:
            if "empty" not in str(error):
                raise
            chunks.append(None)
    return {"chunks": chunks}


def open_broken(request: dict[str, Any]) -> dict[str, Any]:
    """Encode lines with a file that may be broken."""
    try:
        processor = sentencepiece.SentencePieceProcessor(request["path"])
    except (OSError, RuntimeError, ValueError):
        return {"ids": None}
    ids = [processor.encode(line, out_type=int) for line in request["lines"]]
    return {"ids": ids, "vocab_size": processor.vocab_size()}


OPERATIONS = {
    "train_sentencepiece": train_sentencepiece,
    "train_json": train_json,
    "run": run,
    "split": split,
    "open": open_broken,
}


def main() -> None:
    """Answer requests until standard input ends."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # prints of libraries are no replies
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = OPERATIONS[request["op"]](request)
        except Exception:  # noqa: BLE001  reported to the caller, who fails the test
            reply = {"error": traceback.format_exc()}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
