"""The page of the stations, in a real browser."""

import base64
import csv
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import openpyxl
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

from helpers.browser import CHROMIUM, EVIL, axe_faults, launch, watch
from helpers.served import Served, grey_png, serving_here
from helpers.stations import HeldGrey, grey_pictures, grey_station
from helpers.verdicts import verdict
from lad_reasoner.service.archive import Archive
from lad_reasoner.service.archived import Seen
from lad_reasoner.service.keys import Keys, add_key
from lad_reasoner.service.page import create_page_app
from lad_reasoner.service.rule_sheet import AmountCheck, PlaceCheck, RuleSheet, TextCheck
from lad_reasoner.service.runtime import Runtime
from lad_reasoner.service.setup import create_station, set_zones
from lad_reasoner.service.station import Station
from lad_reasoner.version import __version__

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


expect.set_options(timeout=30_000)  # other workers of the suite may have the cores for a while


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright, "--use-fake-device-for-media-stream")
        yield browser
        browser.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A station with two references, without a promise."""
    grey_station(tmp_path, judge="helpers.stations:NearestGrey", max_false_alarms=None)
    with serving_here(create_page_app(Runtime([tmp_path / "station"])), tmp_path / "log") as served:
        yield served


BLACK = AmountCheck(kind="amount", colour="black", least=0.0, most=0.2)
GREY = PlaceCheck(kind="place", colour="grey", box=(2, 2, 24, 24), least=0.5)


@pytest.fixture
def ruled(tmp_path: Path) -> Iterator[Served]:
    """A station whose rules are: not much black, grey in the middle, and a text that is not looked for."""
    folder, station = grey_station(tmp_path, judge="helpers.stations:NearestGrey", max_false_alarms=None)
    text = TextCheck(kind="text", words=EVIL, off=True)
    sheet = RuleSheet(broken="anomalous", checks=(BLACK, GREY, text))
    station.model_copy(update={"rules": sheet}).save(folder)
    with serving_here(create_page_app(Runtime([folder])), tmp_path / "log") as served:
        yield served


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    """A page at the station; its test fails if a script of it does."""
    context = new_context(browser, served)
    page = context.new_page()
    complaints = watch(page)
    page.goto("/stations/station")
    yield page
    context.close()
    refusals = ("status of 4", "Status Error Code 4")  # of the browser, and of htmx
    assert [line for line in complaints if not any(text in line for text in refusals)] == []


@pytest.fixture
def troubled(browser: Browser, served: Served) -> Iterator[Page]:
    """The same, where requests fail: the browser complains of that by itself."""
    context = new_context(browser, served)
    page = context.new_page()
    page.goto("/stations/station")
    yield page
    context.close()


def new_context(browser: Browser, served: Served) -> BrowserContext:
    context = browser.new_context(base_url=f"http://127.0.0.1:{served.port}", viewport={"width": 1300, "height": 900})
    context.set_default_timeout(30_000)  # other workers of the suite may have the cores for a while
    return context


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def inspect(page: Page, picture: bytes, part: str) -> None:
    """Choose a picture, and wait for its verdict."""
    page.get_by_label("part number").fill(part)
    file = {"name": "a.png", "mimeType": "image/png", "buffer": picture}
    page.get_by_label("drop or choose a picture").set_input_files([file])
    page.get_by_role("button", name="Inspect").click()
    expect(page.locator("#verdict .part")).to_contain_text(part)


def test_a_picture_gets_its_verdict_beside_the_nearest_reference(browser: Browser, tmp_path: Path) -> None:
    create_station(
        tmp_path / "two",
        grey_pictures(tmp_path / "references", [60, 200]),
        grey_pictures(tmp_path / "normal", list(range(60, 80))),
        judge="helpers.stations:NearestGrey",
        max_false_alarms=0.1,
    )
    app = create_page_app(Runtime([tmp_path / "two"]))
    with serving_here(app, tmp_path / "log") as served:
        context = new_context(browser, served)
        page = context.new_page()
        complaints = watch(page)
        page.goto("/")
        expect(page).to_have_url(f"http://127.0.0.1:{served.port}/stations/two")
        inspect(page, grey_png(190), "4711")
        expect(page.locator("#verdict .outcome")).to_contain_text("good")
        inspect(page, grey_png(250), "4712")
        expect(page.locator("#verdict .outcome")).to_contain_text("anomalous")
        expect(page.locator("#say")).to_contain_text("4712: anomalous")
        expect(page.get_by_role("img", name="Score 0.")).to_be_visible()
        expect(page.locator("#recent li")).to_have_count(2)
        limit = Station.load(tmp_path / "two").limit
        expect(page.locator("footer")).to_contain_text(f"LAD-Reasoner {__version__} · {date.today()}")
        expect(page.locator("footer")).to_contain_text(f"limit of the score {limit:.4g}")
        for selector in ("#verdict svg image", "#verdict img"):
            address = page.locator(selector).first.evaluate("e => e.href?.baseVal ?? e.src")
            assert page.request.get(address).headers["content-type"] == "image/png"
        assert complaints == []
        context.close()


def test_what_others_send_appears_at_once_but_not_under_a_person_who_writes(page: Page, served: Served) -> None:
    served.inspect(grey_png(101), part="one")
    expect(page.locator("#verdict .part")).to_contain_text("one")
    page.keyboard.press("m")
    expect(page.get_by_label("missed a defect")).to_be_checked()
    served.inspect(grey_png(102), part="two")
    page.wait_for_timeout(300)
    expect(page.locator("#verdict .part")).to_contain_text("one")


@pytest.mark.parametrize("told", ["of the same part again", "of the next part"])
def test_a_verdict_that_was_asked_for_before_a_person_began_to_write_does_not_take_the_form_away(
    page: Page, served: Served, told: str
) -> None:
    """A page may be told of an inspection twice: as the newest when it begins to listen, and as one that just came."""
    held: list[Route] = []
    served.inspect(grey_png(101), part="one")
    expect(page.locator("#verdict .part")).to_contain_text("one")
    page.route("**/inspections/*/verdict", lambda route: held.append(route))
    if told == "of the next part":
        served.inspect(grey_png(102), part="two")
    else:
        number = page.locator("#verdict article").get_attribute("data-id")
        page.evaluate(
            "address => { htmx.ajax('GET', address, { target: '#verdict', swap: 'innerHTML' }) }",
            f"/stations/station/inspections/{number}/verdict",
        )
    end = time.monotonic() + 60
    while not held:
        assert time.monotonic() < end
        page.wait_for_timeout(20)  # unlike sleep, this lets the browser's messages in
    page.keyboard.press("m")
    reason = page.locator("#verdict form.feedback [name=reason]")
    expect(reason).to_be_focused()
    with page.expect_response("**/inspections/*/verdict"):
        held[0].continue_()
    page.wait_for_timeout(300)
    expect(page.locator("#verdict .part")).to_contain_text("one")
    expect(page.get_by_label("missed a defect")).to_be_checked()
    expect(reason).to_be_focused()


def test_what_came_before_the_page_listens_appears(page: Page, served: Served) -> None:
    def send_and_listen(route: Route) -> None:
        served.inspect(grey_png(101), part="between")
        route.continue_()

    page.route("**/events", send_and_listen, times=1)
    page.reload()
    expect(page.locator("#verdict .part")).to_contain_text("between")


def test_a_file_that_is_no_picture_is_refused_in_one_line(page: Page) -> None:
    file = {"name": f"{EVIL}.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.get_by_label("drop or choose a picture").set_input_files([file])
    page.get_by_role("button", name="Inspect").click()
    expect(page.get_by_role("alert")).to_contain_text("not a picture")
    inspect(page, grey_png(101), "after it")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_pictures_that_are_dropped_are_inspected_one_after_the_other(page: Page, served: Served) -> None:
    page.evaluate(
        """pictures => {
            const data = new DataTransfer();
            for (const bytes of pictures) data.items.add(new File([new Uint8Array(bytes)], "a.png"));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        [list(grey_png(100, seed)) for seed in range(3)],
    )
    expect(page.locator("#recent li")).to_have_count(3)
    assert len(served.ask("GET", "/v1/stations/station/inspections").json) == 3


