"""The file of a stranger's station runs no code and sends nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.stations import grey_station
from lad_reasoner.errors import InputError
from lad_reasoner.service.inspection import OpenStation
from lad_reasoner.service.station import FILE, Station
from lad_reasoner.service.trust import TRUSTED, is_loopback


@pytest.fixture
def station(tmp_path: Path) -> Path:
    return grey_station(tmp_path, normals=0, max_false_alarms=None)[0]


def edit(station: Path, judge: str = "pixel-difference", more: str = "", **options: str) -> None:
    lines = "".join(f'{key} = "{value}"\n' for key, value in options.items())
    text = (station / FILE).read_text().replace('judge = "pixel-difference"', f'judge = "{judge}"')
    (station / FILE).write_text(f"{text}\n{lines}{more}")  # the options stand at the end


def test_no_function_of_this_machine_is_called(station: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(station, "subprocess:getoutput", cmd=f"touch '{tmp_path}/ran'")
    with pytest.raises(InputError) as refused:
        OpenStation(station)
    mend = "subprocess:getoutput is Python code, which would run; if it is yours, name it in LAD_TRUSTED"
    assert str(refused.value).startswith(f"{station / FILE}: judge: {mend}")
    assert not (tmp_path / "ran").exists()
    monkeypatch.setenv(TRUSTED, "other:Judge subprocess:getoutput")
    with pytest.raises(InputError, match="not a judge"):  # now it was asked
        OpenStation(station)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("more", "field", "name"),
    [
        ('server = "https://evil.example/v1"', "options.server", "https://evil.example/v1"),
        ('server = "http://127.0.0.1.evil.example/v1"', "options.server", "http://127.0.0.1.evil.example/v1"),
        ('server = "http://127.0.0.1@evil.example/v1"', "options.server", "http://127.0.0.1@evil.example/v1"),
        ('server = "http://[::1"', "options.server", "http://[::1"),
        ('server = "http://127.0.0.1:1/v1"\ncache = "/x/.profile"', "options.cache", "/x/.profile"),
        ('[second_look]\nmodel = "os:system"', "second_look.model", "os:system"),
        (
            '[second_look]\nmodel = "m"\noptions = {server = "http://e.example"}',
            "second_look.options.server",
            "http://e.example",
        ),
        ('[rules]\nmodel = "m"\nserver = "http://e.example"', "rules.server", "http://e.example"),
    ],
)
def test_what_nobody_trusts_is_refused(
    station: Path, monkeypatch: pytest.MonkeyPatch, more: str, field: str, name: str
) -> None:
    edit(station, more=more)
    with pytest.raises(InputError) as refused:
        Station.load(station)
    assert f"{FILE}: {field}: {name} would" in str(refused.value) or f"{field}: {name} is Python" in str(refused.value)
    monkeypatch.setenv(TRUSTED, f"{name}")
    Station.load(station)


def test_what_is_built_in_or_on_this_machine_needs_no_trust(station: Path) -> None:
    edit(station, "evidence:dinov2", 'server = "http://localhost:8000/v1"\n[rules]\nserver = "http://[::1]:8000/v1"')
    assert Station.load(station).judge == "evidence:dinov2"


def test_this_machine() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "10.0.0.1", "", "localhost.evil.example", "127.1")))
