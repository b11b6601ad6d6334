"""What machines hold follows from the figures, and docs/scaling.md shows what the command prints."""

from __future__ import annotations

import sys
from dataclasses import fields, replace

import pytest

from benchmarks import sizing
from benchmarks.sizing import MeasuredFigures, size_of
from scripts.repository import ROOT

pytestmark = pytest.mark.unit

DOCUMENT = (ROOT / "docs/scaling.md").read_text()
FREE = MeasuredFigures(**{one.name: 0.0 for one in fields(MeasuredFigures)})


def test_document_shows_the_table_that_the_command_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["sizing"])
    sizing.main()
    assert capsys.readouterr().out.strip() in DOCUMENT


def test_help_names_each_option(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["sizing", "--help"])
    with pytest.raises(SystemExit, match=r"^0$"):
        sizing.main()
    assert "idle, % of a core per room" in " ".join(capsys.readouterr().out.split())


def test_document_names_each_figure_and_the_benchmark_that_prints_it() -> None:
    figures = MeasuredFigures()
    for one in fields(MeasuredFigures):
        benchmark = one.metadata["of"].split(":")[0]
        assert (ROOT / f"benchmarks/{benchmark}.py").exists()
        assert f"benchmarks.{benchmark}`" in DOCUMENT
        assert one.name == "base_mb" or f"| {getattr(figures, one.name):g} " in DOCUMENT


def test_a_replica_is_full_when_its_core_is() -> None:
    one = size_of(1, replace(FREE, start_ms=100.0), minutes=10.0, kept_minutes=60.0, busy=0.5)
    assert one.starts == pytest.approx(5.0)
    assert one.rooms == pytest.approx(3_000)
    rooms = size_of(1, replace(FREE, idle_share=0.1), minutes=10.0, kept_minutes=60.0, busy=0.5)
    assert rooms.rooms == pytest.approx(500)


def test_each_replica_pays_for_the_sessions_of_the_others() -> None:
    figures = replace(FREE, start_ms=100.0, following_ms=10.0, told_kib=1_000_000 / 1_024)
    one, eleven = (size_of(number, figures, minutes=1.0, kept_minutes=0.0, busy=1.0) for number in (1, 11))
    assert one.starts == pytest.approx(10.0)
    assert one.following_share == 0.0
    assert eleven.starts == pytest.approx(55.0)
    assert eleven.following_share == pytest.approx(0.5)
    assert eleven.told_mb == pytest.approx(11 * 55.0)
