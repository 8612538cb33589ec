"""The report of an evaluation as a browser shows it: self-contained, filtered, and what a model wrote stays text."""

import re
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from helpers.browser import CHROMIUM, EVIL, launch, watch
from helpers.runs import from_matrix, picture, prediction, recorded, said
from lad_reasoner.evaluation.run import Recorded, measure_run
from lad_reasoner.evaluation.thumbnails import SIDE, THUMBNAILS, read_thumbnail, save_map, save_thumbnail
from lad_reasoner.records import Box
from lad_reasoner.report.evaluation import render_evaluation, write_evaluation_page
from lad_reasoner.report.rows import remarks
from lad_reasoner.version import __version__


def render(folder: Path, run: Recorded) -> str:
    return render_evaluation(folder, run, measure_run(run.predictions, resamples=100))


def test_figures_trivial_rows_and_pairs_are_there(tmp_path: Path) -> None:
    run = recorded(from_matrix("pins", 5, 2, 1, 6) + from_matrix("bags", 3, 3, 2, 2))
    html = render(tmp_path, run)
    for row in ("pooled over images", "mean over classes", "pins", "bags", "always-yes, pooled", "always-no, mean"):
        assert f"<td>{row}</td>" in html, row
    assert "66.7<small>[" in html  # 16 of 24 right
    assert html.count('class="wrong"') == 8
    assert html.count('class="right"') == 16
    assert "a &lt;model&gt; on folder" in html
    assert "Explanations" not in html
    assert not re.findall(r"""(?:src|href)=["'](?!data:)|url\((?!data:)|https?://""", html)


def test_explanations_stand_where_something_was_said(tmp_path: Path) -> None:
    facts = {"items": [{"what": "nut"}], "fills": []}
    line = said(prediction("q.png", False, "no"), reasoning="Reference: nut x1. Query: nut x2. Everything is in order.")
    html = render(tmp_path, recorded([line.model_copy(update={"facts": (facts, facts)})]))
    assert "<td>claims of all sorts that are true</td><td>1 of 2</td><td>50.0 %" in html
    assert "<td>facts of all sorts that are truly claimed</td><td>1 of 2</td><td>50.0 %" in html
    assert "<td>answer contradicts the reasoning</td><td>of 1 that conclude</td><td>0.0 %" in html
    assert "1 of 2 claims true" in html


def test_map_and_boxes_of_a_judge_that_makes_them(tmp_path: Path) -> None:
    box = Box(x=64, y=48, width=128, height=96, strength=1.5)
    line = said(prediction("a.png", True, "yes", 0.9), boxes=(box,))
    html = render(tmp_path, recorded([line]))
    assert "Difference" not in html  # a run from before its lines had a size
    sized = line.model_copy(update={"size": (640, 480)})
    save_map(tmp_path / THUMBNAILS, "a.png", np.full((240, 320), 2, np.float32))
    html = render(tmp_path, recorded([sized, prediction("b.png", False, "no", 0.1)]))
    assert "<th>Difference</th>" in html
    assert html.count('class="pic marked"') == 1
    assert 'style="left:10.0%;top:10.0%;width:20.0%;height:20.0%"' in html
    (kept,) = (tmp_path / THUMBNAILS).glob("*.png")
    with Image.open(kept) as image:
        assert image.size == (96, 72)
        assert image.getpixel((0, 0)) == (255, 0, 0, 191)  # twice the limit: the map is full


def test_command_version_date_and_limit_stand_on_the_page(tmp_path: Path) -> None:
    run = recorded([prediction("a.png", True, "yes")], limit=0.3, command="lad-reasoner eval --out 'my run'")
    stamp = f"LAD-Reasoner {__version__} · {date.today()} · limit of the score 0.3 · lad-reasoner eval --out"
    assert stamp in render(tmp_path, run)


def test_the_name_of_a_query_that_failed_stands_once_in_its_row(tmp_path: Path) -> None:
    failed = said(prediction("a.png", True, "invalid")).model_copy(update={"error": "set/a.png: the file is empty"})
    assert '<div class="said">the file is empty</div>' in render(tmp_path, recorded([failed]))


def test_remarks_say_what_is_missing() -> None:
    failed = said(prediction("a.png", True, "invalid")).model_copy(update={"error": "a.png: the file is empty"})
    lines = [failed, prediction("b.png", True, "invalid"), prediction("c.png", False, "no")]
    run = recorded(lines, pairs=9, asked=3, notes=("from the benchmark",))
    assert remarks(run, measure_run(lines, resamples=0)) == [
        "from the benchmark",
        "3 of 9 pairs are judged so far; the metrics cover these pairs only",
        "1 query could not be judged and counts as wrong: a.png: the file is empty",
        "1 response has no valid answer and counts as wrong",
    ]


