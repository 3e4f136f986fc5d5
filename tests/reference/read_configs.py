"""Read configurations through the reference's schema; runs in the reference's environment.

Takes a JSON list of YAML texts on stdin. Writes a JSON list: the values of each, or null where the
reference refuses it. With the argument `shipped` it writes the configurations of the reference
itself instead, as `[name, YAML text, values]`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import yaml
from pocket_tts.utils.config import CONFIGS_DIR, Config


def values(text: str) -> dict[str, Any] | None:
    """The values that the reference reads, or None."""
    try:
        dump: dict[str, Any] = Config(**yaml.safe_load(text)).model_dump()
    except (TypeError, ValueError, yaml.YAMLError):  # pydantic's errors are ValueErrors
        return None
    return dump


def main() -> None:
    """Answer on stdout."""
    if sys.argv[1:] == ["shipped"]:
        answer: list[Any] = []
        for path in sorted(CONFIGS_DIR.glob("*.yaml")):
            text = path.read_text(encoding="utf-8")
            answer.append([path.stem, text, values(text)])
    else:
        answer = [values(text) for text in json.load(sys.stdin)]
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
