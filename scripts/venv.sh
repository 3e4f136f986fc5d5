#!/usr/bin/env bash
# Makes .venv with the development tools of pyproject.toml, or brings an older one up to date.
# The stamp is written last: an interrupted run is repeated.
set -euo pipefail

python=${PYTHON:-python3}
stamp=.venv/.complete
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "$python is too old: Python 3.10 or newer is needed; set PYTHON=/path/to/python" >&2
    exit 1
}
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    rm -rf .venv
    "$python" -m venv .venv
fi
rm -f "$stamp"
# Dependency groups need pip 25.1.
.venv/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
.venv/bin/python -m pip install --quiet --group dev
touch "$stamp"
