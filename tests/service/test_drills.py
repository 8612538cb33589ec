"""Bad input and bad luck over a real socket: the next good request is served, and nothing that was answered is lost."""

import asyncio
import http.client
import io
import json
import shutil
import signal
import socket
import struct
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from helpers.command_line import run
from helpers.plant import wait_for
from helpers.served import Served, grey_png, multipart, serving, serving_here
from helpers.stations import HeldGrey, grey_picture, grey_station
from helpers.tiny import save_qwen
from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.records import Failure
from lad_reasoner.runner import Judged
from lad_reasoner.service import server
from lad_reasoner.service.api import create_app
from lad_reasoner.service.archive import Archive
from lad_reasoner.service.inspection import Decision, OpenStation
from lad_reasoner.service.runtime import Runtime
from lad_reasoner.service.setup import create_station


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grey_station(tmp_path_factory.mktemp("drills"), judge="helpers.stations:Grey")[0]


@pytest.fixture(scope="module")
def slow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slow")
    return grey_station(folder, judge="helpers.stations:SlowGrey", max_false_alarms=None, normals=0)[0]


@pytest.fixture(scope="module")
def served(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(template, folder / "station")
    with serving(folder / "station", "--model", "helpers.stations:Grey", log=folder / "log") as served:
        yield served


@pytest.fixture
def copied(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "station")
    return tmp_path / "station"


def is_served(served: Served) -> None:
    """The next good request gets its verdict."""
    answer = served.inspect(grey_png(101))
    assert answer.status == 200 and answer.json["outcome"] == "good", answer.body


def test_a_station_has_one_server(copied: Path, tmp_path: Path) -> None:
    """Two did not know of each other's changes: they judged the same part by two limits."""
    with serving(copied, log=tmp_path / "log") as served:
        done = run("serve", "--port", "0", str(copied))
        assert done.returncode == 1
        assert "server: another process is using it; wait for it, or give another STATION" in done.stderr
        is_served(served)


def bomb() -> bytes:
    """A PNG of 40,000 x 40,000 black pixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 40_000, 40_000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def gif() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), (shade, 9, 9)) for shade in (10, 90)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


PICTURES = {
    "empty": (b"", "picture"),
    "text": (b"hello, no picture", "not a picture"),
    "pdf": (b"%PDF-1.7\n" + b"x" * 100, "PDF"),
    "truncated": (grey_png(100)[:-400], "damaged"),
    "bomb": (bomb(), "at most 80 megapixels"),
    "tiny": (grey_png(100, side=4), "too small"),
    "one colour": (grey_png(0, side=32)[:0] + b"GIF89a", "picture"),
    "animated": (gif(), "more than one frame"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', "SVG"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_that_cannot_be_used(served: Served, kind: str) -> None:
    content, problem = PICTURES[kind]
    answer = served.inspect(content)
    assert answer.status == 422 and problem in answer.error and answer.error.startswith("camera.png: ")
    is_served(served)


def test_wrong_content(served: Served) -> None:
    good, kind = multipart(("station", "station", ""), ("picture", grey_png(100), "q.png"))
    nested = b'{"picture": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for body, content_type, status, problem in (
        (grey_png(100), "image/png", 415, "Content-Type must be"),
        (good, "text/plain", 415, "Content-Type must be"),
        (good, "multipart/form-data", 422, "form cannot be read"),
        (good, "multipart/form-data; boundary=other", 422, "form cannot be read"),
        (good[:-20], kind, 422, "picture: give one file, not 0"),
        (good, f"{kind}; charset=nonsense", 200, ""),
        (b"not json", "application/json", 422, "Invalid JSON"),
        (nested, "application/json", 422, "recursion"),
        (b"[]", "application/json", 422, "should be an object"),
        (b'{"picture": "%%%", "station": "station"}', "application/json", 422, "picture: not valid base64"),
        (b'{"picture": "/etc/passwd"}', "application/json", 422, "picture: not valid base64"),
        (b'{"picture": "aaaa"}', "application/json", 422, "station: give the name"),
        (b'{"picture": "aaaa", "references": ["http://127.0.0.1/x"]}', "application/json", 422, "not valid base64"),
        (b'{"picture": "aaaa", "station": "station", "seconds": 1e9}', "application/json", 422, "seconds: "),
        (b'{"picture": "aaaa", "station": "station", "path": "/etc/passwd"}', "application/json", 422, "path: Extra"),
        (b'{"picture": "aaaa", "part": "\\ud800", "station": "station"}', "application/json", 422, "Invalid JSON"),
    ):
        answer = served.ask("POST", "/v1/inspect", body, content_type)
        assert answer.status == status and (status == 200 or problem in answer.error), (content_type, answer.body)
    for fields in (
        [("station", "station", "")],
        [("station", "station", ""), ("station", "x", ""), ("picture", grey_png(1), "q")],
        [("station", "station", ""), ("picture", grey_png(1), "q"), ("picture", grey_png(1), "q")],
        [("station", "station", ""), ("picture", "text", "")],
        [("station", "station", ""), ("picture", grey_png(1), "q"), ("file", "/etc/passwd", "")],
        [("station", "station", ""), ("picture", grey_png(1), "q"), ("part", "x" * 300, "")],
        [("station", "station", ""), ("picture", grey_png(1), "q"), ("seconds", "soon", "")],
        [("station", "station", "")] + [("picture", grey_png(1), "q")] * 300,
    ):
        body, kind = multipart(*fields)  # type: ignore[arg-type]
        answer = served.ask("POST", "/v1/inspect", body, kind)
        assert answer.status == 422 and answer.error, fields[0]
    is_served(served)


def test_unknown_things(served: Served) -> None:
    for station in ("other", "../station", "/etc", "x" * 60):
        assert served.inspect(grey_png(100), station=station).status == 404
    assert "no station other; served: station" in served.inspect(grey_png(100), station="other").error
    for path in (
        "/v1/stations/other",
        "/v1/stations/..%2f..%2fetc/inspections",
        "/v1/nothing",
        "/%00",
        "/v1/stations/",
    ):
        assert served.ask("GET", path).status == 404, path
    assert served.ask("GET", "/v1/stations/station/inspections/999999").status == 404
    for path in (
        "inspections/0",
        "inspections/abc",
        f"inspections/{2**70}",
        "inspections?limit=0",
        "inspections?before=x",
    ):
        assert served.ask("GET", f"/v1/stations/station/{path}").status == 422, path
    assert served.ask("GET", "/v1/inspect").status == 405
    is_served(served)


def test_names_of_files_and_parts_are_only_text(served: Served) -> None:
    for name in ("../../etc/passwd", "a\u202eb.png", "<script>alert(1)</script>", "' OR 1=1 --", "🙂" * 40):
        body, kind = multipart(("station", "station", ""), ("part", name, ""), ("picture", grey_png(101), name))
        answer = served.ask("POST", "/v1/inspect", body, kind)
        assert answer.status == 200 and answer.json["part"] == name
        kept = served.ask("GET", f"/v1/stations/station/inspections/{answer.json['id']}").json
        assert kept["part"] == name
    is_served(served)


def test_too_large_is_refused_unread(served: Served) -> None:
    with served.connect() as connection:
        head = f"POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nContent-Length: {10**10}\r\n\r\n"
        connection.sendall(head.encode())
        assert b"413" in connection.recv(4096).split(b"\r\n")[0]
    with served.connect() as connection:
        head = "POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        block = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
        connection.settimeout(30)
        reply = b""
        try:
            for _ in range(70):
                connection.sendall(block)
        except OSError:  # the server closed while we were still sending
            pass
        else:
            reply = connection.recv(4096)
        assert not reply or b"413" in reply.split(b"\r\n")[0]
    is_served(served)


def test_garbage_instead_of_http(served: Served) -> None:
    for garbage in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 70_000):
        with served.connect() as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            reply = connection.recv(4096)
            assert not reply or reply.startswith(b"HTTP/1.1 4")
    is_served(served)


def test_two_lengths_of_a_body_are_one_request_at_most(served: Served) -> None:
    """A proxy that goes by the length would take the second one for the body of the first."""
    head = "POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    with served.connect() as connection:
        connection.sendall(f"{head}0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        reply = b""
        while block := connection.recv(65536):
            reply += block
    assert reply.startswith(b"HTTP/1.1 400") and reply.count(b"HTTP/1.1") == 1
    is_served(served)


def test_only_requests_to_this_machine_are_answered_without_keys(served: Served) -> None:
    for host, status in {
        "localhost": 200,
        "localhost:8000": 200,
        "[::1]:8000": 200,
        "localhost.evil.example": 403,
        "localhost:1@evil.example": 403,
        "localhost:evil.example": 403,
    }.items():
        assert served.ask("GET", "/v1/stations", headers={"Host": host}).status == status, host


def test_a_client_that_is_gone_in_the_middle(served: Served) -> None:
    body, kind = multipart(("station", "station", ""), ("picture", grey_png(100), "q.png"))
    head = (
        f"POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    message = head.encode() + body
    for cut in (10, len(head), len(head) + 50, len(message) - 1, len(message)):
        connection = served.connect()
        connection.sendall(message[:cut])
        # A reset, as when the cable is pulled, rather than a polite end.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    is_served(served)
    time.sleep(0.2)
    assert not any("traceback" in line for line in served.lines())


def test_slow_clients(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    with serving_here(create_app(Runtime([copied]), body_seconds=0.4), tmp_path / "log") as served:
        silent, dripping = served.connect(), served.connect()
        dripping.sendall(b"POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n")
        dripping.sendall(b"Content-Type: application/json\r\n\r\n{")
        is_served(served)
        begin = time.monotonic()
        assert silent.recv(100) == b""  # closed
        assert b"408" in dripping.recv(4096).split(b"\r\n")[0]
        assert time.monotonic() - begin < 3
        silent.close()
        dripping.close()
        is_served(served)


def test_late_is_not_judged(tmp_path: Path) -> None:
    grey_station(tmp_path, judge="helpers.stations:HeldGrey", max_false_alarms=None, normals=0)
    with serving_here(create_app(Runtime([tmp_path / "station"])), tmp_path / "log") as served:
        HeldGrey.gate.clear()
        begin = time.monotonic()
        try:
            late = served.inspect(grey_png(100), part="4711", seconds="0.06")  # comes while the judge is still at work
        finally:
            HeldGrey.gate.set()
        assert late.status == 200 and time.monotonic() - begin < 3.0
        assert late.json["outcome"] == "not judged" and late.json["why"].startswith("late")
        assert late.json["part"] == "4711" and late.json["verdict"] is None
        assert served.inspect(grey_png(250), part="4712").json["outcome"] != "not judged"
        kept = served.ask("GET", "/v1/stations/station/inspections").json
        assert [(each["part"], each["outcome"] == "not judged") for each in kept] == [("4712", False), ("4711", True)]


def test_what_is_decided_late_is_not_judged(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge is quick, and a rule, a zone or a second look is slow."""
    decide = OpenStation.decide
    begun, gate, decided = threading.Event(), threading.Event(), threading.Event()

    def decide_slowly(station: OpenStation, result: Judged | Failure) -> Decision | Failure:
        first = not begun.is_set()
        begun.set()
        assert not first or gate.wait(60)
        decision = decide(station, result)
        if first:
            decided.set()
        return decision

    monkeypatch.setattr(OpenStation, "decide", decide_slowly)
    with serving_here(create_app(Runtime([copied])), tmp_path / "log") as served:
        begin = time.monotonic()
        try:
            late = served.inspect(grey_png(100), part="4711", seconds="0.3").json  # comes before it is decided
        finally:
            gate.set()
        assert time.monotonic() - begin < 1.5
        assert late["outcome"] == "not judged" and late["why"].startswith("late") and late["verdict"] is None
        assert decided.wait(60)
        is_served(served)
        time.sleep(0.2)  # what was decided late has come, and is not kept
        kept = served.ask("GET", "/v1/stations/station/inspections").json
        assert [(each["part"], each["outcome"]) for each in kept] == [("", "good"), ("4711", "not judged")]


def test_a_client_that_is_gone_takes_its_picture_out_of_the_queue(slow_template: Path, tmp_path: Path) -> None:
    shutil.copytree(slow_template, tmp_path / "station")
    runtime = Runtime([tmp_path / "station"])
    with serving_here(create_app(runtime), tmp_path / "log") as served:
        body, kind = multipart(("station", "station", ""), ("picture", grey_png(100), "q.png"))
        head = f"POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
        connections = [served.connect() for _ in range(12)]
        for connection in connections:
            connection.sendall(head.encode() + b"\r\n\r\n" + body)
        time.sleep(0.1)
        for connection in connections:
            connection.close()
        is_served(served)
        assert len(served.ask("GET", "/v1/stations/station/inspections").json) < 12


async def rush(port: int, count: int) -> list[tuple[int, bytes]]:
    """So many requests at once, each on its connection: status and body of each answer."""

    async def one(number: int) -> tuple[int, bytes]:
        body, kind = multipart(
            ("station", "station", ""), ("part", str(number), ""), ("picture", grey_png(100, number), "q.png")
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n"
        writer.write(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.read()
        writer.close()
        head_bytes, _, content = answer.partition(b"\r\n\r\n")
        status = int(head_bytes.split()[1])
        assert status != 429 or b"retry-after: " in head_bytes.lower()
        return status, content

    return await asyncio.gather(*(one(number) for number in range(count)))


def test_very_many_requests_at_once(slow_template: Path, tmp_path: Path) -> None:
    shutil.copytree(slow_template, tmp_path / "station")
    runtime = Runtime([tmp_path / "station"])
    runtime.queue.depth = 16
    with serving_here(create_app(runtime), tmp_path / "log") as served:
        answers = asyncio.run(rush(served.port, 300))
        statuses = Counter(status for status, _ in answers)
        assert set(statuses) == {200, 429} and statuses[200] >= 16
        is_good = [json.loads(body)["outcome"] == "good" for status, body in answers if status == 200]
        assert all(is_good)
        kept = served.ask("GET", "/v1/stations/station/inspections?limit=1000").json
        assert {each["part"] for each in kept} == {
            json.loads(body)["part"] for status, body in answers if status == 200
        }
        assert b"lad_refused_total" in served.ask("GET", "/metrics").body
        is_served(served)


@pytest.mark.skipif(sys.platform != "linux", reason="sets the limits of another process")
def test_a_full_disk(copied: Path, tmp_path: Path) -> None:
    import resource

    with serving(copied, log=tmp_path / "log") as served:
        assert served.process is not None
        first = served.inspect(grey_png(101), part="before").json
        soft, hard = resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (0, hard))  # no file can be written
        for _ in range(3):
            answer = served.inspect(grey_png(101), part="lost")
            assert answer.status == 503 and "Retry-After" in answer.headers and "disk" in answer.error
        number = first["id"]
        said = served.ask("POST", f"/v1/stations/station/inspections/{number}/feedback", {"opinion": "good"})
        assert said.status == 503 and served.ask("GET", "/healthz").status == 200
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
        is_served(served)
        parts = [each["part"] for each in served.ask("GET", "/v1/stations/station/inspections").json]
        assert parts == ["", "before"]
    pictures = [path for path in (copied / "pictures").rglob("*") if path.is_file()]
    assert len(pictures) == 2


def test_a_station_file_of_nonsense(copied: Path, tmp_path: Path) -> None:
    good = (copied / "station.toml").read_text()
    with serving_here(create_app(Runtime([copied])), tmp_path / "log") as served:
        for nonsense in ("nonsense", "", "name = 3", good.replace("limit = ", "limit = nan # "), "\0" * 100):
            (copied / "station.toml").write_text(nonsense)
            answer = served.ask("POST", "/v1/stations/station/reload")
            assert answer.status == 422 and "station.toml" in answer.error, nonsense
            assert "cannot be used" in served.ask("GET", "/v1/stations/station").json["problem"]
            is_served(served)
        (copied / "station.toml").write_bytes(b"\xff\xfe\x00")
        assert served.ask("POST", "/v1/stations/station/reload").status == 422
        assert served.ask("GET", "/v1/stations").status == 200
        (copied / "station.toml").unlink()
        assert served.ask("POST", "/v1/stations/station/reload").status == 422
        shutil.rmtree(copied / "references")  # what is in memory is served
        is_served(served)
        (copied / "station.toml").write_text(good)
        answer = served.ask("POST", "/v1/stations/station/reload")
        assert answer.status == 422 and "references/0001.png" in answer.error
        is_served(served)


def test_a_model_folder_that_is_deleted_under_the_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lad_reasoner.service.requests")
    model = save_qwen(tmp_path / "model")
    reference = grey_picture(tmp_path / "good" / "0.png", 100)
    folder = tmp_path / "station"
    create_station(folder, [reference], judge=str(model), options={"reasoning_tokens": 4})
    with serving_here(create_app(Runtime([folder], model=str(tmp_path / "model"))), tmp_path / "log") as served:
        shutil.rmtree(model)
        for part in ("1", "2"):  # what is in memory is served
            answer = served.inspect(grey_png(101), part=part)
            assert answer.status == 200 and answer.json["outcome"] in ("good", "anomalous"), answer.body
        assert served.ask("POST", "/v1/stations/station/reload").status == 200
        # A judge that must be loaded now cannot be: the server's fault, in one line, and others are served.
        body, kind = multipart(("reference", grey_png(100), "good.png"), ("picture", grey_png(101), "q.png"))
        answer = served.ask("POST", "/v1/inspect", body, kind)
        assert answer.status == 503 and "cannot be loaded" in answer.error and str(model) in answer.error
        # Who reads the log knows why; a line follows its answer.
        wait_for(lambda: any('"status": 503' in message for message in caplog.messages))
        (failed,) = [line for line in map(json.loads, caplog.messages) if line.get("status") == 503]
        assert failed["error"] == answer.error
        assert served.inspect(grey_png(102), part="3").status == 200
        parts = [each["part"] for each in served.ask("GET", "/v1/stations/station/inspections").json]
        assert parts == ["3", "2", "1"]
    with pytest.raises(InputError, match="model"):  # and a restart says what is gone
        Runtime([folder])


def test_a_locked_station(copied: Path, tmp_path: Path) -> None:
    with serving_here(create_app(Runtime([copied])), tmp_path / "log") as served:
        (copied / "tests.jsonl").write_text('{"passed": false, "time": "today", "reason": "the bad part was good"}\n')
        answer = served.inspect(grey_png(101))
        assert answer.status == 409 and "station: locked since today: the bad part was good" in answer.error
        assert served.ask("GET", "/v1/stations/station").json["problem"].startswith("locked since today")
        body, kind = multipart(("station", "station", ""), ("picture", grey_png(101), "q.png"))
        line = served.ask("POST", "/v1/batch", body, kind).json
        assert line["query"] == "q.png" and "locked" in line["error"]
        (copied / "tests.jsonl").unlink()
        is_served(served)


@pytest.mark.posix  # elsewhere an open folder is not renamed
def test_a_folder_that_is_away_and_comes_back(copied: Path, tmp_path: Path) -> None:
    with serving_here(create_app(Runtime([copied])), tmp_path / "log") as served:
        away = copied.rename(tmp_path / "away")
        answer = served.ask("GET", "/readyz")
        assert answer.status == 503
        assert answer.json["reasons"] == ["station: its folder cannot be read (No such file or directory)"]
        assert served.inspect(grey_png(101), part="lost").status == 503
        away.rename(copied)
        assert served.ask("GET", "/readyz").status == 200
        is_served(served)


def test_a_disk_that_can_only_be_read(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_here(create_app(Runtime([copied])), tmp_path / "log") as served:
        monkeypatch.setattr("os.access", lambda path, mode: False)  # as after a fault of the disk, for every user
        answer = served.ask("GET", "/readyz")
        assert (answer.status, answer.json["reasons"]) == (503, ["station: its folder cannot be written"])
        monkeypatch.undo()
        assert served.ask("GET", "/readyz").status == 200


def test_old_pictures_are_looked_for_again_after_a_fault(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lad_reasoner.service.api.HOUR", 0.05)
    runtime, tries = Runtime([copied]), []

    def fail() -> int:
        tries.append(1)
        raise RuntimeError("what nobody foresaw")

    monkeypatch.setattr(runtime, "retain", fail)
    with serving_here(create_app(runtime), tmp_path / "log") as served:
        wait_for(lambda: len(tries) > 2)
        is_served(served)
    assert "retention failed" in caplog.text
    with pytest.raises(MachineError):  # the end of the server closed the archive
        runtime.station("station").archive.history()


def test_a_clock_that_is_set_back(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_here(create_app(Runtime([copied])), tmp_path / "log") as served:
        served.inspect(grey_png(101), part="before")
        past = (datetime.now(UTC) - timedelta(days=400)).isoformat(timespec="milliseconds")
        monkeypatch.setattr("lad_reasoner.service.archive.utc_now", lambda: past)
        served.inspect(grey_png(101), part="after")
        kept = served.ask("GET", "/v1/stations/station/inspections").json
        assert [each["part"] for each in kept] == ["after", "before"]
        assert served.ask("GET", "/v1/stations/station/audit").json[0]["action"] == "clock went back"
        is_served(served)


def keep_asking(served: Served, number: int, acknowledged: dict[int, str]) -> None:
    """Inspect until the server is gone; notes what was answered."""
    for count in range(10_000):
        part = f"{number}-{count}"
        try:
            answer = served.inspect(grey_png(101, 1000 * number + count), part=part)
        except (OSError, http.client.HTTPException):  # the server was killed in the middle
            return
        if answer.status == 200:
            acknowledged[answer.json["id"]] = part


@pytest.mark.slow  # 2,000 connections
def test_two_thousand_requests_at_once(copied: Path, tmp_path: Path) -> None:
    with serving(copied, log=tmp_path / "log") as served:
        answers = asyncio.run(rush(served.port, 2000))
        statuses = Counter(status for status, _ in answers)
        assert set(statuses) <= {200, 429} and statuses[200] >= 16, statuses
        judged = {json.loads(body)["part"] for status, body in answers if status == 200}
        assert len(judged) == statuses[200]
        is_served(served)
        assert served.stop() == 0
    archive = Archive(copied, "station")
    try:
        kept = {each.part for each in archive.history(limit=3000)} - {""}
        assert kept == judged  # what was answered is kept, and what was refused is not
    finally:
        archive.close()


@pytest.mark.posix
@pytest.mark.slow  # two servers start, one after the other
def test_a_power_cut_loses_nothing_that_was_answered(copied: Path, tmp_path: Path) -> None:
    acknowledged: dict[int, str] = {}
    with serving(copied, log=tmp_path / "log") as served:
        threads = [threading.Thread(target=keep_asking, args=(served, number, acknowledged)) for number in range(4)]
        for thread in threads:
            thread.start()
        while len(acknowledged) < 20:
            time.sleep(0.01)
        served.stop(signal.SIGKILL)
        for thread in threads:
            thread.join()
    archive = Archive(copied, "station")
    try:
        for number, part in acknowledged.items():
            assert archive.inspection(number).part == part and archive.content(number)
        assert archive.broken_audit() is None
    finally:
        archive.close()
    with serving(copied, log=tmp_path / "log") as served:
        is_served(served)
        assert served.stop() == 0


def test_a_stop_answers_what_it_has_begun(slow_template: Path, tmp_path: Path) -> None:
    shutil.copytree(slow_template, tmp_path / "station")
    with serving(tmp_path / "station", log=tmp_path / "log") as served:
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda: statuses.append(served.inspect(grey_png(100)).status)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        assert served.stop() == 0
        for thread in threads:
            thread.join()
        assert statuses == [200] * 8
    assert len([line for line in served.lines() if line.get("path") == "/v1/inspect"]) == 8
