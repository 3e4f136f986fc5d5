"""Unpacks Debian packages without installing them.

`apt-get download` fetches (no root needed), `dpkg-deb -x` unpacks into a folder per package.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Package and the licence that its copyright file states for what is used of it.
PACKAGES = {
    "flite": "BSD-like (Carnegie Mellon University); the speech engine",
    "libflite1": "BSD-like (Carnegie Mellon University); the voices slt, rms and awb",
    "libasound2": "LGPL-2.1+; flite is linked to it",
    "wordnet-base": "WordNet 3.0 licence (Princeton University); training text",
    "bible-kjv": "unrestricted use with its legend; reads the text",
    "bible-kjv-text": "public domain text of 1611; training text",
    "anarchism": "GPL-2; training text",
    "debian-faq": "GPL-2+; training text",
    "debian-history": "GPL-2+; training text",
    "debian-policy": "GPL-2+; training text",
    "maint-guide": "GPL-2+; training text",
    "git-doc": "GPL-2; training text",
    "dict-devil": "public domain; training text",
    "fortunes": "BSD and quotations; held-out text",
    "fortunes-min": "BSD and quotations; held-out text",
    "wamerican": "public domain word list; choice of held-out sentences, training text",
}


@dataclass(frozen=True)
class Package:
    """A package as the manifest lists it."""

    name: str
    version: str
    licence: str


def unpack(folder: Path) -> list[Package]:
    """Download and unpack what is not there yet; the packages with their versions."""
    downloads, unpacked = folder / "debs", folder / "unpacked"
    for needed in (downloads, unpacked):
        needed.mkdir(parents=True, exist_ok=True)
    present = {path.name.split("_")[0]: path for path in sorted(downloads.glob("*.deb"))}
    missing = [name for name in PACKAGES if name not in present]
    if missing:
        subprocess.run(["apt-get", "download", *missing], cwd=downloads, check=True)
        present = {path.name.split("_")[0]: path for path in sorted(downloads.glob("*.deb"))}
    packages = []
    for name, licence in PACKAGES.items():
        if not (unpacked / name).exists():
            part = unpacked / f"{name}.part"
            shutil.rmtree(part, ignore_errors=True)
            subprocess.run(["dpkg-deb", "-x", present[name], part], check=True)
            part.rename(unpacked / name)
        version = re.sub("%3a", ":", present[name].name.split("_")[1])
        packages.append(Package(name, version, licence))
    return packages
