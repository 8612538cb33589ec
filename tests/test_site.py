"""The documentation site is built strictly, has every key, and loads nothing from elsewhere."""

import base64
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Page, sync_playwright
from typer.main import get_command

from helpers.browser import CHROMIUM, axe_faults, launch
from lad_reasoner.cli.app import app
from lad_reasoner.train.grpo import GrpoSettings

ROOT = Path(__file__).parents[1]
SCHEME = "document.body.dataset.mdColorScheme"
# The theme sets the heights of its sidebars after the page has loaded; until then they may scroll.
LAID_OUT = (
    "[...document.querySelectorAll('.md-sidebar__scrollwrap')].every(each => !each.offsetParent || each.style.height)"
)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser.new_page(viewport={"width": 1300, "height": 900})
        browser.close()


@pytest.mark.slow
def test_the_site(site: Path) -> None:
    pages = {path.relative_to(site).as_posix(): path for path in site.rglob("*.html")}
    for name, path in pages.items():
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=\"?(https?:[^\" >]+)", text)
        loaded += re.findall(r"<link[^>]*rel=\"?(?:stylesheet|preconnect)\"?[^>]*href=\"?(https?:[^\" >]+)", text)
        assert not loaded, name
        assert "$\\" not in re.sub(r"<(code|pre).*?</\1>", "", text, flags=re.DOTALL), (
            f"{name}: an equation is not drawn"
        )
        assert not re.findall(r"<a [^>]*>[\w/.-]+\.md</a>", text), f"{name}: a link shows a file's name, not a title"
    equations = re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", pages["training.html"].read_text(encoding="utf-8"))
    assert len(equations) > 10
    assert not any("#ffffff" in base64.b64decode(each).decode() for each in equations), "white paper, black in the dark"
    routes = pages["reference/rest.html"].read_text(encoding="utf-8")
    assert "/v1/inspect" in routes
    assert 'id="inspection"' in routes
    keys = pages["reference/config.html"].read_text(encoding="utf-8")
    assert all(f"<code>{key}</code>" in keys for key in GrpoSettings.model_fields)
    verbs = pages["reference/cli.html"].read_text(encoding="utf-8")
    order = list(dict.fromkeys(re.findall(r'<h2 id="[^"]*">(\w+)', verbs)))
    assert order[:-1] == list(get_command(app).list_commands(None)), "as --help has them"  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_code_is_copied_as_it_stands(site: Path, page: Page) -> None:
    page.goto((site / "howto/harnesses.html").as_uri())
    code = page.locator("pre > code").first
    code.evaluate("each => each.setAttribute('data-md-copying', '')")  # as Material's button does
    assert code.inner_text().splitlines()[:2] == [
        "pip install 'lad-reasoner[inspect]' openai",
        "inspect eval lad_reasoner/miniloco --model openai/NAME -T number=200",
    ]


SPLIT_CODE = """() => [...document.querySelectorAll(".md-content :not(pre) > code")].filter((each) => {
    const words = document.createRange();
    words.selectNodeContents(each);
    const lines = new Set([...words.getClientRects()].map((line) => Math.round(line.top)));
    return !/\\s/.test(each.textContent) && each.textContent.length <= 30 && lines.size > 1;
}).map((each) => each.textContent)"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_short_words_of_code_are_not_broken_at_their_hyphens(site: Path, page: Page) -> None:
    page.set_viewport_size({"width": 400, "height": 900})
    for name in ("changelog", "paper", "inspect", "reference/cli"):
        page.goto((site / f"{name}.html").as_uri())
        assert page.evaluate(SPLIT_CODE) == [], name


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_pages_opened_as_files_are_searched(site: Path, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((site / "howto/judge.html").as_uri())
    page.get_by_placeholder("Search").fill("conformal")
    page.locator(".md-search-result__link").first.click()
    page.wait_for_url("**/station.html*")
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_code_is_shown_whole_and_axe_finds_no_serious_fault(site: Path, page: Page) -> None:
    """Each page is loaded once; in the dark only the colours are others."""
    cut = "[...document.querySelectorAll('pre > code')].filter(each => each.scrollWidth > each.clientWidth + 1)"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        for path in sorted(site.rglob("*.html")):
            page.goto(f"http://127.0.0.1:{server.server_port}/{path.relative_to(site).as_posix()}")
            assert page.evaluate(f"{cut}.map(each => each.textContent)") == [], path.relative_to(site)
            assert page.evaluate(SCHEME) == "default"
            page.wait_for_function(LAID_OUT)
            assert serious_faults(page) == [], path.relative_to(site)
            page.evaluate("document.querySelector('#__palette_1').click()")
            page.evaluate("Promise.all(document.getAnimations().map(each => each.finished))")
            assert page.evaluate(SCHEME) == "slate"
            assert serious_faults(page, ["color-contrast", "link-in-text-block"]) == [], (
                path.relative_to(site),
                "dark",
            )
            page.evaluate("localStorage.clear()")  # the next page is light again
        server.shutdown()


def serious_faults(page: Page, rules: Sequence[str] = ()) -> list[list[str]]:
    return [fault for fault in axe_faults(page, rules) if fault[1] in ("serious", "critical")]
