#!/bin/sh
# Trains one part in legs until stopped, at idle priority: run_legs.sh MODULE MINUTES [ARGUMENTS...]
# Each leg sees the shards that exist when it begins.
set -eu
cd "$(dirname "$0")/.."
module=$1 minutes=$2
shift 2
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 PYTHONPATH=.
while :; do
    chrt -i 0 nice -n 19 "${PYTHON:-python3}" -W ignore -m "training.$module" "$@" --minutes "$minutes"
done