def test_texts_of_strangers_stay_texts(page: Page, served: Served) -> None:
    inspect(page, grey_png(250), EVIL)
    page.keyboard.press("g")
    page.get_by_label("reason").select_option("light or focus")
    page.get_by_label("note").fill(EVIL)
    page.get_by_label("your name").fill(EVIL[:90])
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#verdict .note")).to_contain_text(EVIL)
    for path in ("", "/history", "/inspections/1", "/changes", "/zones", "/limit"):
        page.goto(f"/stations/station{path}")
        assert page.title() != "hacked"
    policy = page.request.get("/stations/station").headers["content-security-policy"]
    assert "script-src 'self';" in policy and "unsafe" not in policy
    for suffix in ("csv", "xlsx"):
        assert served.ask("GET", f"/stations/station/history.{suffix}").status == 200


def test_a_table_has_the_history_and_no_formula(served: Served) -> None:
    served.inspect(grey_png(250), part='=HYPERLINK("http://evil")')
    served.inspect(grey_png(101), part="4711")
    served.ask(
        "POST",
        "/v1/inspect",
        {"station": "station", "picture": base64.b64encode(grey_png(101, 1)).decode(), "part": "\x1b\uff1d1"},
    )
    text = served.ask("GET", "/stations/station/history.csv?outcome=anomalous").body.decode("utf-8-sig")
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["part"] == '\'=HYPERLINK("http://evil")' and row["outcome"] == "anomalous" and float(row["score"]) > 0.5
    book = openpyxl.load_workbook(io.BytesIO(served.ask("GET", "/stations/station/history.xlsx").body))
    cells = [[cell.data_type for cell in row] for row in book["history"].iter_rows()]
    assert len(cells) == 4 and not any("f" in row for row in cells)
    assert book["history"]["C2"].value == "\\u001b\uff1d1"


def test_history_filters_and_a_miss_by_keyboard(page: Page, served: Served) -> None:
    for shade, part in ((101, "a"), (250, "b"), (102, "c")):
        served.inspect(grey_png(shade), part=part)
    page.goto("/stations/station/history")
    expect(page.locator("tbody tr")).to_have_count(3)
    page.get_by_label("outcome").select_option("good")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.locator("tbody tr").first.get_by_role("link").click()
    page.wait_for_url("**/inspections/3")
    page.keyboard.press("m")
    expect(page.get_by_label("reason")).to_be_focused()
    for _ in range(7):  # the reason has the focus
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")
    expect(page.locator("#verdict .note")).to_contain_text("missed: damage (Ada (local)")
    (said,) = served.ask("GET", "/v1/stations/station/inspections/3").json["feedback"]
    assert (said["opinion"], said["reason"], said["who"]) == ("missed", "damage", "Ada (local)")
    page.goto("/stations/station/history?reviewed=true")
    expect(page.locator("tbody tr")).to_have_count(1)


def test_a_picture_is_accepted_and_rolled_back(page: Page, served: Served) -> None:
    inspect(page, grey_png(250), "4711")
    served.inspect(grey_png(245), part="4712")
    page.goto("/stations/station/inspections/1")
    page.get_by_role("button", name="Preview").click()
    change = page.locator(".change")
    expect(change).to_have_attribute("data-state", "preview", timeout=60_000)
    expect(change).to_contain_text("4712: anomalous → good")
    change.get_by_role("button", name="Apply").click()
    expect(change).to_have_attribute("data-state", "live")
    assert served.ask("GET", "/v1/stations/station").json["references"] == 2
    change.get_by_role("button", name="Roll back").click()
    expect(change).to_have_attribute("data-state", "rolled back")
    assert served.ask("GET", "/v1/stations/station").json["references"] == 1


def at(page: Page, x: float, y: float) -> tuple[float, float]:
    """A point of the reference, of 32 x 32 pixels, on the screen."""
    page.locator(".canvas").scroll_into_view_if_needed()
    box = page.locator(".canvas").bounding_box()
    assert box is not None
    side = min(box["width"], box["height"])
    left, top = box["x"] + (box["width"] - side) / 2, box["y"] + (box["height"] - side) / 2
    return left + side * x / 32, top + side * y / 32


def drawn(page: Page) -> list[dict[str, Any]]:
    """The zones as the page would send them."""
    zones = json.loads(page.locator("input[name=plan]").input_value())["zones"]
    assert isinstance(zones, list)
    return zones


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*at(page, *start))
    page.mouse.down()
    page.mouse.move(*at(page, *end), steps=4)
    page.mouse.up()


def apply_newest(page: Page) -> None:
    change = page.locator(".change").first
    expect(change).to_have_attribute("data-state", "preview", timeout=60_000)
    change.get_by_role("button", name="Apply").click()
    expect(change).to_have_attribute("data-state", "live")


