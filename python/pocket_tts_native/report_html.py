"""The report of `pocket-tts-native benchmark` as one HTML file: no scripts, nothing from elsewhere."""

from __future__ import annotations

import statistics
from html import escape
from typing import TYPE_CHECKING, Final

from pocket_tts_native.benchmarking import STAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocket_tts_native.benchmarking import Case, Report

_WIDTH: Final = 760
_HEIGHT: Final = 240
_MARGIN: Final = 48
_BAR_HEIGHT: Final = 28
_COLOURS: Final = dict(zip(STAGES, ("#3b6ea8", "#e08a3c", "#4d9a6a", "#9a9a9a"), strict=True))
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 800px; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { border-bottom: 1px solid #ccc; padding: .25em .8em; text-align: right; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #444; }
@media (prefers-color-scheme: dark) {
  body { background: #1c1c1c; color: #ddd; } svg text { fill: #bbb; }
}
"""


def page(report: Report) -> str:
    """Make the page."""
    facts = {**report.machine, **report.model}
    facts |= {
        "load": f"{report.load_s:.2f} s",
        "voice": f"{report.voice_s:.2f} s",
        "warm-up": f"{report.warmup_s:.2f} s",
        "first audio alone": (
            f"{min(report.first_audio_ms):.1f} ms, median "
            f"{statistics.median(report.first_audio_ms):.1f} ms, "
            f"{len(report.first_audio_ms)} times"
        ),
    }
    if report.peak_memory_mb is not None:
        facts["peak memory"] = f"{report.peak_memory_mb:.0f} MB"
    parts = [
        "<h1>Pocket TTS, measured</h1>",
        _rows([("", ""), *facts.items()]),
        "<h2>Figures</h2>",
        _figures(report.cases),
        "<h2>Shares of computing</h2>",
        _shares(report.cases),
    ]
    meaning = (
        f"<p>Milliseconds from each frame of audio ({report.frame_duration_ms:.0f} ms of it) to the "
        "next; frames that came as one piece are drawn alike.</p>"
    )
    for case in report.cases:
        parts += [f"<h2>Time per frame, {escape(case.name)}</h2>", meaning, _frames(case)]
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>Pocket TTS, measured</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _rows(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is the head."""
    lines = []
    for index, row in enumerate(rows):
        if not any(row):
            continue
        tag = "td" if index else "th"
        cells = "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _figures(cases: Sequence[Case]) -> str:
    figures = [case.figures() for case in cases]
    rows = [["", *(case.name for case in cases)]]
    for name in dict.fromkeys(name for own in figures for name in own):
        cells = (f"{own[name]:.3f}" if name in own else "–" for own in figures)
        rows.append([name.replace("_", " "), *cells])
    return _rows(rows)


def _shares(cases: Sequence[Case]) -> str:
    """One bar a case, and a legend."""
    left, span = 120, _WIDTH - 140
    shapes = []
    for index, case in enumerate(cases):
        y = index * (_BAR_HEIGHT + 12)
        shapes.append(_text(left - 8, y + 19, case.name, anchor="end"))
        total_s = sum(case.stage_s.values()) or 1.0
        x = float(left)
        for stage in STAGES:
            share = case.stage_s[stage] / total_s
            width = share * span
            title = f"<title>{escape(stage)}: {100 * share:.1f} %</title>"
            shapes.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR_HEIGHT}" '
                f'fill="{_COLOURS[stage]}">{title}</rect>'
            )
            x += width
    y = len(cases) * (_BAR_HEIGHT + 12) + 8
    for index, stage in enumerate(STAGES):
        x = left + index * span / len(STAGES)
        shapes.append(
            f'<rect x="{x:.1f}" y="{y}" width="12" height="12" fill="{_COLOURS[stage]}"/>'
        )
        shapes.append(_text(x + 18, y + 11, stage))
    return _svg(y + 24, shapes)


def _frames(case: Case) -> str:
    """Dots of all frames, with lines at the median and the 95th percentile."""
    if not case.frame_ms:
        return "<p>All audio came in one piece.</p>"
    figures = case.figures()
    top_ms = 1.1 * figures["frame_max_ms"] or 1.0
    bottom = _HEIGHT - _MARGIN / 2
    span_x, span_y = _WIDTH - 2 * _MARGIN, bottom - 10

    def x(index: float) -> float:
        return _MARGIN + span_x * index / max(len(case.frame_ms) - 1, 1)

    def y(ms: float) -> float:
        return bottom - span_y * ms / top_ms

    shapes = [
        f'<line x1="{_MARGIN}" y1="{bottom}" x2="{_WIDTH - _MARGIN}" y2="{bottom}" stroke="#888"/>',
        _text(_MARGIN - 6, bottom, "0", anchor="end"),
        _text(_MARGIN - 6, y(top_ms) + 4, f"{top_ms:.1f}", anchor="end"),
        _text(_WIDTH - _MARGIN, bottom + 16, f"frame {len(case.frame_ms)}", anchor="end"),
    ]
    for name, label in (("frame_p50_ms", "p50"), ("frame_p95_ms", "p95")):
        at = y(figures[name])
        shapes.append(
            f'<line x1="{_MARGIN}" y1="{at:.1f}" x2="{_WIDTH - _MARGIN}" y2="{at:.1f}" '
            'stroke="#e08a3c" stroke-dasharray="4 3"/>'
        )
        shapes.append(_text(_WIDTH - _MARGIN + 4, at + 4, label))
    shapes += [
        f'<circle cx="{x(i):.1f}" cy="{y(ms):.1f}" r="1.8" fill="#3b6ea8"/>'
        for i, ms in enumerate(case.frame_ms)
    ]
    return _svg(_HEIGHT, shapes)


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: float, shapes: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img">' + "".join(shapes) + "</svg>"
