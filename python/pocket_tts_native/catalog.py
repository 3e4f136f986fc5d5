"""Names that the reference package resolves to downloads: models and voices."""

from typing import Final

DEFAULT_LANGUAGE: Final = "english"

LANGUAGES: Final = (
    "dutch",
    "dutch_24l",
    "english",
    "english_18m_2026-10",
    "english_18m_refl_2026-10",
    "english_2026-01",
    "english_2026-04",
    "english_2026-04_24l",
    "english_2026-09",
    "english_2026-09_2",
    "english_2026-09_24l",
    "english_2026-10",
    "english_2m_2026-10",
    "english_2m_refl_2026-10",
    "english_7m_2026-10",
    "english_7m_refl_2026-10",
    "english_drifting_26-09",
    "french",
    "french_24l",
    "german",
    "german_24l",
    "italian",
    "italian_24l",
    "portuguese",
    "portuguese_24l",
    "spanish",
    "spanish_24l",
)

VOICES: Final = (
    "alba",
    "anna",
    "azelma",
    "bill_boerst",
    "caro_davy",
    "charles",
    "cosette",
    "daan",
    "eponine",
    "estelle",
    "eve",
    "fantine",
    "george",
    "giovanni",
    "jane",
    "javert",
    "jean",
    "juergen",
    "lola",
    "marius",
    "mary",
    "michael",
    "paul",
    "peter_yearsley",
    "rafael",
    "stuart_bell",
    "vera",
)

_REMOTE_PREFIXES: Final = ("http://", "https://", "hf://")


def is_remote(source: str) -> bool:
    """Tell whether `source` is an address to download rather than a local path."""
    return source.startswith(_REMOTE_PREFIXES)
