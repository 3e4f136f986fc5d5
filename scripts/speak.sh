#!/usr/bin/env bash
# Speaks one sentence into hello.wav. MODEL=path/to/config.yaml names a model; without one, a model
# of the English shapes with random weights is made, which says nothing but noise.
set -euo pipefail

text=${TEXT:-Hello world, this is a small voice.}
output=${OUTPUT:-hello.wav}
if [ -n "${MODEL:-}" ]; then
    exec .venv/bin/pocket-tts-native generate --config "$MODEL" --voice "${VOICE:-ref.wav}" \
        --text "$text" --output-path "$output"
fi
model=${CARGO_TARGET_DIR:-target}/random-english
[ -e "$model/.complete" ] || .venv/bin/python scripts/random_model.py "$model"
touch "$model/.complete"
# The end of speech means nothing under random weights. A threshold that every frame exceeds puts it
# at frame 6, the first that counts; 34 more make 3.2 s.
.venv/bin/pocket-tts-native generate --config "$model/config.yaml" --voice "${VOICE:-ref.wav}" \
    --text "$text" --output-path "$output" --eos-threshold=-1e9 --frames-after-eos 34 --seed 1
echo "$output holds NOISE, not speech: the released weights are not part of this repository, so a" >&2
echo "model of the same shapes with random weights was used. MODEL=config.yaml names a real one." >&2
