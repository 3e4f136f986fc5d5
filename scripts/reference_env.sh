#!/usr/bin/env bash
# Makes the environment of the PyTorch reference (5.6 GB) once, outside the tree, and prints the path
# of its interpreter. `.complete` is written last, so an interrupted install is done again; an
# environment without it is accepted if it can run the right version.
set -euo pipefail

version=4.0.1
root=${XDG_CACHE_HOME:-$HOME/.cache}/pocket-tts-native
environment=$root/reference-$version
python=$environment/bin/python

is_complete() {
    [ -e "$environment/.complete" ] && [ -x "$python" ] && return
    [ -x "$python" ] && "$python" - "$version" <<'PYTHON'
import importlib.metadata
import sys

try:
    found = importlib.metadata.version("pocket-tts")
    import pocket_tts  # an interrupted install lacks one of its dependencies
except ImportError:
    sys.exit(1)
sys.exit(found != sys.argv[1])
PYTHON
}

mkdir -p "$root"
# One maker at a time, where the system has flock.
if command -v flock >/dev/null; then
    exec 9>"$environment.lock"
    flock 9
fi
if ! is_complete; then
    echo "installing pocket-tts $version with PyTorch into $environment (once, several minutes)" >&2
    rm -rf "$environment"
    "${PYTHON:-python3}" -m venv "$environment" >&2
    "$python" -m pip install --quiet "pocket-tts==$version" >&2
    is_complete || {
        echo "$environment does not run pocket-tts $version; read the messages above" >&2
        exit 1
    }
fi
# A cache that is shared read-only stays without the stamp and is checked each time.
[ -e "$environment/.complete" ] || touch "$environment/.complete" 2>/dev/null || true
echo "$python"