def spotted(shade: int) -> bytes:
    """A good part with a square of this shade in its upper left quarter."""
    image = Image.open(io.BytesIO(grey_png(100))).convert("RGB")
    image.paste((shade, shade, shade), (2, 2, 14, 14))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_a_zone_is_drawn_previewed_and_respected(page: Page, served: Served) -> None:
    served.ask("POST", "/stations/station/limit", b"limit=0.02&base=1", "application/x-www-form-urlencoded")
    assert served.inspect(spotted(250), part="4711").json["outcome"] == "anomalous"
    page.goto("/stations/station/zones")
    expect(page.get_by_role("button", name="Preview")).to_be_disabled()
    page.get_by_label("fixed camera").check()
    drag(page, (0, 0), (16, 16))
    page.get_by_label("name", exact=True).fill("date")
    page.get_by_label("name", exact=True).press("Enter")
    (zone,) = drawn(page)
    assert (zone["kind"], zone["name"]) == ("ignore", "date")
    assert [tuple(map(round, point)) for point in zone["points"]] == [(0, 0), (16, 0), (16, 16), (0, 16)]
    page.get_by_role("button", name="Preview").click()
    page.wait_for_url("**/changes")
    expect(page.locator(".change").first).to_contain_text("4711: anomalous → good", timeout=60_000)
    assert served.inspect(spotted(250)).json["outcome"] == "anomalous"  # nothing is live yet
    apply_newest(page)
    assert served.inspect(spotted(250)).json["outcome"] == "good"
    page.goto("/stations/station/zones")
    assert [each["name"] for each in drawn(page)] == ["date"]
    page.goto("/stations/station/changes")
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator(".change").first).to_have_attribute("data-state", "rolled back")
    assert served.inspect(spotted(250)).json["outcome"] == "anomalous"


def test_zones_are_the_same_as_those_of_the_command(page: Page, served: Served, tmp_path: Path) -> None:
    page.goto("/stations/station/zones")
    page.get_by_label("new zone").select_option("check")
    drag(page, (4, 4), (20, 12))
    page.get_by_role("button", name="Preview").click()
    page.wait_for_url("**/changes")
    apply_newest(page)
    by_page = Station.load(tmp_path / "station")
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect class="check" {} /></svg>'
    (x, y), _, (u, v), _ = by_page.zones[0].points
    (tmp_path / "zones.svg").write_text(svg.format(f'x="{x}" y="{y}" width="{u - x}" height="{v - y}"'))
    by_command = set_zones(tmp_path / "station", svg=tmp_path / "zones.svg", clear=True)
    assert by_command.zones == by_page.zones and by_command.scored_zones == by_page.scored_zones
    assert by_command.normals == by_page.normals


def test_zones_are_drawn_with_keys_and_undone(page: Page, served: Served) -> None:
    page.goto("/stations/station/zones")
    page.get_by_role("application").focus()
    for keys in (["ArrowLeft"] * 8, ["ArrowUp"] * 8, ["ArrowRight"] * 8):
        for key in keys:
            page.keyboard.press(key)
        page.keyboard.press("Enter")
    page.keyboard.press("c")
    assert drawn(page)[0]["points"] == [[8, 16], [8, 8], [16, 8]]
    page.get_by_label("move and change").check()
    page.get_by_role("button", name="corner 2 of zone 1").focus()
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("Shift+ArrowUp")
    assert drawn(page)[0]["points"] == [[8, 16], [8, 6], [16, 8]]
    page.get_by_role("button", name="zone 1, ignore", exact=True).focus()
    page.keyboard.press("ArrowRight")
    assert drawn(page)[0]["points"] == [[9, 16], [9, 6], [17, 8]]
    page.keyboard.press("Delete")
    assert drawn(page) == []
    for expected in ([[9, 16], [9, 6], [17, 8]], [[8, 16], [8, 6], [16, 8]], [[8, 16], [8, 7], [16, 8]]):
        page.keyboard.press("Control+z")
        assert drawn(page)[0]["points"] == expected
    for _ in range(3):
        page.get_by_role("button", name="Undo").click()
    assert drawn(page) == []
    page.get_by_label("draw", exact=True).check()
    page.get_by_role("application").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Backspace")
    expect(page.get_by_role("button", name="Preview")).to_be_disabled()


def test_zones_are_changed_by_hand_and_in_numbers(page: Page, served: Served) -> None:
    page.goto("/stations/station/zones")
    for corner in ((4, 4), (20, 4), (20, 20), (4, 4)):  # the last click closes it
        page.mouse.click(*at(page, *corner))
    page.get_by_label("move and change").check()
    drag(page, (15, 8), (25, 18))
    assert [tuple(point) for point in drawn(page)[0]["points"]] == [(14, 14), (30, 14), (30, 30)]
    drag(page, (30, 30), (20, 32))
    assert drawn(page)[0]["points"][2] == [20, 32]
    page.get_by_label("corners").fill("1,2 30.5,2 30,31")
    page.get_by_label("corners").blur()
    assert drawn(page)[0]["points"] == [[1, 2], [31, 2], [30, 31]]
    page.get_by_label("corners").fill("1,2 3")
    page.get_by_label("corners").blur()
    expect(page.get_by_role("alert")).to_contain_text("three corners")
    page.locator("select[name=kind-0]").select_option("check")
    page.get_by_label("mm a pixel").fill("0,5")
    page.get_by_label("at most off").fill("2")
    page.get_by_label("at most off").blur()
    plan = json.loads(page.locator("input[name=plan]").input_value())
    assert plan["mm_per_pixel"] == 0.5 and plan["zones"][0]["max_shift_mm"] == 2
    page.get_by_role("button", name="Remove zone 1").click()
    assert drawn(page) == []


def test_zones_are_drawn_with_a_finger(browser: Browser, served: Served) -> None:
    context = browser.new_context(
        base_url=f"http://127.0.0.1:{served.port}", viewport={"width": 400, "height": 800}, has_touch=True
    )
    page = context.new_page()
    page.goto("/stations/station/zones")
    page.locator(".canvas").scroll_into_view_if_needed()
    for corner in ((4, 4), (28, 4), (16, 28)):
        page.touchscreen.tap(*at(page, *corner))
    page.get_by_role("button", name="Close the polygon").tap()
    assert len(drawn(page)[0]["points"]) == 3
    context.close()


def test_operators_see_zones_and_do_not_change_them(browser: Browser, tmp_path: Path) -> None:
    folder, _ = grey_station(tmp_path, judge="helpers.stations:Grey")
    Image.fromarray(np.pad(np.full((8, 8), 255, np.uint8), 12)).save(tmp_path / "mask.png")
    set_zones(folder, mask=tmp_path / "mask.png", name=EVIL[:60])
    key = add_key(tmp_path / "keys.toml", "line 3", "operator")
    app = create_page_app(Runtime([folder]), keys=Keys.read(tmp_path / "keys.toml"))
    with serving_here(app, tmp_path / "log") as served:
        context = new_context(browser, served)
        page = context.new_page()
        page.goto("/login")
        page.get_by_label("Key").fill(key)
        page.get_by_role("button", name="Log in").click()
        page.goto("/stations/station/zones")
        expect(page.locator("#list li")).to_contain_text(EVIL[:60])
        expect(page.get_by_role("button", name="Preview")).to_have_count(0)
        assert page.title() != "hacked"
        mask = page.request.get("/stations/station/zones/1/mask")
        assert Image.open(io.BytesIO(mask.body())).getpixel((16, 16))[3] > 0  # type: ignore[index]
        assert page.request.get("/stations/station/zones/2/mask").status == 404
        plan = json.dumps({"zones": [], "base": 1})
        assert page.request.post("/stations/station/zones", form={"plan": plan}).status == 403
        context.close()


