#!/usr/bin/env bash
# Makes the source distribution in dist/, installs it into a clean environment as a user without a
# wheel would, and asks the result what it is. Cargo needs no network once its cache is filled.
set -euo pipefail

cd "$(dirname "$0")/.."
work=$(realpath -m "${CARGO_TARGET_DIR:-target}/sdist")
rm -rf "$work"
mkdir -p "$work/source"
.venv/bin/maturin sdist --out "$work"
sdist=("$work"/pocket_tts_native-*.tar.gz)
tar -xzf "${sdist[0]}" -C "$work/source" --strip-components 1
for file in Cargo.toml Cargo.lock LICENSE PKG-INFO README.md pyproject.toml; do
    [ -s "$work/source/$file" ] || { echo "$file is missing in ${sdist[0]}" >&2; exit 1; }
done
# An archive's files are all of one old day, and cargo would take what an older version of them was compiled to.
find "$work/source" -type f -exec touch {} +
# With the target named, cargo shares the dependencies that scripts/wheel.sh has compiled.
host=$(rustc -vV | sed -n 's/^host: //p')
"${PYTHON:-python3}" -m venv "$work/venv"
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}") CARGO_NET_OFFLINE=true \
    MATURIN_PEP517_ARGS="--target $host" "$work/venv/bin/python" -m pip install --quiet "$work/source"
cp "$work/source/Cargo.lock" "$work/Cargo.lock"
cargo metadata --quiet --offline --format-version 1 --manifest-path "$work/source/Cargo.toml" >/dev/null
if comm -13 <(sort "$work/Cargo.lock") <(sort "$work/source/Cargo.lock") | grep -q '^checksum'; then
    echo "the source distribution resolves to other versions than Cargo.lock" >&2
    exit 1
fi
cd "$work"
venv/bin/python -c '
import sys
import pocket_tts_native
assert pocket_tts_native.__file__.startswith(sys.prefix), pocket_tts_native.__file__
print(pocket_tts_native.build_info())'
venv/bin/pocket-tts-native --version
mkdir -p "$OLDPWD/dist"
rm -f "$OLDPWD"/dist/*.tar.gz
mv "${sdist[0]}" "$OLDPWD/dist/"
