#!/usr/bin/env bash
# Runs Python tests against the wheel that scripts/installed.sh installed, from a directory where the
# tree's package cannot be imported: scripts/test_wheel.sh ENVIRONMENT [OPTIONS OF PYTEST]
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$1/run"
shift
unset PYTHONPATH
exec ../bin/python -m pytest --rootdir "$root" -c "$root/pyproject.toml" "$@" "$root/tests"
