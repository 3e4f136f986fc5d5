#!/usr/bin/env bash
# Builds the wheel into dist/ and checks it: scripts/wheel.sh [TARGET], e.g. aarch64-unknown-linux-gnu.
#
# On Linux zig links, which has the symbol versions of every glibc: the wheel runs on systems as old as
# the policy below says, wherever it is built. Elsewhere the system's own linker does. (Expansions with
# `+`: the bash of macOS takes an empty array for an unset one.)
set -euo pipefail

cd "$(dirname "$0")/.."
target=${1:-$(rustc -vV | sed -n 's/^host: //p')}
options=()
policy=()
case $target in
*-linux-gnu)
    options=(--zig --compatibility manylinux_2_17)
    policy=(--newest-glibc 2.28)
    ;;
*-linux-musl)
    options=(--zig --compatibility musllinux_1_2)
    ;;
esac
# maturin starts zig as a module of the first python3 on the path.
export PATH=$PWD/.venv/bin:$PATH
built=${CARGO_TARGET_DIR:-target}/wheel/$target
rm -rf "$built"
maturin build --release --locked --strip --target "$target" ${options[@]+"${options[@]}"} --out "$built"
python scripts/check_wheel.py ${policy[@]+"${policy[@]}"} "$built"/*.whl
mkdir -p dist
# An older version of the same platform would be found beside the new one.
for wheel in "$built"/*.whl; do
    platform=${wheel##*-abi3-}
    rm -f dist/*-abi3-"$platform"
    mv "$wheel" dist/
done
