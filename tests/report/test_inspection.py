"""The report as a browser shows it: escaped, self-contained, sortable, quick with a thousand rows."""

import re
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from helpers.browser import CHROMIUM, EVIL, launch, watch
from helpers.verdicts import verdict
from lad_reasoner.files.pictures import Picture
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.records import Box, Failure, Verdict
from lad_reasoner.report.inspection import inspection_row as row
from lad_reasoner.report.inspection import render_inspection, write_inspection_page
from lad_reasoner.runner import Judged


def picture(name: str = "p.png", colour: tuple[int, int, int] = (40, 90, 160)) -> Picture:
    return Picture(name, Image.new("RGB", (640, 480), colour), 640, 480)


def judged(verdict: Verdict, query: Picture, heat: NDArray[np.float32] | None) -> Judged:
    return Judged(verdict, PicturePair((picture(),), query), Judgement(verdict.answer, heat=heat))


def examination(query: str = "q.png", score: float = 0.8, reasoning: str = "a hole") -> Judged:
    answer = "yes" if score >= 0.5 else "no"
    box = Box(x=64, y=48, width=128, height=96, strength=1.5)
    heat = np.linspace(0, 2, 96 * 72, dtype=np.float32).reshape(72, 96)
    record = verdict(
        query=query, score=score, answer=answer, anomalous=answer == "yes", reasoning=reasoning, boxes=(box,)
    )
    return judged(record, picture(query), heat)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; `make test` installs Debian's where that is allowed")
    with sync_playwright() as playwright:
        browser = launch(playwright)
        context = browser.new_context(offline=True, viewport={"width": 1400, "height": 900})
        yield context.new_page()
        browser.close()


def opened(page: Page, tmp_path: Path, rows: list, **kwargs: object) -> list[str]:  # type: ignore[type-arg]
    """Opens the report; returns the list that complaints of the browser go to."""
    complaints = watch(page)
    path = write_inspection_page(tmp_path, rows, [picture("r.png")], title="Run <1>")
    page.goto(path.as_uri())
    return complaints


def names(page: Page) -> list[str]:
    return page.locator("tbody tr:not([hidden])").evaluate_all("rows => rows.map(row => row.dataset.name)")


def test_the_headline_stands_above_the_reasoning() -> None:
    record = examination().verdict.model_copy(update={"headline": "Missing at <centre>: a part."})
    html = render_inspection([row(judged(record, picture(), None))], [picture()], title="t")
    assert '<div class="headline">Missing at &lt;centre&gt;: a part.</div>' in html
    assert 'class="headline"' not in render_inspection([row(examination())], [picture()], title="t")


def test_how_it_was_measured_is_folded_away() -> None:
    record = examination().verdict.model_copy(update={"details": "Shifted by <1> pixel."})
    html = render_inspection([row(judged(record, picture(), None))], [picture()], title="t")
    folded = '<details class="details"><summary>How it was measured</summary><div class="said">'
    assert f"{folded}Shifted by &lt;1&gt; pixel.</div></details>" in html
    assert "How it was measured" not in render_inspection([row(examination())], [picture()], title="t")


def test_the_name_of_a_failed_picture_stands_once() -> None:
    failure = Failure(query="d.png", error="d.png: the file is empty")
    html = render_inspection([row(failure)], [picture()], title="t")
    assert '<div class="said">the file is empty</div>' in html and "d.png: " not in html


@pytest.mark.parametrize(
    ("score", "strength", "lent", "weak"),
    [(0.8, 1.5, "", False), (0.2, 1.5, "", True), (0.8, 0.9, "", True), (0.2, 1.5, "evidence", False)],
)
def test_boxes_of_good_verdicts_are_weak(score: float, strength: float, lent: str, weak: bool) -> None:
    verdict = examination(score=score).verdict
    boxes = tuple(box.model_copy(update={"strength": strength}) for box in verdict.boxes)
    record = verdict.model_copy(update={"boxes": boxes, "boxes_from": lent})
    html = render_inspection([row(judged(record, picture(), None))], [picture()], title="t")
    assert ('<span class="box weak"' in html) == weak
    assert ('<span class="box"' in html) != weak


def test_sorting_and_filtering(page: Page, tmp_path: Path) -> None:
    rows = [row(examination(f"{name}.png", score)) for name, score in (("b", 0.2), ("a", 0.9), ("c", 0.6))]
    rows.append(row(Failure(query="d.png", error="d.png: the file is empty")))
    complaints = opened(page, tmp_path, rows)
    assert page.title() == "Run <1>"
    assert "3 judged, 2 anomalous, 1 not judged" in page.inner_text(".sub")
    assert names(page) == ["b.png", "a.png", "c.png", "d.png"]
    page.click("th button[data-key=score]")
    assert names(page) == ["a.png", "c.png", "b.png", "d.png"]
    page.click("th button[data-key=score]")
    assert names(page) == ["d.png", "b.png", "c.png", "a.png"]
    page.click("th button[data-key=name]")
    assert names(page) == ["a.png", "b.png", "c.png", "d.png"]
    page.check("#only")
    assert names(page) == ["a.png", "c.png"]
    page.fill("#search", "C.PNG")
    assert names(page) == ["c.png"]
    assert page.inner_text("#shown") == "1 of 4"
    assert complaints == []


