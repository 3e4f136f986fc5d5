#!/usr/bin/env bash
# `scripts/stages.sh reset` forgets the stages of earlier runs; `scripts/stages.sh report` prints the
# time of every stage, then what the test runners said at their end.
set -uo pipefail

logs=target/stages
case ${1:-report} in
reset)
    rm -rf "$logs"
    ;;
report)
    [ -f "$logs/times.txt" ] || exit 0
    printf '\n== stages\n'
    cat "$logs/times.txt"
    for log in "$logs"/*.log; do
        # nextest: "     Summary [   1.2s] 34 tests run: ...", libtest and pytest: their last line.
        line=$(sed 's/\x1b\[[0-9;]*m//g' "$log" |
            grep -E '^ +Summary \[|^test result: |^=+ .*(passed|failed|error|no tests ran).* =+$' |
            tail -n 1)
        [ -z "$line" ] || printf '%s: %s\n' "$(basename "$log" .log)" "$line"
    done
    ;;
*)
    echo "usage: $0 reset|report" >&2
    exit 2
    ;;
esac
