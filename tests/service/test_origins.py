"""What a page of a stranger can do to the stations from the same browser: nothing, with and without keys."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from helpers.browser import CHROMIUM, launch
from helpers.plant import wait_for
from helpers.served import grey_png, serving_here
from helpers.stations import grey_station
from lad_reasoner.service.keys import Keys, add_key
from lad_reasoner.service.page import create_page_app
from lad_reasoner.service.runtime import Runtime

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

EVIL = "evil.example"  # which leads to this machine
# All that a page may try by itself. A request that the browser keeps from the page's eyes still reaches the server.
ATTACK = """
async target => {
  const seen = [];
  const form = fields => new URLSearchParams(fields);
  const picture = new FormData();
  picture.append('station', 'station');
  picture.append('picture', new Blob([Uint8Array.from(atob('PICTURE'), each => each.charCodeAt(0))]), 'q.png');
  const posts = [
    ['/v1/inspect', picture], ['/stations/station/inspect', picture],
    ['/v1/stations/station/reload', ''], ['/v1/stations/station/changes', '{"target": "limit"}'],
    ['/stations/station/changes', form({target: 'limit'})], ['/stations/station/limit', form({limit: 0.9, base: 1})],
    ['/v1/stations/station/inspections/1/feedback', '{"opinion": "missed"}'],
    ['/login', form({key: 'KEY'})], ['/logout', ''],
  ];
  for (const [path, body] of posts)
    for (const mode of ['no-cors', 'cors'])
      try {
        const answer = await fetch(target + path, {method: 'POST', mode, body, credentials: 'include'});
        if (answer.type !== 'opaque') seen.push('read the answer of POST ' + path);
      } catch {}
  const gets = ['/', '/v1/stations', '/stations/station', '/stations/station/inspections/1/picture', '/metrics'];
  for (const path of gets) {
    for (const headers of [{}, {Authorization: 'Bearer x'}])
      try {
        await (await fetch(target + path, {credentials: 'include', headers})).text();
        seen.push('read ' + path);
      } catch {}
    await new Promise(done => {
      const image = new Image();
      image.onload = () => { seen.push('showed ' + path); done(); };
      image.onerror = done;
      image.src = target + path;
    });
    await new Promise(done => {
      const script = document.createElement('script');
      script.onload = () => { seen.push('ran ' + path); done(); };
      script.onerror = done;
      script.src = target + path;
      document.body.append(script);
    });
  }
  await new Promise(done => {
    const stream = new EventSource(target + '/stations/station/events', {withCredentials: true});
    stream.onopen = () => { seen.push('listened'); done(); };
    stream.onerror = () => { stream.close(); done(); };
  });
  await new Promise(done => {
    const frame = document.createElement('iframe');
    frame.name = 'frame';
    frame.onload = done;
    const sent = document.createElement('form');
    Object.assign(sent, {action: target + '/v1/stations/station/reload', method: 'post', target: 'frame'});
    document.body.append(frame, sent);
    sent.submit();
  });
  return seen;
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright, f"--host-resolver-rules=MAP {EVIL} 127.0.0.1")
        yield browser
        browser.close()


