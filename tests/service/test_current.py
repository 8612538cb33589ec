"""A station whose file changes while it is in use."""

from pathlib import Path

import pytest

from helpers.stations import grey_picture, grey_station
from lad_reasoner.errors import MachineError
from lad_reasoner.service.archived import Retention
from lad_reasoner.service.current import CurrentStation
from lad_reasoner.service.inspection import Decision
from lad_reasoner.service.sinks.history import StationHistory
from lad_reasoner.service.station import FILE


def outcome(station: CurrentStation, picture: Path) -> str:
    (decision,) = station.inspect([picture])
    assert isinstance(decision, Decision)
    return decision.outcome


def test_a_new_limit_counts_for_the_next_picture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, station = grey_station(tmp_path)
    picture = grey_picture(tmp_path / "q.png", 140)
    history = StationHistory(folder, station.name, Retention())
    current = CurrentStation(folder, lambda: history.note_version("file changed"))
    assert outcome(current, picture) == "anomalous"
    before, opened = history.version, current.opened
    assert outcome(current, picture) == "anomalous"
    assert current.opened is opened, "an unchanged file is not read again"
    station.model_copy(update={"limit": 0.9}).save(folder)
    assert outcome(current, picture) == "good"
    assert history.version == before + 1
    assert [record.getMessage() for record in caplog.records] == [f"{folder / FILE}: changed, and in use from now on"]
    history.close()


def test_a_version_that_could_not_be_kept_is_kept_before_the_next_picture(tmp_path: Path) -> None:
    folder, station = grey_station(tmp_path)
    picture = grey_picture(tmp_path / "q.png", 140)
    problems: list[Exception] = [MachineError("the disk is full")]

    def note() -> None:
        if problems:
            raise problems.pop()

    current = CurrentStation(folder, note)
    station.model_copy(update={"limit": 0.9}).save(folder)
    with pytest.raises(MachineError):
        outcome(current, picture)
    assert current.opened.station.limit == station.limit, "no verdict by settings that the history does not have"
    assert outcome(current, picture) == "good"
    assert not problems


def test_a_file_that_cannot_be_used_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, station = grey_station(tmp_path)
    picture = grey_picture(tmp_path / "q.png", 140)
    current = CurrentStation(folder, lambda: pytest.fail("nothing has changed"))
    text = (folder / FILE).read_text(encoding="utf-8")
    broken = [text + "nonsense", text.replace(f'name = "{station.name}"', 'name = "another"'), ""]
    for turn, content in enumerate(broken, 1):
        (folder / FILE).write_text(content, encoding="utf-8")
        for _ in range(2):
            assert outcome(current, picture) == "anomalous"
        assert len(caplog.records) == turn, "said once"
        assert "stays as it was" in caplog.text
    (folder / FILE).unlink()
    assert outcome(current, picture) == "anomalous"
    assert "no such file" in caplog.text
