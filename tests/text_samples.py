"""Random texts that meet the rules of text preparation and splitting, from a seed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_WORD_TEXT: Final = (
    "the quick brown fox jumps over a lazy dog and I she said hello world Mr Dr "
    "l'été à Zürich garçon œuvre déjà ça ñandú señor straße Übung ß ŉ ǆ ǅ ǰ ﬁn ﬀ İ ı "
    "и кириллица привет ёж ελληνικά άλφα ῆ ᾳ ᾈ Հայ ქართული ɤ ƛ ʼn ⅷ ⓐ ｆｕｌｌ "
    "日本語 中文 안녕 שלום مرحبا नमस्ते สวัสดี 🙂 👩‍👧 é́ 𝒳 𐐨 \u00ad \u200b \ufeff x\u0000y \u0007 "
    "don't don’t ‘tis o'clock U.S.A. e.g. i.e. No. Ph.D. … ... -- – — a_b www.x.org"
)
_WORDS: Final = _WORD_TEXT.split(" ")
_NUMBER_TEXT: Final = (
    "1 2. 3 3.14 3. 14 1,000.5 10:30 2.0.1 .5 5. ² x².3 1.² ٣.٤ ١٬٢ ４.５ ①.② ½.5 Ⅷ.1 $9.99 50%"
)
_NUMBERS: Final = [*_NUMBER_TEXT.split(), "2. 3", "7 . 8"]
_SPACES: Final = (
    *(" ", "  ", "   ", "    ", "\n", "\r\n", "\n\n", "\t", "\x0b", "\x0c", " \n "),
    *("\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\u00a0", "\u1680", "\u180e", "\u2003", "\u200b"),
    *("\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u2060"),
)
_MARKS: Final = ".!?…,;:-–—\"'”’“‘)]»«([¡¿.!?,;:..  ▁<>/&*#~。！？、"
_ENDS: Final = (
    *("", ".", "!", "?", "…", "...", "?!", ",", ";", ":", "-", " –", "—", ",;", " - , "),
    *('."', ".'", '?"', ",”", ")", ".)", ":»", " »", '" )', ",\"' ", "’", " "),
)
_SPECIALS: Final = ("<s>", "</s>", "<unk>", "<pad>", "▁", "<0x41>")


def _sentence(rng: random.Random, n_words: int) -> str:
    parts = []
    for _ in range(n_words):
        kind = rng.random()
        pool: Sequence[str] = _WORDS if kind < 0.8 else _NUMBERS if kind < 0.97 else _SPECIALS
        word = rng.choice(pool)
        if rng.random() < 0.12:
            word += rng.choice(_MARKS)
        if rng.random() < 0.05:
            word = rng.choice(_MARKS) + word
        parts.append(word)
        parts.append(" " if rng.random() < 0.9 else rng.choice(_SPACES))
    return "".join(parts[:-1]) + rng.choice(_ENDS)


def _plain(rng: random.Random, n_words: int) -> str:
    """Words of one kind and ordinary marks, as in a book."""
    words = [rng.choice(_WORDS[:14]) for _ in range(n_words)]
    for index in range(n_words):
        if rng.random() < 0.08:
            words[index] += rng.choice((".", ",", "?", "!", ";", ":", '."', "...", ". 5"))
    return " ".join(words)


def _soup(rng: random.Random, n: int) -> str:
    pools = (_MARKS, _SPACES, "aZß19²", _SPECIALS)
    return "".join(rng.choice(rng.choices(pools, (6, 3, 3, 0.3))[0]) for _ in range(n))


def _any(rng: random.Random, n: int) -> str:
    ranges = ((0, 0x100), (0, 0x800), (0, 0x3000), (0, 0xD800), (0xE000, 0x20000))  # no surrogates
    return "".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(n))


_MAKERS: Final[tuple[tuple[Callable[[random.Random, int], str], int], ...]] = (
    (_sentence, 6),
    (_sentence, 40),
    (_plain, 120),
    (_soup, 12),
    (_soup, 60),
    (_any, 30),
)


def random_texts(n_texts: int, seed: int) -> list[str]:
    """Texts in several scripts: numbers, punctuation, odd white space, control characters."""
    rng = random.Random(seed)
    texts = []
    for index in range(n_texts):
        maker, most = _MAKERS[index % len(_MAKERS)]
        text = maker(rng, rng.randint(1, most))
        if rng.random() < 0.2:
            text = rng.choice(_SPACES) + text + rng.choice(_SPACES)
        texts.append(text)
    return texts


_JOINED: Final = (
    *("👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇫🇷", "🇩", "1️⃣", "❤️", "👩‍", "‍👩", "🫠", "\ufe0f", "🙂🙂🙂"),
    *("é", "ệ", "Z̤͔ͧ̑̓ä͖̭̈̇lͮ̒ͫǧ̗͚̚o̙̔ͮ̇", "각", "가", "ᄀ", "क्षि", "กำ", "שָׁלוֹם", "ﷺ", "ﬁ", "①", "㍿", "ｱﾞ"),
    *(
        "½",
        "ſt",
        "ŉ",
        "K",
        "Å",
        "µ",
        "ª",
        "\u0345",
        "ΐ",
        "İ",
        "ẞ",
        "Ǆ",
        "⑴",
        "㎏",
        "…",
        "‥",
        "℻",
        "™",
        "⁉",
    ),
    *(
        "\u200b",
        "\u200c",
        "\u200e",
        "\u202e",
        "\u2066",
        "\ufeff",
        "\u00ad",
        "\u061c",
        "\u034f",
        "\ufffd",
    ),
    *(
        "\x00",
        "\x01",
        "\x07",
        "\x08",
        "\x1b[0m",
        "\x7f",
        "\x85",
        "\x9f",
        "\ufffe",
        "\U0010ffff",
        "\ue000",
    ),
    *(
        "▁",
        "▁▁",
        " ▁ ",
        "⁇",
        " ⁇ ",
        "<0x0A>",
        "<0xE2>",
        "<s>",
        "</s>",
        "<unk>",
        "<ctrl>",
        "<laugh>",
        "[pause]",
    ),
)


def _joined(rng: random.Random, n: int) -> str:
    """Emoji of several characters, combining and control characters, symbols of tokenizers."""
    pools: tuple[Sequence[str], ...] = (_JOINED, _WORDS, _SPACES, _MARKS)
    return "".join(rng.choice(rng.choices(pools, (5, 2, 2, 1))[0]) for _ in range(n))


def _repeated(rng: random.Random, n: int) -> str:
    """One short thing many times: the longest lines."""
    unit = rng.choice((*_WORDS, *_JOINED, *_SPACES, *_NUMBERS, ". ", "a", "日本", "1.2 "))
    return unit * (n if rng.random() < 0.95 else 20 * n)


_LINE_MAKERS: Final = (*_MAKERS, (_joined, 25), (_joined, 25), (_repeated, 300))


def random_lines(n_lines: int, seed: int) -> list[str]:
    """Lines for tokenizers: what `random_texts` has, and more that is hard to normalise."""
    rng = random.Random(seed)
    lines = []
    for index in range(n_lines):
        maker, most = _LINE_MAKERS[index % len(_LINE_MAKERS)]
        lines.append(maker(rng, rng.randint(1, most)))
    return lines
