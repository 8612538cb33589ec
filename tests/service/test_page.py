"""The page of the stations, in a real browser."""

import base64
import csv
import io
import json
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

from helpers.browser import AXE, CHROMIUM, EVIL, NO_AXE, axe_faults, launch, watch
from helpers.served import Served, grey_png, serving_here
from helpers.stations import grey_pictures, grey_station
from lad_reasoner.service.keys import Keys, add_key
from lad_reasoner.service.page import create_page_app
from lad_reasoner.service.rule_sheet import AmountCheck, PlaceCheck, RuleSheet, TextCheck
from lad_reasoner.service.runtime import Runtime
from lad_reasoner.service.setup import create_station, set_zones
from lad_reasoner.service.station import Station
from lad_reasoner.version import __version__

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


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


def new_context(browser: Browser, served: Served) -> BrowserContext:
    context = browser.new_context(base_url=f"http://127.0.0.1:{served.port}", viewport={"width": 1300, "height": 900})
    context.set_default_timeout(10_000)
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
        expect(page.locator("footer")).to_contain_text(f"anomalous from a score of {limit:.4g} on")
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


def test_a_key_is_given_once(browser: Browser, tmp_path: Path) -> None:
    grey_station(tmp_path, judge="helpers.stations:Grey")
    key = add_key(tmp_path / "keys.toml", "line 3", "operator")
    app = create_page_app(Runtime([tmp_path / "station"]), keys=Keys.read(tmp_path / "keys.toml"))
    with serving_here(app, tmp_path / "log") as served:
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
        for path, form in (("changes", {"target": "limit"}), ("limit", {"limit": "0.1", "base": "1"})):
            assert page.request.post(f"/stations/station/{path}", form=form).status == 403
        strange = {"Origin": "http://evil", "Content-Type": "application/x-www-form-urlencoded"}
        assert served.ask("POST", "/login", f"key={key}".encode(), headers=strange).status == 403
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Key")).to_be_visible()
        assert context.cookies() == []
        context.close()


def test_an_open_page_does_not_hold_the_shutdown_up(browser: Browser, tmp_path: Path) -> None:
    grey_station(tmp_path, judge="helpers.stations:Grey")
    with serving_here(create_page_app(Runtime([tmp_path / "station"])), tmp_path / "log") as served:
        context = new_context(browser, served)
        page = context.new_page()
        with page.expect_response("**/events"):
            page.goto("/stations/station")
    # serving_here ends only when the server has; it would wait for 30 s, and its thread for 40.
    context.close()


@pytest.mark.skipif(not AXE.is_file(), reason=NO_AXE)
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
