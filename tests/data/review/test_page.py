"""The review as a browser shows it, by keyboard alone; what the server refuses; a kill and what comes after."""

import http.client
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from helpers import built
from helpers.skeletons import mvtec_ad
from lad_reasoner.data.review.page import MAX_BODY, ReviewServer
from lad_reasoner.data.review.session import Review
from lad_reasoner.data.sets.built_set import DECISIONS, read_entries
from lad_reasoner.data.sets.pairs import build_pairs, plan_pairs
from lad_reasoner.data.sets.pool import gather
from lad_reasoner.data.sources import find_samples
from lad_reasoner.errors import InputError
from lad_reasoner.version import __version__

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
COMMAND = str(Path(sys.executable).with_name("lad-reasoner"))
EVIL = "</p></textarea><script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">{{ 7*7 }}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    built.build(tmp_path, per_kind=1)
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[ReviewServer]:
    with ReviewServer(Review(folder, sample=99)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def window() -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; `make test` installs Debian's where that is allowed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page(viewport={"width": 1366, "height": 680})
        browser.close()


@pytest.fixture
def page(window: Page, server: ReviewServer) -> Iterator[Page]:
    """The browser at the first record; nothing may be complained of or fetched from elsewhere."""
    complaints: list[str] = []
    listeners: dict[str, Any] = {
        "pageerror": lambda error: complaints.append(str(error)),
        "console": lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None,
        "request": lambda request: (
            None if request.url.startswith((server.base, "data:")) else complaints.append(request.url)
        ),
    }
    for event, listener in listeners.items():
        window.on(event, listener)  # type: ignore[call-overload]
    window.goto(server.url)
    yield window
    for event, listener in listeners.items():
        window.remove_listener(event, listener)
    assert complaints == []


def lines(folder: Path) -> list[tuple[str, ...]]:
    read = [json.loads(line) for line in (folder / DECISIONS).read_text(encoding="utf-8").splitlines()]
    return [tuple(line[key] for key in ("id", "decision", "answer") if line[key] is not None) for line in read]


def press(page: Page, key: str) -> None:
    """A key that leads to another page."""
    with page.expect_navigation():
        page.keyboard.press(key)


def go_to(page: Page, server: ReviewServer, name: str) -> None:
    page.goto(f"{server.base}record/{server.review.numbers[name] + 1}")


def test_accept_reject_edit_and_undo_by_keyboard(page: Page, server: ReviewServer, folder: Path) -> None:
    names = [entry.id for entry in server.review.entries]
    expect(page.locator("h1")).to_have_text("Record 1 of 8")
    press(page, "a")
    expect(page.locator("h1")).to_have_text("Record 2 of 8")
    press(page, "r")
    assert lines(folder) == [(names[0], "accept"), (names[1], "reject")]
    expect(page.locator("progress")).to_have_attribute("value", "2")
    expect(page.locator("#rate")).to_contain_text("50.0 % [9.5, 90.5]")
    press(page, "u")
    expect(page.locator("h1")).to_have_text("Record 2 of 8")
    expect(page.locator("#state")).to_have_text("Not decided yet")
    assert lines(folder)[2:] == [(names[1], "undo")]
    press(page, "ArrowLeft")
    expect(page.locator("#state")).to_contain_text("Accepted")
    press(page, "ArrowLeft")
    expect(page.locator("h1")).to_have_text("Record 8 of 8")
    press(page, "ArrowRight")
    press(page, "r")
    assert lines(folder)[3:] == [(names[0], "reject")]

    go_to(page, server, "sft-bolt_plate-logical-0")
    page.keyboard.press("e")
    expect(page.locator("#text")).to_be_focused()
    expect(page.locator("#text")).to_have_value(built.ANSWERS["logical"])
    page.keyboard.press("Control+A")
    page.keyboard.type("A bolt, r and a: müßte")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("da sein.")
    press(page, "Enter")
    edited = "A bolt, r and a: müßte\nda sein."
    assert lines(folder)[4:] == [("sft-bolt_plate-logical-0", "edit", edited)]
    go_to(page, server, "sft-bolt_plate-logical-0")
    expect(page.locator("#answer")).to_have_text(edited, use_inner_text=True)
    expect(page.locator("#state")).to_contain_text("Edited")


def test_escape_leaves_an_edit_without_a_trace(page: Page, server: ReviewServer, folder: Path) -> None:
    go_to(page, server, "sft-bolt_plate-good-0")
    page.keyboard.press("e")
    page.keyboard.type("nonsense")
    page.keyboard.press("Escape")
    expect(page.locator("#edit")).to_be_hidden()
    expect(page.locator("#open-edit")).to_be_focused()
    page.keyboard.press("e")
    expect(page.locator("#text")).to_have_value(built.ANSWERS["good"])
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    page.keyboard.press("Enter")  # the browser refuses what is empty
    expect(page.locator("#edit")).to_be_visible()
    assert not (folder / DECISIONS).exists()


def test_the_label_of_a_pair_is_chosen(page: Page, server: ReviewServer, folder: Path) -> None:
    go_to(page, server, "pair-bolt_plate-logical-0")
    expect(page.locator("#answer")).to_have_text("yes")
    page.keyboard.press("e")
    page.keyboard.press("ArrowDown")
    press(page, "Enter")
    assert lines(folder) == [("pair-bolt_plate-logical-0", "edit", "no")]


def test_keys_of_the_browser_and_keys_held_down_decide_nothing(page: Page, folder: Path) -> None:
    page.evaluate(
        """for (const [key, more] of [["r", {ctrlKey: true}], ["a", {metaKey: true}], ["r", {altKey: true}],
                                      ["a", {repeat: true}]])
             document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, ...more}))"""
    )
    page.wait_for_timeout(200)
    expect(page.locator("h1")).to_have_text("Record 1 of 8")
    assert not (folder / DECISIONS).exists()
    press(page, "Shift+A")  # caps lock is no reason to ignore a person
    assert len(lines(folder)) == 1


def test_everything_is_reached_with_tab_and_says_what_it_is(page: Page, server: ReviewServer, folder: Path) -> None:
    go_to(page, server, "sft-bolt_plate-logical-0")
    labels = []
    for _ in range(6):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => { const it = document.activeElement, style = getComputedStyle(it);
                       return {text: it.innerText, outline: style.outlineStyle + " " + style.outlineWidth}; }"""
        )
        labels.append(" ".join(focused["text"].split()))
        assert focused["outline"] == "solid 3px"
    assert labels == ["Accept a", "Reject r", "Edit e", "Previous ←", "Next →", "Mask m"]
    page.locator("#reject").focus()
    press(page, "Enter")
    assert lines(folder) == [("sft-bolt_plate-logical-0", "reject")]
    page.keyboard.press("e")
    expect(page.locator("#edit select, #edit textarea")).to_have_accessible_name("Correct answer")
    expect(page.locator("progress")).to_have_accessible_name(re.compile("1 of 8 decided"))
    assert page.locator("img:not([alt])").count() == 0
    expect(page.locator("footer")).to_contain_text("accept")
    expect(page.locator("footer")).to_contain_text(f"LAD-Reasoner {__version__}")


def test_pictures_fill_the_window_side_by_side_with_the_mask_on_the_query(page: Page, server: ReviewServer) -> None:
    go_to(page, server, "pair-bolt_plate-logical-0")
    loaded = "images => images.every(image => image.complete && image.naturalWidth > 0)"
    assert page.locator("img").evaluate_all(loaded)
    reference, query, mask = (page.locator("img").nth(at).bounding_box() for at in range(3))
    assert reference
    assert query
    assert query["y"] == reference["y"]
    assert query["x"] >= reference["x"] + reference["width"]
    assert query["width"] > 400  # 96 pixels in the file
    assert mask == query
    page_size = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert page_size == [1366, 680]  # nothing to scroll
    page.keyboard.press("m")
    expect(page.locator(".mask")).to_be_hidden()
    press(page, "ArrowRight")
    go_to(page, server, "sft-circuit_board-logical-0")
    expect(page.locator(".mask")).to_be_hidden()
    page.keyboard.press("m")
    expect(page.locator(".mask")).to_be_visible()


def test_the_end_says_the_rate(page: Page, server: ReviewServer) -> None:
    for key in "aaaaaara":
        press(page, key)
    expect(page.locator("h2")).to_have_text("The whole sample is decided")
    expect(page.locator("main")).to_contain_text("accepted without an edit: 87.5 % [52.9, 97.8]")
    expect(page.locator("main")).to_contain_text("7 accepted, 0 edited, 1 rejected")
    press(page, "u")
    expect(page.locator("#state")).to_have_text("Not decided yet")
    assert server.review.next_open() == 7


def test_hostile_text_stays_text(window: Page, tmp_path: Path) -> None:
    [record, *_] = built.build(tmp_path, per_kind=1)
    (tmp_path / "x<script>.png").write_bytes(b"<script>alert(1)</script>")
    user, _ = record["messages"]
    asked = {**user, "content": [{"type": "image"}, {"type": "text", "text": "Q " + EVIL}]}
    hostile = {
        **record,
        **dict.fromkeys(("id", "category", "dataset", "defect", "source", "question"), EVIL),
        "images_file_names": [record["images_file_names"][0], "x<script>.png"],
        "messages": [asked, {"role": "assistant", "content": EVIL}],
    }
    built.write(tmp_path, [hostile])
    with ReviewServer(Review(tmp_path, sample=1)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        window.goto(server.url)
        window.wait_for_timeout(200)
        assert window.title().endswith("· review")
        assert window.inner_text("#answer") == EVIL
        assert window.inner_text("#question") == "Q " + EVIL
        assert window.locator("script").count() == 1
        expect(window.locator("figure").nth(1)).to_contain_text("not a picture that can be read")
        window.keyboard.press("e")
        expect(window.locator("#text")).to_have_value(EVIL)
        window.keyboard.press("Control+End")
        window.keyboard.type("!")
        press(window, "Enter")
        assert lines(tmp_path) == [(EVIL, "edit", EVIL + "!")]
        window.goto(server.url)
        window.goto(server.base + "record/1")
        assert window.inner_text("#answer") == EVIL + "!"
        assert window.title().endswith("· review")
        server.shutdown()


class Client:
    """What a program sends that is no browser."""

    def __init__(self, server: ReviewServer) -> None:
        self.server = server
        self.cookie = {"Cookie": f"{server.cookie}={server.token}"}
        self.connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)

    def send(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, str]:
        self.connection.request(method, path, body, self.cookie | headers)
        response = self.connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")

    def post(self, path: str = "/decide", **fields: str) -> tuple[int, str]:
        form = {"token": self.server.token, "id": self.server.review.entries[0].id, "decision": "accept", **fields}
        return self.send("POST", path, urlencode(form))


@pytest.fixture
def client(server: ReviewServer) -> Iterator[Client]:
    client = Client(server)
    yield client
    client.connection.close()


def test_only_this_machine_and_only_by_its_name(client: Client, server: ReviewServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    port = server.server_port
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1.evil.example:{port}", ""):
        status, text = client.send("GET", "/record/1", Host=host)
        assert (status, server.token in text) == (403, False)
        assert client.send("POST", "/decide", urlencode({"token": server.token}), Host=host)[0] == 403
    assert client.send("GET", "/record/1", Host=f"localhost:{port}")[0] == 200
    assert server.review.decisions == {}


def test_a_shuffled_set_shows_which_picture_is_the_query_and_its_mask_there(tmp_path: Path) -> None:
    source, folder = mvtec_ad(tmp_path / "mvtec", part=0.1), tmp_path / "pairs"
    plan = plan_pairs(gather([find_samples(source)]), classes=["screw"], references=2, shuffle=True)
    list(build_pairs(folder, plan))
    entries = {entry.id: entry for entry in read_entries(folder)}
    assert {entry.query for entry in entries.values()} == {0, 2}
    captions = {0: ["Query", "Reference 1", "Reference 2"], 2: ["Reference 1", "Reference 2", "Query"]}
    wide = tmp_path / "wide.png"
    Image.new("RGB", (32, 16), "orange").save(wide)
    for entry in entries.values():  # of another shape than its references, so that a mask tells whose it is
        (folder / entry.images_file_names[entry.query]).unlink()
        shutil.copy(wide, folder / entry.images_file_names[entry.query])
    with ReviewServer(Review(folder, sample=99)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        client = Client(server)
        for name, number in server.review.numbers.items():
            entry = entries[name]
            _, text = client.send("GET", f"/record/{number + 1}")
            figures = re.findall(r"<figure>(.*?)</figure>", text, re.DOTALL)
            assert [re.findall(r"<b>(.*?)</b>", figure) for figure in figures] == [[c] for c in captions[entry.query]]
            masked = [at for at, figure in enumerate(figures) if f'src="/mask/{number + 1}"' in figure]
            assert masked == ([entry.query] if entry.masks else [])
            if entry.masks:
                client.connection.request("GET", f"/mask/{number + 1}", headers=client.cookie)
                with Image.open(io.BytesIO(client.connection.getresponse().read())) as overlay:
                    assert overlay.size == (1024, 512)
        client.connection.close()
        server.shutdown()


def test_nothing_is_shown_without_the_token_of_the_address(client: Client, server: ReviewServer) -> None:
    """Other users of the machine can connect, too."""
    for path in ("/", "/?token=x", "/record/1", "/picture/1/1", "/mask/1", "/done", f"/record/1?token={server.token}"):
        for cookie in ("", "a=b", f"{server.cookie}=x", f"review={server.token}", "=;;\x7f"):
            status, text = client.send("GET", path, Cookie=cookie)
            assert (status, server.token in text) == (403, False), (path, cookie)
    client.connection.request("GET", f"/?token={server.token}")
    response = client.connection.getresponse()
    response.read()
    assert (response.status, response.headers["Location"]) == (303, "/record/1")
    assert response.headers["Set-Cookie"].startswith(f"{server.cookie}={server.token}; Path=/; HttpOnly; SameSite")
    assert server.url == f"{server.base}?token={server.token}"


def test_an_edit_with_a_control_character_is_refused(client: Client, server: ReviewServer) -> None:
    for answer in ("a\0b", "\x1b[2J", "a\u202eb"):
        status, text = client.post(decision="edit", answer=answer)
        assert (status, "holds a control character; remove it" in text) == (400, True)
    name = next(entry.id for entry in server.review.entries if entry.task == "sft")
    assert client.post(id=name, decision="edit", answer="two\nlines\tand é")[0] == 303


def test_many_connections_at_once_are_served(server: ReviewServer) -> None:
    def ask(_: int) -> int:
        client = Client(server)
        status, _ = client.send("GET", "/done")
        client.connection.close()
        return status

    with ThreadPoolExecutor(60) as pool:
        assert set(pool.map(ask, range(120))) == {200}


def test_a_decision_needs_the_token_of_the_run(client: Client, server: ReviewServer, folder: Path) -> None:
    for token in ("", "x", "é", server.token[:-1], server.token + "x"):
        status, text = client.post(token=token)
        assert status == 403
        assert "earlier run" in text
        assert client.post("/undo", token=token)[0] == 403
    for path in ("/decide", "/undo", f"/decide?token={server.token}&id={server.review.entries[0].id}&decision=accept"):
        assert client.send("GET", path)[0] == 404
    assert not (folder / DECISIONS).exists()
    assert client.post()[0] == 303
    assert lines(folder) == [(server.review.entries[0].id, "accept")]


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/picture/1/9",
            "/picture/0/1",
            "/picture/-1/1",
            "/picture/1/../../metadata.jsonl",
            "/picture/1",
            "/mask/999",
        ),
        *("/record/1x", "/record/0", "/record/9", "/record/" + "9" * 5000, "/record/%31", "/record/1/"),
        *("/metadata.jsonl", "/%2e%2e/metadata.jsonl", "/images/bolt_plate/good_0.png", "/etc/passwd", "/x?y=/done"),
    ],
)
def test_no_other_file_is_served(path: str, client: Client) -> None:
    assert client.send("GET", path)[0] == 404


def test_pages_let_nothing_in(client: Client, server: ReviewServer) -> None:
    client.connection.request("GET", "/record/1", headers=client.cookie)
    response = client.connection.getresponse()
    text, policy = response.read().decode(), response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    [nonce] = re.findall("script-src 'nonce-([^']+)'", policy)
    assert text.count(f'nonce="{nonce}"') == 2
    assert nonce not in client.send("GET", "/record/1")[1]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.findall(r"""https?://|(?:src|href)=["'](?!/|data:)""", text)
    assert server.token in text


def test_forms_that_are_none(client: Client, server: ReviewServer, folder: Path) -> None:
    assert client.send("POST", "/decide", "token=%ff&id=%fe")[0] == 400
    assert client.send("POST", "/decide", "&".join(f"a{i}=1" for i in range(99)))[0] == 400
    for length in (str(MAX_BODY + 1), "-1", "x", "9" * 5000):
        client.connection.putrequest("POST", "/decide")
        client.connection.putheader("Content-Length", length)
        client.connection.endheaders()
        response = client.connection.getresponse()
        assert (response.status, response.read() != b"") == (400, True)
        client.connection.close()
    assert client.post(id="unknown")[0] == 400
    assert client.post(decision="undo")[0] == 400
    status, text = client.post(decision="edit", answer="  ")
    assert status == 400
    assert "must not be empty" in text
    assert not (folder / DECISIONS).exists()
    assert client.post("/undo")[0] == 303


@pytest.mark.posix
def test_a_full_disk_loses_neither_the_text_nor_the_file(client: Client, server: ReviewServer, folder: Path) -> None:
    import resource

    name = "sft-bolt_plate-logical-0"
    client.post()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((folder / DECISIONS).stat().st_size + 20, limits[1]))
    try:
        status, text = client.post(id=name, decision="edit", answer="All of my <work>")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == 500
    assert "Nothing was saved" in text
    assert "<textarea" in text
    assert "All of my &lt;work&gt;" in text
    assert name not in server.review.decisions
    assert client.post(id=name, decision="edit", answer="All of my <work>")[0] == 303
    assert lines(folder)[1:] == [(name, "edit", "All of my <work>")]


