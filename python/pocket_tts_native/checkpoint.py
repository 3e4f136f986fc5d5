"""Training checkpoints of the reference: PyTorch files, read with PyTorch if it is there.

A checkpoint holds the trained tensors under `model` and, where the run kept one, their moving
average under `ema`, which counts where it has a tensor. Names begin with `flow_lm.` and `mimi.`;
what begins otherwise belongs to the training. The engine takes the tensors from safetensors files
in a temporary directory, because that is what it can map instead of copy.
"""

from __future__ import annotations

import contextlib
import errno
import json
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from pocket_tts_native.exceptions import ModelFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike

_FLOW_LM: Final = "flow_lm."
_MIMI: Final = "mimi."
# Types that stay as they are; the engine widens the half ones. Others are converted to float32.
_TYPE_NAMES: Final = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_HEADER_ALIGNMENT: Final = 8


@contextlib.contextmanager
def checkpoint_files(
    path: str | PathLike[str],
) -> Iterator[tuple[str, Path, Path | None]]:
    """Write the tensors of a checkpoint into files that last as long as the block.

    Args:
        path: The `.pt` file.

    Yields:
        The checkpoint's name, and the safetensors files of its language model and of its codec;
        None for the latter if it holds no codec.

    Raises:
        FileNotFoundError: The file does not exist.
        ImportError: PyTorch is not installed.
        ModelFormatError: The file is no checkpoint of a whole language model.
    """
    path = Path(path)
    tensors = _read(path)
    parts = {
        prefix: {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        for prefix in (_FLOW_LM, _MIMI)
    }
    if not parts[_FLOW_LM]:
        raise ModelFormatError(f"{path} holds no flow_lm.* tensors; pass a training checkpoint")
    with tempfile.TemporaryDirectory(
        prefix="pocket-tts-checkpoint-", ignore_cleanup_errors=True
    ) as folder:
        files: list[Path | None] = []
        for prefix, part in parts.items():
            file = Path(folder) / f"{prefix}safetensors" if part else None
            if file is not None:
                with file.open("wb") as out:
                    _write_safetensors(out, part)
            files.append(file)
        flow_lm, mimi = files
        if flow_lm is not None:
            yield str(path), flow_lm, mimi


def _read(path: Path) -> dict[str, Any]:
    """Read the tensors of the model, averaged where there is an average."""
    if not path.is_file():
        raise FileNotFoundError(
            f"checkpoint {str(path)!r} does not exist; pass the path of a .pt file"
        )
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"reading the training checkpoint {str(path)!r} needs torch; install it with "
            "pip install torch, or export the model to safetensors where it was trained and pass "
            "that as weights_path of a config"
        ) from error
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # PyTorch raises almost anything for a damaged file; a cut one is an invalid argument.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise ModelFormatError(
            f"{path} cannot be read as a PyTorch file of tensors: {error}; check that it is whole"
        ) from error
    state = payload.get("model") if isinstance(payload, dict) else None
    if not isinstance(state, dict):
        raise ModelFormatError(f"{path} holds no 'model' weights; pass a training checkpoint")
    average = payload.get("ema")
    merged = {**state, **(average if isinstance(average, dict) else {})}
    tensors = {name: value for name, value in merged.items() if isinstance(name, str)}
    for name, value in tensors.items():
        if name.startswith((_FLOW_LM, _MIMI)) and not isinstance(value, torch.Tensor):
            raise ModelFormatError(
                f"{path} holds a {type(value).__name__} as {name}; expected a tensor"
            )
    return tensors


def _write_safetensors(out: IO[bytes], tensors: Mapping[str, Any]) -> None:
    """Write torch tensors, one after the other, so that one at a time is copied."""
    import torch

    header: dict[str, dict[str, object]] = {}
    offset = 0
    for name, tensor in tensors.items():
        type_name = _TYPE_NAMES.get(str(tensor.dtype).removeprefix("torch."))
        n_bytes = tensor.numel() * (tensor.element_size() if type_name else 4)
        header[name] = {
            "dtype": type_name or "F32",
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + n_bytes],
        }
        offset += n_bytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _HEADER_ALIGNMENT)
    out.write(len(text).to_bytes(8, "little"))
    out.write(text)
    for name, tensor in tensors.items():
        if header[name]["dtype"] == "F32":
            tensor = tensor.to(torch.float32)
        flat = tensor.detach().contiguous().flatten()
        # Bytes of bfloat16 have no type in NumPy.
        out.write(flat.view(torch.uint8).numpy().data)
