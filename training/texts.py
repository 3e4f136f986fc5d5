"""Sentences out of the texts that Debian packages carry.

Every source is a function of the folder into which the packages were unpacked; it yields cleaned
sentences in a fixed order. Selection and shuffling happen in `corpus.py`.
"""

import gzip
import html
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

MIN_CHARACTERS = 2
MAX_CHARACTERS = 160

_REPLACEMENTS = str.maketrans(
    {
        "’": "'",
        "‘": "'",
        "`": "'",
        "“": '"',
        "”": '"',
        "–": ", ",
        "—": ", ",
        "…": "...",
        "\u00a0": " ",
    }
)
_DROPPED = re.compile(r"[\"()\[\]{}*_<>|~^\\]")
_ALLOWED = re.compile(r"[A-Za-z0-9 .,;:!?'\-]+")
_ACRONYM = re.compile(r"\b(?:[A-Z]{2,}|[A-Za-z]*[a-z][A-Z][A-Za-z]*)\b|\b[B-HJ-NP-Z]\b")
_ABBREVIATION = re.compile(
    r"\b(?:vs|etc|eg|ie|cf|vol|pp|ed|eds|ch|fig|st|mr|mrs|dr|prof|jr|sr|inc|ltd|op|cit|no)\.",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


def clean_sentence(text: str) -> str | None:
    """One line of plain text that flite reads as written, or None where that is in doubt.

    Acronyms, abbreviations with a full stop, and characters outside of the alphabet are such doubts:
    the model sees lower-case text and could not know them.
    """
    text = _DROPPED.sub("", text.translate(_REPLACEMENTS))
    text = re.sub(r"\s*-\s*-+\s*", ", ", text)
    text = re.sub(r"(?<!\w)'|'(?!\w)", "", text)
    text = re.sub(r"\s+([.,;:!?])", r"\1", " ".join(text.split())).strip(" ,;:-")
    if not MIN_CHARACTERS <= len(text) <= MAX_CHARACTERS:
        return None
    if not _ALLOWED.fullmatch(text) or _ACRONYM.search(text) or _ABBREVIATION.search(text):
        return None
    if not re.search(r"[aeiouyAEIOUY]", text) or re.search(r"[.]\w|\w{21}|\.\.\.|\d", text):
        return None
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".!?" else text + "."


def sentences_of_prose(paragraphs: Iterable[str]) -> Iterator[str]:
    """The clean sentences of running text."""
    for paragraph in paragraphs:
        for sentence in _SENTENCE_END.split(" ".join(paragraph.split())):
            words = sentence.split()
            if len(words) < 3 or sentence[:1].islower() or sentence[-1:] not in ".!?\"'":
                continue
            cleaned = clean_sentence(sentence)
            if cleaned:
                yield cleaned


def wordnet_examples(unpacked: Path) -> Iterator[str]:
    """The usage examples of WordNet: short, of everyday life, with a large vocabulary."""
    for part in ("verb", "noun", "adj", "adv"):
        path = unpacked / "wordnet-base/usr/share/wordnet" / f"data.{part}"
        for line in path.read_text(encoding="ascii", errors="replace").splitlines():
            gloss = line.partition(" | ")[2]
            for example in re.findall(r'"([^"]+)"', gloss):
                cleaned = clean_sentence(example)
                if cleaned and len(cleaned.split()) > 1:
                    yield cleaned


def bible_verses(unpacked: Path) -> Iterator[str]:
    """The King James version, cut at its colons and full stops."""
    program = unpacked / "bible-kjv/usr/bin/bible"
    folder = unpacked / "bible-kjv-text/usr/lib"
    run = subprocess.run(
        [program, "-f", "gen1:1-rev22:21"],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="latin-1",
        stdin=subprocess.DEVNULL,
        check=True,
    )
    for line in run.stdout.splitlines():
        verse = re.match(r"\w+:\d+ (.*)", line)
        if verse:
            for part in re.split(r"(?<=[.?!:;])\s+", verse[1]):
                cleaned = clean_sentence(part)
                if cleaned and len(cleaned.split()) > 2:
                    yield cleaned


def _paragraphs_of_html(path: Path) -> Iterator[str]:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = raw.decode("utf-8", errors="replace")
    for paragraph in re.split(
        r"</?(?:p|li|dd|dt|h\d|td|div|blockquote|pre)\b[^>]*>", text, flags=re.IGNORECASE
    ):
        if not re.search(r"<(?:code|tt|samp|kbd|script|style)\b", paragraph, flags=re.IGNORECASE):
            yield html.unescape(re.sub(r"<[^>]+>", "", paragraph))


def html_documents(unpacked: Path, *packages: str) -> Iterator[str]:
    """The prose of the packages' HTML documentation."""
    for package in packages:
        for path in sorted((unpacked / package).rglob("*.htm*")):
            if path.is_file() and not re.search(
                r"changelog|\.(?!en\b)[a-z]{2}(?:-[a-z]+)?\.html", path.name
            ):
                yield from sentences_of_prose(_paragraphs_of_html(path))


def devils_dictionary(unpacked: Path) -> Iterator[str]:
    """Definitions of the Devil's Dictionary."""
    for path in sorted((unpacked / "dict-devil").rglob("*.dz")):
        text = gzip.decompress(path.read_bytes()).decode("utf-8", errors="replace")
        yield from sentences_of_prose(re.split(r"\n\s*\n", text))


def fortunes(unpacked: Path) -> Iterator[str]:
    """Sentences of the fortune cookies, kept for evaluation."""
    for package in ("fortunes", "fortunes-min"):
        for path in sorted((unpacked / package / "usr/share/games/fortunes").iterdir()):
            if path.suffix == "" and path.name not in {"ascii-art", "translate-me"}:
                text = path.read_text(encoding="utf-8", errors="replace")
                for cookie in text.split("\n%\n"):
                    body = re.split(r"\n\s*--", cookie)[0]
                    yield from sentences_of_prose([body])
