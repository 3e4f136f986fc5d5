"""Check a wheel before anybody installs it: its tags, its size and what is inside.

    python scripts/check_wheel.py [--newest-glibc 2.28] WHEEL

For Linux, auditwheel reads from the symbols which systems the extension runs on; the answer must
agree with the wheel's name and be no newer than asked for.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Final

# Of it the embedded model takes 9 MB, which hardly shrink.
_MAX_BYTES: Final = 16_000_000
_NAME: Final = re.compile(r"pocket_tts_native-[^-]+-cp310-abi3-(?P<platform>[^-]+)\.whl")
_GLIBC: Final = re.compile(r"manylinux_(\d+)_(\d+)_\w+")
_PACKAGE: Final = "pocket_tts_native"
_REQUIRED: Final = (
    "__init__.py",
    "_native.pyi",
    "cli.py",
    "embedded_model/config.yaml",
    "embedded_model/model.safetensors",
    "embedded_model/slt.safetensors",
    "embedded_model/tokenizer.json",
    "py.typed",
)


def main() -> None:
    """Check the wheel and print what was found, or end with every fault."""
    parser = argparse.ArgumentParser(description="Check a wheel.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--newest-glibc", help="e.g. 2.28: the newest that may be needed")
    arguments = parser.parse_args()
    wheel: Path = arguments.wheel
    name = _NAME.fullmatch(wheel.name)
    if name is None:
        sys.exit(f"{wheel.name}: expected a wheel of the stable ABI, named cp310-abi3")
    faults = _content_faults(wheel)
    size = wheel.stat().st_size
    if size > _MAX_BYTES:
        faults.append(f"{size:,} bytes are more than the {_MAX_BYTES:,} allowed")
    needed = "not examined"
    if "linux" in name["platform"]:
        needed = _audited_platform(wheel)
        faults += _platform_faults(name["platform"], needed, arguments.newest_glibc)
    for fault in faults:
        sys.stderr.write(f"{wheel.name}: {fault}\n")
    if faults:
        sys.exit(1)
    sys.stdout.write(f"{wheel.name}: {size:,} bytes; the extension needs: {needed}\n")


def _content_faults(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata_name,) = (n for n in names if n.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(metadata_name).decode())
    faults = [
        f"{_PACKAGE}/{file} is missing" for file in _REQUIRED if f"{_PACKAGE}/{file}" not in names
    ]
    extensions = [n for n in names if n.endswith((".so", ".pyd", ".dll", ".dylib"))]
    if len(extensions) != 1:
        faults.append(f"expected one compiled module, found {extensions}")
    if not any(n.endswith("/licenses/LICENSE") for n in names):
        faults.append("the licence is missing")
    strays = [n for n in names if not n.startswith((f"{_PACKAGE}/", f"{_PACKAGE}-"))]
    faults += [f"{stray} belongs to no package" for stray in strays]
    hard = sorted(
        re.split(r"[^\w-]", requirement)[0].replace("-", "_")
        for requirement in metadata.get_all("Requires-Dist", [])
        if "extra ==" not in requirement
    )
    if hard != ["huggingface_hub", "numpy"]:
        faults.append(f"requires {hard}, expected huggingface_hub and numpy")
    return faults


def _audited_platform(wheel: Path) -> str:
    """The oldest platform that has all symbols the extension uses."""
    command = [sys.executable, "-m", "auditwheel", "show", "--json", str(wheel)]
    shown = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    platform: str = json.loads(shown.stdout)["overall_tag"]
    return platform


def _platform_faults(claimed: str, needed: str, newest_glibc: str | None) -> list[str]:
    faults = []
    # A name may hold several platforms, e.g. manylinux2014_x86_64.manylinux_2_17_x86_64.
    promises = [_glibc(platform) for platform in claimed.split(".")]
    oldest = min((version for version in promises if version is not None), default=None)
    found = _glibc(needed)
    if found is None or oldest is None:
        if needed not in claimed.split("."):
            faults.append(f"is tagged {claimed}, but auditwheel finds {needed}")
    elif found > oldest:
        faults.append(f"is tagged {claimed}, but needs {needed}")
    if newest_glibc is not None:
        limit = tuple(map(int, newest_glibc.split(".")))
        if found is None or oldest is None or max(found, oldest) > limit:
            faults.append(
                f"is tagged {claimed} and needs {needed}: newer than glibc {newest_glibc}"
            )
    return faults


def _glibc(platform: str) -> tuple[int, ...] | None:
    match = _GLIBC.fullmatch(platform)
    return None if match is None else tuple(map(int, match.groups()))


if __name__ == "__main__":
    main()
