"""`benchmark` and `verify` as a user runs them, on a tiny model; no test judges a time."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, Final

import pytest
from pocket_tts_native.benchmarking import N_LONG_WORDS, STAGES, long_text
from pocket_tts_native.cli import main
from pocket_tts_native.verification import BOUNDS, Bounds, Verdict, table
from tiny_model import tiny_config, write_model

COMMAND: Final = [sys.executable, "-m", "pocket_tts_native.cli"]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def config(tiny_model_dir: Path) -> str:
    """The configuration of a tiny model, too narrow for its matrices to be quantised."""
    return str(tiny_model_dir / "config.yaml")


@pytest.fixture(scope="module")
def wide_config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model just wide enough: a rounding error meets few others to be averaged with."""
    flow_lm = {
        "flow": {"dim": 64},
        "transformer": {"d_model": 64, "num_heads": 2},
        "lookup_table": {"dim": 64},
    }
    directory = tmp_path_factory.mktemp("wide")
    return str(write_model(directory, tiny_config({"flow_lm": flow_lm})))


@pytest.fixture(scope="module")
def report(config: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """What one benchmark wrote: JSON, and a page."""
    html = tmp_path_factory.mktemp("report") / "report.html"
    html.write_text("an older page", encoding="utf-8")
    done = _run(
        *(
            "benchmark",
            "--model",
            config,
            "--runs",
            "2",
            "--precision",
            "int8",
            "--json",
            "--quiet",
        ),
        *("--num-threads", "1", "--html", str(html)),
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout), html


def test_the_long_text_is_as_long_as_it_says() -> None:
    text = long_text()
    assert len(text.split()) == N_LONG_WORDS == 500
    assert text.endswith(".")


def test_benchmark_reports_every_figure(report: tuple[Any, Path], config: str) -> None:
    values = report[0]
    assert values["model"] == {
        "model": config,
        "precision": "int8",
        "threads": "1",
        "voice": "made up",
    }
    assert set(values["machine"]) == {"cpu", "cores", "system", "simd_level", "version"}
    assert [case["name"] for case in values["cases"]] == ["one sentence", "500 words"]
    assert len(values["first_audio_ms"]) == 10
    for case, n_runs in zip(values["cases"], (2, 1), strict=True):
        for times in ("wall_s", "cpu_s", "first_audio_ms"):
            assert len(case[times]) == n_runs
        figures = case["figures"]
        assert figures["audio_s"] == pytest.approx(case["audio_s"])
        n_frames = round(case["audio_s"] / 0.08)
        assert 0 < len(case["frame_ms"]) < n_frames, "the first piece has no time per frame"
        shares = [figures[f"{stage.replace(' ', '_')}_share"] for stage in STAGES]
        assert sum(shares) == pytest.approx(1)
        assert all(share > 0 for share in shares)
        assert figures["rtf_min"] <= figures["rtf_median"]
        assert figures["frame_p50_ms"] <= figures["frame_p95_ms"] <= figures["frame_max_ms"]


def test_the_page_needs_nothing_else(report: tuple[Any, Path]) -> None:
    values, path = report
    text = path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    for foreign in ("http", "<script", "<link", "url(", "src=", "nan", "inf"):
        assert foreign not in text, foreign
    # All tags but those of HTML's head are closed, so that the body reads as XML.
    body = ET.fromstring(text[text.index("<body>") : text.index("</html>")])
    charts = body.findall("svg")
    assert len(charts) == 1 + len(values["cases"])
    bars = charts[0].findall("rect")
    assert len(bars) == len(STAGES) * (len(values["cases"]) + 1), "bars, and a legend"
    for chart, case in zip(charts[1:], values["cases"], strict=True):
        assert len(chart.findall("circle")) == len(case["frame_ms"])


def test_benchmark_prints_a_table(config: str) -> None:
    done = _run("benchmark", "--config", config, "--runs", "1")
    assert done.returncode == 0, done.stderr
    for words in ("real-time factor", "first audio", "share of codec", "500 words", "peak memory"):
        assert words in done.stdout
    assert "warming up" in done.stderr


def test_benchmark_speaks_with_a_recording(config: str) -> None:
    voice = str(Path(__file__).resolve().parent.parent / "ref.wav")
    done = _run("benchmark", "--config", config, "--runs", "1", "--voice", voice, "--json", "-q")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"]["voice"] == voice


def test_verify_passes_what_is_exact(config: str) -> None:
    """Narrow matrices stay as they are stored: nothing differs, which JSON writes as null."""
    done = _run("verify", "--model", config, "--runs", "1", "--json", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    verdicts = json.loads(done.stdout)
    assert [verdict["precision"] for verdict in verdicts] == ["bf16", "int8"]
    for verdict in verdicts:
        assert verdict["is_within_bounds"]
        assert verdict["latents_db"] is None or verdict["latents_db"] >= 40
        assert verdict["speedup"] == pytest.approx(verdict["exact_rtf"] / verdict["rtf"])


def test_verify_fails_what_is_outside_the_bounds(
    wide_config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(BOUNDS, "int8", Bounds(300.0, 300.0))
    assert main(["verify", "--config", wide_config, "--runs", "1", "--precision", "int8"]) == 1
    told = capsys.readouterr()
    assert "OUTSIDE" in told.out
    assert "bf16" not in told.out
    assert "error: int8 of this model" in told.err
    assert "docs/precision.md" in told.err


@pytest.mark.parametrize(
    ("latents_db", "audio_db", "is_within"),
    [
        (40.0, 40.0, True),
        (float("inf"), float("inf"), True),
        (39.9, 50.0, False),
        (50.0, 39.9, False),
        (float("nan"), 50.0, False),
    ],
)
def test_bounds(latents_db: float, audio_db: float, is_within: bool) -> None:
    verdict = Verdict("int8", latents_db, 1.0, audio_db, Bounds(40.0, 40.0), 0.1, 0.3)
    assert verdict.is_within == is_within
    assert ("OUTSIDE" in table([verdict])) != is_within
    json.dumps(verdict.as_dict(), allow_nan=False)


def test_the_bounds_are_the_documented_ones() -> None:
    page = Path(__file__).resolve().parent.parent / "docs" / "precision.md"
    if not page.exists():
        pytest.fail(f"{page} is missing")
    text = page.read_text(encoding="utf-8")
    for precision, bounds in BOUNDS.items():
        row = f"| `{precision}` | {bounds.latents_db:.0f} | {bounds.audio_db:.0f} |"
        assert row in text, row


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["benchmark", "--runs", "0"], "--runs must be at least 1"),
        (["verify", "--runs", "-1"], "--runs must be at least 1"),
        (["verify", "--model", "nonesuch"], "no model is named 'nonesuch'"),
        (["benchmark", "--model", "missing.yaml"], "missing.yaml"),
    ],
)
def test_mistakes_are_told(arguments: list[str], message: str) -> None:
    done = _run(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stdout == ""


def test_an_unwritable_page_leaves_nothing(config: str, tmp_path: Path) -> None:
    done = _run("benchmark", "--config", config, "--runs", "1", "-q", "--html", str(tmp_path))
    assert done.returncode == 1
    assert list(tmp_path.iterdir()) == []
    assert [path for path in tmp_path.parent.iterdir() if path.name.endswith(".part")] == []


def test_models_exclude_each_other(config: str) -> None:
    done = _run("verify", "--model", "english", "--config", config)
    assert done.returncode == 2
