"""Names that earlier versions of the reference used, translated with a warning.

| version | call |
|---|---|
| 1.0 | `load_model(variant="b6369a24")`, `--variant` |
| 1.1 | `load_model("b6369a24")`, `load_model("path.yaml")`: the first parameter was `config` |
| before 3.0 | `lsd_decode_steps` for `sampler_decode_steps` |
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from os import PathLike

    _Config = TypeVar("_Config", bound=str | PathLike[str])

# The only model of versions 1.0 and 1.1, by the name that it has had since.
_MODELS: Final = {"b6369a24": "english_2026-01"}
_YAML_SUFFIXES: Final = (".yaml", ".yml")


def model_names(
    language: str | None, config: _Config | None, variant: str | None = None, *, stacklevel: int = 2
) -> tuple[str | None, _Config | str | None]:
    """Give language and configuration by their present names.

    Raises:
        ValueError: `variant` is given with one of the others.
    """
    if variant is not None:
        if language is not None or config is not None:
            raise ValueError("variant is an old name of language; pass language or config alone")
        _warn("variant is deprecated, use language", stacklevel)
        language = variant
    if config is None and language is not None and language.endswith(_YAML_SUFFIXES):
        _warn("the first parameter is language, pass a YAML file as config=", stacklevel)
        return None, language
    if isinstance(config, str) and config in _MODELS and language is None:
        _warn(f"config {config!r} is deprecated, use language={_MODELS[config]!r}", stacklevel)
        return _MODELS[config], None
    if language in _MODELS and config is None:
        _warn(f"language {language!r} is deprecated, use {_MODELS[language]!r}", stacklevel)
        language = _MODELS[language]
    return language, config


def decode_steps(
    sampler_decode_steps: int, lsd_decode_steps: int | None, *, stacklevel: int
) -> int:
    """Give the steps of the flow head; the old name counts if it is used, as in the reference."""
    if lsd_decode_steps is None:
        return sampler_decode_steps
    _warn("lsd_decode_steps is deprecated, use sampler_decode_steps", stacklevel)
    return lsd_decode_steps


def _warn(message: str, stacklevel: int) -> None:
    warnings.warn(message, DeprecationWarning, stacklevel=stacklevel + 2)