def test_a_limit_of_many_digits_that_nobody_moved_cannot_be_set(browser: Browser, tmp_path: Path) -> None:
    """Setting it would take the promise away. A browser keeps fewer digits of a slider than a station has."""
    folder, station = grey_station(tmp_path)
    station.model_copy(update={"limit": 0.8860215860936316}).save(folder)
    with serving_here(create_page_app(Runtime([folder])), tmp_path / "log") as served:
        context = new_context(browser, served)
        page = context.new_page()
        page.goto("/stations/station/limit")
        expect(page.locator("#counts")).to_contain_text("above it")
        expect(page.get_by_role("button", name="Use this limit")).to_be_disabled()
        context.close()


def test_the_limit_is_moved_over_the_histogram(page: Page, served: Served) -> None:
    for shade in (101, 120, 250):
        served.inspect(grey_png(shade))
    page.goto("/stations/station/limit")
    button = page.get_by_role("button", name="Use this limit")
    expect(button).to_be_disabled()
    expect(page.locator("#counts")).to_have_text("above it: 0 of 2 good, 1 of 1 anomalous")
    page.get_by_label("limit").fill("0.05")
    expect(page.locator("#counts")).to_have_text("above it: 1 of 2 good, 1 of 1 anomalous")
    button.click()
    expect(page.get_by_text("in use: 0.0500")).to_be_visible()
    assert served.ask("GET", "/v1/stations/station").json["limit"] == 0.05
    assert served.inspect(grey_png(120)).json["outcome"] == "anomalous"


def test_rules_are_shown_edited_and_switched_off(browser: Browser, ruled: Served) -> None:
    context = new_context(browser, ruled)
    page = context.new_page()
    complaints = watch(page)
    page.goto("/stations/station")
    inspect(page, grey_png(10), "4711")
    expect(page.locator("#verdict .outcome")).to_contain_text("anomalous")
    expect(page.locator("#verdict .headline")).to_contain_text("2 rules broken, first: black covers 0.0 to 20.0 %")
    expect(page.locator("#verdict .rules .broken")).to_have_count(2)
    expect(page.locator("#verdict .rules .broken").first).to_contain_text("score")
    page.goto("/stations/station/rules")
    expect(page.locator("#rules li")).to_have_count(3)
    expect(page.locator("#rules li").nth(1)).to_contain_text("broken by 1 of the 1 newest parts")
    expect(page.locator("#rules li").nth(2)).to_contain_text(EVIL)
    expect(page.locator("#rules .canvas .box")).to_have_count(1)
    assert page.title() != "hacked"
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("alert")).to_contain_text("the same as they are")
    page.get_by_label("on, rule 1").uncheck()
    page.get_by_label("at least, %, rule 2").fill("half")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("alert")).to_contain_text("rule 2: at least, %: not a number")
    page.get_by_label("at least, %, rule 2").fill("60")
    page.get_by_label("a broken rule").select_option("unsure")
    page.get_by_role("button", name="Preview").click()
    page.wait_for_url("**/changes")
    change = page.locator(".change").first
    expect(change).to_contain_text("4711: anomalous → unsure", timeout=60_000)
    expect(change).to_contain_text("black covers 0.0 to 20.0 % of the picture (off)")
    apply_newest(page)
    edited = ruled.ask("GET", "/v1/stations/station/rules").json
    assert edited["broken"] == "unsure" and [each["off"] for each in edited["checks"]] == [True, False, True]
    assert edited["checks"][1]["least"] == 0.6 and edited["checks"][0]["most"] == 0.2
    again = ruled.inspect(grey_png(10, 1)).json
    assert again["outcome"] == "unsure" and again["verdict"]["headline"].startswith("Rule broken: grey at ")
    page.reload()
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator(".change").first).to_have_attribute("data-state", "rolled back")
    assert ruled.inspect(grey_png(10, 2)).json["outcome"] == "anomalous"
    actions = [line["action"] for line in ruled.ask("GET", "/v1/stations/station/audit").json]
    assert actions[:1] == ["rolled back"] and "live" in actions and "preparing" in actions
    assert [line for line in complaints if "status of 4" not in line and "Status Error Code 4" not in line] == []
    context.close()


def test_a_preview_is_a_table(page: Page, served: Served) -> None:
    for seed in range(3):
        served.inspect(grey_png(245, seed), part='=HYPERLINK("http://evil")')
    page.goto("/stations/station/history")
    page.get_by_label("choose inspection 3").check()
    page.get_by_label("preview on the newest").select_option("1000 kept pictures")
    page.get_by_role("button", name="Preview").click()
    page.wait_for_url("**/changes")
    change = page.locator(".change").first
    expect(change).to_have_attribute("data-state", "preview", timeout=60_000)
    expect(change).to_contain_text("2 verdicts would change")
    with page.expect_download() as waiting:
        change.get_by_role("link", name="CSV").click()
    assert waiting.value.suggested_filename == "station change 1.csv"
    rows = list(csv.DictReader(io.StringIO(waiting.value.path().read_text("utf-8-sig"))))
    assert [(row["id"], row["before"], row["after"]) for row in rows] == [(n, "anomalous", "good") for n in "21"]
    assert all(float(row["score before"]) > 0.5 > float(row["score after"]) for row in rows)
    book = openpyxl.load_workbook(io.BytesIO(served.ask("GET", "/stations/station/changes/1/table.xlsx").body))
    assert book["preview"]["B2"].value == '\'=HYPERLINK("http://evil")' and book["preview"].max_row == 3


def test_the_whole_page_by_keyboard(page: Page, served: Served) -> None:
    served.inspect(grey_png(250), part="4711")
    page.goto("/stations/station")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.goto("/stations/station")
    names = []
    for _ in range(60):
        page.keyboard.press("Tab")
        # Each stop has a name to read out, and an outline to see.
        name, outline = page.evaluate(NAME_AND_OUTLINE)
        if name == "document":
            break
        assert name and outline, (names, name)
        names.append(name)
    order = ("LAD-Reasoner", "Inspect", "History", "Limit", "drop or choose", "part number", "good after all", "Save")
    places = [next(index for index, name in enumerate(names) if start in name) for start in order]
    assert places == sorted(places), names
    page.keyboard.press("g")
    expect(page.get_by_label("good after all")).to_be_checked()
    page.keyboard.press("Escape")  # takes it back: the keys count again
    page.keyboard.press("m")
    expect(page.get_by_label("missed a defect")).to_be_checked()
    page.keyboard.press("Escape")
    page.get_by_label("keys").uncheck()
    page.keyboard.press("g")
    expect(page.get_by_label("good after all")).not_to_be_checked()


# What has the focus: the name that is read out, and whether it has an outline.
NAME_AND_OUTLINE = """() => {
    const element = document.activeElement;
    if (!element || element === document.body) return ["document", true];
    const label = [...(element.labels ?? [])].map((each) => each.textContent).join(" ");
    const name = element.getAttribute("aria-label") || label || element.textContent;
    const style = getComputedStyle(element);
    return [name.trim(), style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0];
}"""


