"""A station that must be calibrated, beside others: these are served, and it says why it is not."""

from pathlib import Path

import pytest

from helpers.served import grey_png, serving
from helpers.stations import grey_station
from lad_reasoner.errors import InputError
from lad_reasoner.service.runtime import Runtime
from lad_reasoner.service.setup import calibrate

JUDGE = "helpers.stations:Grey"


@pytest.fixture
def stale(tmp_path: Path) -> Path:
    """A station whose limit an older version of the judge made."""
    folder, _ = grey_station(tmp_path / "old", judge=JUDGE, name="old")
    file = folder / "station.toml"
    file.write_text(file.read_text().replace('prompt_version = "grey-1"', 'prompt_version = "grey-0"'))
    return folder


def test_the_others_are_served(stale: Path, tmp_path: Path) -> None:
    good, _ = grey_station(tmp_path / "new", judge=JUDGE, name="new")
    with serving(stale, good, log=tmp_path / "log") as served:
        assert served.inspect(grey_png(101), station="new").json["outcome"] == "good"
        answer = served.inspect(grey_png(101), station="old")
        assert answer.status == 503
        assert "the limit was made with grey-0" in answer.error
        assert f"`lad-reasoner station calibrate {stale}`, then start the server again" in answer.error
        assert served.ask("GET", "/v1/stations/old").error == answer.error
        ready = served.ask("GET", "/readyz")
        assert (ready.status, ready.json["reasons"]) == (503, ["old: it must be calibrated"])
        cards = {card["name"]: card["problem"] for card in served.ask("GET", "/v1/stations").json}
        assert cards == {"new": "", "old": answer.error}
        page = served.ask("GET", "/").body.decode()
        assert "<b>old</b> is not served" in page and "the limit was made with grey-0" in page
    assert "note: old is not served: " in served.log.read_text()
    assert any("grey-0" in line.get("error", "") for line in served.lines())
    calibrate(stale)
    with serving(stale, good, log=tmp_path / "log") as served:
        assert served.inspect(grey_png(101), station="old").json["outcome"] == "good"
        assert served.ask("GET", "/readyz").status == 200


def test_a_server_of_such_stations_only_does_not_start(stale: Path) -> None:
    with pytest.raises(InputError, match="the limit was made with grey-0"):
        Runtime([stale])


def test_it_keeps_its_name(stale: Path, tmp_path: Path) -> None:
    other, _ = grey_station(tmp_path / "new", judge=JUDGE, name="old")
    with pytest.raises(InputError, match="another station has the name old"):
        Runtime([stale, other])
