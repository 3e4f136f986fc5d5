"""Finding, fetching and opening the model that the caller asks for."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from pocket_tts_native import embedded
from pocket_tts_native._native import Config, Model
from pocket_tts_native.catalog import DEFAULT_LANGUAGE
from pocket_tts_native.checkpoint import checkpoint_files
from pocket_tts_native.hub import LOGGER, fetch, is_remote
from pocket_tts_native.timing import print_at_exit
from pocket_tts_native.voice_cache import cache_folder

if TYPE_CHECKING:
    from os import PathLike

_WEIGHTS: Final = "weights_path"
_WEIGHTS_WITHOUT_CLONING: Final = "weights_path_without_voice_cloning"
_YAML_SUFFIXES: Final = {".yaml", ".yml"}


@dataclass(frozen=True)
class LoadedModel:
    """An engine, and where it came from.

    Attributes:
        native: The engine.
        config: Its configuration, with the addresses as they were written.
        language: Name of the released or embedded model; None for the caller's own configuration or
            weights.
        origin: The configuration's path, or its address; `<language>.yaml` for a released model.
        has_voice_cloning: Whether the weights can make voices from recordings.
    """

    native: Model
    config: Config
    language: str | None
    origin: PurePath | str
    has_voice_cloning: bool


def load_native(
    language: str | None,
    config: str | PathLike[str] | None,
    *,
    precision: str,
    num_threads: int | None,
    checkpoint: str | PathLike[str] | None = None,
) -> LoadedModel:
    """Load the released or embedded model `language`, or the one that `config` describes.

    Raises:
        ConnectionError: A download failed.
        FileNotFoundError: No released model has that name, or a file is missing.
        ImportError: There is a `checkpoint`, and PyTorch is missing.
        ModelFormatError: A file is damaged or does not fit the others.
        PermissionError: A server refuses a download.
        ValueError: Both are given, `config` is no YAML file, or an address makes no sense.
    """
    if language is not None and config is not None:
        raise ValueError("language and config exclude each other; pass one of them")
    origin: PurePath | str
    if config is None:
        language = DEFAULT_LANGUAGE if language is None else language
        origin, found = PurePath(f"{language}.yaml"), _named(language)
    else:
        address = os.fspath(config)
        found = _from_address(address)
        origin = address if is_remote(address) else Path(address)
    with contextlib.ExitStack() as temporary:
        needed = found
        if checkpoint is not None:
            # The released voices do not fit other weights.
            language = None
            tensors = temporary.enter_context(checkpoint_files(checkpoint))
            needed = found.with_checkpoint(*tensors)
        files, has_voice_cloning = _local_files(language, needed.sources())
        native = Model.load(
            needed.with_files(files),
            precision=precision,
            num_threads=num_threads,
            packed_cache=cache_folder("packed", switch="POCKET_PACKED_CACHE"),
        )
    for note in native.load_notes:
        LOGGER.debug("packed weights: %s", note)
    _heed_environment()
    return LoadedModel(native, found, language, origin, has_voice_cloning)


def _heed_environment() -> None:
    """Arrange the table of `POCKET_TIMING`, and tell where `POCKET_PIN` cannot be followed."""
    print_at_exit()
    if os.environ.get("POCKET_PIN") == "1" and sys.platform != "linux":
        LOGGER.warning("POCKET_PIN=1 does nothing on %s; threads are pinned on Linux", sys.platform)


def _named(language: str) -> Config:
    if language == embedded.LANGUAGE:
        return Config.from_file(embedded.config_path())
    config = Config.named(language)
    if config is None:
        names = ", ".join([*Config.names(), embedded.LANGUAGE])
        raise FileNotFoundError(f"no model is named {language!r}; the names are {names}")
    return config


def _from_address(address: str) -> Config:
    # The revision of an address on the hub is no part of the file's name.
    name = address.split("@")[0] if address.startswith("hf://") else address
    if PurePath(name).suffix not in _YAML_SUFFIXES:
        raise ValueError(f"config must be the path or address of a .yaml file, found {address!r}")
    return Config.from_file(fetch(address))


def _local_files(
    language: str | None, addresses: dict[str, str]
) -> tuple[dict[str, str | PathLike[str]], bool]:
    """Where the files of a model are on this machine, and whether it can make voices."""
    if language == embedded.LANGUAGE:
        return {key: embedded.file_path(name) for key, name in addresses.items()}, True
    try:
        return _fetch_files(addresses)
    except (ConnectionError, FileNotFoundError) as error:
        if language is None:
            raise
        raise type(error)(
            f"{error}. Without any download there is the small model that the package carries: "
            f'language="{embedded.LANGUAGE}"'
        ) from error


def _fetch_files(addresses: dict[str, str]) -> tuple[dict[str, str | PathLike[str]], bool]:
    """Bring the files of a model to this machine.

    Where the weights cannot be downloaded, those without voice cloning serve.

    Returns:
        The files that had addresses to download, and whether voices can be made.
    """
    remote = {key: address for key, address in addresses.items() if is_remote(address)}
    fallback = addresses.get(_WEIGHTS_WITHOUT_CLONING)
    files: dict[str, str | PathLike[str]] = {}
    for key, address in remote.items():
        if key == _WEIGHTS_WITHOUT_CLONING:
            continue
        try:
            files[key] = fetch(address)
        except OSError as error:
            if key != _WEIGHTS or fallback is None:
                raise
            LOGGER.warning(
                "no voices can be made from recordings, only saved and predefined ones spoken with: %s",
                error,
            )
            files[_WEIGHTS] = fetch(fallback)
            return files, False
    return files, True
