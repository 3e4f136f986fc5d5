#!/bin/sh
# Trains one part in legs until stopped, at idle priority: run_legs.sh MODULE MINUTES [ARGUMENTS...]
# (`pkill -STOP -f training/` pauses everything, `pkill -CONT -f training/` goes on.)
# Each leg sees the shards that exist when it begins.
set -eu
cd "$(dirname "$0")/.."
module=$1 minutes=$2
shift 2
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 PYTHONPATH=.
# Large tensors come and go in every step: keep their memory instead of having it cleared anew.
export MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=4294967296
# Where each session has a share of its own (autogroups), idle priority counts within it alone.
[ ! -w /proc/self/autogroup ] || echo 19 >/proc/self/autogroup || true
while :; do
    chrt -i 0 nice -n 19 "${PYTHON:-python3}" -W ignore "training/$module.py" "$@" --minutes "$minutes"
done
