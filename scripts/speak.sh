#!/usr/bin/env bash
# Speaks one sentence into hello.wav, with the model that the package carries. MODEL=path/to/config.yaml names
# another, VOICE a voice or a recording.
set -euo pipefail

model=(--language embedded)
[ -z "${VOICE:-}" ] || model+=(--voice "$VOICE")
if [ -n "${MODEL:-}" ]; then
    model=(--config "$MODEL" --voice "${VOICE:-ref.wav}")
fi
.venv/bin/pocket-tts-native generate "${model[@]}" \
    --text "${TEXT:-Hello world, this is a small voice.}" --output-path "${OUTPUT:-hello.wav}"
