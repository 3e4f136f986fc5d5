"""Time per operator: `POCKET_TIMING=1` prints a table to stderr when the process ends.

It must be set before the first model is loaded. `times`, `table` and `reset` are for looking
earlier.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import Final, NamedTuple

from pocket_tts_native import _native

VARIABLE: Final = "POCKET_TIMING"
_WHOLE: Final = "all"
_REST: Final = "the rest"
_is_registered = False


class OperatorTime(NamedTuple):
    """What one operator took in one phase of the work, over all models of the process.

    Attributes:
        phase: `voice encoder`, `voice pass`, `text pass`, `language model`, `flow head`, `codec`
            or `other`.
        operator: The operator; `all` is the whole phase.
        n_calls: How often it ran.
        total_ms: How long, on the thread that called it.
    """

    phase: str
    operator: str
    n_calls: int
    total_ms: float


def times() -> list[OperatorTime]:
    """Tell the times so far, phase by phase; none unless `POCKET_TIMING` is 1."""
    return [
        OperatorTime(phase, operator, n_calls, 1000 * total_s)
        for phase, operator, n_calls, total_s in _native.operator_times()
    ]


def reset() -> None:
    """Forget the times so far."""
    _native.reset_operator_times()


def table() -> str:
    """Tell the times so far as a table, with shares of the whole and what no operator names."""
    rows = times()
    whole_ms = sum(row.total_ms for row in rows if row.operator == _WHOLE) or 1.0
    lines = [f"{'phase':<16} {'operator':<32} {'calls':>9} {'total ms':>11} {'share':>7}"]

    def add(row: OperatorTime) -> None:
        share = f"{100 * row.total_ms / whole_ms:.1f} %"
        calls = str(row.n_calls) if row.n_calls else ""
        lines.append(
            f"{row.phase:<16} {row.operator:<32} {calls:>9} {row.total_ms:>11.2f} {share:>7}"
        )

    for phase in dict.fromkeys(row.phase for row in rows):
        own = [row for row in rows if row.phase == phase]
        for row in own:
            add(row)
        if own[0].operator == _WHOLE and len(own) > 1:
            rest_ms = own[0].total_ms - sum(row.total_ms for row in own[1:])
            add(OperatorTime(phase, _REST, 0, max(rest_ms, 0.0)))
    return "\n".join(lines)


def print_at_exit() -> None:
    """Print the table to stderr when the process ends, if `POCKET_TIMING` is 1."""
    global _is_registered
    if os.environ.get(VARIABLE) == "1" and not _is_registered:
        _is_registered = True
        atexit.register(_print_table)


def _print_table() -> None:
    if times():
        print(table(), file=sys.stderr)
