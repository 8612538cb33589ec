"""The simulated queue, against runs whose length is known."""

from pathlib import Path

import numpy as np
import pytest
import scale
from scale import Rates, simulate

from lad_reasoner.bulk import UNIT
from lad_reasoner.errors import InputError
from lad_reasoner.files.jsonl import append_lines
from lad_reasoner.records import ResultLine

STEADY = Rates(np.array([0.5]), start=10, line=0)


def test_steady_pictures_are_shared_out() -> None:
    pictures = 64 * UNIT
    one, eight = (simulate(STEADY, pictures, workers) for workers in (1, 8))
    assert one.seconds == pytest.approx(10 + pictures * 0.5)
    assert eight.seconds == pytest.approx(10 + pictures * 0.5 / 8)
    assert eight.judging == one.judging == pytest.approx(pictures * 0.5)
    assert eight.worker_hours * 3600 == pytest.approx(8 * eight.seconds)
    assert eight.busy == pytest.approx(1 - 10 / eight.seconds)
    assert simulate(STEADY, 1, 8).seconds == pytest.approx(10.5)


def test_the_process_that_writes_is_a_limit() -> None:
    slow = Rates(STEADY.pictures, start=0, line=0.1)
    assert simulate(slow, 10_000, 64).seconds == pytest.approx(1000, rel=0.05)
    assert simulate(slow, 10_000, 1).seconds == pytest.approx(5000, rel=0.01)


def test_deaths_cost_their_units_and_a_start() -> None:
    quiet = simulate(STEADY, 100_000, 8)
    deadly = simulate(STEADY, 100_000, 8, deaths=1)
    assert deadly == simulate(STEADY, 100_000, 8, deaths=1)
    # A worker dies once an hour: the run takes about 14 worker hours.
    assert 5 <= deadly.deaths <= 30
    lost = deadly.deaths * (10 + 0.5 * UNIT)
    assert quiet.seconds < deadly.seconds < quiet.seconds + lost
    assert deadly.busy < quiet.busy


def test_rates_are_read_from_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ResultLine(query="q.png", references=("good.png",), answer="no", model="random", seconds=0.25)
    append_lines(tmp_path / "part-00000.jsonl", [line.model_dump_json()] * 19)
    with pytest.raises(InputError, match="19 judged pictures"):
        scale.read_rates(tmp_path)
    failure = ResultLine(query="cut.png", answer="invalid", error="damaged")
    append_lines(tmp_path / "part-00001.jsonl", [line.model_dump_json(), failure.model_dump_json()])
    rates = scale.read_rates(tmp_path, start=7)
    assert (len(rates.pictures), rates.pictures.mean(), rates.start) == (20, 0.25, 7)
    assert 0 < rates.line < 0.1
    arguments = ["scale.py", str(tmp_path), "--start", "7", "--pictures", "10000", "--deaths", "0", "--price", "2"]
    monkeypatch.setattr("sys.argv", arguments)
    scale.main()
    rows = [row.split("|")[1:] for row in capsys.readouterr().out.splitlines() if row.startswith("| ")]
    assert [row[0].strip() for row in rows] == ["workers", "1", "8", "64"]
    assert float(rows[1][1]) == pytest.approx(10_000 / 4 / 3600, abs=0.02)
    assert float(rows[1][6]) == pytest.approx(2 * float(rows[1][3]), abs=0.1)
