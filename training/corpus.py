"""Which sentences are spoken, by which voice, and which are held out."""

import random
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from training import phrases, texts

VOICES = ("slt", "rms", "awb")
HELD_OUT_SENTENCES = 300
# About fifty tokens, which is as long as a chunk of the engine's gets.
LONGEST_CHARACTERS = 115
JOINED_SHARE = 0.12
# Before so many of the dictionary's words stands one of the links.
LINKED_SHARE = 0.5
LINKS = (
    "the",
    "the",
    "the",
    "a",
    "a",
    "of",
    "of",
    "and",
    "and",
    "to",
    "in",
    "for",
    "with",
    "his",
    "her",
    "their",
    "on",
    "by",
    "an",
    "no",
)


@dataclass(frozen=True)
class Utterance:
    """What one voice says."""

    text: str
    voice: str
    source: str


def words_of(text: str) -> list[str]:
    """Lower-case words, apostrophes within them included."""
    return re.findall(r"[a-z]+(?:'[a-z]+)*", text.lower())


def _sample(rng: random.Random, sentences: Iterable[str], count: int) -> list[str]:
    unique = [
        sentence for sentence in dict.fromkeys(sentences) if len(sentence) <= LONGEST_CHARACTERS
    ]
    rng.shuffle(unique)
    return unique[:count]


def _joined(rng: random.Random, sentences: list[str], count: int) -> list[str]:
    """Two or three short sentences in one utterance, as the engine's chunks have them."""
    short = [sentence for sentence in sentences if len(sentence) <= 45]
    return [" ".join(rng.sample(short, rng.choice((2, 2, 3)))) for _ in range(count)]


def training_utterances(unpacked: Path, seed: int) -> list[Utterance]:
    """The whole training set in its order of speaking; a prefix of it is a smaller training set."""
    rng = random.Random(seed)
    sources = {
        "wordnet": _sample(rng, texts.wordnet_examples(unpacked), 22_000),
        "bible": _sample(rng, texts.bible_verses(unpacked), 3_000),
        "anarchism": _sample(rng, texts.html_documents(unpacked, "anarchism"), 2_500),
        "debian": _sample(
            rng,
            texts.html_documents(
                unpacked, "debian-faq", "debian-history", "debian-policy", "maint-guide", "git-doc"
            ),
            2_000,
        ),
        "devil": _sample(rng, texts.devils_dictionary(unpacked), 1_500),
        "phrases": phrases.utterances(rng, 5_000),
    }
    everything = [(text, source) for source, sentences in sources.items() for text in sentences]
    joined = _joined(rng, [text for text, _ in everything], int(JOINED_SHARE * len(everything)))
    everything += [(text, "joined") for text in joined]
    rng.shuffle(everything)
    return [Utterance(text, rng.choice(VOICES), source) for text, source in everything]


def word_utterances(
    unpacked: Path, known_texts: Iterable[str], held_out: Iterable[str], seed: int, count: int
) -> list[Utterance]:
    """Words of the dictionary that no other training text has, few together: they teach how to spell.

    Words of the held-out sentences are left out.
    """
    rng = random.Random(seed + 2)
    met = {word for texts in (known_texts, held_out) for text in texts for word in words_of(text)}
    words = [word for word in _dictionary(unpacked) if word not in met]
    rng.shuffle(words)
    utterances: list[Utterance] = []
    while words and len(utterances) < count:
        chosen = [words.pop() for _ in range(min(len(words), rng.randint(2, 5)))]
        phrase = " ".join(
            f"{rng.choice(LINKS)} {word}" if rng.random() < LINKED_SHARE else word
            for word in chosen
        )
        text = phrase[0].upper() + phrase[1:] + "."
        if len(text) <= LONGEST_CHARACTERS:
            utterances.append(Utterance(text, rng.choice(VOICES), "words"))
    return utterances


def _dictionary(unpacked: Path) -> list[str]:
    path = unpacked / "wamerican/usr/share/dict/american-english"
    words = path.read_text(encoding="utf-8").split()
    return [word for word in words if word.isascii() and word.isalpha() and word.islower()]


def held_out_sentences(
    unpacked: Path, training_texts: Iterable[str], seed: int
) -> list[dict[str, object]]:
    """Sentences of the fortunes, two thirds of them with words that no training text has."""
    rng = random.Random(seed + 1)
    known = Counter(word for text in training_texts for word in words_of(text))
    listed = {*_dictionary(unpacked), *known}
    fresh: list[dict[str, object]] = []
    plain: list[dict[str, object]] = []
    seen: set[str] = set()
    for text in _sample(rng, texts.fortunes(unpacked), 1_000_000):
        words = words_of(text)
        if not 4 <= len(words) <= 14 or not all(word.replace("'s", "") in listed for word in words):
            continue
        unseen = sorted({word for word in words if word not in known} - seen)
        entry: dict[str, object] = {"text": text, "unseen": unseen}
        if unseen and len(fresh) < HELD_OUT_SENTENCES * 2 // 3:
            fresh.append(entry)
            seen.update(unseen)
        elif not unseen and len(plain) < HELD_OUT_SENTENCES // 3:
            plain.append(entry)
    chosen = fresh + plain
    rng.shuffle(chosen)
    return chosen
