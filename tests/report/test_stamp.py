"""What every report says at its end, and the table that fits a terminal of 80 columns."""

import sys
from datetime import date

import pytest

from helpers import runs
from lad_reasoner.evaluation.run import measure_run
from lad_reasoner.report import terminal
from lad_reasoner.templates import made_with
from lad_reasoner.version import __version__


def test_version_date_boundary_and_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["/usr/bin/lad-reasoner", "inspect", "--server", "https://me:secret@host/v1", "a b"]
    )
    said = made_with()
    assert said.startswith(f"LAD-Reasoner {__version__} · {date.today()} · limit of the score 0.5 · ")
    assert said.endswith("lad-reasoner inspect --server https://…@host/v1 'a b'")
    monkeypatch.setattr(sys, "argv", ["my_program.py"])
    assert made_with(None) == f"LAD-Reasoner {__version__} · {date.today()}"
    assert made_with(0.4, 0.25, "mine").endswith("limit of the score 0.4 · unsure above 0.25 · mine")


def test_the_table_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    lines = runs.noisy_run(40, seed=1)
    recorded = runs.recorded(lines)
    metrics = measure_run(recorded.predictions, resamples=50)
    terminal.show_metrics(recorded, metrics)
    narrow = capsys.readouterr().out
    assert max(map(len, narrow.splitlines())) <= 80
    (pooled, *_) = [line.split() for line in narrow.splitlines() if line.startswith("pooled over images")]
    assert pooled[3] == "40"
    assert pooled[5].startswith("[")  # the interval of balanced accuracy
    assert len(pooled) == 4 + 1 + 2 + 5
    terminal.show_metrics(recorded, metrics, wide=True)
    wide = capsys.readouterr().out
    assert wide.count("[") > narrow.count("[")
