"""What all pages share: one style block, colours that can be read in light and dark, values that stay text."""

import re

import pytest
from PIL import Image

from helpers.browser import EVIL
from lad_reasoner.files.pictures import picture_uri
from lad_reasoner.templates import render_page

PAGES = ("evaluation.html", "gallery.html", "inspection.html", "review.html")


def colours(dark: bool) -> dict[str, str]:
    """The style block's variables, name -> #rrggbb."""
    light_css, dark_css = render_page("base.html").split("@media screen and (prefers-color-scheme: dark)")
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", dark_css if dark else light_css))


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, as WCAG 2.2 defines it."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    darker, lighter = sorted((luminance(first), luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["text", "quiet", "bad", "good", "warn"])
def test_text_can_be_read_on_both_backgrounds(name: str, dark: bool) -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    palette = colours(dark)
    assert contrast(palette[name], palette["page"]) >= 4.5
    assert contrast(palette[name], palette["soft"]) >= 4.5


@pytest.mark.parametrize("page", PAGES)
def test_pages_have_one_style_block_and_text_in_its_colours_only(page: str) -> None:
    texts = {"title": EVIL, "summary": EVIL, "notes": [EVIL], "remarks": [EVIL]}
    empty = {"trivial": [], "verdict_headings": {}, "score_headings": {}, "rows": [], "references": [], "number": None}
    html = render_page(page, **texts, **empty)
    assert html.count("<style") == 1
    assert html.startswith("<!doctype html>")
    assert EVIL not in html
    style = html.partition("<style")[2].partition("</style>")[0]
    assert set(re.findall(r"[{; ]color: ([^;}]+)", style)) <= {
        *(f"var(--{name})" for name in ("text", "quiet", "bad", "good", "warn")),
        "inherit",
        "#fff",  # the numbers of boxes, on red
    }


def test_pictures_are_stored_once_under_their_numbers() -> None:
    uri = picture_uri(Image.new("RGB", (4, 3)), "PNG")
    assert uri.startswith("data:image/png;base64,")
    html = render_page("base.html", picture_uris=["", uri])
    assert "--p0" not in html
    assert html.count(f"--p1: url({uri});") == html.count(uri) == 1
