"""Who may ask what: without a key nothing but 401 and health; an operator is no engineer; other origins are refused."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helpers.command_line import run
from helpers.served import Served, grey_png, serving
from helpers.stations import grey_station
from lad_reasoner.service.keys import add_key


@dataclass
class Locked:
    """A server with a key file."""

    served: Served
    operator: str
    engineer: str


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    folder = tmp_path_factory.mktemp("access")
    station, _ = grey_station(folder, judge="helpers.stations:Grey")
    keys = folder / "keys.toml"
    operator, engineer = add_key(keys, "line 3", "operator"), add_key(keys, "Ada", "engineer")
    with serving(station, "--key-file", keys, log=folder / "log") as served:
        yield Locked(served, operator, engineer)


@pytest.mark.parametrize("key", ["", "lad_wrong", "Bearer", "ä" * 50])
def test_without_a_key_nothing_but_401_and_health(locked: Locked, key: str) -> None:
    served = locked.served
    headers = {"Authorization": f"Bearer {key}".encode().decode("latin-1")} if key else {}
    for path in ("/healthz", "/readyz"):
        assert served.ask("GET", path, headers=headers).status == 200
    paths = ["/", "/v1/stations", "/metrics", "/openapi.json", "/docs", "/v1/stations/station/audit", "/../keys.toml"]
    for path in paths:
        answer = served.ask("GET", path, headers=headers)
        assert answer.status == 401 and answer.headers["WWW-Authenticate"] == "Bearer", path
        assert answer.error == "give a valid key: Authorization: Bearer KEY"
    assert served.ask("POST", "/v1/inspect", b"x" * 100_000, headers=headers).status == 401
    assert served.ask("DELETE", "/v1/stations", headers=headers).status == 401


def test_roles(locked: Locked) -> None:
    served = locked.served
    served.key = locked.operator
    inspection = served.inspect(grey_png(130)).json
    assert inspection["who"] == "line 3"
    number = inspection["id"]
    said = served.ask("POST", f"/v1/stations/station/inspections/{number}/feedback", {"opinion": "good", "who": "Bo"})
    assert said.json["feedback"][0]["who"] == "Bo (line 3)"
    change = {"target": "references", "inspections": [number]}
    for method, path, body in (
        ("GET", "/v1/stations/station/audit", None),
        ("POST", "/v1/stations/station/reload", None),
        ("POST", "/v1/stations/station/changes", change),
        ("POST", "/v1/stations/station/zones", {"zones": [], "base": 1}),
        ("POST", "/v1/stations/station/rules", {"checks": [], "base": 1}),
        ("POST", "/stations/station/rules", None),
        ("POST", "/v1/stations/station/changes/1/apply", None),
        ("POST", "/v1/stations/station/changes/1/discard", None),
        ("POST", "/v1/stations/station/changes/1/roll-back", None),
    ):
        answer = served.ask(method, path, body)
        assert answer.status == 403 and answer.error == "this needs the key of an engineer", path
    served.key = locked.engineer
    lines = served.ask("GET", "/v1/stations/station/audit").json
    assert (lines[0]["who"], lines[0]["action"]) == ("Bo (line 3)", "feedback")
    assert (
        served.ask("GET", "/v1/stations/station/audit", headers={"Cookie": f"lad_key={locked.engineer}"}).status == 200
    )


def test_a_browser_is_known_by_its_cookie_but_not_from_other_pages(locked: Locked) -> None:
    served = locked.served
    served.key = ""
    cookie = {"Cookie": f"lad_key={locked.engineer}"}
    assert served.ask("POST", "/v1/stations/station/reload", headers=cookie).status == 200
    own = {"Origin": f"http://127.0.0.1:{served.port}"}
    assert served.ask("POST", "/v1/stations/station/reload", headers=cookie | own).status == 200
    for header in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        answer = served.ask("POST", "/v1/stations/station/reload", headers=cookie | header)
        assert answer.status == 403 and "other origins" in answer.error
        assert answer.error.endswith("a proxy in front must pass on the header Host")


def test_the_log_names_the_holder_and_holds_no_key(locked: Locked) -> None:
    locked.served.key = locked.operator
    locked.served.inspect(grey_png(100), part="in the log")
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + 30
    while not found and time.monotonic() < deadline:  # the line is written after the answer is sent
        found = [line for line in locked.served.lines() if line.get("part") == "in the log"]
    text = locked.served.log.read_text()
    assert locked.operator not in text and locked.engineer not in text
    (line,) = found
    assert line["who"] == "line 3" and line["status"] == 200 and line["outcome"] == "good"


def test_a_deleted_key_opens_nothing_any_more(locked: Locked, tmp_path: Path) -> None:
    keys = locked.served.log.with_name("keys.toml")
    before = keys.read_text()
    locked.served.key = add_key(keys, "last year's", "operator")
    assert locked.served.ask("GET", "/v1/stations").status == 200
    keys.write_text(before)
    assert locked.served.ask("GET", "/v1/stations").status == 401


def test_without_keys_only_this_machine_is_answered(tmp_path: Path) -> None:
    with serving("--model", "helpers.stations:Grey", log=tmp_path / "log") as served:
        assert served.ask("GET", "/v1/stations").json == []
        assert served.ask("GET", "/v1/stations", headers={"Host": f"localhost:{served.port}"}).status == 200
        for host in ("evil.example", f"evil.example:{served.port}", "127.0.0.1.evil.example", ""):
            assert served.ask("GET", "/v1/stations", headers={"Host": host}).status == 403, host
    refused = run("serve", "--host", "0.0.0.0")
    assert refused.returncode == 2 and "--host 0.0.0.0: others can reach it, so give --key-file" in refused.stderr


def test_key_prints_a_key_once(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    made = run("key", "Ada", "--role", "engineer", "--key-file", str(file))
    assert made.returncode == 0 and made.stdout.startswith("lad_")
    assert "Ada has a key" in run("key", "Ada", "--key-file", str(file)).stderr
