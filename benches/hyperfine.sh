#!/usr/bin/env bash
# Times whole programs, from the start of the process to the finished WAV file, with a short, a medium
# and a long text: ours in f32 and int8 and the reference's command line, on the random English model.
# Last comes `generate --text "Hello world."` with warm caches (the voice too), which is to take 1 s.
#
#     benches/hyperfine.sh [MODEL_DIRECTORY]
#
# More options for hyperfine in HYPERFINE_OPTIONS, e.g. `--export-markdown table.md`.
set -euo pipefail

cd "$(dirname "$0")/.."
scripts/debian_packages.sh hyperfine
model=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/pocket-tts-native/bench-model}
[ -e "$model/config.yaml" ] || .venv/bin/python scripts/random_model.py "$model"
reference=$(dirname "$(scripts/reference_env.sh)")
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# All encode the voice every time.
export POCKET_VOICE_CACHE=0
# No logit is that high: every text lasts as long as the length rule allows.
arguments="generate --config $model/config.yaml --voice ref.wav --eos-threshold 1e9 --quiet"
short="Hello world."
medium="The quick brown fox jumps over the lazy dog, and the dog does not mind at all."
long="In the morning the light came in through the window and fell on the table. How many people were \
there? Nobody knew, but someone had counted twenty seven. There is no reason to hurry when the train has \
already left the station. Thank you very much for your patience, and good night."

for text in short medium long; do
    # shellcheck disable=SC2086  # options are words
    hyperfine --warmup 1 --runs 5 ${HYPERFINE_OPTIONS:-} \
        --command-name "ours, $text" \
        ".venv/bin/pocket-tts-native $arguments --text '${!text}' --output-path $out/ours.wav" \
        --command-name "ours int8, $text" \
        ".venv/bin/pocket-tts-native $arguments --precision int8 --text '${!text}' --output-path $out/int8.wav" \
        --command-name "reference, $text" \
        "$reference/pocket-tts $arguments --text '${!text}' --output-path $out/reference.wav"
    # Samples of 16 bits after a header that may differ: the same length to within a frame.
    ours=$(stat -c %s "$out/ours.wav") theirs=$(stat -c %s "$out/reference.wav")
    [ $((ours > theirs ? ours - theirs : theirs - ours)) -lt 200 ] || {
        echo "the programs wrote $ours and $theirs bytes" >&2
        exit 1
    }
done

unset POCKET_VOICE_CACHE
# shellcheck disable=SC2086  # options are words
hyperfine --warmup 2 --runs 10 ${HYPERFINE_OPTIONS:-} \
    --command-name "ours f32, generate, caches warm" \
    ".venv/bin/pocket-tts-native $arguments --text 'Hello world.' --output-path $out/ours.wav" \
    --command-name "ours int8, generate, caches warm" \
    ".venv/bin/pocket-tts-native $arguments --precision int8 --text 'Hello world.' --output-path $out/int8.wav"
