"""Every report is one that all people can use, on any screen and on paper."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from helpers.browser import CHROMIUM, axe_faults, launch
from helpers.runs import picture, prediction, recorded, said, write_run
from helpers.verdicts import verdict
from lad_reasoner.evaluation.comparison import compare_runs
from lad_reasoner.evaluation.run import measure_run
from lad_reasoner.evaluation.thumbnails import THUMBNAILS, save_map, save_thumbnail
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.records import Box, Failure, Prediction
from lad_reasoner.report.evaluation import write_evaluation_page
from lad_reasoner.report.gallery import write_gallery_page
from lad_reasoner.report.inspection import inspection_row, write_inspection_page
from lad_reasoner.runner import Judged

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

BOX = Box(x=500, y=20, width=128, height=96, strength=1.5)
HEAT = np.linspace(0, 2, 96 * 72, dtype=np.float32).reshape(72, 96)
LONG = "a_name_without_a_blank_" * 6
TEXT = "Region 1, upper right: the query is light grey where the reference is dark green. " * 4


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of an inspection, of a run, and of a comparison; each has maps, notes, failures and long texts."""
    folder = tmp_path_factory.mktemp("reports")
    lines = _predictions()
    pages = {"inspection": _write_inspection(folder / "inspection")}
    for name in ("first", "second"):
        write_run(folder / name, lines, model=f"{name}-{LONG}", notes=("a note",))
        for line in lines:
            for shown in (line.pair.query, *line.pair.references):
                save_thumbnail(folder / name / THUMBNAILS, picture(shown))
        save_map(folder / name / THUMBNAILS, lines[0].pair.query, HEAT)
    run = recorded(lines, pairs=9, notes=("a note",))
    pages["evaluation"] = write_evaluation_page(folder / "first", run, measure_run(lines, resamples=20))
    pages["gallery"] = write_gallery_page(folder, compare_runs([folder / "first", folder / "second"], resamples=20))
    return pages


def _predictions() -> list[Prediction]:
    lines = [
        said(prediction(f"{LONG}.png", True, "yes", 0.9, defect="bent", category="pins"), reasoning=TEXT, boxes=(BOX,)),
        said(prediction("b.png", True, "no", 0.1, category="pins"), reasoning="all there", boxes=(BOX,)),
        prediction("c.png", False, "no", 0.2, category="bags"),
        prediction("d.png", False, "invalid", category="bags").model_copy(update={"error": "d.png: the file is empty"}),
    ]
    return [line.model_copy(update={"size": (640, 480)}) for line in lines]


def _write_inspection(folder: Path) -> Path:
    rows = []
    for name, answer, score in ((LONG, "yes", 0.9), ("good", "no", 0.2)):
        made = verdict(
            query=f"{name}.png", answer=answer, anomalous=answer == "yes", score=score, reasoning=TEXT, boxes=(BOX,)
        ).model_copy(update={"headline": "Changed at upper right.", "details": TEXT})
        judged = Judged(made, PicturePair((picture("r.png"),), picture("q.png")), Judgement(answer, heat=HEAT))
        rows.append(inspection_row(judged, kind="logical", truth="a bolt is missing"))
    rows.append(inspection_row(Failure(query="empty.png", error="empty.png: the file is empty")))
    return write_inspection_page(folder, rows, [picture("r.png")], title="Inspection", notes=["a note"])


def opened(browser: Browser, report: Path, scheme: str = "light", width: int = 1300) -> Page:
    context = browser.new_context(
        color_scheme=scheme,  # type: ignore[arg-type]
        viewport={"width": width, "height": 900},
    )
    page = context.new_page()
    page.goto(report.as_uri())
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["inspection", "evaluation", "gallery"])
def test_axe_finds_no_fault(browser: Browser, reports: dict[str, Path], name: str, scheme: str) -> None:
    page = opened(browser, reports[name], scheme)
    assert axe_faults(page) == []
    page.context.close()


@pytest.mark.parametrize("width", [400, 1300, 1920])
@pytest.mark.parametrize("name", ["inspection", "evaluation", "gallery"])
def test_nothing_is_wider_than_the_screen(browser: Browser, reports: dict[str, Path], name: str, width: int) -> None:
    page = opened(browser, reports[name], width=width)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    for marked in page.locator(".marked").all():
        place = marked.bounding_box()
        assert place and place["width"] / place["height"] == pytest.approx(4 / 3, rel=0.03)
        assert place["width"] >= 90
    page.context.close()


@pytest.mark.parametrize("name", ["inspection", "evaluation", "gallery"])
def test_on_paper_pictures_stay_and_the_filter_goes(browser: Browser, reports: dict[str, Path], name: str) -> None:
    page = opened(browser, reports[name], "dark", width=794)  # A4 at 96 dots an inch
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator(".marked").first.is_visible()
    assert page.locator("footer").is_visible()
    assert page.locator(".filter").count() == 0 or page.locator(".filter").is_hidden()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.context.close()
