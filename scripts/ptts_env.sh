#!/usr/bin/env bash
# Makes the environment of the rival `ptts` once, outside the tree, for benches/compare.py, and prints
# the path of its interpreter. `.complete` is written last.
set -euo pipefail

version=0.4.2
environment=${XDG_CACHE_HOME:-$HOME/.cache}/pocket-tts-native/ptts-$version
python=$environment/bin/python

if [ ! -e "$environment/.complete" ]; then
    echo "installing ptts $version into $environment" >&2
    rm -rf "$environment"
    "${PYTHON:-python3}" -m venv "$environment" >&2
    "$python" -m pip install --quiet "ptts==$version" "safetensors>=0.5" >&2
    "$python" -c 'import ptts'
    touch "$environment/.complete"
fi
echo "$python"
