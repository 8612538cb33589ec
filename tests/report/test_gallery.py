"""The gallery: pairs chosen without looking at the outcome, and a page on which what a model wrote stays text."""

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from helpers.browser import CHROMIUM, EVIL, launch, watch
from helpers.runs import picture, prediction, said, write_run
from lad_reasoner.evaluation.comparison import RunComparison, compare_runs
from lad_reasoner.evaluation.thumbnails import THUMBNAILS, save_map, save_thumbnail
from lad_reasoner.records import Box, Pair
from lad_reasoner.report.gallery import choose_examples, render_gallery, write_gallery_page


def lines(answer: str, text: str) -> list:  # type: ignore[type-arg]
    return [
        said(prediction(f"{category}/{at}.png", bad, answer, 0.7, category=category), reasoning=text, answer=answer)
        for category in ("bags", "pins")
        for at, bad in enumerate((True, True, True, False))
    ]


@pytest.fixture
def comparison(tmp_path: Path) -> RunComparison:
    first = write_run(tmp_path / "a", lines("yes", EVIL), model=EVIL, notes=(EVIL,))
    broken = lines("no", "fine")
    broken[0] = said(broken[0], answer="invalid").model_copy(update={"error": "bags/0.png: the file is empty"})
    second = write_run(tmp_path / "b", broken, model="b")
    for name in ("bags/0.png", "r.png"):
        save_thumbnail(second / THUMBNAILS, picture(name))
    return compare_runs([first, second], resamples=50)


def test_classes_and_kinds_take_turns_whatever_came_out(comparison: RunComparison) -> None:
    chosen = [example.pair.query for example in choose_examples(comparison, 5)]
    assert chosen == ["bags/0.png", "bags/1.png", "bags/3.png", "pins/0.png", "pins/3.png"]
    assert len(choose_examples(comparison, 99)) == 8


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ("/mnt/set/bags/0.png: the file is empty", "the file is empty"),
        ("/mnt/set/train/bags/0.png: the file is empty", "/mnt/set/train/bags/0.png: the file is empty"),
        ("not enough memory: give --max-pixels", "not enough memory: give --max-pixels"),
    ],
)
def test_the_name_of_the_query_stands_once_and_that_of_a_reference_stays(tmp_path: Path, error: str, text: str) -> None:
    pair = Pair(query="bags/0.png", references=("train/bags/0.png",), label="yes")
    failed = said(prediction("bags/0.png", True, "yes"), answer="invalid")
    failed = failed.model_copy(update={"pair": pair, "error": error})
    runs = [write_run(tmp_path / name, [failed], model=name) for name in ("a", "b")]
    (example,) = choose_examples(compare_runs(runs, resamples=50), 1)
    assert example.answers[0].text == text


def test_each_opinion_is_marked(comparison: RunComparison) -> None:
    example = choose_examples(comparison, 1)[0]
    one, other = example.answers
    assert (one.system, one.answer, one.score, one.right, one.text) == (EVIL, "anomalous", "0.70", True, EVIL)
    assert (other.answer, other.score, other.right, other.text) == (
        "not judged",
        "",
        False,
        "the file is empty",
    )
    assert example.truth == "anomalous · logical"
    assert (
        render_gallery(comparison).count("bags/0.png") == 2
    )  # above the answers, and for those who only hear the page
    assert example.query.startswith("data:image/jpeg;base64,")  # only the second run has kept it
    html = render_gallery(comparison)
    assert html.count('class="opinion right"') == 6 + 2
    assert html.count('class="opinion wrong"') == 2 + 6
    assert not re.findall(r"""(?:src|href)=["'](?!data:)|url\((?!data:)|<script""", html)


def test_map_and_boxes_stand_with_the_system_that_made_them(tmp_path: Path) -> None:
    box = Box(x=64, y=48, width=128, height=96, strength=1.5)
    marked = [said(line, boxes=(box,)).model_copy(update={"size": (640, 480)}) for line in lines("yes", "a hole")]
    first = write_run(tmp_path / "a", marked, limit=0.4)
    second = write_run(tmp_path / "b", lines("no", "fine"), model="b", limit=0.4)
    save_map(first / THUMBNAILS, "bags/0.png", np.full((24, 32), 2, np.float32))
    comparison = compare_runs([first, second], resamples=0)
    one, other = choose_examples(comparison, 1)[0].answers
    assert one.marks.heat.startswith("data:image/png;base64,")
    assert (one.marks.boxes[0]["left"], one.marks.boxes[0]["width"], one.marks.aspect) == (10, 20, 1.3333)
    assert not other.marks
    html = render_gallery(comparison)
    assert html.count("with 1 numbered box") == 8
    assert "limit of the score 0.4" in html
    third = write_run(tmp_path / "c", lines("no", "fine"), model="c")
    html = render_gallery(compare_runs([first, third], resamples=0))
    assert "limits of the score: 0.4 of" in html
    assert "anomalous from a score" not in html


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; `make test` installs it where allowed")
def test_in_a_browser(comparison: RunComparison, tmp_path: Path) -> None:
    file = write_gallery_page(tmp_path, comparison)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_context(offline=True).new_page()
        complaints = watch(page)
        page.on("request", lambda request: complaints.append(request.url) if "data:" not in request.url else None)
        page.goto(file.as_uri())
        page.wait_for_timeout(200)
        assert page.title() == f"{EVIL} · b"
        assert page.locator("script").count() == 0
        assert page.locator(".example").count() == 8
        assert page.locator(".said").first.text_content() == EVIL
        assert page.locator(".system").first.text_content() == EVIL
        assert page.inner_text(".opinion.right .verdict >> nth=0") == "✓ anomalous · 0.70"
        shown = "all => all.map(one => getComputedStyle(one).backgroundImage.startsWith('url(\"data:image/jpeg'))"
        assert page.locator(".pic").evaluate_all(shown)[:4] == [True, True, True, False]
        page.set_viewport_size({"width": 400, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        browser.close()
    assert complaints == [file.as_uri()]


@pytest.mark.parametrize("length", [0, 40, 300])
def test_a_damaged_thumbnail_is_named_once_with_the_mend(
    comparison: RunComparison, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The pages showed a broken picture, and the plots ended with Pillow's words alone; then nothing was compared."""
    whole = render_gallery(comparison)
    kept = next((comparison.runs["b"][0] / THUMBNAILS).glob("*.jpg"))
    kept.write_bytes(kept.read_bytes()[:length])
    shown = render_gallery(comparison)
    assert shown != whole
    choose_examples(comparison, 10)  # for the plot
    assert caplog.messages == [f"{kept}: the picture is damaged, and pages show none there; remove it"]
    kept.unlink()
    assert render_gallery(comparison) == shown
