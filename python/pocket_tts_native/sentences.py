"""Sentences out of pieces of text that are still coming.

Where a sentence ends depends on the text alone, never on how it was cut into pieces or when they
came. A cut that would be wrong (`3.14`, `Dr. Smith`, `"Why?" she asked`) cannot be taken back once
the sentence is spoken; a cut that is missed only makes the part longer, and it is split like any
text when it is spoken. So every rule errs towards waiting.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Marks that end a sentence where white space follows.
_MARKS: Final = ".!?\u2026\u061f\u06d4\u0964\u0965\u0589\u1362"
# Marks of scripts that put no space after a sentence.
_WIDE_MARKS: Final = "\u3002\uff01\uff1f\uff61"
_CLOSERS: Final = "\"'\u201d\u2019)]}\u00bb\u203a\u300d\u300f\uff09\u3011"
_OPENERS: Final = "\"'\u201c\u2018([{\u00ab\u2039\u300c\u300e\uff08\u3010"
_END: Final = re.compile(f"[{_MARKS}{_WIDE_MARKS}]+[{re.escape(_CLOSERS)}]*")
_WEAK: Final = re.compile(r"[,;:](?=\s)")
_SPEAKABLE: Final = re.compile(r"[^\W_]")
# The word that a mark ends; dots inside it belong to it, as in `e.g.` and `U.S.`
_LAST_WORD: Final = re.compile(r"[^\W_][\w.,\u2019'-]*$")
_LONGEST_WORD: Final = 40  # characters that are looked at for it
_DOTTED: Final = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")
# Numbers up to here are dates and list items before a dot more often than they end a sentence.
_LONGEST_ORDINAL: Final = 2
# What is written with a dot and goes on, in small letters. Words that also end sentences (`no`,
# `min`, `art`) are left out.
_TABLE: Final = (
    # titles and names
    "mr mrs ms mx dr ph.d prof rev gen capt lt sgt sr jr st mt messrs mme mlle pr hr fr"
    " sra srta dra sig dott ing dhr mevr"
    # references and measures
    " nr vol vols pp ch figs eds cf al approx dept tel"
    # and so on
    " etc vs viz inc ltd co corp bros bzw usw ggf evtl inkl zzgl vgl ca bsp tzv bijv ecc pag"
    " p\u00e1g n\u00fam avda ud uds"
    # months
    " jan feb apr aug sep sept oct nov dec"
)
_ABBREVIATIONS: Final = frozenset(_TABLE.split())


class SentenceSplitter:
    """Cuts a text that arrives in pieces at the ends of its sentences.

    A sentence ends at `.`, `!`, `?`, `…` or a like mark of another script, closing quotes and
    brackets included, with white space after it (`。`, `！` and `？` need none). It does not end

    - after an abbreviation, a single letter, or letters with dots: `Dr.`, `J.`, `e.g.`;
    - at a dot after white space: `wait . . . what`;
    - after a number of one or two digits (`1. First`), or between a number and a digit;
    - after an ellipsis or a closing quote or bracket before a small letter: `"Why?" she asked`;
    - before there is a letter or a digit in it.

    Longer numbers, ellipses and closing marks wait for the first character of what follows. Where
    a sentence grows past `max_tokens`, it is cut at its last comma, semicolon or colon that keeps
    it within.
    """

    def __init__(self, count_tokens: Callable[[str], int], max_tokens: int) -> None:
        """Begin an empty text; `count_tokens` tells the length of a piece of it."""
        self._count_tokens = count_tokens
        self._max_tokens = max_tokens
        self._pending = ""
        self._begin()

    def _begin(self) -> None:
        """Know nothing of the pending text."""
        self._scanned = 0  # no sentence ends before here
        self._is_long = False
        self._weak_scanned = 0  # there is no place to cut a long sentence before here
        # Shorter texts need no counting: a token has a character at least.
        self._count_from = self._max_tokens + 1

    def feed(self, piece: str) -> Iterator[str]:
        """Take the next piece and give the sentences that are complete with it."""
        self._pending += piece
        while (end := self._end()) is not None:
            yield self._cut(end)
        while (end := self._end_of_part()) is not None:
            yield self._cut(end)

    def finish(self) -> str:
        """Give what is left at the end of the text; may be blank."""
        return self._cut(len(self._pending))

    def _cut(self, end: int) -> str:
        part, self._pending = self._pending[:end], self._pending[end:]
        self._begin()
        return part.strip()

    def _end(self) -> int | None:
        """Where the first sentence ends; None if that is not to be seen yet."""
        text = self._pending
        first = _SPEAKABLE.search(text)
        for match in _END.finditer(text, self._scanned):
            self._scanned = match.start()
            is_end = _is_end(text, match)
            if is_end is None:
                return None
            if is_end and first is not None and first.start() < match.start():
                return match.end()
        self._scanned = len(text)
        return None

    def _end_of_part(self) -> int | None:
        """Where to cut a sentence that is too long already; None if it is not or has no place."""
        text = self._pending
        if self._max_tokens < 1:
            return None
        if not self._is_long:
            if len(text) < self._count_from:
                return None
            n_spare = self._max_tokens - self._count_tokens(text)
            self._is_long = n_spare < 0
            if n_spare >= 0:
                self._count_from = len(text) + n_spare + 1
                return None
        first = _SPEAKABLE.search(text)
        best = None
        for match in _WEAK.finditer(text, self._weak_scanned):
            if first is None or match.start() < first.start():
                continue
            if best is not None and self._count_tokens(text[: match.end()]) > self._max_tokens:
                break
            best = match.end()
        # The last character may be a comma whose white space has not come.
        self._weak_scanned = max(len(text) - 1, 0)
        return best


def _is_end(text: str, match: re.Match[str]) -> bool | None:
    """Tell whether a sentence ends with the marks of `match`; None if more text must tell."""
    marks, end = match.group(), match.end()
    if end == len(text):
        return None
    run = marks.rstrip(_CLOSERS)
    is_quoted = len(run) < len(marks)
    if not text[end].isspace():
        is_wide = run[-1] in _WIDE_MARKS
        return is_wide and (not is_quoted or text[end] in _OPENERS)
    is_number = False
    if run == ".":
        if text[: match.start()][-1:].isspace():
            return False
        word = _LAST_WORD.search(text, max(match.start() - _LONGEST_WORD, 0), match.start())
        name = "" if word is None else word.group().casefold()
        if name in _ABBREVIATIONS or _DOTTED.fullmatch(name) or (len(name) == 1 and name.isalpha()):
            return False
        is_number = name.replace(".", "").replace(",", "").isdecimal()
        if is_number and len(name) <= _LONGEST_ORDINAL:
            return False
    if not (is_number or is_quoted or run.endswith(("\u2026", "..."))):
        return True
    following = text[end:].lstrip()[:1]
    if not following:
        return None
    return not (following.isdigit() if is_number else following.islower())
