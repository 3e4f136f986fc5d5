"""The tokenizer: a small Unigram vocabulary over lower-case text.

Pieces never join letters with punctuation, and digits stay single, so that the family's way of
splitting texts at punctuation tokens works. Fifty tokens, the family's chunk, are about a hundred
characters. Saved with the normaliser inside: capitals, accents and foreign signs are its business.
"""

import random
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

VOCABULARY = 384
LONGEST_PIECE = 4
ALPHABET = list("▁abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'-")
_SPACE = "▁"


def _normalizer() -> normalizers.Normalizer:
    return normalizers.Sequence(
        [
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex("[‘’`]"), "'"),
            normalizers.Replace(Regex("[–—]"), ", "),
            normalizers.Replace("&", " and "),
            normalizers.Replace("%", " percent"),
            normalizers.Replace(Regex("[^a-z0-9 .,;:!?'-]"), " "),
            normalizers.Replace(Regex(" +([.,;:!?])"), "$1"),
            normalizers.Replace(Regex(" +"), " "),
            normalizers.Strip(),
        ]
    )


def train_tokenizer(texts: Iterable[str], path: Path) -> None:
    """Learn the vocabulary from texts and write `tokenizer.json`."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = _normalizer()
    metaspace = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always")
    punctuation = pre_tokenizers.Split(Regex("[.,;:!?'0-9-]"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([metaspace, punctuation])
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCABULARY,
        max_piece_length=LONGEST_PIECE,
        special_tokens=["<unk>"],
        unk_token="<unk>",
        initial_alphabet=ALPHABET,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = metaspace
    tokenizer.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always")
    tokenizer.save(str(path))


class PieceSplitter:
    """Now and then cuts a piece in two, so that rare spellings meet well-trained pieces."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Find the cuts that each piece allows."""
        vocabulary = tokenizer.get_vocab()
        self._cuts = {
            index: [
                (vocabulary[piece[:cut]], vocabulary[piece[cut:]])
                for cut in range(1, len(piece))
                if piece[:cut] in vocabulary and piece[cut:] in vocabulary
            ]
            for piece, index in vocabulary.items()
        }

    def split(self, ids: list[int], share: float, rng: random.Random) -> list[int]:
        """Ids of the same text in which `share` of the pieces are cut."""
        result: list[int] = []
        for index in ids:
            cuts = self._cuts[index]
            result.extend(rng.choice(cuts) if cuts and rng.random() < share else (index,))
        return result