def test_boxes_and_map_lie_on_the_query(page: Page, tmp_path: Path) -> None:
    complaints = opened(page, tmp_path, [row(examination())])
    whole = page.locator("td:nth-child(3) .pic").bounding_box()
    box = page.locator(".box").bounding_box()
    assert whole
    assert box
    assert whole["width"] / whole["height"] == pytest.approx(4 / 3, rel=0.02)
    assert (box["x"] - whole["x"]) / whole["width"] == pytest.approx(0.1, abs=0.02)
    assert box["height"] / whole["height"] == pytest.approx(0.2, abs=0.02)
    loaded = "images => images.every(image => image.complete && image.naturalWidth > 0)"
    assert page.locator("tbody img").evaluate_all(loaded)
    assert page.inner_text(".box") == "1"  # "Region 1" of the reasoning
    assert complaints == []


def test_a_narrow_window_cuts_nothing(page: Page, tmp_path: Path) -> None:
    rows = [
        row(examination(f"a_long_name_{'0' * 60}.png"), truth="bolt missing"),
        row(examination()),
    ]
    opened(page, tmp_path, [*rows, row(Failure(query="d.png", error="d.png: the file is empty"))])
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.click("th button[data-key=score]")
    assert names(page)[-1] == "d.png"
    page.set_viewport_size({"width": 1400, "height": 900})


