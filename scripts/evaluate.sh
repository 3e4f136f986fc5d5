#!/usr/bin/env bash
# Judges the voice that the package carries (training/evaluate.py): an hour of one core. The speech engines of the
# teachers and the held-out texts come from Debian's packages, unpacked without installing them.
set -euo pipefail

for command in apt-get dpkg-deb; do
    command -v "$command" >/dev/null || { echo "evaluate needs $command, which Debian and its kin have" >&2; exit 1; }
done
.venv/bin/python -m pip install --group evaluate
exec .venv/bin/python -m training.evaluate "$@"
