#!/bin/sh
# Trains the embedded voice from nothing: train_all.sh [LM_MINUTES [DECODER_MINUTES [ENCODER_MINUTES]]]
# The default minutes are for two CPU cores; with CUDA a tenth of them is plenty. The bundle replaces the one in the
# package.
# PYTHON names an interpreter with PyTorch and pocket-tts; ACCELERATOR=1 makes the batches large; LM_OPTIONS=--bf16 is
# for CPUs with AMX.
set -eu
cd "$(dirname "$0")/.."
lm=${1:-480} decoder=${2:-300} encoder=${3:-30}
python=${PYTHON:-python3}
export OMP_WAIT_POLICY=passive PYTHONPATH=.
lm_size=${LM_OPTIONS:-} codec_size=
if [ -n "${ACCELERATOR:-}" ]; then
    lm_size="$lm_size --tokens 24576" codec_size="--rows 64 --frames 19"
fi
run() {
    "$python" -W ignore -m "$@"
}
share() { # share PERCENT MINUTES
    awk "BEGIN { print $1 * $2 / 100 }"
}

run training.make_data --shards "${SHARDS:-40}" --processes "$(nproc)" --fresh
# Short utterances first: they teach which sounds letters make, and cost little.
run training.train_lm $lm_size --fresh --longest 75 --rollouts 0 --guidance 1 --minutes "$(share 25 "$lm")"
run training.train_lm $lm_size --fresh --guidance 1 --minutes "$(share 30 "$lm")"
run training.train_codec encoder $codec_size --fresh --minutes "$encoder" --rate 2e-3 --final-rate 0
run training.encode_prompts
run training.train_lm $lm_size --fresh --minutes "$(share 45 "$lm")" --rate 2.5e-3 --final-rate 0
run training.own_latents
run training.train_codec decoder $codec_size --fresh --minutes "$(share 75 "$decoder")"
run training.train_codec decoder $codec_size --own-share 0.5 --minutes "$(share 25 "$decoder")" --rate 1e-3 --final-rate 0
run training.export
