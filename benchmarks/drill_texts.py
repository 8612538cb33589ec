"""The drills `parser` and `texts`: text of a stranger, in responses and in pages.

`parser`: random responses, against a scanner of its own. `texts`: hostile names and reasonings in every page, opened
in Chromium.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from drill_common import Tally

from lad_reasoner.answers import parse_response

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
PIECES = (
    *TAGS,
    *TAGS,
    "<THINK>",
    "</Answer>",
    "<think",
    "think>",
    "</",
    ">",
    "yes",
    "no",
    "YES",
    "No",
    "maybe",
    "yes no",
)
PIECES += (
    " ",
    "\n",
    "\t",
    "\u00a0",
    "\u2003",
    "\x1c",
    "\u200b",
    "\u2800",
    "\0",
    "\u0301",
    "a",
    "One screw.",
    "é",
    "缺",
    "\u212a",
)


def scan_response(text: str) -> str:
    """The answer of a structured response, or invalid: the grammar once more, read from left to right."""
    text = text.strip()
    lower = text.lower()
    starts = [place for place in range(len(lower)) for tag in TAGS if lower.startswith(tag, place)]
    if len(starts) != len(TAGS) or not text.startswith(TAGS[0]):
        return "invalid"
    end = text.find(TAGS[1])
    reasoning, rest = text[len(TAGS[0]) : end], text[end + len(TAGS[1]) :].lstrip()
    seen = [letter for letter in reasoning if unicodedata.category(letter) not in ("Cc", "Cf", "Cn", "Co", "Cs")]
    seen = [letter for letter in seen if unicodedata.category(letter)[0] not in "ZM" and letter not in BLANK_LETTERS]
    if end < 0 or not seen or not rest.startswith(TAGS[2]) or not rest.endswith(TAGS[3]):
        return "invalid"
    word = rest[len(TAGS[2]) : -len(TAGS[3])].strip()
    return word.lower() if word.isascii() and word.lower() in ("yes", "no") else "invalid"


BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0\U0001d159"


def drill_parser(number: int, seed: int = 0) -> Tally:
    """Responses of random pieces, half of them one to three changes away from a structured one, against the scanner."""
    chance, tally, accepted = random.Random(seed), Tally(), 0
    for _ in range(number):
        if chance.random() < 0.5:
            parts = [
                "<think>",
                chance.choice(PIECES),
                "</think>",
                "<answer>",
                chance.choice(("yes", "no")),
                "</answer>",
            ]
            for _ in range(chance.randint(0, 3)):
                place = chance.randrange(len(parts) + 1)
                parts[place : place + chance.randrange(2)] = [chance.choice(PIECES)]
        else:
            parts = chance.choices(PIECES, k=chance.randint(0, 12))
        text = "".join(parts)
        tally.tried += 1
        expected = scan_response(text)
        try:
            response = parse_response(text)
        except Exception as error:  # what the drill looks for
            tally.lost.append(f"{text!r}: {type(error).__name__}: {error}")
            continue
        accepted += response.structured
        if response.answer != expected or response.structured != (expected != "invalid"):
            tally.lost.append(f"{text!r}: {response.answer} instead of {expected}")
    tally.note = f" ({accepted} accepted)"
    return tally


HOSTILE = (
    "<script>document.title='hacked'</script>",
    "<img src=x onerror=\"document.title='hacked'\">",
    '"><svg onload=alert(1)>',
    "'-alert(1)-'",
    "</textarea></style></script><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{ 7*7 }}{% for x in y %}",
    "<link rel=stylesheet href=http://127.0.0.1:9/x><iframe src=http://127.0.0.1:9/>",
    "\x1b]0;x\x07\u202e\u2066<b onmouseover=alert(1)>",
    "&lt;script&gt;alert(1)&lt;/script&gt;\u2028<base href=http://127.0.0.1:9/>",
)


def drill_texts(number: int = len(HOSTILE), seed: int = 0) -> Tally:
    """Hostile names and reasonings in the pages of `inspect`, `eval` and `compare`, opened in Chromium.

    Lost is a page that runs, asks for or shows what it should not.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        chromium = None
    if chromium is None:
        return Tally(note=" (skipped: no Chromium, or no playwright)")
    tally = Tally()
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for page in _hostile_pages(Path(temporary), HOSTILE[:number]):
            complaints: list[str] = []
            window = browser.new_page()
            window.on("dialog", lambda dialog, found=complaints: (found.append("a dialog"), dialog.dismiss()))
            window.on("pageerror", lambda error, found=complaints: found.append(str(error)))
            window.on("request", lambda request, found=complaints: _count_request(request.url, found))
            window.goto(page.as_uri())
            tally.tried += 1
            if window.title() == "hacked":
                complaints.append("a script ran")
            if window.locator("svg[onload], img[onerror], iframe, base, b[onmouseover]").count():
                complaints.append("an element of the text")
            window.close()
            tally.lost += [f"{page.name}: {complaint}" for complaint in complaints]
        browser.close()
    return tally


def _count_request(url: str, found: list[str]) -> None:
    if not url.startswith(("file:", "data:")):
        found.append(f"a request for {url}")


def _hostile_pages(folder: Path, texts: Sequence[str]) -> Iterator[Path]:
    from helpers.planted import lamps
    from lad_reasoner.evaluation.benchmark import open_benchmark
    from lad_reasoner.evaluation.comparison import compare_runs
    from lad_reasoner.evaluation.run import Run
    from lad_reasoner.inspector import Inspector
    from lad_reasoner.judge import Judgement
    from lad_reasoner.report.evaluation import write_evaluation
    from lad_reasoner.report.gallery import write_gallery_page
    from lad_reasoner.report.inspection import inspection_row, write_inspection_page

    class Hostile:
        """Says what it is given to say, of which it is named after, too."""

        prompt_version, batch_size, parameters = "1", 1, None

        def __init__(self, text: str) -> None:
            self.name, self.notes, self.text = text, (text,), text

        def judge(self, pairs: Sequence[Any]) -> list[Judgement]:
            return [Judgement("yes", 0.9, self.text, self.text, headline=self.text) for _ in pairs]

    root = lamps(folder / "lamps")
    for number, text in enumerate(texts):
        inspector = Inspector(Hostile(text), [root / "lamp/train/good/000.png"])
        name = folder / f"{text.replace('/', ':')[:80]}.png"
        name.write_bytes((root / "lamp/test/good/000.png").read_bytes())
        rows = [inspection_row(result, truth=text) for result in inspector.run([name, root / "missing.png"])]
        page = write_inspection_page(folder / f"i{number}", rows, inspector.references, title=text, notes=[text])
        yield page
        runs = []
        for kind in ("first", "second"):
            run = folder / f"{kind}{number}"
            for _ in Run(run, Hostile(f"{text}{kind}"), open_benchmark("folder", root)).predict():
                pass
            yield write_evaluation(run)[2]
            runs.append(run)
        gallery = folder / f"g{number}"
        gallery.mkdir()
        yield write_gallery_page(gallery, compare_runs(runs, resamples=0))
