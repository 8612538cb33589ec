"""A line that is killed, and what the drill finds missing."""

from pathlib import Path

import drill_watch
import pytest

from helpers.plant import part_result
from helpers.stations import grey_picture, grey_station
from lad_reasoner.files.jsonl import append_record
from lad_reasoner.service.archive import Archive
from lad_reasoner.service.archived import Seen
from lad_reasoner.service.parts import PictureFile


@pytest.mark.slow  # each life of the line imports torch
def test_a_killed_line_loses_and_repeats_nothing() -> None:
    tally = drill_watch.drill_watch(1, seed=3)
    assert tally.lost == []
    assert tally.kills == 1
    assert tally.pictures > 5


def test_what_a_line_lost_or_repeated_is_found(tmp_path: Path) -> None:
    folder, station = grey_station(tmp_path)
    archive = Archive(folder, station.name)
    (tmp_path / "incoming").mkdir()
    file = PictureFile.at(grey_picture(tmp_path / "sorted" / "good" / "part-1.png", 100))
    assert file is not None
    result = part_result(outcome="good")
    archive.keep([Seen(result.part, "watch in 1", "good", 1, verdict=result.verdict, content=b"x")])
    archive.close()
    append_record(tmp_path / "results.jsonl", result)
    written = {"part-1.png": "good"}

    def lost(written: dict[str, str]) -> list[str]:
        tally = drill_watch.WatchTally()
        drill_watch._compare(tally, written, tmp_path)
        return tally.lost

    assert lost(written) == []
    assert len(lost({**written, "2.png": "good"})) == 3
    assert len(lost({"part-1.png": "anomalous"})) == 6
    append_record(tmp_path / "results.jsonl", result)
    assert lost(written) == [
        "JSON lines: ('part-1.png', 'good') is there 2 times, not 1",
    ]
    grey_picture(tmp_path / "incoming" / "3.png", 100)
    assert "still in the folder: 3.png" in lost(written)


def test_what_a_webhook_missed_or_got_otherwise_is_found() -> None:
    written = {"part-1.png": "good", "part-2.png": "anomalous"}
    first, second = (
        (f"id-{number}", {"picture": f"part-{number}.png", "outcome": outcome, "number": number})
        for number, outcome in enumerate(written.values(), 1)
    )
    lost = drill_watch._compare_requests
    assert lost(written, [first, first, second, first]) == []
    assert lost(written, [first]) == ["webhook: ('part-2.png', 'anomalous') came with 0 IDs, not 1"]
    assert lost(written, [second, first]) == ["webhook: out of order: [2, 1]"]
    assert lost(written, [first, second, ("other", first[1])]) == [
        "webhook: ('part-1.png', 'good') came with 2 IDs, not 1",
        "webhook: out of order: [1, 2, 1]",
    ]
    assert lost(written, [first, second, ("id-1", second[1])]) == ["webhook: id-1 came again with another content"]
