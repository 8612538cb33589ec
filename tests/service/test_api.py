"""The API over a real socket: what it answers, and what is kept."""

import base64
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.served import Served, grey_png, multipart, serving, serving_here
from helpers.stations import grey_station
from lad_reasoner.service.page import create_page_app
from lad_reasoner.service.runtime import Runtime
from lad_reasoner.service.setup import create_station


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("api")
    station, _ = grey_station(folder, judge="helpers.stations:Grey")
    with serving(station, "--model", "helpers.stations:Grey", log=folder / "log") as served:
        yield served


def test_a_picture_is_judged_and_kept(served: Served) -> None:
    answer = served.inspect(grey_png(105), part="4711")
    assert answer.status == 200, answer.body
    inspection = answer.json
    assert inspection["part"] == "4711" and inspection["outcome"] == "good" and inspection["station"] == "station"
    assert inspection["p_value"] > 0.1 and inspection["verdict"]["answer"] == "no"
    kept = served.ask("GET", f"/v1/stations/station/inspections/{inspection['id']}")
    assert kept.json == inspection
    picture = served.ask("GET", f"/v1/stations/station/inspections/{inspection['id']}/picture")
    assert picture.headers["Content-Type"] == "image/png" and picture.body.startswith(b"\x89PNG")
    assert served.inspect(grey_png(250), part="4712").json["outcome"] == "anomalous"
    newest = served.ask("GET", "/v1/stations/station/inspections?limit=1").json
    assert [each["part"] for each in newest] == ["4712"]


def test_a_picture_of_twelve_bits_is_shown_as_bright_as_it_was_judged(tmp_path: Path) -> None:
    y, x = np.mgrid[:32, :32]
    Image.fromarray((2000 + 60 * x + y).astype(np.uint16)).save(tmp_path / "deep.png")
    folder = tmp_path / "deep"
    create_station(folder, [tmp_path / "deep.png"], judge="helpers.stations:Grey")
    with serving_here(create_page_app(Runtime([folder])), tmp_path / "log") as served:
        number = served.inspect((tmp_path / "deep.png").read_bytes(), station="deep").json["id"]
        for path in (f"/v1/stations/deep/inspections/{number}/picture", f"/stations/deep/inspections/{number}/picture"):
            shown = served.ask("GET", path)
            assert shown.status == 200
            with Image.open(io.BytesIO(shown.body)) as image:
                assert np.asarray(image).max() > 200  # 3891 of 4095


def test_json_and_references_of_the_request(served: Served) -> None:
    def encoded(shade: int) -> str:
        return base64.b64encode(grey_png(shade)).decode()

    body = {"references": [encoded(100)], "picture": encoded(250), "part": "x"}
    answer = served.ask("POST", "/v1/inspect", body)
    assert answer.status == 200, answer.body
    assert answer.json["outcome"] == "anomalous" and answer.json["id"] == 0 and answer.json["station"] == ""
    body, kind = multipart(("reference", grey_png(100), "good.png"), ("picture", grey_png(101), "q.png"))
    assert served.ask("POST", "/v1/inspect", body, kind).json["outcome"] == "good"


def test_a_batch_is_answered_line_by_line(served: Served) -> None:
    pictures = [("picture", grey_png(shade, seed), f"{seed}.png") for seed, shade in enumerate((100, 250, 101))]
    body, kind = multipart(("station", "station", ""), *pictures, ("picture", b"no picture", "bad.png"))
    answer = served.ask("POST", "/v1/batch", body, kind)
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert [line.get("outcome") for line in lines] == ["good", "anomalous", "good", None]
    assert lines[3]["query"] == "bad.png" and "bad.png: not a picture" in lines[3]["error"]


def test_state_needs_no_station(served: Served) -> None:
    assert served.inspect(grey_png(105)).json["outcome"] == "good"
    assert served.ask("GET", "/healthz").json == {"status": "ok"}
    assert served.ask("GET", "/readyz").json == {"ready": True, "reasons": []}
    for path, status in (("/healthz", 200), ("/readyz", 200), ("/", 303)):  # what watches a service asks so
        answer = served.ask("HEAD", path)
        assert (answer.status, answer.body) == (status, b"")
    text = served.ask("GET", "/metrics").body.decode()
    assert 'lad_inspections_total{outcome="good",station="station"}' in text and "lad_batch_size_bucket" in text
    (card,) = served.ask("GET", "/v1/stations").json
    assert card["name"] == "station" and card["references"] == 1 and card["normals"] == 20 and card["problem"] == ""
    paths = served.ask("GET", "/openapi.json").json["paths"]
    assert paths["/v1/inspect"]["post"]["requestBody"]["content"]["application/json"]["example"]["part"] == "4711"


