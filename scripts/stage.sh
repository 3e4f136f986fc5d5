#!/usr/bin/env bash
# Runs one stage of a build: scripts/stage.sh NAME COMMAND...
# Prints the stage's name and time, keeps its output under target/stages for scripts/stages.sh.
set -uo pipefail

name=$1
shift
logs=target/stages
mkdir -p "$logs"
printf '\n== %s: %s\n' "$name" "$*"
begin=$(date +%s)
"$@" 2>&1 | tee "$logs/$name.log"
status=${PIPESTATUS[0]}
seconds=$(($(date +%s) - begin))
if [ "$status" -eq 0 ]; then verdict=ok; else verdict="FAILED ($status)"; fi
printf '%-20s %5d s  %s\n' "$name" "$seconds" "$verdict" >>"$logs/times.txt"
printf '== %s: %s after %d s\n' "$name" "$verdict" "$seconds"
exit "$status"
