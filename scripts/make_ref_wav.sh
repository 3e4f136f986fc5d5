#!/usr/bin/env bash
# Makes ref.wav, the voice recording of the tests: Debian packages flite and sox.
set -euo pipefail

text="The quiet harbour woke slowly, and gulls turned above the boats. Every morning a small train \
crossed the bridge, carrying bread, letters, and tea."
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
# The voice slt speaks at 16 kHz. No dither, so that every run makes the same file.
flite -voice slt -t "$text" -o "$scratch/16k.wav"
sox --no-dither "$scratch/16k.wav" --rate 24000 --channels 1 --bits 16 ref.wav rate -v