def test_the_document_names_operations_and_says_which_need_a_key(served: Served) -> None:
    document = served.ask("GET", "/openapi.json").json
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    names = {operation["operationId"] for operation in operations}
    assert {"inspect", "batch", "history", "roll_back"} <= names, "the functions of a client made from it"
    assert len(names) == len(operations)
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    without = {operation["operationId"] for operation in operations if "security" not in operation}
    assert without == {"health", "ready"}


def test_rules_are_read_sent_and_previewed(served: Served) -> None:
    version = served.ask("GET", "/v1/stations/station").json["version"]
    place = {"kind": "place", "colour": "grey", "box": [2, 2, 20, 20], "least": 0.2}
    answer = served.ask("POST", "/v1/stations/station/rules", {"checks": [place], "base": version})
    assert answer.status == 202 and answer.json["target"] == "rules", answer.body
    address = f"/v1/stations/station/changes/{answer.json['id']}"
    end = time.monotonic() + 60
    while served.ask("GET", address).json["state"] == "preparing" and time.monotonic() < end:
        time.sleep(0.05)
    assert served.ask("POST", f"{address}/apply").json["state"] == "live"
    rules = served.ask("GET", "/v1/stations/station/rules").json
    assert rules["words"][0].startswith("grey at "), rules
    assert rules["checks"] == [place | {"off": False}] and rules["broken"] == "unsure"
    checks = served.inspect(grey_png(101)).json["verdict"]["checks"]
    assert [(each["kind"], each["holds"]) for each in checks] == [("place", True)] and 0 <= checks[0]["score"] <= 0.5
    for body, problem in (
        ({"checks": [place | {"box": [1, 2]}], "base": rules["version"]}, "box"),
        ({"checks": [place | {"colour": "mauve"}], "base": rules["version"]}, "colour"),
        ({"checks": [], "server": "http://127.0.0.1/", "base": rules["version"]}, "server"),
        ({"checks": []}, "base"),
        ({"checks": [place], "base": rules["version"]}, "the same"),
    ):
        refused = served.ask("POST", "/v1/stations/station/rules", body)
        assert refused.status == 422 and problem in refused.error, (body, refused.body)
    assert served.ask("POST", f"{address}/roll-back").json["state"] == "rolled back"


def test_zones_are_sent_and_previewed(served: Served) -> None:
    version = served.ask("GET", "/v1/stations/station").json["version"]
    zone = {"kind": "ignore", "name": "date", "points": [[0, 0], [9.5, 0], [9, 9]]}
    answer = served.ask("POST", "/v1/stations/station/zones", {"zones": [zone], "base": version})
    assert answer.status == 202 and answer.json["target"] == "zones", answer.body
    for body, problem in (
        ({"zones": [zone | {"points": [[0, 0], [1, 1]]}], "base": version}, "three corners"),
        ({"zones": [zone | {"kind": "hide"}], "base": version}, "kind"),
        ({"zones": [{"kind": "ignore", "mask": "../../etc/passwd"}], "base": version}, "mask"),
        ({"zones": [zone]}, "base"),
    ):
        refused = served.ask("POST", "/v1/stations/station/zones", body)
        assert refused.status == 422 and problem in refused.error


def test_an_unknown_reason_is_named_by_its_field_alone(served: Served) -> None:
    number = served.inspect(grey_png(100)).json["id"]
    body = {"opinion": "good", "reason": "supplier"}
    refused = served.ask("POST", f"/v1/stations/station/inspections/{number}/feedback", body)
    assert refused.status == 422 and refused.error.startswith("body.reason: Input should be 'allowed variation', ")


CONFIG = '[parameters]\n"path.station" = "station"\n"path.number" = 1\n"body.station" = "station"\n'
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_schemathesis_finds_no_fault(served: Served, tmp_path: Path) -> None:
    # Some seconds, most of them for the start of the tool.
    served.inspect(grey_png(102))  # inspection 1 exists
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", tmp_path / "schemathesis.toml", "run"]
    command += [f"http://127.0.0.1:{served.port}/openapi.json", "--checks", CHECKS, "--phases", "fuzzing"]
    command += ["--max-examples", "4", "--seed", "1", "--no-color"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert not any(line.get("status", 0) >= 500 for line in served.lines())