class _Blank(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>a stranger</title><body>")

    def log_message(self, *_: object) -> None:
        """Silent."""


@contextmanager
def stranger() -> Iterator[int]:
    """The port of a server with an empty page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Blank) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("host", [EVIL, "127.0.0.1"], ids=["another site", "another port of this machine"])
@pytest.mark.parametrize("locked", [False, True], ids=["without keys", "with keys"])
def test_a_page_of_another_origin_sees_and_changes_nothing(
    browser: Browser, tmp_path: Path, host: str, locked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    folder, _ = grey_station(tmp_path, judge="helpers.stations:Grey")
    key = add_key(tmp_path / "keys.toml", "Ada", "engineer")
    keys = Keys.read(tmp_path / "keys.toml") if locked else None
    runtime = Runtime([folder])
    with serving_here(create_page_app(runtime, keys=keys), tmp_path / "log") as served, stranger() as port:
        served.key = key
        assert served.inspect(grey_png(101)).status == 200
        before = served.ask("GET", "/v1/stations/station/audit").json
        context = browser.new_context()
        own = f"http://127.0.0.1:{served.port}"
        _log_in(context, own, key if locked else "")
        page = context.new_page()
        page.goto(f"http://{host}:{port}/")
        attack = ATTACK.replace("PICTURE", base64.b64encode(grey_png(250)).decode()).replace("KEY", key)
        caplog.set_level("INFO", "lad_reasoner.service.requests")
        assert page.evaluate(attack, own) == []
        came = _came(caplog, posts=19)
        caplog.clear()
        posts = {(line["path"], line["status"]) for line in came if line["method"] == "POST"}
        assert len(posts) == 9 and {status for _, status in posts} <= {401, 403}
        asked_with_rights = any(line["status"] == 200 for line in came)
        assert asked_with_rights == (not locked or host != EVIL)  # of another site the cookie is not even sent
        # The person is still logged in, and nothing was written.
        page.goto(f"{own}/stations/station")
        assert page.title() == "station"
        assert served.ask("GET", "/v1/stations/station/audit").json == before
        assert len(served.ask("GET", "/v1/stations/station/inspections").json) == 1
        context.close()


def _came(caplog: pytest.LogCaptureFixture, posts: int) -> list[dict[str, Any]]:
    """The lines of the log of requests, once there are so many posts among them; a line follows its answer."""
    lines: list[dict[str, Any]] = []

    def whole() -> bool:
        lines[:] = [json.loads(each.getMessage()) for each in caplog.records if each.name.endswith(".requests")]
        return sum(line["method"] == "POST" for line in lines) >= posts

    wait_for(whole)
    return lines


def _log_in(context: BrowserContext, own: str, key: str) -> None:
    page = context.new_page()
    page.goto(own)
    if key:
        page.get_by_label("Key").fill(key)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/stations/station")
        (cookie,) = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
        assert page.evaluate("document.cookie") == ""
    page.close()


@pytest.mark.parametrize("locked", [False, True], ids=["without keys", "with keys"])
def test_a_name_that_is_rebound_to_this_machine_gets_nothing(browser: Browser, tmp_path: Path, locked: bool) -> None:
    """The page of a stranger whose name suddenly leads here is of the same origin as what it asks."""
    folder, _ = grey_station(tmp_path, judge="helpers.stations:Grey")
    key = add_key(tmp_path / "keys.toml", "Ada", "engineer")
    keys = Keys.read(tmp_path / "keys.toml") if locked else None
    with serving_here(create_page_app(Runtime([folder]), keys=keys), tmp_path / "log") as served:
        context = browser.new_context()
        _log_in(context, f"http://127.0.0.1:{served.port}", key if locked else "")
        page = context.new_page()
        page.goto(f"http://{EVIL}:{served.port}/stations/station")
        text = page.content()
        assert ("Log in" in text) if locked else ("only requests to localhost are answered" in text)
        ask = """
            async () => {
              const paths = ['/v1/stations', '/stations/station', '/v1/stations/station/audit', '/metrics'];
              const answers = [];
              for (const path of paths)
                for (const method of ['GET', 'POST'])
                  answers.push((await fetch(path, {method, redirect: 'manual'})).status);
              return answers;
            }
        """
        answers: list[Any] = page.evaluate(ask)
        assert set(answers) <= {0, 401, 403}  # 0: a redirect, which leads to the login
        context.close()


def test_hosts_that_a_proxy_or_a_stranger_may_write(tmp_path: Path) -> None:
    """Two Host headers, a whole address in place of a path, forwarded names: only one Host of this machine counts."""
    folder, _ = grey_station(tmp_path, judge="helpers.stations:Grey")
    with serving_here(create_page_app(Runtime([folder])), tmp_path / "log") as served:
        for head, status in (
            ("GET /v1/stations HTTP/1.1\r\nHost: localhost\r\nHost: evil.example", 400),
            ("GET /v1/stations HTTP/1.1\r\nHost: evil.example\r\nHost: localhost", 400),
            ("GET /v1/stations HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost", 403),
            ("GET /v1/stations HTTP/1.1\r\nHost: evil.example\r\nForwarded: host=localhost", 403),
            ("GET http://localhost/v1/stations HTTP/1.1\r\nHost: evil.example", 403),
            ("GET /v1/stations HTTP/1.1\r\nHost: localhost\\@evil.example", 403),
            ("GET /v1/stations HTTP/1.1\r\nHost: localhost#evil.example", 403),
            ("GET /v1/stations HTTP/1.1", 400),
            ("GET /v1/stations HTTP/1.0", 403),
            ("GET /v1/stations HTTP/1.1\r\nHost: LOCALHOST", 403),
            ("GET /v1/stations HTTP/1.1\r\nHost: localhost", 200),
        ):
            with served.connect() as connection:
                connection.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode())
                reply = connection.recv(4096)
            assert reply.split()[1] == str(status).encode(), (head, reply[:200])


@pytest.mark.parametrize(
    "cookie",
    [
        *("lad_key=", "lad_key", "lad_key=x; lad_key=KEY", "LAD_KEY=KEY", "lad_key2=KEY", "x=lad_key=KEY"),
        *("lad_key=KEYx", "lad_key=KE", 'lad_key="', "=;;\x7f", "a" * 60_000, "lad_key=KEY\tx"),
    ],
)
def test_cookies_that_are_no_key(tmp_path_factory: pytest.TempPathFactory, cookie: str) -> None:
    """Of two cookies of one name the last counts; a stranger's page on another port may have set the other."""
    folder = tmp_path_factory.mktemp("cookies")
    key = add_key(folder / "keys.toml", "Ada", "engineer")
    from starlette.testclient import TestClient

    from lad_reasoner.service.guard import Guard
    from lad_reasoner.service.telemetry import Telemetry

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    client = TestClient(Guard(app, keys=Keys.read(folder / "keys.toml"), telemetry=Telemetry()))
    whole = cookie.replace("KEY", key)
    expected = 200 if whole == f"lad_key=x; lad_key={key}" else 401
    assert client.get("/", headers={"Cookie": whole}).status_code == expected
    assert (
        client.get("/", headers={"Cookie": f"lad_key={key}"}).headers["cross-origin-resource-policy"] == "same-origin"
    )