# x, y, width, height in a picture of 640 x 480; the last fills it, so that its number can only stand inside.
PLACES = [(300, 220, 30, 20), (0, 200, 9, 9), (630, 200, 10, 20), (600, 0, 40, 10), (0, 470, 20, 10), (0, 0, 640, 480)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("width", [400, 1400])
def test_a_number_hides_neither_its_box_nor_itself(
    page: Page, tmp_path: Path, place: tuple[int, int, int, int], width: int
) -> None:
    left, top, wide, high = place
    box = Box(x=left, y=top, width=wide, height=high, strength=1.5)
    record = examination().verdict.model_copy(update={"boxes": (box,)})
    page.set_viewport_size({"width": width, "height": 900})
    opened(page, tmp_path, [row(judged(record, picture(), None))])
    whole, drawn, number = (page.locator(each).bounding_box() for each in ("td:nth-child(3) .pic", ".box", ".box b"))
    page.set_viewport_size({"width": 1400, "height": 900})
    assert whole
    assert drawn
    assert number
    for start, length in (("x", "width"), ("y", "height")):
        assert number[start] >= whole[start] - 3  # type: ignore[literal-required]
        assert number[start] + number[length] <= whole[start] + whole[length] + 3  # type: ignore[literal-required]
    if high < 480:
        assert number["y"] + number["height"] <= drawn["y"] or number["y"] >= drawn["y"] + drawn["height"]


# x, y, width, height in a picture of 384 x 384, of a good nut beside other references.
CROWDED = [
    (232, 48, 60, 116), (248, 208, 92, 56), (40, 128, 76, 52), (96, 224, 28, 40), (84, 192, 20, 16), (52, 228, 24, 24),
    (304, 160, 44, 32), (168, 56, 36, 20),
]  # fmt: skip
CORNER = [(220, 36, 32, 28), (208, 76, 28, 28)]


@pytest.mark.parametrize("places", [CROWDED, CORNER])
@pytest.mark.parametrize("width", [400, 1400])
def test_numbers_do_not_hide_each_other(
    page: Page, tmp_path: Path, places: list[tuple[int, int, int, int]], width: int
) -> None:
    boxes = [Box(x=x, y=y, width=wide, height=high, strength=1.5) for x, y, wide, high in places]
    record = examination().verdict.model_copy(update={"boxes": tuple(boxes)})
    query = Picture("p.png", Image.new("RGB", (384, 384), (40, 90, 160)), 384, 384)
    page.set_viewport_size({"width": width, "height": 900})
    opened(page, tmp_path, [row(judged(record, query, None))])
    numbers = [each.bounding_box() for each in page.locator(".box b").all()]
    page.set_viewport_size({"width": 1400, "height": 900})
    assert len(numbers) == len(places)
    for one, other in combinations(numbers, 2):
        assert one
        assert other
        apart = [
            one[start] + one[length] <= other[start] + 0.5 or other[start] + other[length] <= one[start] + 0.5  # type: ignore[literal-required]
            for start, length in (("x", "width"), ("y", "height"))
        ]
        assert any(apart), (one, other)


def test_no_frame_lies_over_a_number(page: Page, tmp_path: Path) -> None:
    """The frame of a later box crossed the number of an earlier one."""
    boxes = [Box(x=x, y=y, width=220, height=200, strength=1.5) for x, y in ((96, 96), (100, 60), (40, 88))]
    record = examination().verdict.model_copy(update={"boxes": tuple(boxes)})
    query = Picture("p.png", Image.new("RGB", (384, 384), (40, 90, 160)), 384, 384)
    opened(page, tmp_path, [row(judged(record, query, None))])
    on_top = """all => all.map((each) => {
        const { x, y, width, height } = each.getBoundingClientRect();
        return document.elementFromPoint(x + width / 2, y + height / 2) === each;
    })"""
    assert page.locator(".box b").evaluate_all(on_top) == [True] * 3


def test_the_filters_hint_can_be_read_in_the_dark(page: Page, tmp_path: Path) -> None:
    page.emulate_media(color_scheme="dark")
    opened(page, tmp_path, [row(examination())])
    hint, ground = page.eval_on_selector(
        "#search", "field => [getComputedStyle(field, '::placeholder').color, getComputedStyle(field).backgroundColor]"
    )
    page.emulate_media(color_scheme="light")
    assert (hint, ground) == ("rgb(179, 179, 179)", "rgb(22, 24, 27)"), (
        "--quiet on --page, which test_templates.py checks"
    )


def test_boxes_are_numbered_in_the_order_of_the_verdict() -> None:
    html = render_inspection([row(examination())], [picture()], title="t")
    assert re.findall(r'<span class="box"[^>]*left:10.0%;top:10.0%[^>]*><b[^>]*>(\d)</b></span>', html) == ["1"]


def test_a_judge_that_says_not_where_gets_no_map(page: Page, tmp_path: Path) -> None:
    plain = verdict(model="some-model", query="q.png", score=0.9, answer="yes", anomalous=True, boxes=())
    bare = row(judged(plain, picture(), None))
    complaints = opened(page, tmp_path, [bare, row(Failure(query="d.png", error="d.png: the file is empty"))])
    assert page.locator("thead th").all_inner_texts() == ["Reference", "Query", "Verdict"]
    assert page.locator("tbody tr:first-child td").count() == page.locator("tbody tr:last-child td").count() == 3
    opened(page, tmp_path, [row(examination()), bare])
    assert page.locator("thead th").all_inner_texts() == ["Reference", "Query", "Difference", "Verdict"]
    assert page.inner_text("tbody tr:last-child td:nth-child(3)") == "no map from some-model"
    assert page.locator("[aria-label^='difference map']").count() == 1
    boxed = row(judged(examination().verdict, picture(), None))
    opened(page, tmp_path, [boxed])
    assert page.locator(".marked .box").count() == 1
    assert page.locator("tbody img").count() == 0
    assert complaints == []


def test_model_output_is_only_text(page: Page, tmp_path: Path) -> None:
    rows = [
        row(examination(EVIL + ".png", 0.9, EVIL)),
        row(Failure(query=EVIL, error=EVIL)),
        row(examination(), truth=EVIL),
    ]
    opened(page, tmp_path, rows)
    page.wait_for_timeout(200)
    assert page.title() == "Run <1>"
    assert EVIL in page.inner_text("tbody tr:first-child .reasoning")
    assert page.locator("tbody script").count() == 0


@pytest.mark.slow
def test_a_thousand_rows(page: Page, tmp_path: Path) -> None:
    one = [row(examination(f"{i:04}.png", i / 1000)) for i in range(1000)]
    start = time.monotonic()
    opened(page, tmp_path, one)
    page.click("th button[data-key=score]")
    assert names(page)[:2] == ["0999.png", "0998.png"]
    assert time.monotonic() - start < 30
    assert (tmp_path / "report.html").stat().st_size < 20e6


def test_notes_stand_at_the_top_as_text() -> None:
    html = render_inspection([row(examination())], [picture()], title="t", notes=["made for <scenes>", "second"])
    assert html.index("made for &lt;scenes&gt;") < html.index("second") < html.index("<table")
    assert 'class="note"' not in render_inspection([row(examination())], [picture()], title="t")


def test_truth_and_self_containedness() -> None:
    rows = [
        row(examination(), kind="logical", truth="bolt missing"),
        row(examination(), kind="good", truth="good"),
    ]
    html = render_inspection(rows, [picture()], title="t")
    assert [row.right for row in rows] == [True, False]
    assert "1 of 2 verdicts right" in html
    assert "bolt missing" in html
    assert not re.findall(r"""(?:src|href)=["'](?!data:)|url\((?!data:)|https?://""", html)
    assert "Truth" not in render_inspection([row(examination())], [picture()], title="t")


def test_references_of_several_shapes_keep_theirs(page: Page, tmp_path: Path) -> None:
    wide = picture("wide.png")
    tall = Picture("tall.png", Image.new("RGB", (240, 480), (40, 90, 160)), 240, 480)
    path = write_inspection_page(tmp_path, [row(examination())], [wide, tall], title="t")
    page.goto(path.as_uri())
    shapes = page.locator(".references .pic").evaluate_all("all => all.map(one => one.offsetWidth / one.offsetHeight)")
    assert shapes == pytest.approx([640 / 480, 240 / 480], rel=0.03)
