"""The recipe of docs/serve.md for nginx, with a real one in front of the server."""

import getpass
import json
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from helpers.bound import bound
from helpers.plant import free_port
from helpers.served import Answer, Served, grey_png, multipart, serving_here
from helpers.stations import grey_station
from lad_reasoner.service.keys import Keys, add_key
from lad_reasoner.service.page import create_page_app
from lad_reasoner.service.runtime import Runtime

DOCS = Path(__file__).parents[2] / "docs/serve.md"
NGINX, OPENSSL = (
    shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"),
    shutil.which("openssl"),
)
UPLOAD = 63 * 2**20  # bytes; 64 MiB is the limit of both

pytestmark = pytest.mark.skipif(NGINX is None or OPENSSL is None, reason="nginx or openssl is not installed")


class Proxy:
    """nginx at https://localhost:`port`, in front of `served`; requests carry `key`."""

    def __init__(self, port: int, certificate: Path, served: Served, key: str) -> None:
        self.port, self.served, self.key = port, served, key
        self.context = ssl.create_default_context(cafile=certificate)

    def connect(self) -> HTTPSConnection:
        return HTTPSConnection("localhost", self.port, timeout=30, context=self.context)

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "", **headers: str) -> Answer:
        given = {"Authorization": f"Bearer {self.key}", "Content-Type": kind} | headers
        with closing(self.connect()) as connection:
            connection.request(method, path, body, given)
            return Answer(connection.getresponse())


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    station, _ = grey_station(folder, judge="helpers.stations:Grey")
    key = add_key(folder / "keys.toml", "line 3", "operator")
    app = create_page_app(Runtime([station]), keys=Keys.read(folder / "keys.toml"))
    with serving_here(app, folder / "log") as served:
        port = free_port()
        process = subprocess.Popen(bound(_nginx(folder, port, served.port)), stderr=subprocess.DEVNULL)
        try:
            proxy = Proxy(port, folder / "plant-pc.crt", served, key)
            _wait(proxy, process, folder / "error.log")
            yield proxy
        finally:
            process.terminate()
            process.wait(30)


def _nginx(folder: Path, port: int, upstream: int) -> list[str]:
    """Its command, with the recipe of the page, other ports, and a certificate of localhost in `folder`."""
    recipe = re.search(r"^```nginx\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    assert recipe is not None
    server = recipe[1]
    for old, new in (
        ("listen 443 ", f"listen 127.0.0.1:{port} "),
        ("http://127.0.0.1:8000", f"http://127.0.0.1:{upstream}"),
        ("/etc/nginx/", f"{folder}/"),
    ):
        assert old in server
        server = server.replace(old, new)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    head = f"daemon off; pid {folder}/pid; user {getpass.getuser()}; events {{}}"
    (folder / "nginx.conf").write_text(f"{head} http {{ access_log off; {folders}\n{server}}}\n")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(folder / "plant-pc.key"), "-out", str(folder / "plant-pc.crt")]
    made = [str(OPENSSL), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files]
    subprocess.run(made, check=True, capture_output=True)
    return [str(NGINX), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]


def _wait(proxy: Proxy, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            proxy.ask("GET", "/healthz")
            return
        except ConnectionRefusedError:
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)


def test_the_key_is_kept_for_tls_only(proxy: Proxy) -> None:
    form = "application/x-www-form-urlencoded"
    answer = proxy.ask(
        "POST", "/login", f"key={proxy.key}".encode(), form, Authorization="", Origin=f"https://localhost:{proxy.port}"
    )
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie, *attributes = answer.headers["set-cookie"].split("; ")
    assert {"Secure", "HttpOnly", "SameSite=strict"} <= set(attributes)
    assert proxy.ask("GET", "/stations/station", Authorization="", Cookie=cookie).status == 200
    strange = proxy.ask("POST", "/login", f"key={proxy.key}".encode(), form, Origin="https://evil")
    assert strange.status == 403


def test_large_pictures_pass(proxy: Proxy) -> None:
    body, kind = multipart(("station", "station", ""), ("picture", bytes(UPLOAD), "camera.png"))
    answer = proxy.ask("POST", "/v1/inspect", body, kind)
    assert answer.status == 422, "our own word for a file of zeros"
    assert "zeros" in answer.error


def test_events_come_as_they_happen(proxy: Proxy) -> None:
    with closing(proxy.connect()) as connection:
        connection.request("GET", "/stations/station/events", headers={"Authorization": f"Bearer {proxy.key}"})
        stream = connection.getresponse()
        for shade in (101, 250):
            body, kind = multipart(("station", "station", ""), ("picture", grey_png(shade), "camera.png"))
            inspection = proxy.ask("POST", "/v1/inspect", body, kind).json
            while not (line := stream.readline()).startswith(b"data: "):
                assert line
            assert json.loads(line.removeprefix(b"data: "))["id"] == inspection["id"]
