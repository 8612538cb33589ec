"""The stream of events of a page: what this server judged, and what another process wrote to the archive."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from helpers.served import Served, grey_png, serving_here
from helpers.stations import grey_station
from lad_reasoner.service.archive import Archive
from lad_reasoner.service.archived import Seen
from lad_reasoner.service.keys import Keys, add_key
from lad_reasoner.service.page import create_page_app
from lad_reasoner.service.runtime import Runtime


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    station, _ = grey_station(tmp_path, judge="helpers.stations:Grey")
    with serving_here(create_page_app(Runtime([station])), tmp_path / "log") as served:
        yield served


def test_parts_of_a_watcher_in_another_process_are_told(served: Served, tmp_path: Path) -> None:
    connection = HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.request("GET", "/stations/station/events")
    stream = connection.getresponse()

    def next_event() -> dict[str, object]:
        while not (line := stream.readline()).startswith(b"data: "):
            assert line
        event: dict[str, object] = json.loads(line.removeprefix(b"data: "))
        return event

    served.inspect(grey_png(101))
    assert next_event() == {"id": 1, "outcome": "good"}
    watcher = Archive(tmp_path / "station", "station")  # a connection of its own, as another process has one
    watcher.keep([Seen(part="2", who="watch in 1", outcome="unsure", version=1)])
    watcher.close()
    assert next_event() == {"id": 2, "outcome": "unsure"}
    served.inspect(grey_png(250))
    assert next_event() == {"id": 3, "outcome": "anomalous"}
    connection.close()


def test_a_stream_ends_with_its_key(tmp_path: Path) -> None:
    """Whoever had the page open went on seeing the parts of the line."""
    station, _ = grey_station(tmp_path, judge="helpers.stations:Grey")
    keys = tmp_path / "keys.toml"
    add_key(keys, "Ada", "engineer")
    before = keys.read_text()
    key = add_key(keys, "last year's", "operator")
    app = create_page_app(Runtime([station]), keys=Keys.read(keys))
    with serving_here(app, tmp_path / "log") as served:
        connection = HTTPConnection("127.0.0.1", served.port, timeout=10)
        connection.request("GET", "/stations/station/events", headers={"Cookie": f"lad_key={key}"})
        stream = connection.getresponse()
        assert stream.readline() == b"retry: 2000\n"
        keys.write_text(before)
        assert stream.read() == b"\n"  # to its end, which had not come before the server's
        connection.close()
