#!/usr/bin/env bash
# Makes a clean environment, installs the wheel of this machine from dist/ and what the tests need, and
# nothing else, and checks that it is the wheel that gets imported: scripts/installed.sh DIRECTORY
set -euo pipefail

cd "$(dirname "$0")/.."
environment=$1
wheels=(dist/*-abi3-*"$(uname -m)".whl)
[ ${#wheels[@]} -eq 1 ] && [ -e "${wheels[0]}" ] || {
    echo "expected one wheel for $(uname -m) in dist/, found: ${wheels[*]}; run make wheel" >&2
    exit 1
}
rm -rf "$environment"
"${PYTHON:-python3}" -m venv "$environment"
mkdir "$environment/run"
# Dependency groups need pip 25.1.
"$environment/bin/python" -m pip install --quiet --upgrade 'pip>=25.1'
"$environment/bin/python" -m pip install --quiet "${wheels[0]}" --group test
cd "$environment/run"
../bin/python - <<'PYTHON'
import sys
from pathlib import Path

import pocket_tts_native
from pocket_tts_native import _native

for module in (pocket_tts_native, _native):
    if not Path(module.__file__).is_relative_to(sys.prefix):
        sys.exit(f"{module.__file__} is not the installed package in {sys.prefix}")
print(f"testing {Path(pocket_tts_native.__file__).parent}")
PYTHON