def test_a_port_that_is_taken(server: ReviewServer) -> None:
    with pytest.raises(InputError, match=f"--port {server.server_port}: .*in use"):
        ReviewServer(server.review, port=server.server_port)


def start(folder: Path) -> tuple[subprocess.Popen[str], str]:
    command = [COMMAND, "data", "review", str(folder), "--sample", "6", "--seed", "3", "--port", "0"]
    # A shell may have told its jobs to ignore Ctrl-C.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "120"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr
    [url] = re.findall(r"http://127\.0\.0\.1:\d+/\S*", process.stderr.readline())
    return process, url


@pytest.mark.posix
def test_a_kill_loses_nothing_and_the_next_start_goes_on(window: Page, folder: Path) -> None:
    process, url = start(folder)
    window.goto(url)
    press(window, "a")
    press(window, "r")
    expect(window.locator("h1")).to_have_text("Record 3 of 6")
    process.kill()
    process.communicate()
    with (folder / DECISIONS).open("a") as file:
        file.write('{"id":"cut off in the mid')
    process, url = start(folder)
    window.goto(url)
    expect(window.locator("h1")).to_have_text("Record 3 of 6")
    expect(window.locator("#rate")).to_contain_text("1 accepted, 0 edited, 1 rejected")
    press(window, "a")
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert errors == ""
    assert out.splitlines() == [
        "3 of 6 decided, a sample of 8 records: 2 accepted, 0 edited, 1 rejected",
        "accepted without an edit: 66.7 % [20.8, 93.9] (95 % interval, Wilson's)",
    ]
    assert [line[1] for line in lines(folder)] == ["accept", "reject", "accept"]


def test_a_folder_that_is_no_data_set_is_one_clear_line(tmp_path: Path) -> None:
    done = subprocess.run([COMMAND, "data", "review", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"lad-reasoner: {tmp_path}: no metadata.jsonl; give a folder that `lad-reasoner data` built\n"
