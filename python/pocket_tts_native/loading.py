"""Finding and opening the model that the caller asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pocket_tts_native._native import Model
from pocket_tts_native.catalog import DEFAULT_LANGUAGE, LANGUAGES
from pocket_tts_native.exceptions import UnsupportedError
from pocket_tts_native.hub import refuse_remote

if TYPE_CHECKING:
    from os import PathLike


def load_native(
    language: str | None, config: str | PathLike[str] | None, *, num_threads: int | None
) -> Model:
    """Load the released model `language`, or the one that `config` describes.

    Raises:
        FileNotFoundError: No released model has that name, or a file is missing.
        ModelFormatError: A file is damaged or does not fit the others.
        UnsupportedError: Something would have to be downloaded.
        ValueError: Both are given, or `config` is no YAML file.
    """
    if language is not None and config is not None:
        raise ValueError("language and config exclude each other; pass one of them")
    return Model.load(_local_config(language, config), num_threads=num_threads)


def _local_config(language: str | None, config: str | PathLike[str] | None) -> Path:
    """Choose the configuration file; only local ones are available."""
    if config is None:
        language = DEFAULT_LANGUAGE if language is None else language
        if language not in LANGUAGES:
            raise FileNotFoundError(
                f"no released model is named {language!r}; the names are {', '.join(LANGUAGES)}"
            )
        raise UnsupportedError(
            f"the model {language!r} would have to be downloaded, which this version cannot do; "
            "pass config= with the path of a YAML file whose weights are local"
        )
    if isinstance(config, str):
        refuse_remote(config, "download the configuration and its files and pass its path")
    path = Path(config)
    if path.suffix not in {".yaml", ".yml"}:
        raise ValueError(f"config must be the path of a .yaml file, found {str(path)!r}")
    return path
