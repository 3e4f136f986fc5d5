#!/usr/bin/env bash
# Line coverage of Rust and Python by all tests that need no PyTorch; both must reach 80 %.
#
# The Rust side counts the crates' own tests and what the Python tests run through the extension.
# llvm-profdata and llvm-cov must be at least as new as the compiler's LLVM; they are taken from the
# toolchain, else from the system (Debian: llvm-22), where they are installed if possible.
set -euo pipefail

required=80
out=coverage
major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')

tool() { # NAME -> path
    local bundled candidate
    bundled=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/$1
    for candidate in "$bundled" "$1-$major" "$1"; do
        if command -v "$candidate" >/dev/null &&
            [ "$("$candidate" --version | sed -n 's/.*LLVM version \([0-9]*\).*/\1/p')" -ge "$major" ]; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}
tool llvm-cov >/dev/null || scripts/debian_packages.sh "llvm-$major"
profdata=$(tool llvm-profdata)
cov=$(tool llvm-cov)

rm -rf "$out"
mkdir -p "$out"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/coverage
export RUSTFLAGS="-C instrument-coverage"
export LLVM_PROFILE_FILE=$PWD/$out/%p-%m.profraw

cargo nextest run --locked --workspace --exclude pocket-python
# The extension is built into an environment of its own so that .venv keeps the release build.
extension=$PWD/$out/site
mkdir -p "$extension"
LLVM_PROFILE_FILE=/dev/null cargo build --locked -p pocket-python
cp -r python/pocket_tts_native "$extension/"
rm -f "$extension"/pocket_tts_native/*.so
cp "$CARGO_TARGET_DIR/debug/lib_native.so" "$extension/pocket_tts_native/_native.abi3.so"
PYTHONPATH=$extension .venv/bin/python -m pytest -m "not parity and not long and not wheel" \
    --cov=pocket_tts_native --cov-report=term --cov-report="html:$out/python" --cov-fail-under=$required

"$profdata" merge --sparse --output "$out/merged.profdata" "$out"/*.profraw
objects=()
while read -r object; do objects+=(--object "$object"); done < <(
    cargo test --locked --workspace --exclude pocket-python --no-run --message-format=json 2>/dev/null |
        .venv/bin/python -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["profile"]["test"]:
        print(message["executable"])'
)
report=("$cov" report --instr-profile "$out/merged.profdata" "$CARGO_TARGET_DIR/debug/lib_native.so"
    "${objects[@]}" --ignore-filename-regex '(/\.cargo/|/rustc/|crates/[^/]+/tests/|/src/(.*/)?tests(\.rs|/)|/testing\.rs)')
"${report[@]}" | tee "$out/rust.txt"
lines=$(awk '$1 == "TOTAL" { print $10 + 0 }' "$out/rust.txt")
echo "Rust lines covered: $lines % (required: $required %)"
awk -v found="$lines" -v required=$required 'BEGIN { exit !(found >= required) }'