def test_a_reason_of_many_failures_is_told_once() -> None:
    refused = said(prediction("a.png", True, "invalid")).model_copy(update={"error": "status 400: policy"})
    lines = [refused.model_copy(update={"pair": prediction(f"{i}.png", True, "no").pair}) for i in range(5)]
    own = prediction("x.png", True, "invalid").model_copy(update={"error": "x.png: the file is empty"})
    run = recorded([*lines, own, prediction("y.png", False, "no")])
    told = "6 queries could not be judged and count as wrong: 5 x status 400: policy; x.png: the file is empty"
    assert told in remarks(run, measure_run(run.predictions, resamples=0))


def test_answers_without_a_score_are_told() -> None:
    lines = [prediction(f"{i}.png", i > 1, "yes", scored=i > 0) for i in range(4)]
    run = recorded([*lines, prediction("x.png", True, "invalid", scored=False)])
    told = "1 of 4 answers has no score: no metrics of scores are given"
    assert told in remarks(run, measure_run(run.predictions, resamples=0))
    for same in (True, False):
        some = [line.model_copy(update={"scored": same}) for line in lines]
        assert not remarks(recorded(some), measure_run(some, resamples=0))


def test_pairs_stand_in_the_order_in_which_people_count(tmp_path: Path) -> None:
    text = render(tmp_path, recorded([prediction(f"{i}.png", True, "yes") for i in (10, 2, 1)]))
    assert re.findall(r'data-name="(\d+)\.png"', text) == ["1", "2", "10"]


def test_a_run_that_did_not_end_is_told_from_one_with_a_limit() -> None:
    lines = [prediction("a.png", True, "yes"), prediction("b.png", False, "no")]
    limited = "2 of 9 pairs are judged so far; the metrics cover these pairs only"
    metrics = measure_run(lines, resamples=0)
    for asked in (0, 2):  # 0: a folder of an older version, which does not know
        assert remarks(recorded(lines, pairs=9, asked=asked), metrics) == [limited]
    interrupted = f"the run was interrupted or is still at work: {limited}"
    assert remarks(recorded(lines, pairs=9, asked=4), metrics) == [interrupted]


def test_thumbnails_are_small_and_stay_in_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run" / THUMBNAILS
    save_thumbnail(folder, picture("../../evil.png"))
    (kept,) = (tmp_path / "run").rglob("*.jpg")
    assert kept.parent == folder
    with Image.open(kept) as image:
        assert image.size == (SIDE, SIDE * 3 // 4)
    first = kept.read_bytes()
    save_thumbnail(folder, picture("../../evil.png", 100))
    assert kept.read_bytes() == first  # there is one of this name
    assert read_thumbnail(folder, "../../evil.png").startswith("data:image/jpeg;base64,")
    assert read_thumbnail(folder, "other.png") == ""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; `make test` installs it where allowed")
def test_in_a_browser(tmp_path: Path) -> None:
    lines = [
        said(prediction("a.png", True, "yes", 0.9, defect=EVIL), reasoning=EVIL),
        said(prediction("b.png", True, "no", 0.1), reasoning="all there"),
        prediction(f"c{EVIL}.png", False, "invalid").model_copy(update={"error": EVIL}),
    ]
    for name in ("a.png", "b.png", "r.png"):
        save_thumbnail(tmp_path / THUMBNAILS, picture(name))
    run = recorded(lines, model=EVIL, notes=(EVIL,))
    page_file = write_evaluation_page(tmp_path, run, measure_run(lines, resamples=50))
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_context(offline=True).new_page()
        complaints = watch(page)
        page.on("request", lambda request: complaints.append(request.url) if "data:" not in request.url else None)
        page.goto(page_file.as_uri())
        page.wait_for_timeout(200)
        assert page.title() == f"{EVIL} on folder"
        assert page.locator("#pairs tbody tr").count() == 3
        assert page.locator("script").count() == 1
        assert page.inner_text("#pairs tbody tr:first-child .said") == EVIL
        assert "not judged" in page.inner_text("#pairs tbody tr:last-child")
        shown = (
            "pictures => pictures.map(one => getComputedStyle(one).backgroundImage.startsWith('url(\"data:image/jpeg'))"
        )
        assert page.locator("#pairs tbody tr:nth-child(-n+2) .pic").evaluate_all(shown) == [True] * 4
        page.check("#only")
        visible = "rows => rows.map(row => row.dataset.name)"
        assert page.locator("#pairs tbody tr:not([hidden])").evaluate_all(visible) == ["b.png", f"c{EVIL}.png"]
        page.fill("#search", "ALL THERE")
        assert page.inner_text("#shown") == "1 of 3"
        page.set_viewport_size({"width": 400, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        tables = page.get_by_role("region", name="Verdicts")  # scrolled by keyboard; the names of the rows stay
        assert tables.get_attribute("tabindex") == "0"
        tables.evaluate("table => table.scrollLeft = 300")
        first = tables.locator("tbody td").first.bounding_box()
        assert first
        assert first["x"] == pytest.approx(16, abs=1)
        assert page.locator("#pairs tbody tr:visible").count() == 1
        browser.close()
    assert complaints == [page_file.as_uri()]