def test_the_camera_takes_a_picture(page: Page, served: Served) -> None:
    page.context.grant_permissions(["camera"])
    page.get_by_label("part number").fill("4711")
    page.get_by_role("button", name="Camera").click()
    expect(page.locator("#video")).to_be_visible()
    expect(page.locator("#video")).not_to_have_js_property("videoWidth", 0)  # a polled script would need unsafe-eval
    expect(page.get_by_role("button", name="Take the picture")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#verdict .part")).to_contain_text("4711")
    (kept,) = served.ask("GET", "/v1/stations/station/inspections").json
    assert kept["part"] == "4711" and kept["picture"]


def test_without_a_camera_the_page_says_so(page: Page) -> None:
    page.get_by_role("button", name="Camera").click()
    expect(page.get_by_role("alert")).to_contain_text("the camera cannot be used")


def test_a_file_that_was_edited_is_used_after_a_reload(page: Page, served: Served, tmp_path: Path) -> None:
    """The page said to reload the station, and had nothing to do it with."""
    file = tmp_path / "station" / "station.toml"
    good = file.read_text()
    file.write_text(f"limit = nan\n{good}")
    page.goto("/stations/station")
    reload = page.get_by_role("button", name="Reload")
    reload.click()
    expect(page.locator("#problem")).to_contain_text("limit")
    file.write_text(f"# by hand\n{good}")
    page.goto("/stations/station")
    expect(page.locator("main .note").first).to_contain_text("the station file was edited")
    reload.click()
    expect(reload).to_have_count(0)
    assert served.ask("GET", "/v1/stations/station").json["problem"] == ""
    assert served.ask("GET", "/v1/stations/station/audit").json[0]["detail"]["why"] == "reload"


@contextmanager
def serving_an_operator(folder: Path) -> Iterator[tuple[Served, str]]:
    """A station with a key file, and the key of an operator."""
    grey_station(folder, judge="helpers.stations:Grey")
    key = add_key(folder / "keys.toml", "line 3", "operator")
    app = create_page_app(Runtime([folder / "station"]), keys=Keys.read(folder / "keys.toml"))
    with serving_here(app, folder / "log") as served:
        yield served, key


def test_a_key_is_given_once(browser: Browser, tmp_path: Path) -> None:
    with serving_an_operator(tmp_path) as (served, key):
        assert served.ask("GET", "/stations/station").status == 401
        context = new_context(browser, served)
        page = context.new_page()
        page.goto("/stations/station")
        page.get_by_label("Key").fill("lad_wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("not valid")
        page.get_by_label("Key").fill(key)
        page.get_by_role("button", name="Log in").click()
        inspect(page, grey_png(101), "4711")
        expect(page.get_by_text("line 3, operator")).to_be_visible()
        expect(page.get_by_role("button", name="Preview")).to_have_count(0)
        (cookie,) = context.cookies()
        assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and cookie["value"] == key
        refused = {"changes": {"target": "limit"}, "limit": {"limit": "0.1", "base": "1"}, "reload": {}}
        for path, form in refused.items():
            assert page.request.post(f"/stations/station/{path}", form=form).status == 403
        strange = {"Origin": "http://evil", "Content-Type": "application/x-www-form-urlencoded"}
        assert served.ask("POST", "/login", f"key={key}".encode(), headers=strange).status == 403
        for scheme in ("http", "https"):  # https: behind a proxy with TLS
            headers = {"Origin": f"{scheme}://127.0.0.1:{served.port}"}
            answer = served.ask("POST", "/login", f"key={key}".encode(), headers=headers)
            assert answer.status == 303
            assert ("Secure" in answer.headers["set-cookie"].split("; ")) == (scheme == "https")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Key")).to_be_visible()
        assert context.cookies() == []
        context.close()


def test_after_the_login_a_person_is_where_they_wanted_to_go(browser: Browser, tmp_path: Path) -> None:
    with serving_an_operator(tmp_path) as (served, key):
        context = new_context(browser, served)
        page = context.new_page()
        page.goto("/stations/station/history?outcome=good&part=47%2F11")
        for given in ("lad_wrong", key):
            page.get_by_label("Key").fill(given)
            page.get_by_role("button", name="Log in").click()
        expect(page.get_by_label("part number")).to_have_value("47/11")
        expect(page.get_by_label("outcome")).to_have_value("good")
        context.close()
        asked = {"Accept": "text/html"}
        assert served.ask("GET", "/", headers=asked).headers["location"] == "/login"
        part = served.ask("GET", "/stations/station/inspections/1/verdict", headers=asked | {"HX-Request": "true"})
        assert part.headers["location"] == "/login"


@pytest.mark.parametrize(
    "address",
    [
        "//evil",
        "/\\evil",
        "/\t/evil",
        "\\\\evil",
        "https://evil",
        "javascript:alert(1)",
        "/a\r\nX: y",
        "evil",
        "",
        "/é",
    ],
)
def test_the_login_leads_to_no_other_server(tmp_path: Path, address: str) -> None:
    with serving_an_operator(tmp_path) as (served, key):
        answer = served.ask("POST", f"/login?{urlencode({'next': address})}", f"key={key}".encode())
        assert (answer.status, answer.headers["location"]) == (303, "/")
        asked = served.ask("GET", "//evil/x", headers={"Accept": "text/html"}).headers["location"]
        assert served.ask("POST", asked, f"key={key}".encode()).headers["location"] == "/"


def test_numbers_of_boxes_lie_over_all_frames(browser: Browser, tmp_path: Path) -> None:
    """The frame of a later rule crossed the number of an earlier one."""
    folder, station = grey_station(tmp_path, judge="helpers.stations:Grey", max_false_alarms=None)
    first = GREY.model_copy(update={"box": (8, 8, 20, 20)})
    crossing = GREY.model_copy(update={"box": (9, 4, 20, 20)})
    sheet = RuleSheet(broken="note", checks=(first, BLACK, crossing))
    station.model_copy(update={"rules": sheet}).save(folder)
    with serving_here(create_page_app(Runtime([folder])), tmp_path / "log") as served:
        context = new_context(browser, served)
        page = context.new_page()
        page.goto("/stations/station/rules")
        drawn = page.locator(".canvas g").evaluate_all(
            "all => all.map((each) => each.textContent || each.getAttribute('class'))"
        )
        assert drawn == ["box", "box", "1", "3"]
        context.close()


def test_history_leads_back_to_newer_pages(browser: Browser, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lad_reasoner.service.page.ROWS", 2)
    for number in range(1, 6):
        served.inspect(grey_png(101, number), part="odd" if number % 2 else "even")
    context = new_context(browser, served)
    page = context.new_page()
    page.goto("/stations/station/history")
    older, newer = page.get_by_role("link", name="older"), page.get_by_role("link", name="newer")

    def shown() -> list[str]:
        return page.locator("tbody td:nth-child(2)").all_inner_texts()

    assert (shown(), newer.count()) == (["5", "4"], 0)
    older.click()
    assert shown() == ["3", "2"]
    older.click()
    assert (shown(), older.count()) == (["1"], 0)
    newer.click()
    assert shown() == ["3", "2"]
    newer.click()
    assert shown() == ["5", "4"]
    page.goto("/stations/station/history?part=odd")
    older.click()
    assert shown() == ["1"]
    newer.click()
    assert shown() == ["5", "3"]
    context.close()


def test_a_key_that_is_not_valid_any_more_takes_nothing_that_was_written(browser: Browser, tmp_path: Path) -> None:
    """The page told a person of the header that programs send."""
    with serving_an_operator(tmp_path) as (served, key):
        context = new_context(browser, served)
        cookie: Any = {"name": "lad_key", "value": key, "url": f"http://127.0.0.1:{served.port}"}
        context.add_cookies([cookie])
        page = context.new_page()
        page.goto("/stations/station")
        inspect(page, grey_png(101), "4711")
        context.clear_cookies()
        page.get_by_label("missed a defect").check()
        page.get_by_label("note").fill("a scratch")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert")).to_contain_text("not valid any more; log in in another tab")
        context.add_cookies([cookie])
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#verdict .note")).to_contain_text("a scratch")
        context.close()


def test_an_address_without_a_page_is_a_page_with_a_way_back(page: Page, served: Served) -> None:
    """A person saw the JSON that programs get."""
    for path in ("/stations/gone", "/stations/station/inspections/99", "/stations/station/history?before=x", "/gone"):
        answer = page.goto(path)
        assert answer and answer.status in (404, 422)
        expect(page.get_by_role("heading", level=1)).to_have_text("This page cannot be shown")
        expect(page.locator("main .problem")).not_to_be_empty()
        expect(page.get_by_role("link", name="To the stations")).to_be_visible()
        assert axe_faults(page) == []
    assert "error" in served.ask("GET", "/stations/gone").json
    browsing = {"Accept": "text/html"}
    assert "error" in served.ask("GET", "/v1/stations/gone", headers=browsing).json


def test_an_open_page_does_not_hold_the_shutdown_up(browser: Browser, tmp_path: Path) -> None:
    grey_station(tmp_path, judge="helpers.stations:Grey")
    with serving_here(create_page_app(Runtime([tmp_path / "station"])), tmp_path / "log") as served:
        context = new_context(browser, served)
        page = context.new_page()
        with page.expect_response("**/events"):
            page.goto("/stations/station")
    # serving_here ends only when the server has; it would wait for 30 s, and its thread for 40.
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(browser: Browser, ruled: Served, scheme: str) -> None:
    ruled.inspect(grey_png(250), part="4711")
    context = browser.new_context(
        base_url=f"http://127.0.0.1:{ruled.port}", bypass_csp=True, color_scheme=scheme, viewport=None
    )
    page = context.new_page()
    change = ruled.ask("POST", "/v1/stations/station/changes", {"target": "references", "inspections": [1]})
    wait_until(lambda: ruled.ask("GET", f"/v1/stations/station/changes/{change.json['id']}").json["state"] == "preview")
    for name in ("", "/history", "/inspections/1", "/changes", "/limit", "/zones", "/rules", "login"):
        path = f"stations/station{name}" if name != "login" else name
        page.goto(f"/{path}")
        if name == "/zones":
            drag(page, (4, 4), (20, 12))
            page.get_by_label("move and change").check()
        assert axe_faults(page) == [], path
    context.close()


@pytest.mark.parametrize("width", [400, 1920])
def test_nothing_is_wider_than_the_screen_and_prints_keep_pictures(browser: Browser, ruled: Served, width: int) -> None:
    ruled.inspect(grey_png(250), part="4711" * 40)
    context = new_context(browser, ruled)
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 1000})
    for path in ("", "/history", "/inspections/1", "/changes", "/zones", "/rules", "/limit"):
        page.goto(f"/stations/station{path}")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
    page.goto("/stations/station/inspections/1")
    page.emulate_media(media="print")
    expect(page.locator("#verdict svg image").first).to_be_visible()
    expect(page.locator("#verdict img")).to_be_visible()
    expect(page.locator("form.feedback")).to_be_hidden()
    for path, selector in (("history", "tbody tr"), ("limit", ".chart > svg"), ("zones", ".canvas")):
        page.goto(f"/stations/station/{path}")
        expect(page.locator(selector)).to_be_visible()
        expect(page.get_by_role("button")).to_have_count(0)
    page.goto("/stations/station/limit")
    assert page.locator(".key.good").bounding_box()["width"] < 20  # type: ignore[index]
    context.close()


def test_each_outcome_begins_a_line_of_a_phone(browser: Browser, served: Served) -> None:
    """A score stood alone on the next line after the shorter words."""
    for value in (100, 250):
        served.inspect(grey_png(value), part="4711")
    context = new_context(browser, served)
    page = context.new_page()
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto("/stations/station/history")
    expect(page.locator("tbody .outcome")).to_contain_text(["anomalous", "good"])
    for row in page.locator("tbody tr").all():
        part, outcome, score = (row.locator(name).bounding_box() for name in (".part", "td:has(.outcome)", ".number"))
        assert part and outcome and score
        assert outcome["y"] > part["y"]
        assert score["y"] == outcome["y"]
    context.close()


def test_what_was_seen_has_room_on_half_a_screen(browser: Browser, served: Served) -> None:
    """At a zoom of 200 % it stood in a column of four letters."""
    served.inspect(grey_png(250), part="part-4711-of-line-3")
    context = new_context(browser, served)
    page = context.new_page()
    page.set_viewport_size({"width": 650, "height": 450})
    page.goto("/stations/station/history")
    seen = page.locator("tbody .seen").bounding_box()
    assert seen and seen["width"] > 150
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    context.close()


def test_a_name_from_right_to_left_turns_nothing_around_it(page: Page, served: Served) -> None:
    """Of numbers that follow such a name a browser takes the first ones to the name's other side."""
    served.inspect(grey_png(250), part="אבג")
    expect(page.locator("#verdict .part bdi")).to_have_text("אבג")
    expect(page.locator("#recent bdi").first).to_have_text("אבג")
    number = page.locator("#verdict article").get_attribute("data-id")
    said = {"opinion": "good", "note": "חדש", "who": "דנה"}
    served.ask("POST", f"/v1/stations/station/inspections/{number}/feedback", json.dumps(said).encode())
    page.goto(f"/stations/station/inspections/{number}")
    expect(page.locator("#verdict .note bdi")).to_have_text(["חדש", re.compile("דנה")])
    page.goto("/stations/station/history")
    expect(page.locator("tbody .part bdi")).to_have_text("אבג")


class Held:
    """Requests that the page sent and that have no answer yet."""

    def __init__(self, page: Page, pattern: str) -> None:
        self.page, self.pattern = page, pattern
        self.routes: list[Route] = []
        page.route(pattern, lambda route: self.routes.append(route))

    def wait(self) -> Route:
        end = time.monotonic() + 60
        while not self.routes:
            assert time.monotonic() < end
            self.page.wait_for_timeout(20)  # unlike sleep, this lets the browser's messages in
        return self.routes[0]

    def release(self) -> None:
        """All of them, and what comes later is not held."""
        self.wait()
        for route in self.routes:
            route.continue_()
        self.page.unroute(self.pattern)


def drop(page: Page, *files: tuple[str, bytes]) -> None:
    page.evaluate(
        """files => {
            const data = new DataTransfer();
            for (const [name, bytes] of files) data.items.add(new File([new Uint8Array(bytes)], name));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        [[name, list(content)] for name, content in files],
    )


def parts(served: Served) -> list[str]:
    """Of the history, the oldest first."""
    return [each["part"] for each in served.ask("GET", "/v1/stations/station/inspections").json][::-1]


def test_a_second_click_sends_nothing_twice(page: Page, served: Served) -> None:
    page.get_by_label("part number").fill("4711")
    file = {"name": "a.png", "mimeType": "image/png", "buffer": grey_png(250)}
    page.get_by_label("drop or choose a picture").set_input_files([file])
    for path, button in (("inspect", "Inspect"), ("inspections/*/feedback", "Save"), ("changes", "Preview")):
        held = Held(page, f"**/stations/station/{path}")
        if button == "Save":
            page.keyboard.press("g")
        page.get_by_role("button", name=button).click()
        held.wait()
        page.get_by_role("button", name=button).click()
        with page.expect_response(f"**/stations/station/{path}"):
            held.release()
        page.wait_for_timeout(200)
        if button == "Inspect":
            expect(page.locator("#verdict .part")).to_contain_text("4711")
        elif button == "Save":
            expect(page.locator("#verdict .note")).to_have_count(1)
    page.wait_for_url("**/changes")
    expect(page.locator(".change")).to_have_count(1)
    assert parts(served) == ["4711"]
    assert len(served.ask("GET", "/v1/stations/station/inspections/1").json["feedback"]) == 1


def test_what_is_typed_while_a_picture_is_under_way_is_of_the_next_part(page: Page, served: Served) -> None:
    held = Held(page, "**/stations/station/inspect")
    page.get_by_label("part number").fill("one")
    drop(page, ("a.png", grey_png(101)))
    held.wait()
    page.get_by_label("part number").fill("two")
    page.get_by_label("drop or choose a picture").set_input_files(
        [{"name": "b.png", "mimeType": "image/png", "buffer": grey_png(102)}]
    )
    held.release()
    expect(page.locator("#verdict .part")).to_contain_text("one")
    page.get_by_role("button", name="Inspect").click()
    expect(page.locator("#verdict .part")).to_contain_text("two")
    assert parts(served) == ["one", "two"]


@pytest.mark.parametrize("failure", ["offline", "503"])
def test_pictures_that_could_not_be_sent_are_kept(troubled: Page, served: Served, failure: str) -> None:
    page = troubled

    def fail(route: Route) -> None:
        if failure == "offline":
            route.abort()
        else:
            route.fulfill(status=503, body="")

    page.route("**/stations/station/inspect", fail)
    page.get_by_label("part number").fill("4711")
    drop(page, *((f"{name}.png", grey_png(100, seed)) for seed, name in enumerate("abc")))
    said = page.get_by_role("alert")
    why = "the server cannot be reached" if failure == "offline" else "the server answered 503"
    expect(said).to_have_text(f"a.png and 2 more: {why}; press Inspect to send again")
    expect(page.get_by_label("part number")).to_have_value("4711")
    page.unroute("**/stations/station/inspect")
    page.get_by_role("button", name="Inspect").click()
    expect(page.locator("#recent li")).to_have_count(3)
    expect(said).to_be_hidden()
    assert parts(served) == ["4711", "", ""]


def test_what_was_refused_of_many_pictures_stays_said(page: Page, served: Served) -> None:
    drop(page, ("a.png", grey_png(100)), ("no.png", b"no picture"), ("b.png", grey_png(101)), ("nor.png", b"nor this"))
    expect(page.locator("#recent li")).to_have_count(2)
    said = page.get_by_role("alert")
    expect(said).to_contain_text("nor.png: ")
    served.inspect(grey_png(102), part="of the line")
    expect(page.locator("#verdict .part")).to_contain_text("of the line")
    for name in ("no.png: ", "nor.png: ", "not a picture"):
        expect(said).to_contain_text(name)
    inspect(page, grey_png(103), "next")
    expect(said).to_be_hidden()


def test_what_was_not_judged_has_no_score(browser: Browser, tmp_path: Path) -> None:
    """It had one half, as if it lay below the limit; and the reason named the picture twice."""
    folder, station = grey_station(tmp_path, judge="helpers.stations:Grey")
    archive = Archive(folder, station.name)
    invalid = verdict(answer="invalid", anomalous=False, score=0.5, boxes=())
    archive.keep([Seen("4711", "line", "not judged", 1, why="blurred", verdict=invalid, content=grey_png(100))])
    archive.close()
    with serving_here(create_page_app(Runtime([folder])), tmp_path / "log") as served:
        context = new_context(browser, served)
        page = context.new_page()
        for address in ("", "/history", "/inspections/1"):
            page.goto(f"/stations/station{address}")
            expect(page.locator("main")).to_contain_text("4711")
            assert "0.50" not in page.locator("main").inner_text()
        (row,) = csv.DictReader(
            io.StringIO(served.ask("GET", "/stations/station/history.csv").body.decode("utf-8-sig"))
        )
        assert (row["outcome"], row["score"]) == ("not judged", "")
        page.goto("/stations/station")
        drop(page, ("no.png", b"no picture"))
        expect(page.get_by_role("alert")).to_have_text(re.compile("^no.png: not a picture"))
        context.close()


def test_a_late_answer_about_a_change_does_not_bring_its_old_state_back(browser: Browser, tmp_path: Path) -> None:
    HeldGrey.gate.set()
    folder, _ = grey_station(tmp_path, judge="helpers.stations:HeldGrey", max_false_alarms=None)
    with serving_here(create_page_app(Runtime([folder])), tmp_path / "log") as served:
        served.inspect(grey_png(250))
        HeldGrey.gate.clear()
        context = new_context(browser, served)
        page = context.new_page()
        try:
            served.ask("POST", "/v1/stations/station/changes", {"target": "references", "inspections": [1]})
            asking = Held(page, "**/changes/1")
            page.goto("/stations/station/changes")
            late = asking.wait()
        finally:
            HeldGrey.gate.set()
        wait_until(lambda: served.ask("GET", "/v1/stations/station/changes/1").json["state"] == "preview")
        ready = served.ask("GET", "/stations/station/changes/1").body.decode()
        stopping = Held(page, "**/changes/1/discard")
        page.get_by_role("button", name="Stop").click()
        stopping.wait()
        late.fulfill(body=ready, content_type="text/html")
        page.wait_for_timeout(300)
        stopping.release()
        expect(page.locator(".change")).to_have_attribute("data-state", "discarded")
        expect(page.get_by_role("button", name="Apply")).to_have_count(0)
        context.close()


def test_the_line_waits_for_what_was_begun_with_the_mouse_and_goes_on_after_it(page: Page, served: Served) -> None:
    served.inspect(grey_png(250), part="one")
    expect(page.locator("#verdict .part")).to_contain_text("one")
    page.get_by_label("good after all").check()
    page.evaluate("document.activeElement.blur()")  # some browsers give a clicked button no focus
    served.inspect(grey_png(101), part="two")
    behind = page.get_by_text("Newer parts have come")
    expect(behind).to_be_visible()
    expect(page.get_by_label("good after all")).to_be_checked()
    held = Held(page, "**/feedback")
    page.get_by_role("button", name="Save").click()
    held.wait()
    page.evaluate("document.activeElement.blur()")
    served.inspect(grey_png(102), part="three")
    page.wait_for_timeout(300)
    expect(page.locator("#verdict .part")).to_contain_text("one")
    held.release()
    expect(page.locator("#verdict .part")).to_contain_text("three")
    expect(behind).to_be_hidden()
    (said,) = served.ask("GET", "/v1/stations/station/inspections/1").json["feedback"]
    assert said["opinion"] == "good"


def test_a_page_that_hears_nothing_says_so_and_listens_again(troubled: Page, served: Served) -> None:
    page = troubled
    page.route("**/events", lambda route: route.fulfill(status=502, body=""), times=1)
    page.reload()
    said = page.get_by_text("No connection to the server")
    expect(said).to_be_visible()
    served.inspect(grey_png(101), part="meanwhile")
    expect(page.locator("#verdict .part")).to_contain_text("meanwhile")
    expect(said).to_be_hidden()


def test_what_a_browser_brings_back_is_not_taken_for_what_is_in_use(page: Page, served: Served) -> None:
    page.goto("/stations/station/limit")
    page.get_by_label("limit").fill("0.05")
    page.goto("/stations/station/zones")
    page.get_by_label("mm a pixel").fill("0.5")
    page.go_back()
    button = page.get_by_role("button", name="Use this limit")
    moved = page.get_by_label("limit").evaluate("slider => slider.value !== slider.defaultValue")
    expect(button).to_be_enabled(enabled=moved)
    page.go_forward()
    scale = page.get_by_label("mm a pixel").input_value()
    expect(page.get_by_role("button", name="Preview")).to_be_enabled(enabled=scale != "")


def test_a_picture_is_seen_in_its_own_pixels(page: Page, served: Served) -> None:
    served.inspect(grey_png(250, side=1200), part="4711")
    expect(page.locator("#verdict .part")).to_contain_text("4711")
    picture = page.get_by_role("img", name="The part")
    frame = page.get_by_role("group", name="The part")
    whole = picture.bounding_box()
    assert whole is not None and whole["height"] < 700
    assert frame.get_attribute("tabindex") is None

    picture.click(position={"x": whole["width"] / 2 + 50, "y": whole["height"] / 2 + 30})
    box = picture.bounding_box()
    assert box is not None and (round(box["width"]), round(box["height"])) == (1200, 1200)
    level = page.locator("#verdict .zoom")
    expect(level).to_have_text("100 %")
    # What was clicked on lies in the middle, and the reference shows the same place.
    seen = frame.evaluate("e => [e.scrollLeft + e.clientWidth / 2, e.scrollTop + e.clientHeight / 2]")
    scale = 1200 / whole["height"]
    assert seen == pytest.approx([600 + 50 * scale, 600 + 30 * scale], abs=4)
    picture.click()
    expect(level).to_have_text("whole")
    assert picture.bounding_box() == pytest.approx(whole, abs=1)

    page.keyboard.press("+")
    page.keyboard.press("+")
    expect(level).to_have_text("200 %")
    frame.focus()
    before = frame.evaluate("e => e.scrollLeft")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(500)
    assert frame.evaluate("e => e.scrollLeft") > before
    page.keyboard.press("-")
    expect(level).to_have_text("100 %")
    page.get_by_role("button", name="Zoom out").click()
    expect(level).to_have_text("whole")
    expect(page.get_by_role("button", name="Zoom out")).to_be_disabled()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.get_by_label("keys").uncheck()
    page.keyboard.press("+")
    expect(level).to_have_text("whole")


def test_both_pictures_are_enlarged_alike_and_printed_whole(browser: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "large"
    references = tmp_path / "reference.png"
    references.write_bytes(grey_png(100, side=900))
    create_station(folder, [references], judge="helpers.stations:NearestGrey")
    with serving_here(create_page_app(Runtime([folder])), tmp_path / "log") as served:
        wide = Image.open(io.BytesIO(grey_png(250, side=900))).crop((0, 0, 900, 500))
        buffer = io.BytesIO()
        wide.save(buffer, "PNG")
        served.inspect(buffer.getvalue(), part="4711", station="large")
        context = new_context(browser, served)
        page = context.new_page()
        complaints = watch(page)
        page.goto("/stations/large/inspections/1")
        frames = page.locator("#verdict .frame")
        frames.nth(0).click(position={"x": 20, "y": 20})  # both of them at their upper left corner
        page.wait_for_timeout(300)
        assert [frames.nth(number).evaluate("e => [e.scrollLeft, e.scrollTop]") for number in (0, 1)] == [[0, 0]] * 2
        frames.nth(0).click()
        frames.nth(0).click(position={"x": 450, "y": 240})  # the lower right corner of one, which the other has not
        page.wait_for_timeout(300)
        ends = "e => [e.scrollWidth - e.clientWidth - e.scrollLeft, e.scrollHeight - e.clientHeight - e.scrollTop]"
        assert frames.nth(0).evaluate(ends) == pytest.approx([0, 0], abs=2)
        frames.nth(0).click()
        page.get_by_role("button", name="Zoom in").click()
        for number in (0, 1):
            box = frames.nth(number).locator("> *").bounding_box()
            assert box is not None and round(box["width"]) == 900
        middle = frames.nth(0).evaluate("e => e.scrollLeft")
        frames.nth(1).evaluate("e => { e.scrollLeft += 30; }")
        page.wait_for_timeout(300)
        assert frames.nth(0).evaluate("e => e.scrollLeft") == pytest.approx(middle + 30, abs=2)
        page.emulate_media(media="print")
        for number in (0, 1):
            box = frames.nth(number).locator("> *").bounding_box()
            assert box is not None and box["width"] < 700 and box["height"] < 400
        assert complaints == []
        context.close()
