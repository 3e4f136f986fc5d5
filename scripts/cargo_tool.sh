#!/usr/bin/env bash
# Makes sure that a cargo subcommand exists: scripts/cargo_tool.sh NAME, e.g. cargo-deny.
# A missing one is built once into the cache that the Makefile has on its PATH.
set -euo pipefail

tool=$1
command -v "$tool" >/dev/null && exit 0
root=${XDG_CACHE_HOME:-$HOME/.cache}/pocket-tts-native/tools
echo "building $tool into $root (once, a few minutes)"
# A target directory set for the workspace would mix its files with ours.
CARGO_TARGET_DIR=$root/target cargo install --quiet --locked --root "$root" "$tool"
rm -rf "$root/target"
